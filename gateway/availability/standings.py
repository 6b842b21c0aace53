"""How the models stand and stood, read from their spells: the state now, shares of time, and bars for a strip."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from gateway.availability.spells import GAP
from gateway.models import Health, Spell

DAY = timedelta(days=1)
HALF_HOUR = timedelta(minutes=30)
DAYS = 90
NEGLIGIBLE = timedelta(minutes=1)  # of a bar; less of it in a bad state does not mark the bar


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of time and how much of it was spent in each state; the rest is not known."""

    begins_at: datetime
    ends_at: datetime
    works: timedelta = timedelta()
    slow: timedelta = timedelta()
    down: timedelta = timedelta()

    @property
    def known(self) -> timedelta:
        return self.works + self.slow + self.down

    @property
    def available(self) -> float | None:
        """The share of the known time in which it answered, slow or not."""
        return 1 - self.down / self.known if self.known else None

    @property
    def state(self) -> Health | None:
        """The worst that lasted; None: not known."""
        if self.down >= NEGLIGIBLE:
            return Health.DOWN
        if self.slow >= NEGLIGIBLE:
            return Health.SLOW
        return Health.WORKS if self.known else None


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one model. `state` None: nobody has looked lately."""

    model: str
    state: Health | None
    since: datetime | None
    days: tuple[Stretch, ...]  # the last 90 of UTC, today the last
    half_hours: tuple[Stretch, ...]  # the last 48
    whole: Stretch  # of all these days together
    outages: tuple[Spell, ...]  # latest first


def standings(models: Iterable[str], *, now: datetime) -> dict[str, Standing]:
    """One query, however many there are."""
    begin = _midnight(now) - DAY * (DAYS - 1)
    spells: defaultdict[str, list[Spell]] = defaultdict(list)
    names = list(models)
    for spell in Spell.objects.filter(model__in=names, ends_at__gte=begin).order_by("begins_at"):
        spells[spell.model].append(spell)
    return {name: standing(name, spells[name], now=now) for name in names}


def standing(model: str, spells: Sequence[Spell], *, now: datetime) -> Standing:
    last = spells[-1] if spells and now - spells[-1].ends_at <= GAP else None
    days = tuple(_stretches(spells, _midnight(now) - DAY * (DAYS - 1), DAY, DAYS))
    hour = now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)
    return Standing(
        model=model,
        state=Health(last.state) if last else None,
        since=last.begins_at if last else None,
        days=days,
        half_hours=tuple(_stretches(spells, hour - HALF_HOUR * 47, HALF_HOUR, 48)),
        whole=Stretch(
            days[0].begins_at,
            now,
            works=sum((day.works for day in days), timedelta()),
            slow=sum((day.slow for day in days), timedelta()),
            down=sum((day.down for day in days), timedelta()),
        ),
        outages=tuple(
            spell
            for spell in reversed(spells)
            if spell.state == Health.DOWN and spell.ends_at - spell.begins_at >= NEGLIGIBLE
        ),
    )


def _stretches(spells: Sequence[Spell], begin: datetime, step: timedelta, count: int) -> Iterator[Stretch]:
    spent: list[defaultdict[str, timedelta]] = [defaultdict(timedelta) for _ in range(count)]
    for spell in spells:
        first, last = (spell.begins_at - begin) // step, (spell.ends_at - begin) // step
        for number in range(max(0, first), min(count - 1, last) + 1):
            begins_at = begin + step * number
            spent[number][spell.state] += min(spell.ends_at, begins_at + step) - max(spell.begins_at, begins_at)
    for number, of in enumerate(spent):
        begins_at = begin + step * number
        yield Stretch(begins_at, begins_at + step, of[Health.WORKS], of[Health.SLOW], of[Health.DOWN])


def _midnight(at: datetime) -> datetime:
    return datetime.combine(at.astimezone(UTC).date(), time.min, UTC)
