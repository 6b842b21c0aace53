"""What waits to go out: taken by one process at a time, tried with growing patience, and known by its id outside.

A delivery is claimed before it is tried and marked after: whoever dies in between has sent it or not, so it is tried
again once the claim is over. The outside gets everything at least once; the id, which does not change, tells a second
one (`webhook-id`, Message-ID).
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Q
from django.utils import timezone
from yarl import URL

from accounts.errors import UnreadableSecret
from billing.alerts import addresses, mails, posting
from billing.alerts.posting import Answer
from billing.alerts.webhooks import body_of, note_answer, signed
from billing.errors import AddressRefused
from billing.models import Delivery, Webhook

CLAIM = timedelta(minutes=5)  # longer than anything here may take
BATCH = 20  # so few that a claim outlasts them all
LINES = 500  # that may go along in the mails of a batch
SECONDS = 20.0  # of one run: other work waits for it
THREADS = 4
# After each failed try; together a day and a half. The last leaves nothing to wait for.
PATIENCE = tuple(
    timedelta(seconds=seconds) for seconds in (15, 60, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 18 * 3600)
)

logger = logging.getLogger(__name__)


def deliver(*, lookup: posting.Lookup = posting.addresses_of) -> None:
    """All that is due, as far as the time of one run goes."""
    until = monotonic() + SECONDS
    while monotonic() < until and (claimed := claim(now=timezone.now())):
        mail_goes = mails.send_all([one for one in claimed if one.webhook_id is None], done=done, drop=drop)
        _post_all([one for one in claimed if one.webhook_id is not None], lookup)
        if not mail_goes:
            return


@transaction.atomic
def claim(*, now: datetime) -> list[Delivery]:
    """What is due and nobody has: for us alone, for as long as CLAIM."""
    free = Delivery.objects.filter(state=Delivery.State.WAITING, due_at__lte=now).order_by("due_at", "created_at")
    free = free.select_for_update(skip_locked=True, of=["self"])
    ids = list(free.values_list("pk", flat=True)[:BATCH])
    ids += free.filter(_of_the_same_mails(ids)).exclude(pk__in=ids).values_list("pk", flat=True)[:LINES]
    Delivery.objects.filter(pk__in=ids).update(due_at=now + CLAIM, attempts=F("attempts") + 1, tried_at=now)
    found = Delivery.objects.filter(pk__in=ids).select_related("team", "alert__team", "report__team", "user", "webhook")
    return list(found.order_by("created_at", "pk"))


def _of_the_same_mails(ids: Sequence[UUID]) -> Q:
    """What else goes to the same people from the same teams: a thousand unused keys are no thousand mails."""
    mails = Delivery.objects.filter(pk__in=ids, user__isnull=False, alert__isnull=False)
    found = Q(pk__in=[])
    for user, team in mails.values_list("user", "team").distinct():
        found |= Q(user=user, team=team, alert__isnull=False)
    return found


def done(delivery: Delivery, *, sent: bool, answer: str = "") -> None:
    """How the try ended. Of a claim that was over meanwhile, the later try says how it ended."""
    now = timezone.now()
    ours = Delivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, state=Delivery.State.WAITING)
    if sent:
        ours.update(state=Delivery.State.SENT, answer=answer[:300])
    elif delivery.attempts > len(PATIENCE) or delivery.kind == Delivery.Kind.TEST:
        ours.update(state=Delivery.State.FAILED, answer=answer[:300])
    else:
        ours.update(due_at=now + PATIENCE[delivery.attempts - 1], answer=answer[:300])


def drop(delivery: Delivery) -> None:
    Delivery.objects.filter(pk=delivery.pk).update(state=Delivery.State.DROPPED)


@dataclass(frozen=True, slots=True)
class Call:
    """A delivery ready to be posted. `problem`: why it cannot be."""

    delivery: Delivery
    url: URL
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def _post_all(deliveries: Sequence[Delivery], lookup: posting.Lookup) -> None:
    """Webhooks at the same time, each one's messages in their order: after one that failed the others wait.

    Threads do nothing but call; the database is this one's.
    """
    groups: defaultdict[int, list[Call]] = defaultdict(list)
    for delivery in deliveries:
        hook = delivery.webhook
        if hook is None or hook.stopped_at is not None:
            drop(delivery)
        else:
            with _no_mistake_of(delivery):
                call = _call(delivery, hook)
                groups[hook.pk].append(call)
    if not groups:
        return
    until = monotonic() + SECONDS
    with ThreadPoolExecutor(min(THREADS, len(groups)), thread_name_prefix="webhooks") as threads:
        answered = list(threads.map(lambda group: _post_group(group, until, lookup), groups.values()))
    for group, answers in zip(groups.values(), answered, strict=True):
        for call, answer in zip(group, answers, strict=False):
            _note(call.delivery, answer)
        put_back([call.delivery for call in group[len(answers) :]], after=group[len(answers) - 1].delivery)


@contextmanager
def _no_mistake_of(delivery: Delivery) -> Iterator[None]:
    """A message that cannot be made holds up no other, and is not the webhook's failure."""
    try:
        yield
    except DatabaseError:
        raise
    except Exception:
        logger.exception("A message could not be made", extra={"delivery": str(delivery.pk)})
        done(delivery, sent=False, answer="not written")


def _post_group(group: Sequence[Call], until: float, lookup: posting.Lookup) -> list[Answer]:
    """The answers, up to the first that is no success; fewer than asked when the time is over."""
    answers: list[Answer] = []
    for call in group:
        if answers and (monotonic() > until or not answers[-1].taken):
            break
        if call.problem:
            answers.append(Answer(0, call.problem))
            continue
        hosts = settings.ENVIRONMENT.webhook_hosts
        answers.append(posting.post(call.url, call.body, dict(call.headers), hosts=hosts, lookup=lookup))
    return answers


def _call(delivery: Delivery, hook: Webhook) -> Call:
    try:  # what was allowed once may be so no more
        url = addresses.parse(hook.url, hosts=settings.ENVIRONMENT.webhook_hosts)
        body = body_of(delivery)
        return Call(delivery, url, body, signed(delivery, body, now=timezone.now()))
    except AddressRefused as error:
        return Call(delivery, URL(), problem=error.reason)
    except UnreadableSecret:
        return Call(delivery, URL(), problem="secret unreadable")


def _note(delivery: Delivery, answer: Answer) -> None:
    said = f"{answer.status} {answer.text}".strip() if answer.status else answer.text
    done(delivery, sent=answer.taken, answer=said)
    if delivery.webhook is not None and (answer.taken or delivery.kind != Delivery.Kind.TEST):
        note_answer(hook=delivery.webhook, answer=answer, now=timezone.now())


def put_back(others: Sequence[Delivery], *, after: Delivery) -> None:
    """Not tried: they go when the one before them goes again."""
    wait = PATIENCE[min(after.attempts, len(PATIENCE)) - 1]
    waiting = Delivery.objects.filter(pk__in=[one.pk for one in others], state=Delivery.State.WAITING)
    waiting.update(due_at=timezone.now() + wait, attempts=F("attempts") - 1)
