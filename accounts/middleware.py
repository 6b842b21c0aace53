"""What is noted of people as they look at pages."""

import time
from collections.abc import Callable

from allauth.account.adapter import get_adapter
from allauth.usersessions.models import UserSession
from django.http import HttpRequest, HttpResponseBase

EVERY = 60.0  # seconds
MOST = 10_000  # sessions that are remembered here


def session_activity(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Notes which session was seen when, from where and with what browser: once a minute, and as soon as one of them
    differs. On every page, as allauth's own middleware does, it is a transaction that waits for the disk.
    """
    noted: dict[tuple[str, str, str], float] = {}

    def middleware(request: HttpRequest) -> HttpResponseBase:
        key = request.session.session_key
        if key and request.user.is_authenticated:
            seen = (key, str(get_adapter().get_client_ip(request)), request.headers.get("User-Agent", ""))
            now = time.monotonic()
            if now - noted.get(seen, -EVERY) >= EVERY:
                UserSession.objects.create_from_request(request)
                if len(noted) >= MOST:
                    noted.clear()
                noted[seen] = now
        return get_response(request)

    return middleware
