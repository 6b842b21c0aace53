"""A picture of the platform in words: cells that stand for themselves, so that only what has changed is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.alarms import LATE
from billing.moments import zone_in_words
from billing.numbers import decimal, percent, seconds, whole
from billing.usage.charts import Spark, spark
from gateway.monitor.board import EngineNow, ModelNow, Picture, Rates
from gateway.monitor.pulse import Told

MANY_FAILED = 0.05  # a share of errors from which on the cell is marked


@dataclass(frozen=True, slots=True)
class Cell:
    """`look` is the class of a state's shape, empty for a plain number."""

    id: str
    text: str
    look: str = ""
    note: str = ""
    spark: Spark | None = None

    @property
    def is_figure(self) -> bool:
        return self.id.startswith("f-")


@dataclass(frozen=True, slots=True)
class Row:
    """`key` tells one row from another; what is in it beside cells never changes."""

    key: str
    name: str
    cells: dict[str, Cell]
    pk: int | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """All that the page shows."""

    verdict: Cell
    read_at: Cell
    figures: tuple[tuple[str, Cell], ...]
    models: tuple[Row, ...]
    engines: tuple[Row, ...]
    processes: tuple[Row, ...]
    backstage: tuple[tuple[str, Cell], ...]

    def regions(self) -> dict[str, tuple[Row, ...]]:
        return {"models": self.models, "engines": self.engines, "processes": self.processes}

    def loose(self) -> list[Cell]:
        """Those that are in no table."""
        labelled = [*self.figures, *self.backstage]
        return [self.verdict, self.read_at, *(cell for _label, cell in labelled)]


def words(picture: Picture) -> Words:
    return Words(
        verdict=verdict(picture),
        read_at=Cell("read-at", _("As of %s.") % f"{clock(picture.at)}, {zone(picture.at)}"),
        figures=tuple(_figures(picture)),
        models=tuple(_model(f"m{place}", one) for place, one in enumerate(picture.models)),
        engines=tuple(_engine(f"e{place}", one, len(picture.processes)) for place, one in enumerate(picture.engines)),
        processes=tuple(_process(f"p{place}", one) for place, one in enumerate(picture.processes)),
        backstage=tuple(_backstage(picture)),
    )


def verdict(picture: Picture) -> Cell:
    """What an operator must know first, as one sentence."""
    if picture.database_ms is None:
        said = _("PostgreSQL does not answer. This is what the process that shows the page knows of itself.")
        return Cell("verdict", said, "bad")
    if not picture.processes:
        return Cell("verdict", _("No web process tells of itself."), "bad")
    bad = [one.engine.name for one in picture.engines if engine_look(one, len(picture.processes))[0] == "bad"]
    if bad:
        said = ngettext("One engine does not work: %s.", "These engines do not work: %s.", len(bad))
        return Cell("verdict", said % ", ".join(bad), "bad")
    if picture.spools.full:
        return Cell("verdict", _("A disk is full: ends of calls go straight to the log."), "bad")
    if picture.dead_letters or picture.spools.put_aside or picture.spools.lag > LATE:
        return Cell("verdict", _("Records do not come to the log."), "warn")
    if any(told.draining for told in picture.processes):
        return Cell("verdict", _("A process is stopping."), "warn")
    if picture.waiting:
        said = ngettext("%s call waits for its turn.", "%s calls wait for their turn.", picture.waiting)
        return Cell("verdict", said % whole(picture.waiting), "warn")
    return Cell("verdict", _("Everything works."), "good")


def engine_look(one: EngineNow, processes: int) -> tuple[str, str, str]:
    """Shape, word and what there is to add."""
    engine = one.engine
    if not engine.enabled:
        return "off", _("Switched off"), ""
    if engine.problem:
        return "bad", _("Not working"), _(engine.problem)
    if one.seen_by and one.out_in == one.seen_by:
        return "bad", _("Not asked"), _("Several calls in a row found it silent or away.")
    if one.out_in or one.rests_in:
        ailing = max(one.out_in, one.rests_in)
        said = ngettext("%(ailing)s of %(all)s process", "%(ailing)s of %(all)s processes", processes)
        return "warn", _("Asked last"), said % {"ailing": ailing, "all": processes} if processes > 1 else ""
    if engine.seen_at is None:
        return "off", _("Not looked at yet"), ""
    return "good", _("Works"), ""


def _figures(picture: Picture) -> list[tuple[str, Cell]]:
    total = picture.total
    waits = ngettext("%s waits", "%s wait", picture.waiting) % whole(picture.waiting)
    lag = _("oldest waits %s") % seconds(picture.spools.lag * 1000) if picture.spools.lag >= 1 else ""
    return [
        (_("Running now"), Cell("f-running", whole(total.running), note=waits)),
        (
            _("Tokens a second"),
            Cell("f-tokens", number(total.tokens_per_second), note=_("five minutes"), spark=spark(picture.line)),
        ),
        (_("Requests"), Cell("f-requests", whole(total.minute), note=_("in the last minute"))),
        (_("Errors"), Cell("f-errors", _share(total), note=_failed(total))),
        (_("First token p95"), Cell("f-first", _first(total), note=_("approx., five minutes"))),
        (_("Waiting for the log"), Cell("f-spool", whole(picture.spools.depth), note=lag)),
    ]


