"""The filters of a question in words: what is chosen, each with the way to take it away, and what else there is."""

from dataclasses import dataclass

from django.db.models import F
from django.utils.translation import gettext as _

from accounts.models import Membership, Team
from billing.models import Outcome
from billing.usage.links import KINDS, Links
from billing.usage.names import keys_of, labels
from billing.usage.questions import Filters, Group, Question, days, quarters

OFFERED = 30  # values of one kind
GROUPS = {
    "model": Group.MODEL,
    "key": Group.KEY,
    "member": Group.MEMBER,
    "outcome": Group.OUTCOME,
    "team": Group.TEAM,
}


@dataclass(frozen=True, slots=True)
class Chip:
    kind: str
    label: str
    remove: str  # the address without it


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of filter with its values."""

    name: str
    label: str
    options: tuple[Option, ...]


def kind_label(kind: str) -> str:
    return {
        "model": _("Model"),
        "key": _("Key"),
        "member": _("Person"),
        "outcome": _("Outcome"),
        "team": _("Team"),
    }[kind]


def chosen(filters: Filters) -> dict[str, tuple[object, ...]]:
    return {
        "model": filters.models,
        "key": filters.keys,
        "member": filters.members,
        "outcome": filters.outcomes,
        "team": filters.teams,
    }


def all_chosen(filters: Filters) -> dict[str, tuple[object, ...]]:
    return {"origin": filters.origins, **chosen(filters)}


def chips(question: Question, links: Links) -> list[Chip]:
    found = []
    for kind, values in chosen(question.filters).items():
        names = labels(question.scope, GROUPS[kind], map(str, values), asked=True) if values else {}
        found += [Chip(kind_label(kind), names[str(value)], links.without(kind, value)) for value in values]
    return found


def in_words(question: Question) -> str:
    """“Model: llama, qwen. Outcome: engine error.”, for files and for paper; empty where nothing is filtered."""
    said = []
    for kind, values in chosen(question.filters).items():
        if values:
            names = labels(question.scope, GROUPS[kind], map(str, values), asked=True)
            said.append(f"{kind_label(kind)}: {', '.join(names[str(value)] for value in values)}.")
    if question.filters.origins:
        names = labels(question.scope, Group.ORIGIN, question.filters.origins)
        said.append(f"{_('Origin')}: {', '.join(names.values())}.")
    return " ".join(said)


def offers(question: Question) -> list[Offer]:
    """Of each kind some values: those chosen, and those used last. Rows and the legend lead to any other."""
    scope = question.scope
    found = []
    for kind in KINDS:
        if GROUPS[kind] not in scope.groups:
            continue
        picked = [str(value) for value in chosen(question.filters)[kind]]
        known = _known(question, kind)
        missing = [one for one in picked if one not in known]
        names = labels(scope, GROUPS[kind], missing, asked=True) if missing else {}
        names |= known
        options = tuple(Option(value, label, value in picked) for value, label in names.items())
        if options:
            found.append(Offer(kind, kind_label(kind), options))
    return found


def _known(question: Question, kind: str) -> dict[str, str]:
    """Labels by value."""
    scope = question.scope
    match kind:
        case "model":
            bare = Question(scope, question.period, bucket=question.bucket)
            rows = quarters(bare) if bare.by_quarters else days(bare)
            models = rows.order_by("model").values_list("model", flat=True).distinct()[:OFFERED]
            return {model: model for model in models}
        case "key":
            keys = keys_of(scope).order_by(F("last_used_at").desc(nulls_last=True), "-pk")
            chat = labels(scope, Group.KEY, ["0"])
            return chat | {str(pk): name for pk, name in keys.values_list("pk", "name")[:OFFERED]}
        case "member":
            people = Membership.objects.filter(team=scope.team).order_by("user__name", "user_id").select_related("user")
            return {str(one.user_id): str(one.user) for one in people[:OFFERED]}
        case "outcome":
            return {outcome.value: str(outcome.label) for outcome in Outcome}
    return {str(pk): name for pk, name in Team.objects.order_by("name").values_list("pk", "name")[:OFFERED]}
