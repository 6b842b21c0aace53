"""The API written down: an OpenAPI 3.1 document, made from the tables that requests are checked by.

`/v1/openapi.json` serves it in English. The reference page is drawn from it in its reader's language, so the texts are
gettext's and stand in the language that is active while the document is made.
"""

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from accounts.keys import CHECK_LENGTH, PATTERN, RANDOM_LENGTH
from gateway.openapi.answers import answer_schemas
from gateway.openapi.failures import failures, headers
from gateway.openapi.paths import paths
from gateway.openapi.requests import request_schemas
from gateway.schemas import MAX_DEPTH, MAX_MESSAGES, MAX_PARTS

type Json = dict[str, Any]

BEARER = "key"  # the one way to sign a request


def in_english() -> Json:
    return _in_english(settings.BASE_URL, settings.ENVIRONMENT.max_body)


@lru_cache(maxsize=1)
def _in_english(base_url: str, max_body: int) -> Json:
    with translation.override("en"):
        return document(base_url, max_body)


def document(base_url: str, max_body: int) -> Json:
    """In the active language. `max_body` is in bytes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tertulia",
            "version": "1",
            "description": _(
                "Chat, text completions and embeddings of your organisation's models, as OpenAI's clients ask for them."
            ),
        },
        "servers": [{"url": base_url}],
        "security": [{BEARER: []}],
        "paths": paths(),
        "components": {
            "schemas": request_schemas() | answer_schemas(),
            "responses": failures(),
            "headers": headers(),
            "securitySchemes": {BEARER: _bearer()},
        },
        "x-tertulia-dialects": _dialects(),
        "x-tertulia-limits": _limits(max_body),
    }


def _bearer() -> Json:
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "sk-tert-…",
        "x-tertulia-pattern": PATTERN,
        "description": _(
            "A key is `sk-tert-` and %(count)d letters and digits, of which the last %(check)d are a checksum. Send it "
            "in `Authorization: Bearer`, or in `x-api-key` where a client cannot."
        )
        % {"count": RANDOM_LENGTH + CHECK_LENGTH, "check": CHECK_LENGTH},
    }


def _dialects() -> list[Json]:
    """Which way of answering a team or a key has. What each does otherwise than OpenAI."""
    return [
        {
            "name": "openai",
            "description": _("What everybody has who has chosen nothing else: all that stands on this page."),
            "differences": [],
        },
        {
            "name": "saptiva",
            "description": _("For programs written for Saptiva. A team or a key has it by choice."),
            "differences": [
                _('Answers also hold `"error": false` and `"status": 200`.'),
                _("`message.tool_calls` is always there, `[]` when nothing was called."),
                _("Errors also hold `detail`, the message alone, beside `error`."),
                _("A parameter out of its range is refused with 422 in place of 400."),
                _("`temperature` is between 0 and 1."),
            ],
        },
    ]


def _limits(max_body: int) -> list[Json]:
    return [
        {"name": "body_bytes", "value": max_body, "description": _("Size of a request's body")},
        {"name": "messages", "value": MAX_MESSAGES, "description": _("Messages of one request")},
        {"name": "depth", "value": MAX_DEPTH, "description": _("Levels that a body may be nested")},
        {"name": "values", "value": MAX_PARTS, "description": _("Values in a body, all told")},
    ]
