"""The use of each model in a period, read from the roll-ups. Nothing here knows a page; words are in `captions`.

One look at the log a model tells the minute of its last use, which the roll-ups know to a quarter of an hour.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Max, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from accounts.models import ApiKey, Team, User
from billing.ledger.histograms import percentile
from billing.models import ENDED_WELL, Price, UsageDay
from billing.usage.periods import DAY, HOUR
from billing.usage.questions import Bucket, Group, Question, days, quarters
from gateway.models import LastUse
from gateway.offers import offered
from gateway.use.last import Last, last_uses

TOP = 3  # of those who use a model are named


@dataclass(frozen=True, slots=True)
class Who:
    """A team, a person or a key that used a model. `kind` is the field of the question that asks for it alone."""

    kind: str
    id: int
    label: str
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A model in the catalogue. `pk`: of its row, or of one of several."""

    pk: int
    model: str
    since: date
    retires_on: date | None
    successor: str


@dataclass(frozen=True, slots=True)
class ModelUse:
    """`line`: tokens by day, or by hour of two days or less. `users`: the first few; `others`: how many more."""

    model: str
    offer: Offer | None  # None: it is gone, or no longer offered to this team
    has_price: bool
    requests: int
    prompt_tokens: int
    completion_tokens: int
    estimated_tokens: int
    errors: int
    priced_requests: int
    cost: Decimal
    first_token: float | None  # milliseconds, p95
    line: tuple[int, ...]
    users: tuple[Who, ...]
    others: int
    last: Last | None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def error_share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def cost_of_thousand(self) -> Decimal | None:
        """Of a thousand requests that had a price; None: none had."""
        return self.cost * 1000 / self.priced_requests if self.priced_requests else None


@dataclass(frozen=True, slots=True)
class Idle:
    """A model on offer that was not used in the period. `last` None: never."""

    offer: Offer
    has_price: bool
    last: date | None


@dataclass(frozen=True, slots=True)
class InUse:
    """`used` has most tokens first. `running`: the place of the bucket that is not over, in each line."""

    question: Question
    read_at: datetime
    used: tuple[ModelUse, ...]
    idle: tuple[Idle, ...]
    running: int | None

    @property
    def tokens(self) -> int:
        return sum(one.tokens for one in self.used)

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.used)

    @property
    def on_the_way_out(self) -> list[ModelUse]:
        return [one for one in self.used if one.offer and one.offer.retires_on]


def in_use(question: Question, *, now: datetime) -> InUse:
    """A dozen queries, however many models, teams or people there are."""
    rows, moment = _rows(question)
    sums = {row["model"]: row for row in rows.values("model").annotate(**_SUMS)}
    lines = _lines(question, rows.values("model", moment).annotate(tokens=_TOKENS), moment)
    whose = _whose(question, _rows(question, "team_id")[0], moment)
    offers = _offers(question.scope.team)
    priced = set(Price.objects.filter(effective_from__lte=now).values_list("model", flat=True).distinct())
    found = {model: found.last for model, found in whose.items()}
    lasts = last_uses(question, found, by_quarters=moment == "bucket", now=now)
    labels = _labels(question.scope.team, whose.values())
    used = [
        _used(model, row, offers.get(model), model in priced, lines[model], whose[model], labels, lasts.get(model))
        for model, row in sums.items()
        if row["n_requests"] or row["n_prompt"] or row["n_completion"]
    ]
    used.sort(key=lambda one: (-one.tokens, -one.requests, one.model))
    idle = [offer for model, offer in offers.items() if model not in {one.model for one in used}]
    seen = _last_days(question.scope.team, [offer.model for offer in idle])
    return InUse(
        question=question,
        read_at=now,
        used=tuple(used),
        idle=tuple(Idle(offer, offer.model in priced, seen.get(offer.model)) for offer in idle),
        running=_running(question, now),
    )


_TOKENS = Sum("prompt_tokens") + Sum("completion_tokens")
_SUMS: dict[str, Any] = {
    "n_requests": Sum("requests"),
    "n_prompt": Sum("prompt_tokens"),
    "n_completion": Sum("completion_tokens"),
    "n_estimated": Sum("estimated_tokens"),
    "n_errors": Sum("requests", filter=~Q(outcome__in=ENDED_WELL), default=0),
    "n_priced": Sum("priced_requests"),
    "n_cost": Sum("cost"),
    "n_ttft": Sum("ttft"),  # a histogram: billing.ledger.histograms
}


def _rows(question: Question, *columns: str) -> tuple[QuerySet[Any], str]:
    """The roll-ups of the question that tell models apart, and these columns, and their column of time.

    Whatever the page would be grouped by: the platform's rows that tell teams apart too are a hundred times as many.
    """
    question = replace(question, group=Group.MODEL)
    if not question.by_quarters:
        return days(question, "model", "outcome", *columns), "day"
    rows = quarters(question)
    if question.scope.team is None:  # they lie by team
        rows = rows.filter(team_id__in=list(Team.objects.values_list("pk", flat=True)))
    return rows, "bucket"


