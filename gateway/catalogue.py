"""The engines and the models they serve: the only writer of both tables, with `gateway.lifecycle` for the models.

Engines are asked before a transaction begins, never inside one.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import chain, count
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import audit, revision
from accounts.callers import Caller
from accounts.models import User
from accounts.secrets import encrypt
from accounts.teams import rename_model
from billing.prices.pricing import carry_prices
from gateway.availability.spells import carry_spells
from gateway.engines import CLIENTS
from gateway.engines.client import close_http
from gateway.engines.clock import Clock, Deadlines
from gateway.engines.facts import FoundModel
from gateway.errors import CatalogueMistake, GatewayError
from gateway.models import Engine, EngineType, ServedModel
from gateway.offers import offered
from gateway.rules import (
    DEFAULTS,
    base_url,
    check_names,
    check_numbers,
    engine_key,
    engine_name,
    field_names,
    in_range,
    model_name,
    without_repeats,
)
from gateway.snapshot import engine_facts

LONGEST_NAME = 300  # characters of an engine's id of a model
LOOK = Deadlines(connect=3, first=10, between=5, total=20)  # what asking for the list of models may take


@dataclass(frozen=True, slots=True)
class Offered:
    """A model as members see it. `working`: an engine of it answered when it was last looked at.

    `defaults` are what a request that is silent on them gets, as words such as ("temperature", "0.7"). `retires_on`
    set: it is deprecated.
    """

    public_id: str
    aliases: tuple[str, ...]
    context_length: int | None
    defaults: tuple[tuple[str, str], ...]
    engine_types: tuple[str, ...]
    working: bool
    retires_on: date | None = None
    successor: str = ""


@transaction.atomic
def add_engine(
    *,
    name: str,
    type: str,  # noqa: A002  the word of the model, the command and the form
    url: str,
    secret: str = "",
    machine_name: str = "",
    weight: int = 1,
    max_concurrent: int | None = None,
    by: User | None = None,
    fallback: bool = False,
) -> Engine:
    """Raises CatalogueMistake. The engine is not asked anything yet: see `import_models`."""
    if type not in EngineType.values:
        raise CatalogueMistake(f"There is no engine type {type!r}. Known are: {', '.join(EngineType.values)}.")
    check_numbers(weight, max_concurrent)
    engine = Engine.objects.create(
        name=engine_name(name),
        type=type,
        url=base_url(url) if type != EngineType.DEMO else "",
        secret=encrypt(engine_key(secret)) if secret else "",
        machine_name=machine_name.strip(),
        weight=weight,
        max_concurrent=max_concurrent,
        fallback=fallback,
    )
    audit.record("engine.added", by=by, team=None, subject=engine, type=type)
    revision.bump()
    return engine


def import_models(*, engine: Engine, by: User | None = None, only: Sequence[str] = ()) -> list[ServedModel]:
    """Asks the engine what it serves and offers that; `only` names models to offer, listed by the engine or not.

    Raises GatewayError when the engine cannot be asked, which is then noted on it.
    """
    listed = {model.name: model for model in look(engine)}
    found = [listed.get(name, FoundModel(name)) for name in only] or list(listed.values())
    return _offer(engine, found, by)


def look(engine: Engine) -> list[FoundModel]:
    """What the engine says it serves now; notes when it was seen, or its problem. Raises GatewayError."""
    try:
        listed, version = asyncio.run(_ask(engine))
    except GatewayError as error:
        Engine.objects.filter(pk=engine.pk).update(problem=error.message[:500])
        raise
    Engine.objects.filter(pk=engine.pk).update(seen_at=timezone.now(), problem="", version=version)
    return [_storable(model) for model in listed if _has_a_name(model)]


@transaction.atomic
def set_enabled(*, engine: Engine, enabled: bool, by: User | None) -> None:
    if engine.enabled == enabled:
        return
    engine.enabled = enabled
    engine.save(update_fields=["enabled"])
    audit.record("engine.enabled" if enabled else "engine.disabled", by=by, team=None, subject=engine)
    revision.bump()


@transaction.atomic
def change_engine(
    *,
    engine: Engine,
    name: str,
    url: str,
    machine_name: str,
    weight: int,
    max_concurrent: int | None,
    allowed_fields: Sequence[str] | None,
    secret: str | None = None,
    by: User | None,
) -> set[str]:
    """The names of what changed. Raises CatalogueMistake.

    `secret` None keeps the engine's key, "" removes it. `allowed_fields` None: any request field that is not denied
    reaches the engine; else the documented ones and these. At a new address, or with a new key, what the last look
    met is forgotten.
    """
    engine = Engine.objects.select_for_update(no_key=True).get(pk=engine.pk)
    check_numbers(weight, max_concurrent)
    wanted = {
        "name": engine_name(name, of=engine),
        "url": base_url(url) if engine.type != EngineType.DEMO else "",
        "machine_name": machine_name.strip(),
        "weight": weight,
        "max_concurrent": max_concurrent,
        "allowed_fields": None if allowed_fields is None else field_names(allowed_fields),
    }
    told = _apply(engine, wanted)
    if secret or (secret == "" and engine.secret):
        engine.secret = encrypt(engine_key(secret)) if secret else ""
        told["secret"] = "replaced" if secret else "removed"
    if not told:
        return set()
    if told.keys() & {"url", "secret"}:
        engine.seen_at, engine.problem = None, ""
    engine.save(update_fields=[*wanted, "secret", "seen_at", "problem"])
    audit.record("engine.changed", by=by, team=None, subject=engine, **told)
    revision.bump()
    return set(told)


@transaction.atomic
def change_model(
    *,
    model: ServedModel,
    public_id: str,
    aliases: Sequence[str],
    enabled: bool,
    defaults: Mapping[str, float],
    default_reserve: int | None = None,
    keep_old: bool = False,
    by: User | None,
) -> None:
    """`keep_old` keeps a former id as an alias. `defaults` names those that are given alone. A `default_reserve` of
    None stays as it is. Raises CatalogueMistake.

    A new id is the same model: teams and keys that were limited to the old one may use it, and it costs the same.
    Not so while another engine serves the old id: that id goes on, with the rights and the price it had, and the new
    one would be a right that nobody has given. Once the last engine is renamed, the rights follow.
    """
    rows = {row.pk: row for row in ServedModel.objects.select_for_update().order_by("pk")}  # to check names alone
    model, others = rows.pop(model.pk), list(rows.values())
    old, public_id = model.public_id, model_name(public_id, field="public_id")
    lives_on = any(row.public_id == old for row in others)
    names = [model_name(name, field="aliases") for name in aliases if name.strip()]
    if keep_old and not lives_on:
        names.append(old)
    names = without_repeats(names, public_id)
    check_names(model, public_id, names, others)
    wanted = {
        "public_id": public_id,
        "aliases": names,
        "enabled": enabled,
        "defaults": in_range(defaults),
        "default_reserve": model.default_reserve if default_reserve is None else default_reserve,
    }
    told = _apply(model, wanted)
    if not told:
        return
    model.save(update_fields=list(wanted))
    audit.record("model.changed", by=by, team=None, subject=model, engine=model.engine.name, **told)
    if old != public_id:
        carry_prices(old=old, new=public_id)
        if not lives_on:
            rename_model(old=old, new=public_id, by=by)
            carry_spells(old=old, new=public_id)
            ServedModel.objects.filter(successor=old).update(successor=public_id)
    revision.bump()


@transaction.atomic
def remove_engine(*, engine: Engine, by: User | None) -> None:
    """The log keeps the engine's name; its models go with it."""
    audit.record("engine.removed", by=by, team=None, subject=engine)
    engine.delete()
    revision.bump()


