"""What can go wrong on the road to the engines, as callers see it.

GatewayError                       status, type, code, param and message of the JSON body
├── BadRequest              400    the body is not what the endpoint takes
│   ├── TooLarge            413
│   └── WrongContentType    415
├── Unauthorized            401    one wording for every reason
├── OverQuota               402    a budget or the credit does not cover the call, or no longer
├── ModelForbidden          403    the team may use the model, the key may not
├── NotFound                404    unknown model, unknown address
├── MethodNotAllowed        405
├── RepeatedRequest         409    its Idempotency-Key was used before
│   └── RepeatedOtherwise   422    for another body
├── TooMany                 429    the engine's limits
│   └── OverLimit           429    our own: of a team, a key or a member
├── ServerError             500
├── EngineFailed            502    the engine's answer was an error
│   ├── BrokenOff           502    it ended before its end
│   ├── UnreadableAnswer    502    it was no answer at all: broken, endless, or of another kind
│   └── NoCounters          502    it shows no counters of its own; callers never meet it
├── Unavailable             503    engine down, server draining, database away
├── EngineTimeout           504
└── CatalogueMistake        400    an operator's mistake with an engine or a model; `param` is the verb's word for it

The shape of the body is OpenAI's: {"error": {"message", "type", "param", "code"}}; `code` is a string or null.
"""

from collections.abc import Sequence
from typing import ClassVar


class GatewayError(Exception):
    """The root of this room's errors.

    `retry_after` is in whole seconds; `outcome` is how the log names a request that ended so.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    outcome: ClassVar[str] = "internal_error"
    retry: ClassVar[bool] = True  # False tells clients that trying again is no use

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.error_code = code or self.code

    def told(self) -> dict[str, str | None]:
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.error_code}


class BadRequest(GatewayError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class TooLarge(BadRequest):
    status = 413
    code = "request_too_large"


class WrongContentType(BadRequest):
    status = 415
    code = "unsupported_media_type"


class Unauthorized(GatewayError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class OverQuota(GatewayError):
    status = 402
    type = "insufficient_quota"
    code = "insufficient_quota"
    outcome = "budget_stop"
    retry = False


class ModelForbidden(GatewayError):
    status = 403
    type = "permission_error"
    code = "model_not_allowed"


class NotFound(GatewayError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"Use {allowed} here.")
        self.allowed = allowed


class RepeatedRequest(GatewayError):
    status = 409
    type = "invalid_request_error"
    code = "idempotency_conflict"
    retry = False


class RepeatedOtherwise(RepeatedRequest):
    status = 422
    code = "idempotency_mismatch"


class TooMany(GatewayError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    outcome = "upstream_error"


class OverLimit(TooMany):
    """`limit` names the window that is full, whose it is and when it has room again, for whoever words it anew.

    `headers` go out with the refusal.
    """

    def __init__(self, message: str, *, retry_after: int, limit: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit, self.headers = limit, headers


class ServerError(GatewayError):
    code = "internal_error"


class EngineFailed(GatewayError):
    status = 502
    type = "upstream_error"
    code = "bad_gateway"
    outcome = "upstream_error"


class BrokenOff(EngineFailed):
    """The engine hung up in the middle."""


class UnreadableAnswer(EngineFailed):
    outcome = "bad_upstream"


class NoCounters(EngineFailed):
    """The engine answers, and shows no counters. The message is for operators."""


class Unavailable(GatewayError):
    status = 503
    type = "service_unavailable_error"
    code = "service_unavailable"
    outcome = "upstream_error"


class EngineTimeout(GatewayError):
    status = 504
    type = "upstream_error"
    code = "timeout"
    outcome = "upstream_timeout"


class CatalogueMistake(GatewayError):
    status = 400
    type = "invalid_request_error"
    code = "catalogue_mistake"
