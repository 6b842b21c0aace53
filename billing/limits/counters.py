"""What was used of each window, counted in this process.

Requests a minute by a sliding counter: what the window before held counts in the share of it that still lies within
the last sixty seconds, as if it had been spread evenly. It begins with the first request, so that nobody meets a
boundary in the middle of a burst. All else by fixed windows, which forget when their number changes, whatever way the
clock went.

Nothing here waits: testing every window of a call and then counting it in all is one step of the event loop, and no
other call can come between.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import floor
from time import monotonic, time

from billing.limits.windows import HOUR, MINUTE, Consumed, Rule, Standing, Subject, Window


@dataclass(slots=True)
class Sliding:
    """Requests of the last minute. Its clock is the monotonic one: no step of the wall's reaches it."""

    began: float = 0.0
    previous: int = 0
    current: int = 0

    def _at(self, now: float) -> tuple[float, int, int]:
        """When the window of this moment began, what the one before held, and what this one holds."""
        age = now - self.began
        if age < MINUTE:
            return self.began, self.previous, self.current
        if age < 2 * MINUTE and self.current:
            return self.began + MINUTE, self.current, 0
        return now, 0, 0

    def turn(self, now: float) -> None:
        self.began, self.previous, self.current = self._at(now)

    def used(self, now: float) -> float:
        began, previous, current = self._at(now)
        return previous * (1 - (now - began) / MINUTE) + current if previous else current

    def end(self, now: float) -> float:
        return self._at(now)[0] + MINUTE

    def wait(self, limit: int, now: float) -> float:
        """Seconds until the next request fits. Call it when none does."""
        self.turn(now)
        left = self.began + MINUTE - now
        if self.current < limit:  # what the window before held is fading
            return max(0.0, left - MINUTE * (limit - self.current) / self.previous)
        return left + MINUTE * (1 - limit / self.current)


@dataclass(slots=True)
class Fixed:
    """`number` says which window is counted: another one begins at nothing."""

    number: int = 0
    count: int = 0

    def add(self, number: int, amount: int) -> None:
        if self.number != number:
            self.number, self.count = number, 0
        self.count += amount

    def used(self, number: int) -> int:
        return self.count if self.number == number else 0


@dataclass(slots=True)
class Meter:
    """One subject's counts."""

    sliding: Sliding = field(default_factory=Sliding)
    fixed: dict[str, Fixed] = field(default_factory=dict)
    running: int = 0

    def window(self, name: str) -> Fixed:
        found = self.fixed.get(name)
        if found is None:
            found = self.fixed[name] = Fixed()
        return found


@dataclass(frozen=True, slots=True)
class Full:
    """The window that has no room for a call, and the seconds until it has."""

    standing: Standing
    wait: float


