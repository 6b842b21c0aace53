"""What surrounds every page: its request id, the person's language and theme, and no copies in caches."""

import time
from collections.abc import Callable
from uuid import uuid4

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import add_never_cache_headers, patch_vary_headers

from accounts.models import User

type GetResponse = Callable[[HttpRequest], HttpResponseBase]

logger = structlog.get_logger(__name__)


def request_id(get_response: GetResponse) -> GetResponse:
    """An id of our own for each request, in its answer and on its log lines. A caller's id is a label on the log."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        ours = uuid4().hex
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=ours):
            response = get_response(request)
            match = request.resolver_match
            logger.info(
                "page",
                method=request.method,
                route=match.route if match else None,  # never the path: a sign-in link is a secret
                status=response.status_code,
                ms=round((time.perf_counter() - began) * 1000, 1),
                client_request_id=request.headers.get("x-request-id", "")[:200] or None,
            )
        response["X-Request-ID"] = ours
        return response

    return middleware


def preferences(get_response: GetResponse) -> GetResponse:
    """The language that the person chose, else the cookie's, the browser's, the installation's."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        user = request.user
        chosen = user.language if isinstance(user, User) else ""
        language = chosen if translation.check_for_language(chosen) else translation.get_language_from_request(request)
        with translation.override(language):
            request.LANGUAGE_CODE = translation.get_language() or settings.LANGUAGE_CODE
            response = get_response(request)
            if not chosen:
                patch_vary_headers(response, ["Accept-Language"])
            response.headers.setdefault("Content-Language", request.LANGUAGE_CODE)
        timezone.deactivate()
        return response

    return middleware


def private_pages(get_response: GetResponse) -> GetResponse:
    """Pages of people who are signed in stay out of every cache, the browser's too."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if request.user.is_authenticated and "Cache-Control" not in response:
            add_never_cache_headers(response)
        return response

    return middleware
