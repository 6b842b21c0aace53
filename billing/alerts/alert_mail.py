"""Alerts in a mail: one, or all that are due for somebody from one team."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.core.mail import EmailMultiAlternatives
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import Team, User
from billing.alerts.letters import message_of, stop_url
from billing.alerts.links import absolute, page_of, path_of
from billing.alerts.words import said
from billing.models import Alert, Delivery, Severity

_RANK = [Severity.URGENT, Severity.WARNING, Severity.NOTE]


@dataclass(frozen=True, slots=True)
class Line:
    """`url` is the view that shows it."""

    title: str
    text: str
    url: str
    severity_name: str
    severity: str
    over: bool


def alert_message(found: Iterable[tuple[Alert, str]], user: User, team: Team | None) -> EmailMultiAlternatives:
    """In the language that is active. The most urgent first, what is over last."""
    lines = [_line(alert, kind) for alert, kind in found]
    lines.sort(key=lambda line: (line.over, _RANK.index(Severity(line.severity_name)), line.title))
    where = team.name if team else _("the platform")
    title = lines[0].title if len(lines) == 1 else _number(lines)
    context = {
        "title": title,
        "where": where,
        "lines": lines,
        "page": absolute(page_of(team)),
        "stop": stop_url(user, team, "alerts"),
    }
    over = all(line.over for line in lines)
    subject = f"{where}: {_('over: %s') % title}" if over else f"{where}: {title}"
    return message_of("alerts", context, subject=subject, to=user)


def _line(alert: Alert, kind: str) -> Line:
    words, severity = said(alert), Severity(alert.severity)
    over = kind == Delivery.Kind.RESOLVED
    return Line(words.title, words.text, absolute(path_of(alert)), severity.value, str(severity.label), over)


def _number(lines: Sequence[Line]) -> str:
    return ngettext("%(number)s alert", "%(number)s alerts", len(lines)) % {"number": len(lines)}
