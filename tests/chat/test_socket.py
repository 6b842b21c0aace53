"""The socket: who may open it, what it is told and what it says, over the application as the server runs it."""

import asyncio
import html
import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from accounts.database import in_database
from accounts.models import Role, Team, User
from accounts.people import deactivate_person
from accounts.teams import add_member, remove_member
from chat import consumers, presence, watching
from chat.conversations import Question, start
from chat.models import Conversation, Generation
from chat.presence import Standing, Visit, standing
from console.asgi import application
from tests.chat.conftest import serve_model, web_process
from tests.chat.shown import text_of
from tests.chat.test_generations import ended, written
from tests.engines.faultd import FaultEngine, words

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

ORIGIN = "http://localhost"


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def cookie_of(user: User) -> str:
    return session_key(browser_of(user))


def session_key(browser: Client) -> str:
    return browser.cookies[settings.SESSION_COOKIE_NAME].value


class Page(WebsocketCommunicator):
    """A page's socket, and what the page would show of the answer being written."""

    def __init__(self, path: str, cookie: str = "", origin: str | None = ORIGIN) -> None:
        headers = [(b"host", b"localhost"), (b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        super().__init__(application, path, headers=headers)
        self.received = 0
        self.frames: list[str] = []

    async def say(self, **message: Any) -> None:
        await self.send_to(text_data=json.dumps(message))

    async def hear(self) -> str:
        frame = await self.receive_from(timeout=20)
        assert isinstance(frame, str)
        self.received += len(frame.encode())
        self.frames.append(frame)
        return frame

    async def hear_until(self, pattern: str) -> str:
        while not re.search(pattern, frame := await self.hear()):
            pass
        return frame

    async def closed_with(self) -> int:
        while True:
            event = await self.receive_output(timeout=20)
            if event["type"] == "websocket.close":
                await self.disconnect()
                return int(event["code"])


async def opened(user: User, conversation: Conversation, browser: Client | None = None) -> Page:
    browser = browser or await in_database(browser_of, user)
    page = Page(f"/ws/chat/{conversation.pk}/?lang=en", session_key(browser))
    assert (await page.connect(timeout=20))[0]
    return page


async def asked(user: User, team: Team, text: str = "Go on.") -> Conversation:
    return await in_database(start, user=user, team=team, question=Question(text, "small", uuid.uuid4()))


@pytest.mark.spec("S11")
@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null", None])
async def test_another_sites_page_cannot_open_a_socket(
    bob: User, red: Team, origin: str | None, tmp_path: Path
) -> None:
    talk = await asked(bob, red)
    page = Page(f"/ws/chat/{talk.pk}/", await in_database(cookie_of, bob), origin)
    assert (await page.connect())[0] is False


async def test_without_a_session_the_socket_is_accepted_and_closed_as_signed_out(bob: User, red: Team) -> None:
    page = Page(f"/ws/chat/{(await asked(bob, red)).pk}/")
    assert (await page.connect())[0]
    assert await page.closed_with() == consumers.SIGNED_OUT


@pytest.mark.spec("S05")
async def test_somebody_elses_conversation_is_closed_as_not_there(
    alice: User, charlie: User, blue: Team, bob: User, red: Team
) -> None:
    talk = await asked(bob, red)
    for other in (alice, charlie):
        page = await opened(other, talk)
        assert await page.closed_with() == consumers.NOT_YOURS
    missing = Page(f"/ws/chat/{uuid.uuid4()}/", await in_database(cookie_of, bob))
    assert (await missing.connect())[0]
    assert await missing.closed_with() == consumers.NOT_YOURS


async def test_an_unknown_address_is_closed_as_not_there() -> None:
    page = Page("/ws/nowhere/")
    assert (await page.connect())[0]
    assert await page.closed_with() == consumers.NOT_YOURS


async def test_a_page_sees_the_answer_grow_and_end(bob: User, red: Team, engine: FaultEngine, tmp_path: Path) -> None:
    await in_database(serve_model, engine, "fault:drip?n=30&gap=20")
    async with web_process(tmp_path):
        page = await opened(bob, await asked(bob, red))
        await page.say(type="cursor", newest="")
        last = await page.hear_until("Answer complete")
        await page.disconnect()
    seen = text_of(page.frames[:-1]).strip()
    assert len(seen) > 100
    assert "".join(words(30)).startswith(seen), "the last words may come with the end"
    assert "".join(words(30)).strip() in last
    assert sum("Answering</div>" in frame for frame in page.frames) == 1, "said once, not with each word"


async def test_a_page_that_comes_back_shows_neither_less_nor_more(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=60&gap=20&hold=58")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        for share, frames in ((0.1, 3), (0.5, 3), (0.9, 1)):
            await written(talk, int(len("".join(words(60))) * share))
            page = await opened(bob, talk)
            await page.say(type="cursor", newest="")
            for _ in range(frames):
                await page.hear()
            assert "".join(words(60)).startswith(text_of(page.frames))
            await page.disconnect()
        page = await opened(bob, talk)
        await page.say(type="cursor", newest="")
        engine.completions()[-1].released = True
        last = await page.hear_until("tally")
        await page.disconnect()
    assert "".join(words(60)).strip() in last


async def test_two_pages_see_the_same_and_either_may_stop(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=1000&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        pages = [await opened(bob, talk), await opened(bob, talk)]
        for page in pages:
            await page.say(type="cursor", newest="")
        await written(talk, 50)
        await pages[1].say(type="stop")
        for page in pages:
            assert "Stopped." in await page.hear_until("Answer complete")
        found = await ended(talk)
        for page in pages:
            assert found.message.text.strip() in html.unescape(page.frames[-1])
            await page.disconnect()


@pytest.mark.spec("F33", "R18")
async def test_a_question_sent_twice_is_asked_once_and_another_one_is_told_to_wait(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=100&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        page = await opened(bob, talk)
        await page.say(type="cursor", newest="")
        await page.hear_until("Answering")
        await page.say(type="ask", text="And?", model="small", client_id=str(uuid.uuid4()))
        assert "An answer is being written" in await page.hear_until('role="alert"')
        await page.say(type="stop")
        await page.hear_until("Answer complete")
        question = {"type": "ask", "text": "And?", "model": "small", "client_id": str(uuid.uuid4()), "unknown": 1}
        await page.say(**question)
        await page.say(**question)
        await page.hear_until("And\\?")
        await page.say(type="stop")
        await page.hear_until("Answer complete")
        await page.disconnect()
    assert await in_database(Generation.objects.count) == 2


@pytest.mark.parametrize(
    "frame", ["nonsense", "[]", "{}", '{"type": "ask"}', '{"type": "ack", "frame": "x"}', "[" * 5000]
)
async def test_what_cannot_be_read_is_ignored(bob: User, red: Team, frame: str) -> None:
    page = await opened(bob, await asked(bob, red))
    await page.send_to(text_data=frame)
    await page.say(type="cursor", newest="")
    assert "Go on." in await page.hear()
    await page.disconnect()


async def test_a_frame_that_is_too_large_closes_the_socket(bob: User, red: Team) -> None:
    page = await opened(bob, await asked(bob, red))
    await page.send_to(text_data="x" * 500_000)
    assert await page.closed_with() == consumers.NOT_OURS


@pytest.mark.spec("F29", "R22")
@pytest.mark.parametrize(("name", "limit"), [("MOST_OF_A_PERSON", 2), ("MOST", 3)])
async def test_so_many_sockets_and_no_more_and_one_that_is_closed_makes_room(
    alice: User, bob: User, red: Team, name: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, name, limit)
    talk, others = await asked(bob, red), await asked(alice, red)
    pages = [await opened(bob, talk) for _ in range(2)]
    pages.append(await opened(alice, others))
    for person, talked in [(bob, talk), (alice, others)] if name == "MOST" else [(bob, talk)]:
        assert await (await opened(person, talked)).closed_with() == consumers.TOO_MANY
    await pages[0].disconnect()
    await (await opened(bob, talk)).disconnect()
    for page in pages[1:]:
        await page.disconnect()


@pytest.mark.spec("F29")
@pytest.mark.parametrize(("says", "code"), [(False, consumers.NOT_OURS), (True, consumers.ASLEEP)])
async def test_a_socket_on_which_nothing_happens_is_closed(
    bob: User, red: Team, says: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "SILENT_SECONDS", 600.0 if says else 0.1)
    monkeypatch.setattr(consumers, "IDLE_SECONDS", 0.1 if says else 600.0)
    monkeypatch.setattr(watching, "POLL_IDLE", 0.05)
    page = await opened(bob, await asked(bob, red))
    if says:
        await page.say(type="cursor", newest="")
    assert await page.closed_with() == code


@pytest.mark.spec("F36")
async def test_a_message_after_signing_out_closes_the_socket_and_does_nothing(bob: User, red: Team) -> None:
    talk = await asked(bob, red)
    page = await opened(bob, talk)
    await in_database(Session.objects.all().delete)
    await page.say(type="stop")
    assert await page.closed_with() == consumers.SIGNED_OUT
    found = await in_database(Generation.objects.get, conversation=talk)
    assert found.stop_requested_at is None


@pytest.mark.spec("F36")
@pytest.mark.parametrize("how", ["session", "deactivated", "left", "password"])
async def test_an_open_socket_of_somebody_no_longer_welcome_is_closed(
    bob: User, red: Team, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "CHECK_EVERY", 0.05)
    page = await opened(bob, await asked(bob, red))
    await page.say(type="cursor", newest="")
    await page.hear()

    def change() -> None:
        if how == "session":
            Session.objects.all().delete()
        elif how == "deactivated":
            User.objects.filter(pk=bob.pk).update(is_active=False)
        elif how == "left":
            bob.memberships.all().delete()
        else:
            bob.set_password("another long password")
            bob.save()

    await in_database(change)
    assert await page.closed_with() == (consumers.NOT_YOURS if how == "left" else consumers.SIGNED_OUT)


@pytest.mark.spec("F36")
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("signed out", consumers.SIGNED_OUT),
        ("signed out elsewhere", consumers.SIGNED_OUT),
        ("deactivated", consumers.SIGNED_OUT),
        ("left", consumers.NOT_YOURS),
        ("made a viewer", consumers.NOT_YOURS),
    ],
)
async def test_a_departure_closes_the_socket_at_once_and_leaves_others_alone(
    alice: User, bob: User, red: Team, how: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "CHECK_EVERY", 600.0)
    browser = await in_database(browser_of, bob)
    await in_database(browser.get, reverse("usersessions_list"))  # a page puts the browser on that list

    def depart() -> None:
        if how == "signed out":
            browser.post(reverse("account_logout"))
        elif how == "signed out elsewhere":
            browser_of(bob).post(reverse("usersessions_list"))
        elif how == "deactivated":
            deactivate_person(user=bob, by=alice)
        elif how == "left":
            remove_member(team=red, user=bob, by=alice)
        else:
            add_member(team=red, user=bob, role=Role.VIEWER, by=alice)

    async with web_process(tmp_path):
        page = await opened(bob, await asked(bob, red), browser)
        other = await opened(alice, await asked(alice, red))
        for one in (page, other):
            await one.say(type="cursor", newest="")
            await one.hear()
        await in_database(depart)
        assert await page.closed_with() == code
        await other.say(type="cursor", newest="")
        assert "Go on." in await other.hear_until("Go on.")
        await other.disconnect()


def test_all_open_sockets_are_looked_at_with_one_query(
    alice: User, bob: User, charlie: User, red: Team, blue: Team, django_assert_num_queries: Any
) -> None:
    def visit(user: User, team: Team) -> Visit:
        talk = start(user=user, team=team, question=Question("Go on.", "small", uuid.uuid4()))
        return Visit(cookie_of(user), user.pk, talk.pk)

    here, gone, left = visit(alice, red), visit(charlie, blue), visit(bob, red)
    intruder = Visit(cookie_of(charlie), charlie.pk, here.conversation_id)
    borrowed = Visit(here.session_key, bob.pk, left.conversation_id)
    Session.objects.filter(session_key=gone.session_key).delete()
    remove_member(team=red, user=bob, by=alice)
    with django_assert_num_queries(1):
        assert standing([here, gone, left, intruder, borrowed]) == {
            here: Standing.WELCOME,
            gone: Standing.SIGNED_OUT,
            left: Standing.OUTSIDE,
            intruder: Standing.OUTSIDE,
            borrowed: Standing.SIGNED_OUT,
        }


async def test_what_is_sent_grows_with_the_text_and_not_with_its_square(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    text = "\n\n".join(f"Paragraph {i} with some words in it and **more** of them." for i in range(300))
    await in_database(serve_model, engine, "fault:echo?size=24&gap=5")
    async with web_process(tmp_path):
        page = await opened(bob, await asked(bob, red, text))
        await page.say(type="cursor", newest="")
        await page.hear()
        before = page.received
        await page.hear_until("Answer complete")
        await page.disconnect()
    deltas = page.frames[1:-1]
    overhead = 400 * len(deltas)
    assert page.received - before < 6 * len(text) + overhead + 20_000
    assert len(page.frames[-1]) < 3 * len(text) + 20_000


async def test_a_page_that_does_not_acknowledge_is_sent_no_more_than_the_limit(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "UNACKED_LIMIT", 4096)
    await in_database(serve_model, engine, "fault:drip?n=400&gap=5")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        page = await opened(bob, talk)
        await page.say(type="cursor", newest="")
        await ended(talk)
        await asyncio.sleep(0.3)
        held = []
        while not await page.receive_nothing(timeout=0.2):
            held.append(await page.hear())
        assert sum(len(frame) for frame in held) < 4096 + len(held[0]) + 2048
        await page.say(type="ack", frame=10_000)
        assert "".join(words(400)).strip() in await page.hear_until("Answer complete")
        await page.disconnect()


async def test_a_page_that_acknowledges_nothing_for_long_is_closed_and_may_come_back(
    bob: User, red: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "UNACKED_SECONDS", 0.2)
    monkeypatch.setattr(consumers, "LOOK_AT_ACKS", 0.1)
    page = await opened(bob, await asked(bob, red))
    await page.say(type="cursor", newest="")
    assert await page.closed_with() == consumers.TOO_SLOW


async def test_an_answer_written_by_another_process_is_shown_from_the_database(
    bob: User, red: Team, engine: FaultEngine
) -> None:
    talk = await asked(bob, red)
    generation = await in_database(Generation.objects.select_related("message").get, conversation=talk)

    def write(text: str, state: Generation.State) -> None:
        generation.message.text, generation.state = text, state
        generation.message.save()
        generation.save()

    await in_database(write, "First words ", Generation.State.RUNNING)
    page = await opened(bob, talk)
    await page.say(type="cursor", newest="")
    assert "First words" in await page.hear()
    await in_database(write, "First words and more", Generation.State.RUNNING)
    assert "and more" in await page.hear()
    assert text_of(page.frames) == "First words and more"
    await in_database(write, "First words and more.", Generation.State.DONE)
    assert "First words and more." in await page.hear_until("Answer complete")
    await page.disconnect()
