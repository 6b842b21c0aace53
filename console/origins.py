"""From which pages sockets may be opened: those of this very address alone.

Browsers send cookies to all ports of a host, and let any page open a socket anywhere, so that another program's page
on this host could read along. Forms are guarded by Django's CSRF tokens, which sockets have not.
"""

from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from console.doors import Application, Message, Receive, Send

PORTS = {"http": "80", "https": "443"}


class OwnPages:
    """Refuses the handshake of any other page's socket, and of what sends no Origin."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        # No name here for what was looked at: it would be held as long as the socket, by each of thousands.
        await (self._application if _is_own_page(scope) else WebsocketDenier())(scope, receive, send)


def _is_own_page(scope: Message) -> bool:
    headers = dict(scope["headers"])
    return is_own(*(headers.get(name, b"").decode("latin-1") for name in (b"origin", b"host")))


def is_own(origin: str, host: str) -> bool:
    """Whether a page of `origin` is one of BASE_URL, or of the allowed host that was asked for the socket."""
    scheme, _, place = origin.lower().partition("://")
    if scheme not in PORTS or (settings.SECURE_TRANSPORT and scheme != "https"):
        return False
    base = urlsplit(settings.BASE_URL)
    found = _place(scheme, place)
    if not found[0]:
        return False
    if (scheme, *found) == (base.scheme, *_place(base.scheme, base.netloc)):
        return True
    return found == _place(scheme, host) and validate_host(found[0], settings.ALLOWED_HOSTS)


def _place(scheme: str, host: str) -> tuple[str, str]:
    """Domain and port; no domain where there is none."""
    domain, port = split_domain_port(host)
    return domain, port or PORTS[scheme]
