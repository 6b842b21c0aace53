"""What the engines of the made-up month counted themselves, for pictures."""

from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from gateway.engines.counters import Counters, Tally
from gateway.models import Engine, LoggedDay
from gateway.reconciliation.readings import note_counters, sum_days

DIRECT = {4: 48_200, 11: 1_240}  # days ago → tokens of calls past the gateway
LOST = {8: 9_300}  # days ago → tokens that a restart took


def count_a_month(engine: Engine) -> None:
    """As if its counters had been read all the time: equal to the log, but for some days."""
    today = timezone.now().astimezone(UTC).date()
    sum_days(today)
    logged = {row.day: row for row in LoggedDay.objects.filter(engine=engine.name)}
    prompt = completion = requests = 0
    process = 1
    for back in range(20, -1, -1):
        day = today - timedelta(days=back)
        begin = _midnight(day)
        _note(engine, begin, prompt, completion, requests, process)
        if (row := logged.get(day)) is None:
            continue
        if back in LOST:
            process, prompt, completion, requests = process + 1, 0, -LOST[back], 0
        prompt += row.prompt_tokens + DIRECT.get(back, 0)
        completion += row.completion_tokens
        requests += row.requests + (DIRECT.get(back, 0) // 1000)
        end = begin + timedelta(hours=23, minutes=59) if back else timezone.now()
        _note(engine, end, prompt, completion, requests, process)


def _note(engine: Engine, at: datetime, prompt: int, completion: int, requests: int, process: int) -> None:
    counters = Counters({"llama3.3:70b": Tally(prompt, completion, requests)}, process=str(process))
    note_counters(engine=engine, counters=counters, at=at)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
