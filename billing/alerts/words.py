"""Alerts in words, in the reader's language, from the numbers that were noticed. They never claim a cause."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.models import Alert, Rule, Unit
from billing.numbers import compact, money, percent, seconds, whole


@dataclass(frozen=True, slots=True)
class Said:
    """`title` stands alone, as in a mail's subject; `text` is a sentence or two below it."""

    title: str
    text: str


def said(alert: Alert) -> Said:
    return _SENTENCES[Rule(alert.rule)](alert, alert.detail)


def _budget(alert: Alert, detail: dict[str, Any]) -> Said:
    whose = _whose(alert)
    amounts = {
        "spent": _amount(detail["spent"], detail["unit"]),
        "limit": _amount(detail["amount"], detail["unit"]),
        "month": formats.date_format(date.fromisoformat(detail["month"]), "YEAR_MONTH_FORMAT"),
    }
    text = _("%(spent)s of %(limit)s in %(month)s.") % amounts
    if detail["part"] < 100:
        title = _("%(part)s of the budget is used: %(whose)s") % {
            "part": percent(detail["part"] / 100),
            "whose": whose,
        }
        end = _("Once it is used up, further calls are refused.") if detail["hard"] else ""
    else:
        title = _("The budget is used up: %(whose)s") % {"whose": whose}
        end = _("Further calls are refused.") if detail["hard"] else _("Calls go on.")
    return Said(title, f"{text} {end}".rstrip())


def _credit(alert: Alert, detail: dict[str, Any]) -> Said:
    left = money(Decimal(detail["left"]))
    if detail["used_up"]:
        title = _("The credit is used up")
        text = (
            _("Calls that it does not cover are refused until somebody pays.")
            if detail["binding"]
            else _("Calls go on, and what they cost is still counted.")
        )
    else:
        title = _("The credit is nearly used up")
        text = _("%(left)s are left, less than a tenth of the last payment.") % {"left": left}
    return Said(title, text)


def _team_credit(alert: Alert, detail: dict[str, Any]) -> Said:
    of_team = _credit(alert, detail)
    return Said(f"{alert.name}: {of_team.title}", of_team.text)


def _spike(alert: Alert, detail: dict[str, Any]) -> Said:
    hours = ngettext("the last hour", "the last %(hours)s hours", detail["hours"]) % {"hours": detail["hours"]}
    used = ngettext("%s token", "%s tokens", detail["used"]) % compact(detail["used"])
    title = _("Key %(name)s is suddenly used much") % {"name": alert.name}
    if not detail["usual"]:
        text = _("%(used)s in %(hours)s; at this time of the week it is usually not used at all.")
    else:
        text = _("%(used)s in %(hours)s; at this time of the week %(usual)s are usual, in the median of four weeks.")
    return Said(title, text % {"used": used, "hours": hours, "usual": compact(detail["usual"])})


def _errors(alert: Alert, detail: dict[str, Any]) -> Said:
    share = percent(detail["failed"] / detail["requests"])
    minutes = _over(detail["minutes"])
    title = _("%(share)s of the requests failed") % {"share": share}
    text = _("%(failed)s of %(requests)s in %(minutes)s; the limit is %(limit)s. Most of them: %(model)s.") % {
        "failed": whole(detail["failed"]),
        "requests": whole(detail["requests"]),
        "minutes": minutes,
        "limit": percent(detail["percent"] / 100),
        "model": detail["model"],
    }
    return Said(title, text)


def _slow(alert: Alert, detail: dict[str, Any]) -> Said:
    title = _("Answers are slow: the first token takes %(time)s") % {"time": seconds(detail["p95"])}
    text = _("95 in 100 of %(requests)s requests in %(minutes)s began within this time; the limit is %(limit)s.") % {
        "requests": whole(detail["requests"]),
        "minutes": _over(detail["minutes"]),
        "limit": seconds(detail["limit"]),
    }
    return Said(title, text)


