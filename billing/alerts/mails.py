"""Mail to people, each in an own language. What is due for somebody from one team goes out in one mail."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain
from smtplib import SMTPException, SMTPServerDisconnected
from typing import Protocol

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, mailers
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DatabaseError
from django.utils import translation

from billing.alerts.alert_mail import alert_message
from billing.alerts.letters import headers
from billing.alerts.report_mail import report_message
from billing.alerts.wishes import Hearer, hearers
from billing.models import Delivery

logger = logging.getLogger(__name__)


class Done(Protocol):
    def __call__(self, delivery: Delivery, *, sent: bool, answer: str = "") -> None: ...


def send_all(deliveries: Sequence[Delivery], *, done: Done, drop: Callable[[Delivery], None]) -> bool:
    """One connection for all of them. False: the mail server is away, and the others need not be tried now."""
    groups = list(_together(deliveries, drop))
    if not groups:
        return True
    connection = mailers.default
    try:
        connection.open()
        for group in groups:
            _send(group, connection, done)
    except (OSError, SMTPException) as error:
        for delivery in chain.from_iterable(groups):  # what went before stays marked so
            done(delivery, sent=False, answer=_problem(error))
        return False
    finally:
        with suppress(OSError, SMTPException):
            connection.close()
    return True


def _send(group: Sequence[Delivery], connection: BaseEmailBackend, done: Done) -> None:
    """What is wrong with one mail, our own mistakes among it, holds up no other."""
    problem = "not written"
    try:
        message = compose(group)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("A mail could not be made", extra={"delivery": str(group[0].pk)})
    else:
        problem = _refused(message, connection)
    for delivery in group:
        done(delivery, sent=not problem, answer=problem)


def _refused(message: EmailMultiAlternatives, connection: BaseEmailBackend) -> str:
    """Why this one message was; empty when it was taken. Raises what ends the whole connection."""
    try:
        connection.send_messages([message])
    except (SMTPServerDisconnected, DatabaseError):
        raise
    except SMTPException as error:  # an OSError too
        return _problem(error)
    except OSError:
        raise
    except Exception as error:
        logger.exception("A mail could not be handed over")
        return type(error).__name__
    return ""


def _problem(error: Exception) -> str:
    """Without what a server may have said of people's addresses."""
    return f"{type(error).__name__} {getattr(error, 'smtp_code', '')}".strip()


def _together(deliveries: Iterable[Delivery], drop: Callable[[Delivery], None]) -> Iterable[list[Delivery]]:
    """Alerts by person and team; reports one by one. What is not wanted any more is dropped."""
    alerts: defaultdict[tuple[int, int | None], list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        if not _is_wanted(delivery):
            drop(delivery)
        elif delivery.report is not None:
            yield [delivery]
        else:
            alerts[delivery.user_id or 0, delivery.team_id].append(delivery)
    yield from alerts.values()


def _is_wanted(delivery: Delivery) -> bool:
    """Whoever has left, or declined since, hears no more; whom the team's choice left out, only of own keys."""
    team = delivery.team
    if team is not None and team.archived_at is not None:
        return False
    hearer = next((one for one in hearers(team) if one.user.pk == delivery.user_id), None)
    return hearer is not None and not _declined(hearer, delivery)


def _declined(hearer: Hearer, delivery: Delivery) -> bool:
    return hearer.declined_reports if delivery.report is not None else hearer.declined_alerts


def compose(group: Sequence[Delivery]) -> EmailMultiAlternatives:
    """One message to one person: alerts of one team, or one report."""
    first = group[0]
    user = first.user
    if user is None:
        raise ValueError("this delivery goes to a webhook")
    with translation.override(user.language or settings.LANGUAGE_CODE):
        if first.report is not None:
            message = report_message(first.report, user)
        else:
            message = alert_message([(one.alert, one.kind) for one in group if one.alert], user, first.team)
    message.extra_headers = headers(first, user)
    return message
