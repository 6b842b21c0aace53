"""A month of made-up but likely usage, for pictures."""

import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from accounts.models import ApiKey, Team, User
from billing import ids
from billing.ledger import log as ledger
from billing.ledger.partitions import ensure_partitions
from billing.records import Counts, Ended, Final, Start, UnitPrices

MODELS = {"llama3.3:70b": 6, "qwen3:32b": 4, "mistral-small3.1:24b": 2, "gemma3:27b": 1}
PRICE = UnitPrices(Decimal("0.4"), Decimal("0.1"), Decimal("1.2"), Decimal("1.2"))
DAYS = 61
BUSIEST = 60  # requests in the busiest hour


def write_a_month(*, team: Team, member: User, keys: list[ApiKey], seed: int = 7) -> None:
    dice = random.Random(seed)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=back) for back in range(DAYS * 24)]
    ensure_partitions({hour.date() for hour in hours})
    rows = (ended(hour, team, member, keys, dice) for hour in hours for _ in range(requests_in(hour, dice)))
    batch = list(rows)
    for start in range(0, len(batch), 2000):
        ledger.write(batch[start : start + 2000])


def requests_in(hour: datetime, dice: random.Random) -> int:
    """Few at night and at weekends, most around eleven and four."""
    day = math.exp(-(((hour.hour - 11) / 3) ** 2)) + 0.8 * math.exp(-(((hour.hour - 16) / 2.5) ** 2))
    week = 0.15 if hour.weekday() >= 5 else 1.0
    return round(BUSIEST * day * week * dice.uniform(0.6, 1.1))


_at = count()


def ended(hour: datetime, team: Team, member: User, keys: list[ApiKey], dice: random.Random) -> Ended:
    key = dice.choice([*keys, None])
    model = dice.choices(list(MODELS), list(MODELS.values()))[0]
    failed = dice.random() < 0.008
    prompt, completion = dice.randint(80, 3000), 0 if failed else dice.randint(20, 900)
    moment = hour + timedelta(seconds=dice.uniform(0, 3599))
    request = ids._at(int(moment.timestamp() * 1000))
    start = Start(
        id=request.id,
        at_ms=request.at_ms,
        team_id=team.pk,
        origin="api" if key else "chat",
        endpoint="chat.completions",
        stream=True,
        key_id=key.pk if key else None,
        key_name=key.name if key else "",
        member_id=None if key else member.pk,
        member_name="" if key else str(member),
        end_user="",
        model=model,
        client_request_id="",
        prompt_estimate=prompt,
        price=PRICE,
    )
    final = Final(
        id=request.id,
        engine="gpu-2",
        engine_type="vllm",
        machine="gpu-1",
        answer_id=f"chatcmpl-{next(_at)}",
        counts=Counts(prompt, completion, "upstream", "none" if failed else "upstream"),
        outcome="upstream_error" if failed else "ok",
        status=502 if failed else 200,
        ttft_ms=None if failed else dice.randint(90, 900),
        duration_ms=dice.randint(300, 20_000),
    )
    return Ended(start, final)
