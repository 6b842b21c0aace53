"""kill -9 in the middle of an answer: what was written is kept, marked and accounted for once, and can be tried again.

The server is a child process on the tests' database.
"""

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.models import Team, User
from billing.models import UsageRecord
from chat.conversations import Question, ask_again, start
from chat.models import Conversation, Generation
from tests.chat.conftest import serve_model
from tests.engines.faultd import FaultEngine, words
from tests.server import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)

WORDS, GAP = 160, 25  # ms
ONE_SECOND = 1000 // GAP  # words
SLACK = 20  # words on their way to the server when it dies, and a busy machine's


@pytest.fixture
def server(bob: User, engine: FaultEngine) -> Iterator[LiveServer]:
    serve_model(engine, f"fault:drip?n={WORDS}&gap={GAP}")
    with LiveServer(SECRET_KEY=settings.SECRET_KEY, DRAIN_SECONDS="1", SPOOL_ROTATE="0.3") as running:
        yield running


def until[T](look: Callable[[], T]) -> T:
    """What is looked for, once it is there."""
    deadline = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)
    return found


def newest(conversation: Conversation) -> Generation:
    return Generation.objects.select_related("message").filter(conversation=conversation).latest("created_at")


def ended(conversation: Conversation) -> Generation | None:
    found = newest(conversation)
    return None if found.state in Generation.LIVE else found


@pytest.mark.spec("R23", "F34")
def test_kill_9_costs_at_most_a_second_of_the_answer_and_nothing_of_its_account(
    client: Client, bob: User, red: Team, engine: FaultEngine, server: LiveServer
) -> None:
    talk = start(user=bob, team=red, question=Question("Go on.", "small", uuid.uuid4()))
    until(lambda: engine.completions() and engine.completions()[-1].deltas > 2 * ONE_SECOND)
    server.kill()
    sent = engine.completions()[-1].deltas
    assert newest(talk).state == Generation.State.RUNNING

    server.start()
    cut = until(lambda: ended(talk))
    kept = cut.message.text
    assert (cut.state, cut.error) == (Generation.State.INTERRUPTED, "interrupted")
    assert "".join(words(WORDS)).startswith(kept)
    assert sent - len(kept.split()) <= ONE_SECOND + SLACK
    client.force_login(bob)
    page = client.get(reverse("chat:conversation", args=[talk.pk])).content.decode()
    assert "The server was interrupted while it answered." in page
    assert "Try again" in page
    assert kept.strip() in page

    ask_again(user=bob, conversation=talk)
    whole = until(lambda: ended(talk))
    assert (whole.state, whole.message.text) == (Generation.State.DONE, "".join(words(WORDS)))
    until(lambda: UsageRecord.objects.count() > 1)
    rows = UsageRecord.objects.order_by("at").values_list("id", "outcome", "origin")
    assert list(rows) == [(cut.request_id, "interrupted", "chat"), (whole.request_id, "ok", "chat")]
    assert 0 < UsageRecord.objects.get(id=cut.request_id).completion_tokens <= sent
