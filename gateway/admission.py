"""What lets a call in besides its model: room within the limits that bind its caller, and money for it."""

from accounts.callers import Caller
from billing.ids import RequestId
from billing.records import NOTHING
from gateway import budgets
from gateway.running import Admission
from gateway.schemas import Ask
from gateway.snapshot import Snapshot


async def admit(
    *, caller: Caller, ask: Ask, request: RequestId, model: str, prompt_estimate: int, snapshot: Snapshot
) -> Admission:
    """Raises the refusal of the first limit, budget or credit that is used up, and then holds nothing."""
    admission = Admission()
    try:
        await budgets.reserve(
            admission,
            caller=caller,
            ask=ask,
            request=request,
            model=model,
            prompt_estimate=prompt_estimate,
            snapshot=snapshot,
        )
    except BaseException:  # whoever leaves meanwhile holds nothing either
        admission.release(NOTHING)
        raise
    return admission