def models_for(caller: Caller) -> list[Offered]:
    """The models that the caller may use, by id."""
    return [_offered(name, rows) for name, rows in offered().items() if caller.may_use(name)]


@transaction.atomic
def _offer(engine: Engine, found: Iterable[FoundModel], by: User | None) -> list[ServedModel]:
    """New models are offered under the engine's own ids; of known ones the context length is brought up to date.

    Known is what has the engine's id, under whatever public id it is offered by now.
    """
    engine = Engine.objects.select_for_update(no_key=True).get(pk=engine.pk)  # of two at once, both would add
    known: dict[str, list[ServedModel]] = {}
    for row in engine.models.order_by("pk"):
        known.setdefault(row.engine_model, []).append(row)
    served, changed = [], False
    for model in found:
        if model.name not in known:
            row = ServedModel.objects.create(
                engine=engine,
                public_id=_free_id(engine, model.name),
                engine_model=model.name,
                context_length=model.context_length,
            )
            known[model.name], changed = [row], True
        for row in known[model.name]:
            if model.context_length not in {None, row.context_length}:
                row.context_length, changed = model.context_length, True
                row.save(update_fields=["context_length"])
            served.append(row)
    if changed:
        audit.record("engine.models_imported", by=by, team=None, subject=engine, models=len(served))
        revision.bump()
    return served


