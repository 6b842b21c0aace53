"""Every operation of /v1/openapi.json with data that it allows and data that it does not, made by schemathesis.

Nothing is a server error, every answer is what the document says, what it allows is carried out, and what it does not
allow is refused. The seed is fixed: a failure comes again.
"""

import copy
import json
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any
from zlib import crc32

import jsonschema_rs
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case, HookContext
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from gateway.idempotency import LONGEST
from gateway.openapi import in_english
from gateway.openapi.paths import EVENTS
from gateway.schemas import WHOLE
from tests.engines.faultd import CANARY
from tests.gateway.conftest import SECRET, Api

type Json = dict[str, Any]

CONFIG = {
    "seed": 20261125,
    "max-stream-events": 1000,
    "generation": {
        "deterministic": True,
        "database": "none",
        "max-examples": 30,
        "no-shrink": True,
        "with-security-parameters": False,  # keys have tests of their own
    },
}
# The engine answers them all, each in its own way; embeddings in one.
TEXTS = ("plain", "fault:bare", "fault:unicode", "fault:nousage")
SERVED = {
    "/v1/chat/completions": (*TEXTS, "fault:reasoning", "fault:tool"),
    "/v1/completions": TEXTS,
    "/v1/embeddings": ("plain",),
    "/v1/models/{model}": TEXTS,
}
CONTEXT = 8192  # of the served models, in tokens
CHECKS: list[Callable[..., bool | None]] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.positive_data_acceptance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]

schema = schemathesis.openapi.from_dict(copy.deepcopy(in_english()), config=schemathesis.Config.from_dict(CONFIG))
session = requests.Session()
session.trust_env = False
_numbers = count(1)


@schema.hook
def map_case(context: HookContext, case: Case) -> Case:
    """What a JSON schema cannot say: which models there are, what must be equal, and what may be sent but once."""
    toss = crc32(repr((case.body, case.path_parameters)).encode())
    if case.meta.generation.mode.is_negative:
        toss |= 1  # an unknown model would hide what is to be refused
    names = SERVED.get(case.operation.path, ("",))
    known = names[toss // 8 % len(names)]
    if case.path_parameters and toss % 2:
        case.path_parameters["model"] = known
    name = (case.headers or {}).get("Idempotency-Key")
    if name and len(name) <= LONGEST and name.isascii() and name.isprintable():
        case.headers["Idempotency-Key"] = f"{next(_numbers)} {name}"[:LONGEST].strip()
    if isinstance(case.body, dict):
        _make_sensible(case.body, toss, known)
    return case


def _make_sensible(body: Json, toss: int, known: str) -> None:
    """Leaves alone what is not of its type: that is to be refused."""
    if toss % 2 and isinstance(body.get("model"), str) and body["model"].strip():
        body["model"] = known
    least, most = WHOLE["max_tokens"]
    limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    if all(_is_number(limit) and least <= limit <= most for limit in limits):
        body["max_tokens"] = body["max_completion_tokens"]
    options = body.get("options")
    if isinstance(options, dict) and _is_number(options.get("num_ctx")):
        options["num_ctx"] = min(options["num_ctx"], CONTEXT)
    if toss % 8 < 4 and body.get("stream") is False:
        body["stream"] = True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@schema.parametrize()
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_answer_is_what_the_document_says(case: Case, api: Api) -> None:
    headers = {"authorization": f"Bearer {api.secret}"}
    response = case.call(base_url=api.url, session=session, headers=headers)
    streamed = response.headers["content-type"][0].startswith(EVENTS)
    case.validate_response(
        response,
        checks=CHECKS,
        # A stream is no JSON; its events are looked at below.
        excluded_checks=[checks.response_schema_conformance] if streamed else [],
    )
    assert not any(secret in response.text for secret in (SECRET, CANARY))
    assert response.headers["x-request-id"] == response.headers["id"]
    if response.status_code == 200 and isinstance(case.body, dict):
        assert streamed == (case.body.get("stream") is True)
    if streamed:
        check_events(case.operation.path, response.text)


def check_events(path: str, text: str) -> None:
    *events, last, nothing = text.split("\n\n")
    assert (last, nothing) == ("data: [DONE]", "")
    for event in events:
        validator(path).validate(json.loads(event.removeprefix("data: ")))


@cache
def validator(path: str) -> jsonschema_rs.Draft202012Validator:
    """Of one event of a stream."""
    described = in_english()
    content = described["paths"][path]["post"]["responses"]["200"]["content"]
    return jsonschema_rs.Draft202012Validator(
        {**content[EVENTS]["schema"]["x-tertulia-event"], "components": described["components"]}
    )
