"""OpenAI's organisation usage and costs, so that tools made for them read this installation's: a project is a team.

Asked with an admin key, under /v1/organization/… as OpenAI's clients ask, and under /api/v1/organization/….
Buckets are UTC's and whole: the first is the one that holds `start_time`. Quarter hours are the finest there are.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import psycopg
from django.conf import settings
from django.db import Error as DatabaseError
from django.utils import timezone

from accounts.admin_keys import Reader, reader
from accounts.database import in_database
from accounts.errors import InvalidKey
from accounts.models import Team
from billing.errors import TooManyGroups
from billing.usage.organization import MOST, WIDTHS, Asked, By, Group, What, grouped
from billing.usage.sums import Sums
from gateway.auth import given_secret
from gateway.errors import BadRequest, Unauthorized, Unavailable
from gateway.snapshot import RETRY_AFTER

type Json = dict[str, Any]

PREFIX = "/v1/organization/"
LATEST = 253_370_764_800  # seconds since the epoch: the year 9999, after which no calendar goes on
AT_ONCE = 2  # reports that are read at the same time: threads of the database are there for other calls too
MOST_VALUES = 100  # of one filter
KEY, USER = "key_", "user_"  # before the numbers of keys and people


@dataclass(frozen=True, slots=True)
class Report:
    """What an address tells: `limits` are the default and the greatest number of buckets for each width."""

    what: What
    object: str
    limits: Mapping[str, tuple[int, int]]
    groups: Mapping[str, By | None]  # None: a field that is always null here


_GROUPS: Mapping[str, By | None] = {
    "project_id": By.TEAM, "user_id": By.MEMBER, "api_key_id": By.KEY, "model": By.MODEL, "batch": None,
    "service_tier": None, "api_source": None,
}  # fmt: skip
_COST_GROUPS: Mapping[str, By | None] = {
    "project_id": By.TEAM, "user_id": By.MEMBER, "api_key_id": By.KEY, "line_item": By.ITEM, "api_source": None,
}  # fmt: skip
_LIMITS = {"1d": (7, 31), "1h": (24, 168), "15m": (96, 672)}
REPORTS: Mapping[str, Report] = {
    "usage/completions": Report(What.COMPLETIONS, "organization.usage.completions.result", _LIMITS, _GROUPS),
    "usage/embeddings": Report(What.EMBEDDINGS, "organization.usage.embeddings.result", _LIMITS, _GROUPS),
    "costs": Report(What.ALL, "organization.costs.result", {**_LIMITS, "1d": (7, 180)}, _COST_GROUPS),
}

_places = asyncio.Semaphore(AT_ONCE)


async def report(name: str, headers: Mapping[bytes, bytes], query: bytes) -> bytes:
    """JSON, which is written in the thread: it may be long. Raises Unauthorized, BadRequest, or Unavailable while
    PostgreSQL is away.
    """
    async with _places:
        try:
            return await in_database(_told, REPORTS[name], given_secret(headers), query)
        except InvalidKey as error:
            raise Unauthorized("This is read with an admin key: 'Authorization: Bearer sk-tert-admin-…'.") from error
        except TooManyGroups as error:
            said = f"There are more than {MOST} groups. Ask for fewer buckets by 'limit', or for fewer groups."
            raise BadRequest(said, param="limit") from error
        except (DatabaseError, psycopg.Error) as error:
            raise Unavailable("The database cannot be reached. Try again later.", retry_after=RETRY_AFTER) from error


def _told(which: Report, secret: str, query: bytes) -> bytes:
    who = reader(secret)
    page = _read(which, who, query, timezone.now())
    found = grouped(page.asked)
    teams = _slugs(who, page.asked.by, found)
    buckets = [
        {
            "object": "bucket",
            "start_time": int(begin.timestamp()),
            "end_time": int((begin + page.asked.width).timestamp()),
            "results": [_result(which, group, teams) for group in found.get(begin, [])],
        }
        for begin in page.begins
    ]
    told = {"object": "page", "data": buckets, "has_more": page.following is not None, "next_page": page.following}
    return json.dumps(told, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Page:
    """`following`: the cursor of the next page, if there is one."""

    asked: Asked
    begins: tuple[datetime, ...]
    following: str | None


def _read(which: Report, who: Reader, query: bytes, now: datetime) -> Page:
    fields = _fields(query)
    width_name = _one(fields, "bucket_width") or "1d"
    if width_name not in which.limits:
        raise BadRequest(f"'bucket_width' is one of {', '.join(which.limits)}.", param="bucket_width")
    width = WIDTHS[width_name]
    start = _seconds(fields, "start_time")
    if start is None:
        raise BadRequest("'start_time' is needed: seconds since the epoch.", param="start_time")
    end = _seconds(fields, "end_time")
    until = min(now + width, _moment(LATEST)) if end is None else _moment(end)
    if end is not None and end <= start:
        raise BadRequest("'end_time' must come after 'start_time'.", param="end_time")
    first = _floor(_cursor(fields, start), width)
    limit = _limit(fields, *which.limits[width_name])
    begins = tuple(_begins(first, min(until, first + limit * width), width))
    last = begins[-1] + width if begins else first
    asked = Asked(
        team=who.team,
        begin=first,
        end=last,
        width=width,
        what=which.what,
        by=_by(which, fields),
        teams=_teams(fields, who),
        keys=_numbers(fields, "api_key_ids", KEY),
        members=_numbers(fields, "user_ids", USER),
        models=_nothing_of(fields) or _names(fields, "models"),
        items=_items(fields) if which.what == What.ALL else None,
    )
    return Page(asked, begins, f"page_{int(last.timestamp())}" if begins and last < until else None)


def _fields(query: bytes) -> dict[str, list[str]]:
    """Lists come as `name`, as `name[]`, or with commas, as clients of OpenAI write them."""
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise BadRequest("The query of the address cannot be read.") from error
    for name, value in pairs:
        if "\0" in value:
            raise BadRequest("A value holds a sign that no text has.", param=name[:100])
        found.setdefault(name.removesuffix("[]"), []).append(value)
    return found


def _one(fields: Mapping[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[-1]


def _seconds(fields: Mapping[str, list[str]], name: str) -> int | None:
    text = _one(fields, name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) < LATEST):
        raise BadRequest(f"'{name}' is a number of seconds since the epoch.", param=name)
    return int(text)


def _cursor(fields: Mapping[str, list[str]], start: int) -> int:
    text = _one(fields, "page")
    if not text:
        return start
    number = text.removeprefix("page_")
    if not (text.startswith("page_") and number.isascii() and number.isdigit() and len(number) <= 12):
        raise BadRequest("'page' is what 'next_page' of the page before says.", param="page")
    if not start <= int(number) < LATEST:
        raise BadRequest("'page' is of another question.", param="page")
    return int(number)


def _limit(fields: Mapping[str, list[str]], default: int, most: int) -> int:
    text = _one(fields, "limit")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= most):
        raise BadRequest(f"'limit' is between 1 and {most} for this width.", param="limit")
    return int(text)


def _by(which: Report, fields: Mapping[str, list[str]]) -> tuple[By, ...]:
    names = _list(fields, "group_by")
    for name in names:
        if name not in which.groups:
            raise BadRequest(f"'group_by' takes {', '.join(which.groups)}.", param="group_by")
    return tuple(dict.fromkeys(by for name in names if (by := which.groups[name]) is not None))


def _list(fields: Mapping[str, list[str]], name: str) -> list[str]:
    values = [value for text in fields.get(name, []) for value in text.split(",") if value]
    if len(values) > MOST_VALUES:
        raise BadRequest(f"'{name}' takes at most {MOST_VALUES} values.", param=name)
    return values


def _names(fields: Mapping[str, list[str]], name: str) -> tuple[str, ...] | None:
    return tuple(_list(fields, name)) or None


def _items(fields: Mapping[str, list[str]]) -> tuple[str, ...] | None:
    """Each as it stands: their names have commas."""
    if len(values := fields.get("line_items", [])) > MOST_VALUES:
        raise BadRequest(f"'line_items' takes at most {MOST_VALUES} values.", param="line_items")
    return tuple(values) or None


def _nothing_of(fields: Mapping[str, list[str]]) -> tuple[str, ...] | None:
    """There are no batches here: who asks for those alone gets nothing, as no model has an empty name."""
    return ("",) if _one(fields, "batch") == "true" else None


def _numbers(fields: Mapping[str, list[str]], name: str, prefix: str) -> tuple[int, ...] | None:
    """What is no number of ours belongs to nothing, and finds nothing."""
    if not (values := _list(fields, name)):
        return None
    bare = [value.removeprefix(prefix) for value in values]
    return tuple(int(one) for one in bare if one.isascii() and one.isdigit() and len(one) <= 18)


def _teams(fields: Mapping[str, list[str]], who: Reader) -> tuple[int, ...] | None:
    """An admin key of a team reads that team alone, whatever it asks for: the query is bound to it besides."""
    if not (slugs := _list(fields, "project_ids")):
        return None
    if who.team is not None:
        return (who.team.pk,) if who.team.slug in slugs else ()
    return tuple(Team.objects.filter(slug__in=slugs).values_list("pk", flat=True))


def _slugs(who: Reader, by: tuple[By, ...], found: Mapping[datetime, list[Group]]) -> dict[int, str]:
    if By.TEAM not in by:
        return {}
    if who.team is not None:
        return {who.team.pk: who.team.slug}
    numbers = {group.of[By.TEAM] for groups in found.values() for group in groups}
    return dict(Team.objects.filter(pk__in=numbers).values_list("pk", "slug"))


def _result(which: Report, group: Group, teams: Mapping[int, str]) -> Json:
    own = _costs(group) if which.what == What.ALL else _usage(which, group.sums)
    return {"object": which.object, **own, **{name: _told_of(group, by, teams) for name, by in which.groups.items()}}


def _told_of(group: Group, by: By | None, teams: Mapping[int, str]) -> str | None:
    """Null for what is not grouped by, and for no key and nobody."""
    if by is None or by not in group.of:
        return None
    value = group.of[by]
    match by:
        case By.TEAM:
            return teams.get(value)
        case By.KEY:
            return f"{KEY}{value}" if value else None
        case By.MEMBER:
            return f"{USER}{value}" if value else None
        case By.MODEL | By.ITEM:
            return str(value)


def _usage(which: Report, sums: Sums) -> Json:
    """`estimated_tokens` are ours: how many of the tokens are not an engine's own count. Null: no engine said."""
    found: Json = {"input_tokens": sums.prompt_tokens, "num_model_requests": sums.requests}
    if which.what == What.COMPLETIONS:
        found["output_tokens"] = sums.completion_tokens
        found["input_cached_tokens"] = sums.cached
        found["output_reasoning_tokens"] = sums.reasoning
    return {**found, "estimated_tokens": sums.estimated_tokens}


def _costs(group: Group) -> Json:
    """A number, as OpenAI's is, and beside it every decimal of it as text. Both null: no price was in force.

    A line item has a quantity, but for what of a cost is no token's.
    """
    sums = group.sums
    currency = settings.ENVIRONMENT.currency.lower()
    amount = {
        "value": float(sums.cost) if sums.priced else None,
        "exact": _exact(sums.cost) if sums.priced else None,
        "currency": currency,
    }
    tokens = sums.tokens if By.ITEM in group.of and sums.tokens else None
    return {"amount": amount, "quantity": tokens, "quantity_unit": None if tokens is None else "tokens"}


def _exact(cost: Decimal) -> str:
    return f"{cost.normalize():f}"


def _begins(first: datetime, end: datetime, width: timedelta) -> list[datetime]:
    return [first + width * place for place in range(max(0, -(-(end - first) // width)))]


def _floor(seconds: int, width: timedelta) -> datetime:
    """Days of UTC, hours and quarters all begin at multiples of their length since the epoch."""
    length = int(width.total_seconds())
    return _moment(seconds - seconds % length)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
