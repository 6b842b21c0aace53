"""Usage in even buckets of UTC and grouped at will, as admin keys read it: from the roll-ups, like every page."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, F, Func, Q, QuerySet, Sum, Value

from accounts.models import Team
from billing.errors import TooManyGroups
from billing.models import PlatformDay, UsageQuarter, UsageRecord, UsageUtcDay
from billing.usage.line_items import line_items, models_of
from billing.usage.sums import OF_TYPES, SUMMED, Costs, Sums

WIDTHS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EMBEDDINGS = "embeddings"  # as the log names the endpoint
MOST = 20_000  # groups of an answer, over all of its buckets


class By(StrEnum):
    """What rows may be grouped by, named by the roll-ups' columns; line items are made of the model's."""

    TEAM = "team_id"
    KEY = "key_id"
    MEMBER = "member_id"
    MODEL = "model"
    ITEM = "line_item"


class What(StrEnum):
    """Which calls. The roll-ups do not tell endpoints apart: see `_which`."""

    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Asked:
    """`begin` lies on a multiple of `width`; `end` is where the last bucket ends. An empty filter asks for all."""

    team: Team | None
    begin: datetime
    end: datetime
    width: timedelta
    what: What = What.ALL
    by: tuple[By, ...] = ()
    teams: tuple[int, ...] | None = None
    keys: tuple[int, ...] | None = None
    members: tuple[int, ...] | None = None
    models: tuple[str, ...] | None = None
    items: tuple[str, ...] | None = None

    @property
    def itemised(self) -> bool:
        return By.ITEM in self.by or self.items is not None


@dataclass(frozen=True, slots=True)
class Group:
    """What the rows of a bucket share, by what they are grouped by, and what they come to."""

    of: dict[By, Any]
    sums: Sums


def grouped(asked: Asked) -> dict[datetime, list[Group]]:
    """By the begin of each bucket that holds anything; in each, most tokens first. Raises TooManyGroups."""
    rows, begin = _source(asked)
    names = [str(by) for by in asked.by if by != By.ITEM]
    if asked.itemised and By.MODEL not in names:
        names.append(By.MODEL)
    summed = (*SUMMED, *OF_TYPES) if asked.itemised else SUMMED
    totals: dict[str, Any] = {f"sum_{name}": Sum(name) for name in summed}
    found: defaultdict[datetime, list[Group]] = defaultdict(list)
    told = list(rows.filter(_filters(asked)).values(*names, begun=begin).annotate(**totals).order_by()[: MOST + 1])
    for row in told:
        found[_moment(row["begun"])] += _items(asked, row) if asked.itemised else [Group(_of(asked, row), _sums(row))]
    if len(told) > MOST or sum(map(len, found.values())) > MOST:
        raise TooManyGroups(f"more than {MOST} groups")
    for begun, groups in found.items():
        found[begun] = _together(groups) if asked.itemised else groups
        found[begun].sort(key=lambda group: (-group.sums.tokens, -group.sums.requests, *map(str, group.of.values())))
    return {begun: groups for begun, groups in found.items() if groups}


def _items(asked: Asked, row: dict[str, Any]) -> list[Group]:
    """The items of a model that are asked for."""
    costs = Costs(**{name: row[f"sum_{name}"] for name in OF_TYPES})
    return [
        Group(_of(asked, row | {By.ITEM: name}), sums)
        for name, sums in line_items(row[By.MODEL], _sums(row), costs)
        if asked.items is None or name in asked.items
    ]


def _together(groups: list[Group]) -> list[Group]:
    """Items that were picked, and are not told apart, are one."""
    found: dict[tuple[Any, ...], Group] = {}
    for group in groups:
        key = tuple(group.of.values())
        found[key] = Group(group.of, found[key].sums + group.sums) if key in found else group
    return list(found.values())


def _of(asked: Asked, row: dict[str, Any]) -> dict[By, Any]:
    return {by: row[by] for by in asked.by}


def _sums(row: dict[str, Any]) -> Sums:
    return Sums(**{name: row[f"sum_{name}"] for name in SUMMED})


def _source(asked: Asked) -> tuple[QuerySet[Any], Any]:
    """The coarsest roll-ups that can tell, and the begin of a row's bucket in them."""
    if asked.width == WIDTHS["1d"]:
        by_key = {By.KEY, By.MEMBER} & set(asked.by) or asked.keys is not None or asked.members is not None
        in_utc = asked.team is None and settings.TIME_ZONE == "UTC" and not by_key
        level: type[PlatformDay | UsageUtcDay] = PlatformDay if in_utc else UsageUtcDay
        days = level.objects.filter(day__gte=asked.begin.date(), day__lt=asked.end.date())
        return days if asked.team is None else days.filter(team=asked.team), F("day")
    rows = UsageQuarter.objects.filter(bucket__gte=asked.begin, bucket__lt=asked.end)
    begin = Func(Value(asked.width), F("bucket"), Value(EPOCH), function="date_bin", output_field=DateTimeField())
    return rows if asked.team is None else rows.filter(team=asked.team), begin


def _filters(asked: Asked) -> Q:
    found = _which(asked.what)
    models = models_of(asked.items) if asked.models is None and asked.items is not None else asked.models
    chosen = {"team_id": asked.teams, "key_id": asked.keys, "member_id": asked.members, "model": models}
    for column, values in chosen.items():
        if values is not None:
            found &= Q(**{f"{column}__in": values})
    return found


def _which(what: What) -> Q:
    """A model that makes embeddings and has written nothing: then it made embeddings. Together the two are all."""
    if what == What.ALL:
        return Q()
    embeddings = Q(model__in=embedding_models(), completion_tokens=0)
    return embeddings if what == What.EMBEDDINGS else ~embeddings


def embedding_models() -> list[str]:
    """Those of which the log holds an embedding, each found by one step in an index that holds embeddings alone."""
    found: list[str] = []
    rows = UsageRecord.objects.filter(endpoint=EMBEDDINGS).order_by("model").values_list("model", flat=True)
    while (model := rows.filter(model__gt=found[-1] if found else "").first()) is not None:
        found.append(model)
    return found


def _moment(begun: date | datetime) -> datetime:
    return begun if isinstance(begun, datetime) else datetime.combine(begun, time.min, UTC)
