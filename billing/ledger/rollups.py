"""What the roll-ups are: for each level the SQL that finds its keys and sums in rows of the log.

Writing, rebuilding and the audit all group by this one description, so that they cannot disagree.
"""

from dataclasses import dataclass

from django.conf import settings
from psycopg import sql

from billing.ledger.histograms import BOUNDS, DIGITS
from billing.models import ENDED_WELL, Source

ENGINES_OWN = (Source.UPSTREAM, Source.UPSTREAM_PARTIAL)


@dataclass(frozen=True, slots=True)
class Level:
    """One table of roll-ups: its keys, each with the SQL that finds it in a row of the log (`log`), and with the SQL
    that finds it in a quarter hour's roll-up (`rolled`), of which every wider level can be made: a day begins with a
    quarter of an hour in every zone.
    """

    table: str
    period: str  # the key that says when
    keys: dict[str, sql.Composable]
    of_quarters: dict[str, sql.Composable]
    only: tuple[str, ...] = ()  # the sums that it has; empty: all of them

    @property
    def sums(self) -> dict[str, sql.Composable]:
        """Those that do not tell outcomes apart count what was an error."""
        found = sums() | ({} if "outcome" in self.keys else {"errors": _errors("count(*)", "log.corrects IS NULL")})
        return {name: found[name] for name in self.only or found}

    @property
    def sums_of_quarters(self) -> dict[str, sql.Composable]:
        found: dict[str, sql.Composable] = {
            name: sql.SQL("sum(rolled.{})").format(sql.Identifier(name)) for name in sums()
        }
        if "outcome" not in self.keys:
            found |= {"errors": _errors("sum(rolled.requests)", "true", "rolled")}
        return {name: found[name] for name in self.only or found}


def levels() -> tuple[Level, ...]:
    """The finest first, of which the others can be made, and last the one whose rows all teams share."""
    quarter = sql.SQL("date_bin('15 minutes', log.booked_at, timestamptz '2000-01-01 00:00+00')")
    team_day = "({} AT TIME ZONE coalesce(team.time_zone, 'UTC'))::date"
    platform_day = "({} AT TIME ZONE {zone})::date"
    who, what = ("team_id", "key_id", "member_id"), ("model", "origin", "outcome")

    def level(table: str, period: str, names: tuple[str, ...], day: str = "{}", *, only: tuple[str, ...] = ()) -> Level:
        def when(moment: sql.Composable) -> sql.Composable:
            return sql.SQL(day).format(moment, zone=sql.Literal(settings.TIME_ZONE))

        return Level(
            table,
            period,
            {period: when(quarter if period == "bucket" else sql.SQL("log.booked_at"))}
            | {name: _OF_THE_LOG.get(name, sql.Identifier("log", name)) for name in names},
            {period: when(sql.SQL("rolled.bucket"))} | {name: sql.Identifier("rolled", name) for name in names},
            only,
        )

    return (
        level("billing_usagequarter", "bucket", (*who, *what)),
        level("billing_usageday", "day", (*who, *what), team_day),
        level("billing_usageutcday", "day", (*who, *what), "({} AT TIME ZONE 'UTC')::date"),
        level("billing_teamquarter", "bucket", ("team_id",), only=("requests",)),
        level("billing_platformday", "day", ("team_id", *what), platform_day),
        level("billing_platformteamday", "day", ("team_id",), platform_day),
        level("billing_platformmodelday", "day", what, platform_day),
    )


_OF_THE_LOG: dict[str, sql.Composable] = {
    "key_id": sql.SQL("coalesce(log.key_id, 0)"),
    "member_id": sql.SQL("coalesce(log.member_id, 0)"),
}


def level_of(table: str) -> Level:
    return next(level for level in levels() if level.table == table)


def sums() -> dict[str, sql.Composable]:
    guessed = sql.SQL(
        "(coalesce(sum(log.prompt_tokens) FILTER (WHERE log.prompt_source NOT IN ({own})), 0)"
        " + coalesce(sum(log.completion_tokens) FILTER (WHERE log.completion_source NOT IN ({own})), 0))::bigint"
    )
    return {
        "requests": sql.SQL("count(*) FILTER (WHERE log.corrects IS NULL)"),  # an adjustment is none
        "prompt_tokens": sql.SQL("sum(log.prompt_tokens)::bigint"),
        "completion_tokens": sql.SQL("sum(log.completion_tokens)::bigint"),
        "reasoning_tokens": sql.SQL("coalesce(sum(log.reasoning_tokens), 0)::bigint"),
        "cached_tokens": sql.SQL("coalesce(sum(log.cached_tokens), 0)::bigint"),
        "reasoning_reported": sql.SQL("count(log.reasoning_tokens)"),
        "cached_reported": sql.SQL("count(log.cached_tokens)"),
        "estimated_tokens": guessed.format(own=_words(ENGINES_OWN)),
        "priced_requests": sql.SQL("count(log.cost) FILTER (WHERE log.corrects IS NULL)"),
        "cost": sql.SQL("coalesce(sum(log.cost), 0)::numeric(24, 12)"),
        **_costs(),
        "ttft": _histogram("log.ttft_ms"),
        "duration": _histogram("log.duration_ms"),
    }


