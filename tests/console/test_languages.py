"""The console in Spanish and French: its main pages speak the language that was chosen and write its numbers."""

import gettext
import re
import uuid
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.translation import trans_real

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.limits.tiers import add_tier, limit_key
from billing.limits.windows import Bounds
from chat.conversations import Question, start
from console.preparation import compile_messages_if_changed
from gateway.models import Engine, EngineType, ServedModel
from tests.billing.traffic import counts, ended
from tests.factories import make_key

pytestmark = [pytest.mark.django_db, pytest.mark.spec("S05")]

# The first heading, and one more thing that the page says.
PAGES = {
    "es": {
        "console:team-home": (r"(Buen[oa]s \w+|Hola), Alice", "Primeros pasos"),
        "console:new-key": ("Crear clave", "En 90\xa0días"),
        "console:quickstart": ("Inicio rápido", "Una primera llamada"),
        "accounts:keys": ("Claves", "Nunca usada"),
        "accounts:revoke-key": ("¿Revocar «robot»?", "no se puede deshacer"),
        "billing:usage": ("Consumo", "Lo que muestra la página"),
        "billing:limits": ("Límites", "5.000 tokens al día"),
        "billing:tiers": ("Niveles", "60 peticiones por minuto"),
        "gateway:models": ("Modelos", "Contexto (tokens)"),
        "gateway:engines": ("Motores", "Conectar un motor"),
        "gateway:remove-engine": ("¿Quitar GPU?", "Conservar"),
        "chat:home": ("Conversación nueva", "¿Qué quieres saber?"),
        "chat:conversation": ("Hola", "Tu pregunta"),
    },
    "fr": {
        "console:team-home": (r"Bon\w+, Alice", "Premiers pas"),
        "console:new-key": ("Créer une clé", "Dans 90\xa0jours"),
        "console:quickstart": ("Prise en main", "Un premier appel"),
        "accounts:keys": ("Clés", "Jamais utilisée"),
        "accounts:revoke-key": ("Révoquer «\xa0robot\xa0»\u202f?", "sans retour possible"),
        "billing:usage": ("Consommation", "Ce que montre la page"),
        "billing:limits": ("Limites", "5\u202f000 tokens par jour"),
        "billing:tiers": ("Paliers", "60 requêtes par minute"),
        "gateway:models": ("Modèles", "Contexte (tokens)"),
        "gateway:engines": ("Moteurs", "Connecter un moteur"),
        "gateway:remove-engine": ("Retirer GPU\u202f?", "Le garder"),
        "chat:home": ("Nouvelle conversation", "Que voulez-vous savoir\u202f?"),
        "chat:conversation": ("Hola", "Votre question"),
    },
}
DOOR = {"es": ("Entrar", "Contraseña"), "fr": ("Se connecter", "Mot de passe")}
ARGUMENTS = {
    "console:team-home": ("slug",),
    "console:new-key": ("slug",),
    "accounts:keys": ("slug",),
    "accounts:revoke-key": ("slug", "pk"),
    "billing:usage": ("slug",),
    "billing:limits": ("slug",),
    "gateway:models": ("slug",),
    "gateway:remove-engine": ("pk",),
    "chat:conversation": ("pk",),
}
THOUSANDS = {"es": "8.192", "fr": "8\u202f192"}
TOKENS = {"es": ("1.200", "1,5\xa0mil tokens"), "fr": ("1\u202f200", "1,5\xa0k tokens")}
ALL = "100\xa0%"


@pytest.fixture(autouse=True, scope="module")
def catalogues() -> None:
    """As `start` compiles them; what was read before is read again."""
    if compile_messages_if_changed():
        gettext._translations.clear()  # type: ignore[attr-defined]  # typeshed does not know it
        trans_real._translations.clear()  # type: ignore[attr-defined]  # nor do Django's stubs


@pytest.fixture
def things(red: Team, alice: User) -> dict[str, object]:
    engine = Engine.objects.create(name="GPU", type=EngineType.VLLM, problem="The engine cannot be reached.")
    ServedModel.objects.create(engine=engine, public_id="llama", engine_model="llama", context_length=8192)
    conversation = start(user=alice, team=red, question=Question("Hola", "llama", uuid.uuid4()))
    ledger.write([ended(red.pk, counts(1200, 300))])
    robot = make_key(red, owner=alice, name="robot").key
    limit_key(key=robot, bounds=Bounds(tokens_per_day=5000), by=None)
    add_tier(name="Small", bounds=Bounds(requests_per_minute=60), by=None)
    return {"accounts": robot.pk, "gateway": engine.pk, "chat": conversation.pk}


@pytest.mark.parametrize("language", PAGES)
def test_the_pages_speak_the_language_of_the_person(
    language: str, client: Client, alice: User, things: dict[str, object]
) -> None:
    alice.language = language
    alice.save()
    client.force_login(alice)
    for name, (heading, more) in PAGES[language].items():
        html = read(client, address(name, things))
        assert f'<html lang="{language}"' in html, name
        assert re.search(heading if "\\" in heading else re.escape(heading), first_heading(html)), name
        assert more in html, name
    assert THOUSANDS[language] in read(client, address("gateway:models", things))
    usage = read(client, address("billing:usage", things))
    assert all(words in usage for words in (*TOKENS[language], ALL))
    assert "The engine" not in read(client, address("gateway:engines", things))


@pytest.mark.parametrize("language", DOOR)
def test_the_door_speaks_the_language_of_the_browser(language: str, db: None) -> None:
    html = read(Client(headers={"Accept-Language": f"{language}-CA, en;q=0.5"}), reverse("account_login"))
    heading, more = DOOR[language]
    assert f'<html lang="{language}"' in html
    assert first_heading(html) == heading
    assert more in html


def address(name: str, things: dict[str, object]) -> str:
    room = name.partition(":")[0]
    known = {"slug": "red", "pk": things.get(room)}
    needed = ARGUMENTS.get(name, ())
    return reverse(name, kwargs={argument: known[argument] for argument in needed})


def read(client: Client, url: str) -> str:
    return unescape(client.get(url).content.decode())


def first_heading(html: str) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", html, re.DOTALL)
    assert found
    return found[1].strip()
