"""The engines and the models they serve: the only writer of both tables.

Engines are asked before a transaction begins, never inside one.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, revision
from accounts.callers import Caller
from accounts.models import User
from accounts.secrets import encrypt
from gateway.engines import CLIENTS
from gateway.engines.client import close_http
from gateway.engines.clock import Clock, Deadlines
from gateway.engines.facts import FoundModel
from gateway.errors import EngineNotAdded, GatewayError
from gateway.models import Engine, EngineType, ServedModel
from gateway.snapshot import engine_facts

LOOK = Deadlines(connect=3, first=10, between=5, total=20)  # what asking for the list of models may take


@dataclass(frozen=True, slots=True)
class Offered:
    """A model as members see it. `working`: an engine of it answered when it was last looked at."""

    public_id: str
    aliases: tuple[str, ...]
    context_length: int | None
    engine_types: tuple[str, ...]
    working: bool


@transaction.atomic
def add_engine(
    *,
    name: str,
    type: str,  # noqa: A002  the word of the model, the command and the form
    url: str,
    secret: str = "",
    machine_name: str = "",
    by: User | None = None,
    fallback: bool = False,
) -> Engine:
    """Raises EngineNotAdded. The engine is not asked anything yet: see `import_models`."""
    name, url = name.strip(), base_url(url) if type != EngineType.DEMO else ""
    if type not in EngineType.values:
        raise EngineNotAdded(f"There is no engine type {type!r}. Known are: {', '.join(EngineType.values)}.")
    if not name:
        raise EngineNotAdded(_("An engine needs a name."))
    if Engine.objects.filter(name=name).exists():
        raise EngineNotAdded(_("There is already an engine named “%(name)s”.") % {"name": name})
    engine = Engine.objects.create(
        name=name,
        type=type,
        url=url,
        secret=encrypt(secret) if secret else "",
        machine_name=machine_name.strip(),
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
        found = asyncio.run(_ask(engine))
    except GatewayError as error:
        Engine.objects.filter(pk=engine.pk).update(problem=error.message[:500])
        raise
    Engine.objects.filter(pk=engine.pk).update(seen_at=timezone.now(), problem="")
    return found


@transaction.atomic
def set_enabled(*, engine: Engine, enabled: bool, by: User | None) -> None:
    if engine.enabled == enabled:
        return
    engine.enabled = enabled
    engine.save(update_fields=["enabled"])
    audit.record("engine.enabled" if enabled else "engine.disabled", by=by, team=None, subject=engine)
    revision.bump()


@transaction.atomic
def remove_engine(*, engine: Engine, by: User | None) -> None:
    """The log keeps the engine's name; its models go with it."""
    audit.record("engine.removed", by=by, team=None, subject=engine)
    engine.delete()
    revision.bump()


def models_for(caller: Caller) -> list[Offered]:
    """The models that the caller may use, by id. The demo engine counts only while no other engine is enabled."""
    rows = ServedModel.objects.filter(enabled=True, engine__enabled=True).select_related("engine")
    by_id: dict[str, list[ServedModel]] = {}
    for row in _without_fallback(rows.order_by("public_id", "pk")):
        by_id.setdefault(row.public_id, []).append(row)
    return [_offered(name, rows) for name, rows in by_id.items() if caller.may_use(name)]


def base_url(given: str) -> str:
    """The address up to and without /v1. Raises EngineNotAdded."""
    url = given.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        readable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, half an IPv6 address
        readable = False
    if not readable or any(sign.isspace() or not sign.isprintable() for sign in url):
        raise EngineNotAdded(_("An engine's address looks like http://127.0.0.1:11434."))
    if parts.username or parts.password or parts.query or parts.fragment:
        raise EngineNotAdded(_("An engine's address has no user, password, query or fragment; give the key apart."))
    return url


@transaction.atomic
def _offer(engine: Engine, found: Iterable[FoundModel], by: User | None) -> list[ServedModel]:
    """New models are offered under the engine's own ids; of known ones the context length is brought up to date."""
    served, changed = [], False
    for model in found:
        row, made = ServedModel.objects.get_or_create(
            engine=engine,
            public_id=model.name[:200],
            defaults={"engine_model": model.name, "context_length": model.context_length},
        )
        if not made and model.context_length not in {None, row.context_length}:
            row.context_length = model.context_length
            row.save(update_fields=["context_length"])
            changed = True
        changed = changed or made
        served.append(row)
    if changed:
        audit.record("engine.models_imported", by=by, team=None, subject=engine, models=len(served))
        revision.bump()
    return served


async def _ask(engine: Engine) -> list[FoundModel]:
    try:
        return await CLIENTS[engine.type].models(engine_facts(engine), Clock(LOOK))
    finally:
        await close_http()


def _without_fallback(rows: Iterable[ServedModel]) -> list[ServedModel]:
    found = list(rows)
    if not Engine.objects.filter(enabled=True, fallback=False).exists():
        return found
    return [row for row in found if not row.engine.fallback]


def _offered(name: str, rows: Sequence[ServedModel]) -> Offered:
    lengths = [row.context_length for row in rows if row.context_length]
    return Offered(
        public_id=name,
        aliases=tuple(sorted({alias for row in rows for alias in row.aliases})),
        context_length=max(lengths, default=None),
        engine_types=tuple(sorted({str(row.engine.get_type_display()) for row in rows})),
        working=any(not row.engine.problem for row in rows),
    )
