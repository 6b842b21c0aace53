"""A log that months have filled, made by PostgreSQL itself; the roll-ups come from it by `usage_rebuild`."""

from datetime import date
from itertools import pairwise

# Of each team's keys, each uses a few models; people chat with the same ones. `power` 1: every team has as much traffic
# as any other; 2: of 200 teams, the busiest has a fourteenth of it all. Times to the first token and to the end are
# spread as those of real engines are (log-normal). Ids are random: nothing here is looked up by its id.
FILL = """
INSERT INTO billing_usage (
    id, team_id, at, booked_at, origin, endpoint, stream, key_id, key_name, member_id, member_name, end_user, model,
    engine, engine_type, machine, answer_id, client_request_id, prompt_tokens, completion_tokens, reasoning_tokens,
    cached_tokens, prompt_source, completion_source, anomaly, outcome, status, ttft_ms, duration_ms,
    price_input, price_cached_input, price_output, price_reasoning, cost, reason, adjusted_by
)
SELECT
    gen_random_uuid(), %(first)s + team, moment, moment, CASE WHEN chat THEN 'chat' ELSE 'api' END,
    'chat.completions', true, CASE WHEN chat THEN NULL ELSE (%(first)s + team) * 1000 + one END,
    CASE WHEN chat THEN '' ELSE 'key ' || one END, CASE WHEN chat THEN (%(first)s + team) * 1000 + one END,
    CASE WHEN chat THEN 'someone' ELSE '' END, '', 'model-' || (team * 7 + one + number %% 2) %% %(models)s,
    'engine', 'vllm', 'gpu-1', 'chatcmpl-1', '',
    prompt, completion, NULL, least(10, prompt), 'upstream', 'upstream', '',
    CASE WHEN number %% 97 = 0 THEN 'upstream_error' WHEN number %% 211 = 0 THEN 'client_gone' ELSE 'ok' END, 200,
    exp(random_normal(6, 0.8))::int, exp(random_normal(8, 1))::int, 0.9, 0.45, 4, 4,
    0.000001 * (0.9 * (prompt - least(10, prompt)) + 0.45 * least(10, prompt) + 4 * completion), '', ''
FROM (
    SELECT number, number %% 10 = 0 AS chat, floor(%(teams)s * power(random(), %(power)s))::int AS team,
        floor(%(keys)s * random())::int AS one, (random() * 2000)::int AS prompt, (random() * 800)::int AS completion,
        %(begin)s::timestamptz + (%(end)s::timestamptz - %(begin)s::timestamptz) * number / %(rows)s AS moment
    FROM generate_series(0, %(rows)s - 1) number
) made
"""


def fill(*, first_team: int, teams: int, keys: int, models: int, rows: int, months: list[date], power: int = 1) -> None:
    """`rows` over the time between the first and the last of `months`; `keys` are those of one team."""
    from django.db import connection  # once Django is set up

    for begin, end in pairwise(months):
        with connection.cursor() as cursor:
            cursor.execute(
                FILL,
                {
                    "first": first_team, "teams": teams, "keys": keys, "models": models, "power": power,
                    "rows": rows // (len(months) - 1), "begin": f"{begin} 00:00+00", "end": f"{end} 00:00+00",
                },
            )  # fmt: skip
