"""Calls of known callers that were not admitted, written down: who, which model, which refusal. Nothing on success."""

from billing.errors import SpoolUnavailable
from billing.records import Refusal
from billing.spool.writer import spool
from gateway import measures
from gateway.errors import GatewayError
from gateway.running import Call


def note(call: Call, error: GatewayError, *, status: int) -> None:
    """What ended the call. Nothing is written of one that was admitted, which has its end in the log; of a caller who
    was not recognised, only the count for /metrics. Never raises.
    """
    caller = call.caller
    if call.admitted:
        return
    measures.refused(error)
    if caller is None:
        return
    refusal = Refusal(
        id=call.request.id,
        at_ms=call.request.at_ms,
        team_id=caller.team_id,
        origin=caller.origin,
        endpoint=call.endpoint,
        key_id=caller.key_id,
        key_name=caller.key_name,
        member_id=caller.member_id,
        member_name=caller.member_name,
        model=call.model[:200],
        code=error.error_code or "",
        reason=measures.window_of(error),
        status=status,
    )
    try:
        spool().refused(refusal)
    except SpoolUnavailable:
        return  # a process without a spool, such as a command's
