"""What lets a call in besides its model: room within the limits that bind its caller, and money for it."""

from accounts.callers import Caller
from billing.errors import LimitReached
from billing.ids import RequestId
from billing.limits.limiter import limiter
from gateway import budgets
from gateway.allowances import headers, refusal
from gateway.running import Admission
from gateway.schemas import Ask
from gateway.snapshot import Snapshot


async def admit(
    *, caller: Caller, ask: Ask, request: RequestId, model: str, prompt_estimate: int, snapshot: Snapshot
) -> Admission:
    """Raises the refusal of the first limit, budget or credit that is used up, and then holds nothing."""
    admission = Admission()
    try:
        await _within_limits(admission, caller, snapshot)
        await budgets.reserve(
            admission,
            caller=caller,
            ask=ask,
            request=request,
            model=model,
            prompt_estimate=prompt_estimate,
            snapshot=snapshot,
        )
    except BaseException:  # also when the caller leaves meanwhile
        admission.undo()
        raise
    return admission


async def _within_limits(admission: Admission, caller: Caller, snapshot: Snapshot) -> None:
    subjects = snapshot.limits.of(caller.team_id, caller.key_id, caller.member_id)
    if not subjects:
        return
    try:
        taken = await limiter.take(subjects)
    except LimitReached as error:
        raise refusal(error) from error
    admission.hold(taken.settle, taken.undo)
    admission.headers += headers(taken.standings)