def _unused_key(alert: Alert, detail: dict[str, Any]) -> Said:
    title = _("Key %(name)s has not been used for 90 days") % {"name": alert.name}
    since = _day(datetime.fromisoformat(detail["since"]), alert)
    if detail["never"]:
        text = _("%(masked)s was made on %(day)s and never used. Revoke it if nobody needs it.")
    else:
        text = _("%(masked)s was last used on %(day)s. Revoke it if nobody needs it.")
    return Said(title, text % {"masked": detail["masked"], "day": since})


def _expiring_key(alert: Alert, detail: dict[str, Any]) -> Said:
    title = ngettext(
        "Key %(name)s expires within a day", "Key %(name)s expires within %(days)s days", detail["days"]
    ) % {"name": alert.name, "days": detail["days"]}
    ends = datetime.fromisoformat(detail["ends"])
    text = _("%(masked)s ends on %(day)s at %(time)s. Programs that use it need another one by then.") % {
        "masked": detail["masked"],
        "day": _day(ends, alert),
        "time": formats.time_format(ends.astimezone(_zone(alert)), "H:i"),
    }
    return Said(title, text)


def _webhook(alert: Alert, detail: dict[str, Any]) -> Said:
    title = _("A webhook was stopped")
    text = _("%(url)s has taken nothing for days and gets nothing any more. What it answered last: %(answer)s") % {
        "url": alert.name,
        "answer": detail["answer"],
    }
    return Said(title, text)


def _engine(alert: Alert, detail: dict[str, Any]) -> Said:
    title = _("Engine %(name)s does not work") % {"name": alert.name}
    return Said(title, _(detail["problem"]) if detail["problem"] else "")


def _dead_letters(alert: Alert, detail: dict[str, Any]) -> Said:
    title = ngettext(
        "%(number)s request was refused by the log", "%(number)s requests were refused by the log", detail["number"]
    ) % {"number": whole(detail["number"])}
    return Said(title, _("They are kept apart and in no report. See the server's log, then run usage_retry."))


def _spool(alert: Alert, detail: dict[str, Any]) -> Said:
    match alert.subject:
        case "put_aside":
            title = ngettext(
                "%(number)s file of the spool cannot be read",
                "%(number)s files of the spool cannot be read",
                detail["number"],
            ) % {"number": whole(detail["number"])}
            return Said(title, _("It was put aside. usage_audit names it."))
        case "late":
            text = _("Nothing is lost; reports are behind. The server's log says why.")
            return Said(_("Requests have been waiting for minutes to get into the log"), text)
    text = _("Its disk takes nothing. Calls go on while PostgreSQL takes their ends; make room soon.")
    return Said(_("The spool cannot be written"), text)


_SENTENCES: dict[Rule, Callable[[Alert, dict[str, Any]], Said]] = {
    Rule.BUDGET: _budget,
    Rule.CREDIT: _credit,
    Rule.TEAM_CREDIT: _team_credit,
    Rule.SPIKE: _spike,
    Rule.ERRORS: _errors,
    Rule.SLOW: _slow,
    Rule.UNUSED_KEY: _unused_key,
    Rule.EXPIRING_KEY: _expiring_key,
    Rule.WEBHOOK: _webhook,
    Rule.ENGINE: _engine,
    Rule.DEAD_LETTERS: _dead_letters,
    Rule.SPOOL: _spool,
}


def _whose(alert: Alert) -> str:
    match alert.subject.partition(":")[0]:
        case "key":
            return _("key %s") % alert.name
        case "member":
            return alert.name
    return _("the whole team")


def _amount(number: str, unit: str) -> str:
    if unit == Unit.MONEY:
        return money(Decimal(number))
    tokens = int(Decimal(number))
    return ngettext("%s token", "%s tokens", tokens) % whole(tokens)


def _over(minutes: int) -> str:
    return ngettext("the last minute", "the last %(minutes)s minutes", minutes) % {"minutes": minutes}


def _zone(alert: Alert) -> ZoneInfo:
    return ZoneInfo(alert.team.time_zone if alert.team else settings.TIME_ZONE)


def _day(moment: datetime, alert: Alert) -> str:
    return formats.date_format(moment.astimezone(_zone(alert)), "DATE_FORMAT")