def _free_id(engine: Engine, name: str) -> str:
    """The engine's id for a new model, with the engine's name behind it if that id is taken.

    Taken is what this engine serves already, and an alias of any model: programs that call it must not get another
    model because an engine was connected. An operator can give it a better name.
    """
    own = set(engine.models.values_list("public_id", flat=True))
    lists = ServedModel.objects.exclude(aliases=[]).values_list("aliases", flat=True)
    aliases = {alias.casefold() for names in lists for alias in names}
    longer = f"{name[:90]} ({engine.name})"
    wishes = chain([name[:200], longer], (f"{longer} {number}" for number in count(2)))
    return next(wish for wish in wishes if wish not in own and wish.casefold() not in aliases)


def _apply(row: Engine | ServedModel, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Sets the fields; what changed, in words for the audit."""
    told = {}
    for field, value in wanted.items():
        before = getattr(row, field)
        if before != value:
            setattr(row, field, value)
            told[field] = f"{_in_words(before)} → {_in_words(value)}"
    return told


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        value = [f"{name}={value[name]}" for name in sorted(value)]
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else str(value)


async def _ask(engine: Engine) -> tuple[list[FoundModel], str]:
    """Its models and its version, which no engine has to tell."""
    client, facts = CLIENTS[engine.type], engine_facts(engine)
    try:
        listed, version = await client.models(facts, Clock(LOOK)), ""
        with suppress(GatewayError):
            version = await client.version(facts, Clock(LOOK))
        return listed, version
    finally:
        await close_http()


def _has_a_name(model: FoundModel) -> bool:
    return len(model.name) <= LONGEST_NAME and model.name.isprintable()


def _storable(model: FoundModel) -> FoundModel:
    length = model.context_length
    return model if length is None or 0 < length < 2**31 else FoundModel(model.name)


def _offered(name: str, rows: Sequence[ServedModel]) -> Offered:
    lengths = [row.context_length for row in rows if row.context_length]
    return Offered(
        public_id=name,
        aliases=tuple(sorted({alias for row in rows for alias in row.aliases})),
        context_length=max(lengths, default=None),
        defaults=tuple((word, said) for word in DEFAULTS if (said := _said_by(rows, word))),
        engine_types=tuple(sorted({str(row.engine.get_type_display()) for row in rows})),
        working=any(not row.engine.problem for row in rows),
        retires_on=min((row.retires_on for row in rows if row.retires_on), default=None),
        successor=next((row.successor for row in rows if row.successor), ""),
    )


def _said_by(rows: Iterable[ServedModel], word: str) -> str:
    """A default in words; several where the model's engines have been given different ones, "" where none has one."""
    values = list(dict.fromkeys(str(row.defaults.get(word, "–")) for row in rows))
    return "" if values == ["–"] else " / ".join(values)
