"""What may go wrong: each status with its codes, when they are given and whether to try again; and the headers."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from gateway import errors
from gateway.allowances import RATES
from gateway.errors import GatewayError
from gateway.openapi.requests import ref

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """`retry`: whether the same request may go well a little later."""

    status: int
    type: str
    code: str
    when: str
    retry: bool


def failures() -> Json:
    """The components that operations point to, by status."""
    by_status: dict[int, list[Failure]] = {}
    for failure in _all():
        by_status.setdefault(failure.status, []).append(failure)
    return {f"Error{status}": _response(status, found) for status, found in by_status.items()}


def responses(*statuses: int) -> Json:
    return {str(status): ref(f"Error{status}", "responses") for status in statuses}


def _all() -> list[Failure]:
    """Those that a class of ours stands for take status, type and code from it."""
    busy, gone = errors.TooMany, errors.NotFound
    return [
        _of(errors.BadRequest, _("A field has a value that it may not have; `param` names it.")),
        _of(errors.BadRequest, _("A field is missing that must be there."), code="missing_required_parameter"),
        _of(
            errors.BadRequest,
            _("Question and answer do not fit into the model's context."),
            code="context_length_exceeded",
        ),
        _of(errors.Unauthorized, _("The key is missing, mistyped, unknown, revoked or expired.")),
        _of(errors.OverQuota, _("A budget or the credit has less left than the request may cost.")),
        _of(
            errors.OverQuota,
            _("A budget or credit in money binds the caller, and the model has no price."),
            code="model_without_price",
        ),
        _of(errors.ModelForbidden, _("The team may use this model, the key may not.")),
        _of(gone, _("The team has no model of this name.")),
        _of(gone, _("There is nothing at this address."), code="unknown_url"),
        _of(errors.MethodNotAllowed, _("The address wants another method.")),
        _of(errors.RepeatedRequest, _("A request with the same `Idempotency-Key` was sent before.")),
        _of(errors.TooLarge, _("The body is too large, here or for the engine.")),
        _of(errors.WrongContentType, _("The body is said to be something other than JSON.")),
        _of(errors.RepeatedOtherwise, _("The `Idempotency-Key` was used before with another body.")),
        Failure(
            422,
            "invalid_request_error",
            "invalid_value",
            _("In the `saptiva` dialect: a field has a value that it may not have."),
            retry=False,
        ),
        _of(busy, _("More requests or tokens than a limit allows in this time."), retry=True),
        _of(busy, _("The engine has no room at the moment."), code="engine_busy", retry=True),
        _of(errors.ServerError, _("Something broke here. The operator finds it by the request id."), retry=True),
        _of(errors.EngineFailed, _("The engine failed, or gave an answer that cannot be read."), retry=True),
        _of(errors.Unavailable, _("No engine is ready, or this server cannot keep its accounts."), retry=True),
        _of(errors.Unavailable, _("Every engine of the model has its hands full."), code="overloaded", retry=True),
        Failure(503, "server_error", "draining", _("This server is restarting."), retry=True),
        _of(errors.EngineTimeout, _("The engine took too long."), retry=True),
    ]


def _of(kind: type[GatewayError], when: str, *, code: str = "", retry: bool = False) -> Failure:
    return Failure(kind.status, kind.type, code or kind.code or "", when, retry)


def _response(status: int, found: list[Failure]) -> Json:
    return {
        "description": " ".join(failure.when for failure in found),
        "headers": {name: ref(name, "headers") for name in _headers_of(status)},
        "content": {
            "application/json": {
                "schema": ref("Error"),
                "examples": {failure.code: {"value": _example(failure)} for failure in found},
            }
        },
        "x-tertulia-codes": [
            {"code": failure.code, "type": failure.type, "description": failure.when, "retry": failure.retry}
            for failure in found
        ],
    }


def _headers_of(status: int) -> list[str]:
    found = ["x-request-id", "id"]
    if status in {400, 413, 429, 500, 502, 503, 504}:  # an engine may have been chosen before
        found.append("backend")
    if status in {429, 503}:
        found.append("retry-after")
    if status in {429, 500, 502, 503, 504}:  # the limits had let it in, or are what refused it
        found += RATES
    if status in {402, 409, 422}:
        found.append("x-should-retry")
    if status == 401:
        found.append("www-authenticate")
    if status == 405:
        found.append("allow")
    return found


def _example(failure: Failure) -> Json:
    param = {"invalid_value": "temperature", "missing_required_parameter": "messages", "model_not_found": "model"}
    message = failure.when.replace("`", "")
    error = {"message": message, "type": failure.type, "param": param.get(failure.code), "code": failure.code}
    return {"error": error}


def header(description: str, when: str, example: str, **schema: Any) -> Json:
    form = {"type": "string", **schema}
    return {"description": description, "schema": form, "example": example, "x-tertulia-when": when}


def _rates() -> Json:
    """Of limits: for requests and for tokens the window with the least share left."""
    when, number = pgettext("header", "where a limit holds"), {"pattern": r"^\d+$"}
    ends = _("When that window ends, in seconds since 1970 and not as a duration.")
    window = _(
        "The windows that these are of, and whose they are: the team's, the key's or the member's. It is the one with "
        "the least share left; where a limit refused the request, that one comes first."
    )
    return {
        "x-ratelimit-limit-requests": header(_("How many requests may be sent in the window."), when, "60", **number),
        "x-ratelimit-remaining-requests": header(_("How many of them are left."), when, "57", **number),
        "x-ratelimit-reset-requests": header(ends, when, "1764075640", **number),
        "x-ratelimit-limit-tokens": header(
            _("How many tokens may be used in the window. They are counted when an answer has ended."),
            when,
            "100000",
            **number,
        ),
        "x-ratelimit-remaining-tokens": header(_("How many of them are left."), when, "76700", **number),
        "x-ratelimit-reset-tokens": header(ends, when, "1764111600", **number),
        "x-ratelimit-window": header(window, when, "requests-per-minute;of=team, tokens-per-day;of=key"),
    }


def headers() -> Json:
    """Every header of ours, with what it says and when it is there."""
    always = pgettext("header", "always")
    name = "019ab3f4-52c1-7c3e-9a55-6f0d2b1c8e47"
    return {
        "x-request-id": header(_("The request's id, as the usage log has it. Tell it to the operator."), always, name),
        "id": header(_("The same, where Cloud Temple's clients look for it."), always, name),
        "backend": header(
            _("Who answered: the kind of engine and the name of its machine."),
            pgettext("header", "once an engine has begun to answer"),
            "engine_type=vllm; machine_name=ma02",
        ),
        "server-timing": header(
            _("Milliseconds: `queue` for a place at an engine, `connect` until it answered, `total` of the whole."),
            pgettext("header", "once an engine has begun to answer"),
            "queue;dur=0, connect;dur=38, ttft;dur=38, total;dur=412",
        ),
        "x-tertulia-ignored": header(
            _("Fields of the request that were kept from the engine."),
            pgettext("header", "where there were any"),
            "options",
        ),
        "retry-after": header(
            _(
                "Seconds to wait before another try. Above 120 for hours and days: OpenAI's Python client does not "
                "wait that long, and tries again sooner."
            ),
            pgettext("header", "with 429 and 503, where it is known"),
            "5",
            pattern=r"^\d+$",
        ),
        **_rates(),
        "x-should-retry": header(
            _("`false` tells OpenAI's clients not to try again."),
            pgettext("header", "with refusals that stand, such as 402 and 409"),
            "false",
        ),
        "www-authenticate": header(_("How to sign a request."), pgettext("header", "with 401"), "Bearer"),
        "allow": header(_("The method that the address wants."), pgettext("header", "with 405"), "POST"),
    }
