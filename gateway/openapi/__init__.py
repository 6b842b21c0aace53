"""The API written down: an OpenAPI 3.1 document, made from the tables that requests are checked by.

`/v1/openapi.json` serves it in English. The reference page is drawn from it in its reader's language, so the texts are
gettext's and stand in the language that is active while the document is made.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from accounts import admin_keys
from accounts.keys import CHECK_LENGTH, PATTERN, RANDOM_LENGTH
from gateway.dialects import DIALECTS, Dialect
from gateway.errors import BadRequest
from gateway.openapi.answers import answer_schemas
from gateway.openapi.failures import failures, headers
from gateway.openapi.organization import ADMIN, admin_scheme, organization_schemas
from gateway.openapi.paths import paths
from gateway.openapi.requests import request_schemas
from gateway.schemas import MAX_DEPTH, MAX_MESSAGES, MAX_PARTS

type Json = dict[str, Any]

BEARER = "key"  # the one way to sign a request


@dataclass(frozen=True, slots=True)
class Installation:
    """What differs from one to the next. `max_body` is in bytes; `fetches`: engines may fetch some hosts' images."""

    base_url: str
    max_body: int
    fetches: bool


def this_installation() -> Installation:
    environment = settings.ENVIRONMENT
    return Installation(settings.BASE_URL, environment.max_body, bool(environment.image_hosts))


def in_english() -> Json:
    return _in_english(this_installation())


@lru_cache(maxsize=1)
def _in_english(here: Installation) -> Json:
    with translation.override("en"):
        return document(here)


def document(here: Installation) -> Json:
    """In the active language."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tertulia",
            "version": "1",
            "description": _(
                "Chat, text completions and embeddings of your organisation's models, as OpenAI's clients ask for them."
            ),
        },
        "servers": [{"url": here.base_url}],
        "security": [{BEARER: []}],
        "paths": paths(),
        "components": {
            "schemas": request_schemas(fetches=here.fetches) | answer_schemas() | organization_schemas(),
            "responses": failures(),
            "headers": headers(),
            "securitySchemes": {BEARER: _bearer(), ADMIN: admin_scheme(admin_keys.PATTERN)},
        },
        "x-tertulia-dialects": _dialects(),
        "x-tertulia-limits": _limits(here.max_body),
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
    """Which way of answering a team or a key has, and what each does otherwise than OpenAI."""
    told = {
        "openai": _("What everybody has who has chosen nothing else: all that stands on this page."),
        "saptiva": _("For programs written for Saptiva. A team or a key has it by choice."),
        "saptiva-strict": _("The same, as strict as Saptiva's first API."),
    }
    return [
        {"name": name, "description": told.get(name, ""), "differences": list(_differences(dialect))}
        for name, dialect in DIALECTS.items()
    ]


def _differences(dialect: Dialect) -> Iterator[str]:
    if dialect.answer:
        fields = ", ".join(f"`{json.dumps(name)}: {json.dumps(value)}`" for name, value in dialect.answer.items())
        yield _("Answers also hold %(fields)s.") % {"fields": fields}
    for name, value in dialect.message.items():
        yield _("`message.%(name)s` is always there, `%(value)s` where the engine has none.") % {
            "name": name,
            "value": json.dumps(value),
        }
    if dialect.detail:
        yield _("Errors also hold `detail`, the message alone, beside `error`.")
    if dialect.bad_request != BadRequest.status:
        yield _("A field with a value that it may not have is refused with %(status)d in place of 400.") % {
            "status": dialect.bad_request
        }
    for name, (least, most) in dialect.ranges.items():
        yield _("`%(name)s` is between %(least)g and %(most)g.") % {"name": name, "least": least, "most": most}
    if dialect.required:
        names = ", ".join(f"`{name}`" for name in dialect.required)
        yield _("A chat completion needs %(names)s too.") % {"names": names}


def _limits(max_body: int) -> list[Json]:
    return [
        {"name": "body_bytes", "value": max_body, "description": _("Size of a request's body")},
        {"name": "messages", "value": MAX_MESSAGES, "description": _("Messages of one request")},
        {"name": "depth", "value": MAX_DEPTH, "description": _("Levels that a body may be nested")},
        {"name": "values", "value": MAX_PARTS, "description": _("Values in a body, all told")},
    ]
