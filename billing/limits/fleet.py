"""Counts of windows that the processes of a fleet share, kept in Redis (or Valkey).

The same counting as in `billing.limits.counters`. A call's admission is one script, so one round trip, and no other
call can come between the test of its windows and its count. The clock is Redis's own: processes may disagree on the
time.

For each subject: a hash of its windows, and a sorted set of the calls that run, each until its lease ends. A process
renews the leases of its calls; those of a process that died end by themselves.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from time import monotonic
from typing import Any
from uuid import uuid4

from billing.errors import BadFleet, FleetAway
from billing.limits.counters import Full
from billing.limits.fleet_scripts import AT_LEAST, RENEW, SETTLE, TAKE
from billing.limits.windows import Consumed, Standing, Subject

PREFIX = "tertulia:limits:"
TIMEOUT = 0.5  # seconds that Redis has for an answer
BATCH = 128  # questions at most that go out together
LEASE = 30.0  # seconds that a call of a dead process goes on being counted as running


@dataclass(frozen=True, slots=True)
class _Question:
    script: str
    keys: list[str]
    words: list[Any]
    answer: asyncio.Future[Any]


class Fleet:
    """The shared counts, as one process uses them. Every method raises FleetAway when Redis does not answer in time.

    All of a process's calls share one connection: what is asked while an answer is on its way goes out together next.
    So a crowd needs few round trips, and none of it waits for a connection.
    """

    def __init__(self, url: str) -> None:
        if find_spec("redis") is None:
            raise BadFleet("REDIS_URL is set, but the Redis client is not installed: install the extra 'redis'.")
        self._url = url
        self._calls: dict[str, tuple[str, ...]] = {}  # sets of the calls that run here, by call
        self._client: Any = None
        self._errors: tuple[type[Exception], ...] = ()
        self._waiting: list[_Question] = []
        self._sender: asyncio.Task[None] | None = None
        self._name = uuid4().hex[:12]
        self._numbers = 0

    async def open(self) -> None:
        """In the event loop that will use it. Nothing is connected yet."""
        from redis import asyncio as client
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError

        try:
            self._client = client.Redis.from_url(
                self._url,
                socket_timeout=None,  # the deadline is ours: see _in_time
                socket_connect_timeout=TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
            )
        except ValueError as error:
            raise BadFleet(f"REDIS_URL must look like redis://redis.example.org:6379/0: {error}.") from error
        self._errors = (RedisError, OSError, TimeoutError)

    async def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def check(self) -> None:
        try:
            await _in_time(self._client.ping())
        except self._errors as error:
            raise _away(error) from error

    def name_of_call(self) -> str:
        """A new one, for `take` and `settle`."""
        self._numbers += 1
        return f"{self._name}-{self._numbers}"

    async def take(self, call: str, subjects: Sequence[Subject]) -> tuple[list[Standing], Full | None]:
        """Counts a call in every window of all its subjects or, where one is full, in none.

        Who is cancelled here does not know which: `settle` then takes back what was counted.
        """
        names = keys(subjects)
        ask = {"call": call, "lease": int(LEASE * 1000), "subjects": _told(subjects)}
        found = await self._ask(TAKE, names, [json.dumps(ask)])
        standings, full = _understood(subjects, found, taken=not found[0])
        if full is None:
            self._calls[call] = tuple(names[1::2])
        return standings, full

    async def settle(
        self, call: str, subjects: Sequence[Subject], *, tokens: int = 0, output: int = 0, requests: int = 0
    ) -> None:
        """`requests` is -1 for a call that was refused for another reason, or left: it counts nowhere."""
        self._calls.pop(call, None)
        now = time.time()
        ask = {
            "call": call,
            "tokens": tokens,
            "output": output,
            "requests": requests,
            "subjects": [{"ends": subject.days.ends(now)} for subject in subjects],
        }
        await self._ask(SETTLE, keys(subjects), [json.dumps(ask)])

    async def at_least(self, found: Sequence[Consumed]) -> None:
        """Never lowers a count."""
        now = time.time()
        for place in range(0, len(found), BATCH):
            part = found[place : place + BATCH]
            told = [
                {
                    "ends": one.subject.days.ends(now),
                    "hour": one.hour_output,
                    "requests": one.requests,
                    "tokens": one.tokens,
                    "output": one.output,
                }
                for one in part
            ]
            names = [f"{PREFIX}{one.subject.name}" for one in part]
            await self._ask(AT_LEAST, names, [json.dumps({"subjects": told})])

    async def renew(self) -> None:
        """The leases of the calls that run here. Call it several times in a lease's time."""
        pairs = [(name, call) for call, names in self._calls.items() for name in names]
        for place in range(0, len(pairs), BATCH):
            part = pairs[place : place + BATCH]
            await self._ask(RENEW, [name for name, _ in part], [int(LEASE * 1000), *(call for _, call in part)])

    def look(self, subjects: Sequence[Subject]) -> list[Standing]:
        """For pages: from a thread of theirs, on a connection of its own."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        try:
            with Redis.from_url(
                self._url,
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
            ) as client:
                ask = json.dumps({"subjects": _told(subjects)})
                found: Any = client.eval(TAKE, 2 * len(subjects), *keys(subjects), ask)
        except (RedisError, OSError) as error:
            raise FleetAway(str(error)) from error
        return _understood(subjects, found)[0]

    async def _ask(self, script: str, names: list[str], words: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        question = _Question(script, names, words, loop.create_future())
        self._waiting.append(question)
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._send())
        return await question.answer

    async def _send(self) -> None:
        """Until nobody waits. When it fails, nobody waits either: all are told."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                answers = await _in_time(self._together(batch))
            except BaseException as error:
                left, self._waiting = batch + self._waiting, []
                for question in left:
                    if not question.answer.done():
                        question.answer.set_exception(_away(error))
                if isinstance(error, self._errors):
                    return
                raise
            for question, answer in zip(batch, answers, strict=True):
                if not question.answer.done():
                    question.answer.set_result(answer)

    async def _together(self, batch: list[_Question]) -> list[Any]:
        """Their answers, in one round trip. What Redis did not know, as after its start, it is asked again."""
        from redis.exceptions import NoScriptError

        answers = await self._round_trip(batch)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for script in (TAKE, SETTLE, AT_LEAST, RENEW):
                await self._client.script_load(script)
            again = await self._round_trip([batch[place] for place in unknown])
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _round_trip(self, batch: list[_Question]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for one in batch:
                pipe.evalsha(_sha(one.script), len(one.keys), *one.keys, *one.words)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
            return answers


@cache
def _sha(script: str) -> str:
    """The name by which Redis knows it."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


async def _in_time[T](work: Awaitable[T]) -> T:
    """Raises TimeoutError when Redis is slow; when it was this process that did not get to it, it looks once more."""
    task = asyncio.ensure_future(work)
    try:
        for _ in range(2):
            began = monotonic()
            await asyncio.wait({task}, timeout=TIMEOUT)
            if task.done():
                return task.result()
            if monotonic() - began < TIMEOUT * 1.2:
                break
        raise TimeoutError(f"no answer in {TIMEOUT} s")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _away(error: BaseException) -> FleetAway:
    return FleetAway(str(error) or type(error).__name__)


def keys(subjects: Sequence[Subject]) -> list[str]:
    """For each subject its hash and its set."""
    return [f"{PREFIX}{subject.name}{end}" for subject in subjects for end in ("", ":running")]


def _told(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    now = time.time()
    return [
        {
            "ends": subject.days.ends(now),
            "rules": [(rule.window.name, rule.window.unit, rule.window.span, rule.limit) for rule in subject.rules],
        }
        for subject in subjects
    ]


def _understood(subjects: Sequence[Subject], found: Any, *, taken: bool = False) -> tuple[list[Standing], Full | None]:
    """`taken`: the call was counted in after what was seen."""
    refused, seen = found
    pairs = [(subject, rule) for subject in subjects for rule in subject.rules]
    figures = zip(pairs, seen[::2], seen[1::2], strict=True)
    standings = [
        Standing(subject, rule, int(used) + (taken and rule.window.counts_calls), int(end) / 1000)
        for (subject, rule), used, end in figures
    ]
    if not refused:
        return standings, None
    place, number, wait = (int(one) for one in refused)
    before = sum(len(subject.rules) for subject in subjects[: place - 1])
    return standings, Full(standings[before + number - 1], wait / 1000)
