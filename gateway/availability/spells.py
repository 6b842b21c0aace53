"""The state of each model over time, as spells without a break. The only writer of them.

Looked at by the jobs' leader, right after it has asked the engines. A spell's end moves on with each look that finds
the same; where nobody looked for minutes there is a gap, and nothing is claimed about it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from gateway.measures import FIRST_TOKEN, quantile
from gateway.models import Engine, Health, Spell
from gateway.monitor.pulse import Flow, Told, fresh
from gateway.offers import offered

PLATFORM = ""  # its place among the models
GAP = timedelta(minutes=5)  # between two looks, from which on nobody looked
KEPT = timedelta(days=91)
PATIENCE = timedelta(minutes=1)  # without a word of any web process, until the platform is down: one may just begin

FEW = 5  # calls in five minutes, below which they say nothing about the model
DOWN_FROM, SLOW_FROM = 0.5, 0.1  # the share of calls that fail
SLOW_SECONDS = 10.0  # until the first token, for half of the calls


class _Absence:
    """Since when the leader has heard of no web process."""

    since: datetime | None = None


def note_states(*, now: datetime | None = None) -> None:
    """What every model that is offered is like now, and the platform."""
    now, processes = now or timezone.now(), fresh()
    _Absence.since = None if processes else _Absence.since or now
    engines = {model: [row.engine for row in rows] for model, rows in offered().items()}
    found = states(engines, processes)
    if _Absence.since is not None and now - _Absence.since < PATIENCE:
        del found[PLATFORM]
    note(found, now=now)


def states(engines: Mapping[str, Sequence[Engine]], processes: Sequence[Told]) -> dict[str, Health]:
    """By public id. A model is down when none of its engines answers, or most calls of the last five minutes failed.

    Slow is one that fails now and then, or keeps callers waiting.
    """
    out = _out_everywhere(processes)
    flows: defaultdict[str, list[Flow]] = defaultdict(list)
    for told in processes:
        for flow in told.flows:
            flows[flow.model].append(flow)
    found = {PLATFORM: Health.WORKS if processes else Health.DOWN}
    for model, ways in engines.items():
        alive = any(not engine.problem and engine.name not in out for engine in ways)
        found[model] = _by_calls(flows[model]) if alive else Health.DOWN
    return found


@transaction.atomic
def note(found: Mapping[str, Health], *, now: datetime) -> None:
    """A model is taken to have been as it was until the look that finds it otherwise."""
    last = {spell.model: spell for spell in _last(found)}
    begun, moved = [], []
    for model, state in found.items():
        spell = last.get(model)
        if spell is not None and now - spell.ends_at <= GAP:
            moved.append(spell.pk)
            if spell.state == state:
                continue
        begun.append(Spell(model=model, state=state, begins_at=now, ends_at=now))
    Spell.objects.filter(pk__in=moved, ends_at__lt=now).update(ends_at=now)
    Spell.objects.bulk_create(begun, ignore_conflicts=True)  # of two looks in one moment, the first


def carry_spells(*, old: str, new: str) -> None:
    """A model that gets a new id stays the same model. One that has a past under that id keeps it."""
    if not Spell.objects.filter(model=new).exists():
        Spell.objects.filter(model=old).update(model=new)


def forget_old() -> None:
    Spell.objects.filter(ends_at__lt=timezone.now() - KEPT).delete()


def _out_everywhere(processes: Sequence[Told]) -> set[str]:
    """Names of engines that no process asks any more."""
    seen: defaultdict[str, list[bool]] = defaultdict(list)
    for told in processes:
        for engine in told.engines:
            seen[engine.name].append(engine.out)
    return {name for name, outs in seen.items() if all(outs)}


def _by_calls(flows: Sequence[Flow]) -> Health:
    ended, failed = sum(flow.ended for flow in flows), sum(flow.failed for flow in flows)
    if ended >= FEW:
        if failed >= DOWN_FROM * ended:
            return Health.DOWN
        if failed >= SLOW_FROM * ended:
            return Health.SLOW
    counts = [sum(column) for column in zip(*(flow.ttft for flow in flows if flow.ttft), strict=True)]
    half = quantile(FIRST_TOKEN, counts, 0.5) if sum(counts) >= FEW else None
    return Health.SLOW if half is not None and half >= SLOW_SECONDS else Health.WORKS


def _last(models: Iterable[str]) -> list[Spell]:
    newest = Spell.objects.filter(model__in=list(models)).values("model").annotate(newest=Max("begins_at"))
    wanted = {(row["model"], row["newest"]) for row in newest}
    rows = Spell.objects.filter(begins_at__in={at for _model, at in wanted})
    return [row for row in rows if (row.model, row.begins_at) in wanted]