class Counters:
    """Every subject's meter. Read from any thread, written in the event loop alone."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}
        self._lock = threading.Lock()  # around what adds a meter

    def take(self, subjects: Sequence[Subject], processes: int = 1) -> tuple[list[Standing], Full | None]:
        """Counts a call in every window of all its subjects, or, where one is full, in none.

        `processes` share each limit. The standings are those with the call in.
        """
        now, beat = time(), monotonic()
        seen: list[tuple[Subject, Rule, float, float]] = []
        full: Full | None = None
        for subject in subjects:
            meter, day = self._meter(subject.name), subject.days.end(now)
            for rule in subject.rules:
                used, reset = _read(meter, rule.window, day, now, beat)
                limit = rule.limit if processes == 1 else rule.share(processes)
                if used >= limit and full is None:
                    wait = meter.sliding.wait(limit, beat) if rule.window.slides else max(0.0, reset - now)
                    full = Full(Standing(subject, rule, rule.limit, reset), wait)
                seen.append((subject, rule, used, reset))
        if full is None:
            self._count_in(subjects, now, beat)
            return [_stands(*one, one[1].window.counts_calls, processes) for one in seen], None
        return [_stands(*one, 0, processes) for one in seen], full

    def count_in(self, subjects: Iterable[Subject]) -> None:
        """A call that others have let in."""
        self._count_in(subjects, time(), monotonic())

    def _count_in(self, subjects: Iterable[Subject], now: float, beat: float) -> None:
        for subject in subjects:
            meter = self._meter(subject.name)
            meter.running += 1
            meter.sliding.turn(beat)
            meter.sliding.current += 1
            meter.window("requests-per-day").add(subject.days.end(now), 1)

    def let_go(self, subjects: Iterable[Subject]) -> None:
        """A call has ended."""
        for subject in subjects:
            meter = self._meter(subject.name)
            meter.running = max(0, meter.running - 1)

    def take_back(self, subjects: Iterable[Subject]) -> None:
        """A call that was counted was refused for another reason: it never was. Its place is let go apart."""
        now, beat = time(), monotonic()
        for subject in subjects:
            meter, day = self._meter(subject.name), subject.days.end(now)
            meter.sliding.turn(beat)
            meter.sliding.current = max(0, meter.sliding.current - 1)
            requests = meter.window("requests-per-day")
            requests.count = max(0, requests.used(day) - 1)

    def charge(self, subjects: Iterable[Subject], tokens: int, output: int) -> None:
        """What a call came to, in the windows of the moment at which it ends."""
        now = time()
        for subject in subjects:
            meter, day = self._meter(subject.name), subject.days.end(now)
            meter.window("tokens-per-minute").add(int(now // MINUTE), tokens)
            meter.window("output-tokens-per-hour").add(int(now // HOUR), output)
            meter.window("tokens-per-day").add(day, tokens)
            meter.window("output-tokens-per-day").add(day, output)

    def at_least(self, known: Consumed, processes: int = 1) -> None:
        """What the log says, where less was counted here; of a shared limit, this process's share of it."""
        now = time()
        hour, day, meter = int(now // HOUR), known.subject.days.end(now), self._meter(known.subject.name)
        for name, number, amount in (
            ("output-tokens-per-hour", hour, known.hour_output),
            ("requests-per-day", day, known.requests),
            ("tokens-per-day", day, known.tokens),
            ("output-tokens-per-day", day, known.output),
        ):
            window = meter.window(name)
            window.add(number, max(0, amount // processes - window.used(number)))

    def standings(self, subjects: Iterable[Subject], processes: int = 1) -> list[Standing]:
        """Where a limit is shared by processes, the use of this one stands for that of all."""
        now, beat = time(), monotonic()
        return [
            _stands(subject, rule, *_read(meter, rule.window, day, now, beat), 0, processes)
            for subject in subjects
            for meter, day in ((self._meter(subject.name), subject.days.end(now)),)
            for rule in subject.rules
        ]

    def clear(self) -> None:
        self._meters.clear()

    def _meter(self, name: str) -> Meter:
        found = self._meters.get(name)
        if found is None:
            with self._lock:
                found = self._meters.setdefault(name, Meter())
        return found


def _read(meter: Meter, window: Window, day: int, now: float, beat: float) -> tuple[float, float]:
    """What is used, and the moment at which the window ends."""
    span = window.span
    if span == "day":
        return meter.window(window.name).used(day), day
    if window.slides:
        return meter.sliding.used(beat), now + meter.sliding.end(beat) - beat
    if not span:
        return meter.running, 0
    length = MINUTE if span == "minute" else HOUR
    number = int(now // length)
    return meter.window(window.name).used(number), (number + 1) * length


def _stands(subject: Subject, rule: Rule, used: float, reset: float, more: int, processes: int) -> Standing:
    """`more` calls were counted in since it was read."""
    whole = floor(used) + more
    return Standing(subject, rule, whole if processes == 1 else _of_all(whole, rule, processes), reset)


def _of_all(used: int, rule: Rule, processes: int) -> int:
    share = rule.share(processes)
    return rule.limit if used >= share else used * rule.limit // share