def _lines(question: Question, rows: Iterable[dict[str, Any]], moment: str) -> defaultdict[str, list[int]]:
    """Each model's tokens in each bucket."""
    period = question.period
    hours = question.bucket == Bucket.HOUR
    length = len(period.hours) if hours else period.length
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0] * length)
    for row in rows:
        at = row[moment]
        if hours:
            place = (at - period.begin) // HOUR
        else:
            place = ((at.astimezone(period.zone).date() if moment == "bucket" else at) - period.first) // DAY
        if 0 <= place < length:
            found[row["model"]][place] += row["tokens"]
    return found


@dataclass(slots=True)
class _Whose:
    """Who used a model: by kind and id, (requests, tokens). `last`: by team, the last day or quarter."""

    users: dict[tuple[str, int], tuple[int, int]]
    last: dict[int, Any]


def _whose(question: Question, rows: QuerySet[Any], moment: str) -> defaultdict[str, _Whose]:
    """Teams on the platform; people and, for service keys, keys in a team."""
    team = question.scope.team
    columns = ("team_id",) if team is None else ("member_id", "key_id")
    found: defaultdict[str, _Whose] = defaultdict(lambda: _Whose({}, {}))
    read = rows.values("model", *columns).annotate(calls=Sum("requests"), tokens=_TOKENS, last=Max(moment))
    for row in read:
        of = found[row["model"]]
        if team is None:
            who, owner = ("team", row["team_id"]), row["team_id"]
        else:
            who = ("member", row["member_id"]) if row["member_id"] else ("key", row["key_id"])
            owner = team.pk
        calls, tokens = of.users.get(who, (0, 0))
        of.users[who] = calls + row["calls"], tokens + row["tokens"]
        of.last[owner] = max(of.last.get(owner, row["last"]), row["last"])
    return found


def _labels(team: Team | None, whose: Iterable[_Whose]) -> dict[tuple[str, int], str]:
    """Names of those that will be named."""
    wanted: defaultdict[str, set[int]] = defaultdict(set)
    for of in whose:
        for kind, number in _first(of.users):
            wanted[kind].add(number)
    names: dict[str, dict[int, str]] = {}
    if team is None:
        names["team"] = dict(Team.objects.filter(pk__in=wanted["team"]).values_list("pk", "name"))
        return {("team", pk): names["team"].get(pk) or _("team %s") % pk for pk in wanted["team"]}
    people = {user.pk: str(user) for user in User.objects.filter(pk__in=wanted["member"])}
    keys = dict(ApiKey.objects.filter(team=team, pk__in=wanted["key"]).values_list("pk", "name"))
    return {("member", pk): people.get(pk) or _("person %s") % pk for pk in wanted["member"]} | {
        ("key", pk): keys.get(pk) or (_("key %s") % pk if pk else _("Chat, without a key")) for pk in wanted["key"]
    }


def _first(users: Mapping[tuple[str, int], tuple[int, int]]) -> list[tuple[str, int]]:
    return sorted(users, key=lambda who: (-users[who][1], -users[who][0], who))[:TOP]


def _used(
    model: str,
    row: dict[str, Any],
    offer: Offer | None,
    has_price: bool,
    line: Sequence[int],
    whose: _Whose,
    labels: Mapping[tuple[str, int], str],
    last: Last | None,
) -> ModelUse:
    return ModelUse(
        model=model,
        offer=offer,
        has_price=has_price,
        requests=row["n_requests"],
        prompt_tokens=row["n_prompt"],
        completion_tokens=row["n_completion"],
        estimated_tokens=row["n_estimated"],
        errors=row["n_errors"],
        priced_requests=row["n_priced"],
        cost=row["n_cost"],
        first_token=percentile(int(row["n_ttft"]), 0.95),
        line=tuple(line),
        users=tuple(Who(*who, labels[who], *whose.users[who]) for who in _first(whose.users)),
        others=max(0, len(whose.users) - TOP),
        last=last,
    )


def _offers(team: Team | None) -> dict[str, Offer]:
    """The models on offer, to the team if one is given."""
    return {
        name: Offer(
            of[0].pk,
            name,
            min(row.created_at for row in of).date(),
            min((row.retires_on for row in of if row.retires_on), default=None),
            next((row.successor for row in of if row.successor), ""),
        )
        for name, of in offered().items()
        if team is None or team.models is None or name in team.models
    }


def _last_days(team: Team | None, models: Sequence[str]) -> dict[str, date]:
    """Of models that were not used in the period: the last day on which they ever were."""
    if not models:
        return {}
    if team is None:
        return dict(LastUse.objects.filter(model__in=models).values_list("model", "day"))
    rows = UsageDay.objects.filter(team=team, model__in=models, requests__gt=0)
    return {row["model"]: row["last"] for row in rows.values("model").annotate(last=Max("day"))}


def _running(question: Question, now: datetime) -> int | None:
    period = question.period
    if not period.begin <= now < period.end:
        return None
    if question.bucket == Bucket.HOUR:
        return (now - period.begin) // HOUR
    return (now.astimezone(period.zone).date() - period.first) // DAY
