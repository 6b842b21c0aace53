"""What all mails of ours have in common: two forms of the same text, and a link that ends them."""

from email.message import EmailMessage
from email.policy import Policy, default
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from accounts.models import Team, User
from billing.alerts.links import absolute
from billing.models import Delivery

_SALT = "tertulia.mail"
LONGEST_LINE = 998  # characters, RFC 5322


class Letter(EmailMultiAlternatives):
    """Its header lines are not broken: a link that is longer than a line would become an encoded word, which no mail
    program reads as a link.
    """

    def message(self, *, policy: Policy = default) -> EmailMessage:  # type: ignore[override]
        found: EmailMessage = super().message(policy=policy.clone(max_line_length=LONGEST_LINE))
        return found


def message_of(name: str, context: dict[str, Any], *, subject: str, to: User) -> Letter:
    """In the language that is active."""
    context = {**context, "language": translation.get_language() or settings.LANGUAGE_CODE}
    message = Letter(
        subject=" ".join(subject.split())[:200],  # a name with a line break cannot become a header
        body=render_to_string(f"billing/mail/{name}.txt", context).strip() + "\n",
        to=[to.email],
    )
    message.attach_alternative(render_to_string(f"billing/mail/{name}.html", context), "text/html")
    return message


def stop_url(user: User, team: Team | None, what: str) -> str:
    """A link that lets whoever has it decline these mails for this person, and nothing else."""
    token = signing.dumps({"user": user.pk, "team": team.pk if team else None, "what": what}, salt=_SALT)
    return absolute(reverse("billing:stop-mail", args=[token]))


def read_stop(token: str) -> dict[str, Any] | None:
    """What `stop_url` has put in; None for a link that is none of ours."""
    try:
        found = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        return None
    return found if isinstance(found, dict) else None


def headers(delivery: Delivery, user: User) -> dict[str, str]:
    """Message-ID is the delivery's: after a crash, a second one is known for what it is. RFC 3834, RFC 8058."""
    host = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition("@")[2] or "localhost"
    what = "reports" if delivery.report is not None else "alerts"
    return {
        "Message-ID": f"<{delivery.pk.hex}@{host}>",
        "Auto-Submitted": "auto-generated",
        "List-Unsubscribe": f"<{stop_url(user, delivery.team, what)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