def _model(place: str, one: ModelNow) -> Row:
    cells = _rated(place, one.rates)
    cells["first"] = Cell(f"{place}-first", _first(one.rates))
    cells["waiting"] = Cell(f"{place}-waiting", whole(one.waiting), "warn" if one.waiting else "")
    cells["state"] = Cell(f"{place}-state", "" if one.served else _("no longer offered"))
    return Row(one.model, one.model, cells)


def _engine(place: str, one: EngineNow, processes: int) -> Row:
    look, word, note = engine_look(one, processes)
    engine, cells = one.engine, _rated(place, one.rates)
    cells["state"] = Cell(f"{place}-state", word, look, note)
    most = engine.max_concurrent
    if most is not None:
        share = _("of %s") % whole(most * max(1, one.seen_by))
        cells["running"] = Cell(f"{place}-running", whole(one.rates.running), note=share)
    answered = clock(one.answered_at) if one.answered_at else _("not since the start")
    looked = _("looked at %s") % clock(engine.seen_at) if engine.seen_at else ""
    cells["answered"] = Cell(f"{place}-answered", answered, note=looked)
    machine = engine.machine_name or "–"
    program = f"{engine.get_type_display()} {engine.version}".strip()
    cells["machine"] = Cell(f"{place}-machine", machine, note=program)
    return Row(engine.name, engine.name, cells, engine.pk)


def _rated(place: str, rates: Rates) -> dict[str, Cell]:
    failed = "bad" if rates.error_share >= MANY_FAILED else "warn" if rates.failed else ""
    return {
        "running": Cell(f"{place}-running", whole(rates.running), "live" if rates.running else ""),
        "minute": Cell(f"{place}-minute", whole(rates.minute)),
        "tokens": Cell(f"{place}-tokens", number(rates.tokens_per_second)),
        "errors": Cell(f"{place}-errors", _share(rates), failed, _counted(rates) if rates.failed else ""),
    }


def _process(place: str, told: Told) -> Row:
    began = datetime.fromisoformat(told.began_at)
    state = (
        Cell(f"{place}-state", _("Stopping"), "warn") if told.draining else Cell(f"{place}-state", _("Serves"), "good")
    )
    kept = told.spool
    cells = {
        "state": state,
        "began": Cell(f"{place}-began", moment(began)),
        "calls": Cell(f"{place}-calls", whole(told.calls)),
        "spool": Cell(
            f"{place}-spool",
            whole(kept.depth) if kept else "–",
            "" if kept is None or kept.writable else "bad",
            "" if kept is None or kept.writable else _("its disk is full"),
        ),
    }
    return Row(f"{told.machine} {told.pid} {told.began_at}", f"{told.machine} · {told.pid}", cells)


def _backstage(picture: Picture) -> list[tuple[str, Cell]]:
    spools, letters = picture.spools, picture.dead_letters
    if picture.database_ms is None:
        database = Cell("b-database", _("does not answer"), "bad")
    else:
        database = Cell("b-database", _("answers in %s") % seconds(picture.database_ms), "good")
    late = spools.lag > LATE
    oldest = ngettext("%s record of an ended call", "%s records of ended calls", spools.depth) % whole(spools.depth)
    if spools.lag >= 1:
        oldest += _("; the oldest file waits %s") % seconds(spools.lag * 1000)
    refused = ngettext("%s record was refused", "%s records were refused", letters) % whole(letters)
    aside = ngettext("%s file could not be read", "%s files could not be read", spools.put_aside) % whole(
        spools.put_aside
    )
    return [
        (_("Database"), database),
        (_("On the way to the log"), Cell("b-spool", oldest, "warn" if late else "good")),
        (_("Refused by the log"), Cell("b-letters", refused, "bad" if letters else "good")),
        (_("Put aside"), Cell("b-aside", aside, "bad" if spools.put_aside else "good")),
    ]


def _share(rates: Rates) -> str:
    return percent(rates.error_share) if rates.ended else "–"


def _counted(rates: Rates) -> str:
    return _("%(failed)s of %(all)s") % {"failed": whole(rates.failed), "all": whole(rates.ended)}


def _failed(rates: Rates) -> str:
    return _("%(failed)s of %(all)s, five minutes") % {"failed": whole(rates.failed), "all": whole(rates.ended)}


def _first(rates: Rates) -> str:
    return "–" if rates.first_token is None else seconds(rates.first_token * 1000)


def number(value: float) -> str:
    """Two figures' worth."""
    return whole(round(value)) if value >= 10 or not value else decimal(round(value, 1))


def clock(at: datetime) -> str:
    """The time of day in the installation's zone."""
    return formats.time_format(at.astimezone(ZoneInfo(settings.TIME_ZONE)), "H:i:s")


def zone(at: datetime) -> str:
    """Of all times on the page."""
    return zone_in_words(at.astimezone(ZoneInfo(settings.TIME_ZONE)), settings.TIME_ZONE)


def moment(at: datetime) -> str:
    local = at.astimezone(ZoneInfo(settings.TIME_ZONE))
    return f"{formats.date_format(local, 'SHORT_DATE_FORMAT')} {formats.time_format(local, 'H:i')}"


def cells_of(rows: Sequence[Row]) -> list[Cell]:
    return [cell for row in rows for cell in row.cells.values()]
