"""Whom and what the rig's database holds. Run inside a server's environment: `manage.py shell --command …`."""

import json
from collections.abc import Iterable

from django.conf import settings
from django.test import Client

from accounts.models import User
from accounts.secrets import encrypt
from billing.ledger.log import ensure_partitions
from gateway.models import Engine, ServedModel
from tests.factories import join, make_key, make_person, make_team

MODEL = "plain"  # the prompt says what the engine plays
TWIN = "twin"  # two engines serve it
ENGINE_SECRET = "sk-engine-canary-0123456789"  # no caller may ever read it
AILING = 48  # models whose engine may be put out without others suffering


def make(engine: str, second: str) -> None:
    """`engine` and `second` are two addresses of the same fault engine. Prints keys and sessions as JSON."""
    alice, bob, charlie = make_person("Alice", is_operator=True), make_person("Bob"), make_person("Charlie")
    red, blue = make_team("Red", owner=alice), make_team("Blue", owner=charlie)
    join(red, bob)
    ensure_partitions()
    _serve("first", engine, MODEL, TWIN)
    _serve("second", second, TWIN)
    for number in range(AILING):
        _serve(f"ailing {number}", engine, ailing(number))
    keys = {"red": make_key(red, name="red"), "blue": make_key(blue, name="blue")}
    told = {
        "keys": {name: issued.secret for name, issued in keys.items()},
        "sessions": dict(zip(("alice", "bob", "charlie"), sessions_of([alice, bob, charlie]), strict=True)),
    }
    print(json.dumps(told))  # noqa: T201  the rig reads it


def ailing(number: int) -> str:
    return f"ailing-{number}"


def sessions_of(people: Iterable[User]) -> list[str]:
    """A session key for each, signed in."""
    return [_session_of(person) for person in people]


def _session_of(person: User) -> str:
    browser = Client()
    browser.force_login(person)
    return browser.cookies[settings.SESSION_COOKIE_NAME].value


def _serve(name: str, url: str, *models: str) -> None:
    engine = Engine.objects.create(name=name, type="openai", url=url, secret=encrypt(ENGINE_SECRET))
    ServedModel.objects.bulk_create(
        ServedModel(engine=engine, public_id=model, engine_model=MODEL, context_length=8192) for model in models
    )