def _costs() -> dict[str, sql.Composable]:
    """What tokens of each type cost, not rounded: as `billing.prices.pricing.cost_lines` has it for a request.

    Input is what the others leave of the cost, so that a request's rounding is in it. An adjustment's differences are
    of their types too; what it changes in money beyond these is left out. Sums that are alike are made once, so a
    request costs three products.
    """
    cached, reasoning = _part("cached_tokens", "prompt_tokens"), _part("reasoning_tokens", "completion_tokens")
    cached_price = "coalesce(log.price_cached_input, log.price_input)"
    reasoning_price = "coalesce(log.price_reasoning, log.price_output)"
    kinds = {
        "cached_cost": f"{cached} * {cached_price}",
        "output_cost": f"(log.completion_tokens - {reasoning}) * log.price_output",
        "reasoning_cost": f"{reasoning} * {reasoning_price}",
    }
    costs = {name: f"coalesce(sum({product}), 0) * 0.000001" for name, product in kinds.items()}
    beyond = f"log.cost - 0.000001 * ((log.prompt_tokens - {cached}) * log.price_input + {' + '.join(kinds.values())})"
    input_cost = (
        f"coalesce(sum(log.cost), 0) - {' - '.join(costs.values())}"
        f" - coalesce(sum({beyond}) FILTER (WHERE log.corrects IS NOT NULL), 0)"
    )
    return {name: sql.SQL(f"({cost})::numeric(26, 14)") for name, cost in {"input_cost": input_cost, **costs}.items()}


def _part(name: str, whole: str) -> str:
    """Of a request, never more than its whole, whatever an engine reported; a difference is what it is."""
    part = f"coalesce(log.{name}, 0)"
    return f"CASE WHEN log.corrects IS NULL THEN least({part}, log.{whole}) ELSE {part} END"


def _histogram(column: str) -> sql.Composed:
    """See `billing.ledger.histograms`: each request is a one in its bucket's digits."""
    return sql.SQL(
        "coalesce(sum(('1e' || {digits} * width_bucket({column}, {bounds}::int[]))::numeric)"
        " FILTER (WHERE log.corrects IS NULL), 0)"
    ).format(digits=sql.Literal(DIGITS), column=sql.SQL(column), bounds=sql.Literal(list(BOUNDS)))


def _errors(count: str, which: str, source: str = "log") -> sql.Composed:
    return sql.SQL("coalesce({count} FILTER (WHERE {which} AND {outcome} NOT IN ({well})), 0)").format(
        count=sql.SQL(count),
        which=sql.SQL(which),
        outcome=sql.Identifier(source, "outcome"),
        well=_words(ENDED_WELL),
    )


def grouped(level: Level, source: sql.Composable) -> sql.Composed:
    """SELECT what `level` holds out of a table, CTE or query that has the log's columns, in the order of the keys."""
    return _selected(level.keys, level.sums, source, "log")


def regrouped(level: Level, source: sql.Composable) -> sql.Composed:
    """The same out of roll-ups of quarter hours."""
    return _selected(level.of_quarters, level.sums_of_quarters, source, "rolled")


def _selected(
    keys: dict[str, sql.Composable], sums: dict[str, sql.Composable], source: sql.Composable, name: str
) -> sql.Composed:
    return sql.SQL(
        "SELECT {expressions} FROM {source} {name} LEFT JOIN accounts_team team ON team.id = {name}.team_id"
        " GROUP BY {places} ORDER BY {places}"
    ).format(
        expressions=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(expression, sql.Identifier(key)) for key, expression in (keys | sums).items()
        ),
        source=source,
        name=sql.Identifier(name),
        places=sql.SQL(", ").join(map(sql.Literal, range(1, len(keys) + 1))),
    )


def names(level: Level) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, (*level.keys, *level.sums)))


def _words(values: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Literal(str(value)) for value in values)
