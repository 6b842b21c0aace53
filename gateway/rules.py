"""What an operator may write into the catalogue. Each of these raises CatalogueMistake, naming the field."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from gateway.errors import CatalogueMistake
from gateway.models import Engine, ServedModel

MOST = 10_000  # of an engine's weight, and of its concurrent calls
DEFAULTS = {"temperature": (0, 2), "top_p": (0, 1), "max_tokens": (1, 2**31 - 1)}  # and the range of each
FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


def base_url(given: str) -> str:
    """The address up to and without /v1."""
    url = given.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        readable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # as it will be looked up
    except ValueError:  # a port out of range, half an IPv6 address, a name that no host can have
        readable = False
    if not readable or any(sign.isspace() or not sign.isprintable() for sign in url):
        raise CatalogueMistake(_("An engine's address looks like http://127.0.0.1:11434."), param="url")
    if parts.username or parts.password or parts.query or parts.fragment:
        said = _("An engine's address has no user, password, query or fragment; give the key apart.")
        raise CatalogueMistake(said, param="url")
    return url


def engine_key(given: str) -> str:
    """As it can stand in a header, without which the engine cannot be asked."""
    key = given.strip()
    if not key.isascii() or not key.isprintable():
        raise CatalogueMistake(_("An engine's key has printable ASCII characters alone."), param="secret")
    return key


def engine_name(given: str, *, of: Engine | None = None) -> str:
    """The name, if no other engine has it."""
    name = given.strip()
    if not name:
        raise CatalogueMistake(_("An engine needs a name."), param="name")
    others = Engine.objects.exclude(pk=of.pk) if of else Engine.objects.all()
    if others.filter(name=name).exists():
        raise CatalogueMistake(_("There is already an engine named “%(name)s”.") % {"name": name}, param="name")
    return name


def check_numbers(weight: int, max_concurrent: int | None) -> None:
    if not 0 <= weight <= MOST:
        raise CatalogueMistake(_("A weight is between 0 and %(most)d.") % {"most": MOST}, param="weight")
    if max_concurrent is not None and not 1 <= max_concurrent <= MOST:
        said = _("Concurrent calls are between 1 and %(most)d.") % {"most": MOST}
        raise CatalogueMistake(said, param="max_concurrent")


def field_names(given: Iterable[str]) -> list[str]:
    names = sorted({name.strip() for name in given} - {""})
    for name in names:
        if not FIELD_NAME.fullmatch(name):
            said = _("“%(name)s” is no name of a request field.") % {"name": name[:100]}
            raise CatalogueMistake(said, param="allowed_fields")
    return names


def model_name(given: str, *, field: str) -> str:
    """An id may hold spaces, “:” and “/”, as in “Saptiva Turbo” or nvidia/llama3.3:70b."""
    name = given.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise CatalogueMistake(_("A model's name has 1 to 200 characters that can be printed."), param=field)
    return name


def check_names(model: ServedModel, public_id: str, aliases: Iterable[str], others: Iterable[ServedModel]) -> None:
    """No two models share a name, in whatever case. Rows of one public id are one model, on several engines."""
    if any(row.engine_id == model.engine_id and row.public_id == public_id for row in others):
        said = _("This engine serves another model as “%(name)s”.") % {"name": public_id}
        raise CatalogueMistake(said, param="public_id")
    apart = [row for row in others if row.public_id != public_id]
    taken = {name.casefold(): row.public_id for row in apart for name in (*row.aliases, row.public_id)}
    if public_id != model.public_id and (owner := taken.get(public_id.casefold())):
        raise CatalogueMistake(_taken(public_id, owner), param="public_id")
    for alias in aliases:
        if owner := taken.get(alias.casefold()):
            raise CatalogueMistake(_taken(alias, owner), param="aliases")


def _taken(name: str, owner: str) -> str:
    said = _("“%(name)s” is a name of the model “%(owner)s” already; upper and lower case are the same.")
    return said % {"name": name, "owner": owner}


def in_range(given: Mapping[str, float]) -> dict[str, float]:
    for name, value in given.items():
        least, most = DEFAULTS[name]
        if not least <= value <= most:
            said = _("%(name)s is between %(least)d and %(most)d.") % {"name": name, "least": least, "most": most}
            raise CatalogueMistake(said, param=name)
    return dict(given)


def without_repeats(names: Iterable[str], public_id: str) -> list[str]:
    """The names in their order, in one spelling each, and without the public id, which answers in any case."""
    kept = {public_id.casefold(): public_id}
    for name in names:
        kept.setdefault(name.casefold(), name)
    return list(kept.values())[1:]
