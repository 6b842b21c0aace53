"""The report of a team's month as a mail: figures and tables in the reader's language, the rows of it as CSV."""

import io
from dataclasses import dataclass
from decimal import Decimal

from django.core.mail import EmailMultiAlternatives
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from accounts.models import User
from billing.alerts.letters import message_of, stop_url
from billing.alerts.links import absolute, month_path, page_of
from billing.alerts.month_figures import MonthFigures, Part, Spent, month_figures
from billing.models import MonthReported, Unit
from billing.moments import zone_in_words
from billing.numbers import compact, money, percent, seconds, whole
from billing.usage.captions import MILLION
from billing.usage.exports import plain, write_csv
from billing.usage.sections.endings_captions import refusals_heading
from billing.usage.sums import NONE, Sums

FIELDS = (
    "day", "model", "requests", "errors", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens",
    "estimated_tokens", "cost",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Row:
    """`width`: its share in whole percent, for a bar."""

    label: str
    tokens: str
    part: str
    width: int
    cost: str


@dataclass(frozen=True, slots=True)
class Table:
    """`of`: what a row is."""

    title: str
    of: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class BudgetLine:
    label: str
    words: str
    width: int
    over: bool


def report_message(report: MonthReported, user: User) -> EmailMultiAlternatives:
    """In the language that is active."""
    return month_message(month_figures(report.team, report.month), user)


def month_message(found: MonthFigures, user: User) -> EmailMultiAlternatives:
    month = formats.date_format(found.month, "YEAR_MONTH_FORMAT")
    team = found.team
    title = _("%(month)s: %(used)s") % {"month": month, "used": _tokens(found.total.tokens)}
    context = {
        "title": title,
        "where": team.name,
        "month": month,
        "lead": _("From midnight to midnight, %(zone)s.")
        % {"zone": zone_in_words(found.period.begin.astimezone(found.period.zone), team.time_zone)},
        "change": _change(found),
        "figures": _figures(found),
        "tables": [table for table in _tables(found) if table.rows],
        "budgets": [_budget(one) for one in found.budgets],
        "refused": refusals_heading(found.refused, found.total.requests) if found.refused.count else "",
        "estimated": _estimated(found.total),
        "url": absolute(month_path(team, found.month)),
        "page": absolute(page_of(team)),
        "stop": stop_url(user, team, "reports"),
    }
    message = message_of("report", context, subject=f"{team.name}, {title}", to=user)
    message.attach(f"{team.slug}-{found.month:%Y-%m}.csv", csv_of(found), "text/csv")
    return message


def csv_of(found: MonthFigures) -> str:
    """A line for each day and model; what no engine reported is empty and not 0."""
    file = io.StringIO()
    rows = [
        {
            "day": day.isoformat(),
            "model": model,
            "requests": sums.requests,
            "errors": sums.errors,
            "prompt_tokens": sums.prompt_tokens,
            "completion_tokens": sums.completion_tokens,
            "reasoning_tokens": sums.reasoning,
            "cached_tokens": sums.cached,
            "estimated_tokens": sums.estimated_tokens,
            "cost": plain(sums.cost, found.period.zone) if sums.priced else None,
        }
        for day, model, sums in found.days
    ]
    write_csv(rows, file, FIELDS)
    return file.getvalue()


def _tokens(number: int) -> str:
    if number >= MILLION:
        return pgettext("millions", "%s tokens") % compact(number)
    return ngettext("%s token", "%s tokens", number) % compact(number)


def _figures(found: MonthFigures) -> list[Figure]:
    total, before = found.total, found.before if found.whole_before else NONE
    return [
        Figure(
            _("Tokens"),
            compact(total.tokens),
            _("in %(read)s, out %(written)s")
            % {"read": compact(total.prompt_tokens), "written": compact(total.completion_tokens)},
        ),
        Figure(_("Requests"), whole(total.requests), _against(total.requests, before.requests)),
        Figure(_("Cost"), _cost(total), _against(total.cost, before.cost) if total.priced else ""),
        Figure(_("Errors"), percent(total.error_share) if total.requests else "–", _errors(total)),
        Figure(
            _("First token"),
            seconds(found.first_token) if found.first_token is not None else "–",
            _("at most, for 95 in 100") if found.first_token is not None else "",
        ),
    ]


def _errors(total: Sums) -> str:
    return _("%(failed)s of %(requests)s") % {"failed": whole(total.errors), "requests": whole(total.requests)}


def _change(found: MonthFigures) -> str:
    """Of tokens, against the month before, in a sentence."""
    before = formats.date_format(found.period.before().last, "YEAR_MONTH_FORMAT")
    if not found.before.tokens:
        return _("Nothing was used in %(month)s, the month before.") % {"month": before}
    if not found.whole_before and found.began:
        began = formats.date_format(found.began, "DATE_FORMAT")
        return _("The first usage was on %(day)s, so that there is no whole month to compare with.") % {"day": began}
    part = found.total.tokens / found.before.tokens - 1
    if abs(part) < 0.005:
        return _("As many tokens as in %(month)s.") % {"month": before}
    words = _("%(part)s more tokens than in %(month)s.") if part > 0 else _("%(part)s fewer tokens than in %(month)s.")
    return words % {"part": percent(abs(part)), "month": before}


def _against(now: int | Decimal, before: int | Decimal) -> str:
    """Short: an arrow and the part."""
    if not before:
        return ""
    part = float(now / before) - 1
    return "" if abs(part) < 0.005 else f"{'↑' if part > 0 else '↓'} {percent(abs(part))}"


def _tables(found: MonthFigures) -> list[Table]:
    total = found.total
    return [
        Table(_("Models"), _("Model"), [_row(part, total) for part in found.models]),
        Table(_("Keys"), _("Key"), [_row(part, total) for part in found.keys]),
        Table(_("People"), _("Person"), [_row(part, total) for part in found.people]),
    ]


def _row(part: Part, total: Sums) -> Row:
    share = part.sums.tokens / total.tokens if total.tokens else 0.0
    return Row(
        part.label or _("others"), compact(part.sums.tokens), percent(share), round(share * 100), _cost(part.sums)
    )


def _cost(sums: Sums) -> str:
    return money(sums.cost) if sums.priced else _("no price")


def _budget(one: Spent) -> BudgetLine:
    budget = one.budget
    label = str(budget.key or budget.member or _("The whole team"))
    share = float(one.spent / one.amount) if one.amount else 1.0
    words = _("%(spent)s of %(limit)s, %(part)s") % {
        "spent": _amount(one.spent, budget.unit),
        "limit": _amount(one.amount, budget.unit),
        "part": percent(share),
    }
    return BudgetLine(label, words, min(max(round(share * 100), 0), 100), share >= 1)


def _amount(amount: Decimal, unit: str) -> str:
    return money(amount) if unit == Unit.MONEY else whole(int(amount))


def _estimated(total: Sums) -> str:
    if not total.estimated_tokens or not total.tokens:
        return ""
    return _("%(part)s of these tokens were counted or estimated here, because the engine gave no count.") % {
        "part": percent(total.estimated_tokens / total.tokens)
    }
