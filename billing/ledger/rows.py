"""What a row of the log is made of: its columns, and how an ended request fills them."""

from datetime import datetime
from typing import Any

from django.db import DataError
from psycopg import sql

from billing.ids import moment
from billing.prices.pricing import cost
from billing.records import Ended

LAST_YEAR = 9998  # the one after must have a name too
MOST_TOKENS = 10**12  # of one request; its sums must fit a roll-up
LONGEST = 2**31 - 1  # milliseconds

type Row = tuple[Any, ...]

# The columns of a row, in the order of `_columns`, and their types.
SHAPE = {
    "id": "uuid", "team_id": "int8", "at": "timestamptz", "booked_at": "timestamptz", "origin": "varchar",
    "endpoint": "varchar", "stream": "bool", "key_id": "int8", "key_name": "varchar", "member_id": "int8",
    "member_name": "varchar", "end_user": "varchar", "model": "varchar", "engine": "varchar",
    "engine_type": "varchar", "machine": "varchar", "answer_id": "varchar", "client_request_id": "varchar",
    "prompt_tokens": "int8", "completion_tokens": "int8", "reasoning_tokens": "int8", "cached_tokens": "int8",
    "prompt_source": "varchar", "completion_source": "varchar", "anomaly": "varchar", "outcome": "varchar",
    "status": "int2", "ttft_ms": "int4", "duration_ms": "int4", "price_input": "numeric",
    "price_cached_input": "numeric", "price_output": "numeric", "price_reasoning": "numeric", "cost": "numeric",
    "corrects": "uuid", "reason": "varchar", "adjusted_by": "varchar",
}  # fmt: skip
COLUMNS = sql.SQL(", ").join(map(sql.Identifier, SHAPE))
TYPES = list(SHAPE.values())
AT = list(SHAPE).index("at")


def row(ended: Ended) -> Row:
    """The log's columns. Raises DataError for what no column can hold, such as a moment that no calendar has."""
    try:
        return _columns(ended, moment(ended.start.at_ms))
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(str(error)) from error


def _columns(ended: Ended, at: datetime) -> Row:
    start, final = ended.start, ended.final
    counts, price = final.counts, start.price
    if at.year > LAST_YEAR:
        raise OverflowError(f"{at} is too far away")
    if max(counts.prompt_tokens, counts.completion_tokens) > MOST_TOKENS:
        raise OverflowError("more tokens than one request can have")
    if not -1 < final.status < 1000 or max(final.duration_ms, final.ttft_ms or 0) > LONGEST:
        raise OverflowError("a status or duration that no request has")
    return (
        start.id,
        start.team_id,
        at,
        at,
        text(start.origin, 8),
        text(start.endpoint, 32),
        start.stream,
        start.key_id,
        text(start.key_name, 100),
        start.member_id,
        text(start.member_name, 254),
        text(start.end_user, 256),
        text(start.model, 200),
        text(final.engine, 100),
        text(final.engine_type, 16),
        text(final.machine, 100),
        text(final.answer_id, 200),
        text(start.client_request_id, 200),
        counts.prompt_tokens,
        counts.completion_tokens,
        counts.reasoning_tokens,
        counts.cached_tokens,
        counts.prompt_source,
        counts.completion_source,
        text(counts.anomaly, 64),
        final.outcome,
        final.status,
        final.ttft_ms,
        final.duration_ms,
        price and price.input,
        price and price.cached_input,
        price and price.output,
        price and price.reasoning,
        price and cost(price, counts),
        None,
        "",
        "",
    )


def text(value: str, length: int) -> str:
    """What PostgreSQL can hold of a text: no NUL, no lone surrogate, not too long."""
    if value.isascii() and "\0" not in value:
        return value[:length]
    return value.replace("\0", "").encode("utf-8", "replace").decode()[:length]
