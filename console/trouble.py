"""The pages for what went wrong on our side. They ask nothing of the database: it may be what went wrong."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.utils import translation

RETRY_AFTER = "5"  # seconds


def server_error(request: HttpRequest) -> HttpResponse:
    """Django calls this while it handles the exception. PostgreSQL away is a 503, everything else a 500."""
    away = isinstance(sys.exception(), OperationalError | InterfaceError)
    with translation.override(translation.get_language_from_request(request)):
        page = loader.get_template("503.html" if away else "500.html").render()
    if away:
        return HttpResponse(page, status=503, headers={"Retry-After": RETRY_AFTER, "Cache-Control": "no-store"})
    return HttpResponse(page, status=500, headers={"Cache-Control": "no-store"})
