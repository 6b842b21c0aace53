"""The chat's pages over plain HTTP: what they show to whom, and that they work without a socket."""

import uuid

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Team, User
from chat.conversations import Question, start
from chat.models import Conversation, Generation, Message
from gateway.catalogue import change_model
from gateway.models import ServedModel
from tests.chat.conftest import serve_model
from tests.engines.faultd import FaultEngine


@pytest.fixture
def talk(bob: User, red: Team) -> Conversation:
    return start(user=bob, team=red, question=Question("Why is the sky blue?", "small", uuid.uuid4()))


def finish(conversation: Conversation, text: str) -> Message:
    Generation.objects.filter(conversation=conversation).update(state="done")
    Message.objects.filter(conversation=conversation, author="assistant").update(text=text)
    return Message.objects.get(conversation=conversation, author="assistant")


def test_a_first_question_by_form_leads_to_its_conversation(
    client: Client, bob: User, red: Team, engine: FaultEngine
) -> None:
    serve_model(engine, "fault:ok")
    client.force_login(bob)
    assert b'value="small" checked' in client.get("/chat/").content
    sent = {"text": "Why\x00?", "model": "small", "client_id": str(uuid.uuid4())}
    response = client.post("/chat/", sent)
    assert response["location"] == client.post("/chat/", sent)["location"], "sent twice, asked once"
    found = Conversation.objects.get()
    assert response["location"] == reverse("chat:conversation", args=[found.pk])
    assert (found.title, found.team) == ("Why\ufffd?", red)
    assert b'http-equiv="refresh"' in client.get(response["location"]).content


def test_an_empty_question_is_answered_in_words(client: Client, bob: User, engine: FaultEngine) -> None:
    serve_model(engine, "fault:ok")
    client.force_login(bob)
    response = client.post("/chat/", {"text": "  ", "model": "small"})
    assert response.status_code == 422
    assert b"Write a question first." in response.content


def test_a_question_while_one_is_answered_keeps_the_text(client: Client, bob: User, talk: Conversation) -> None:
    client.force_login(bob)
    response = client.post(f"/chat/{talk.pk}/", {"text": "And then?", "model": "small"})
    assert response.status_code == 422
    assert b"An answer is being written" in response.content
    assert b"And then?</textarea>" in response.content


@pytest.mark.spec("S05")
@pytest.mark.parametrize("name", ["conversation", "stop", "again", "rename", "delete", "source"])
def test_others_find_no_such_conversation(
    client: Client, alice: User, charlie: User, blue: Team, talk: Conversation, name: str
) -> None:
    answer = finish(talk, "Because.")
    url = reverse(f"chat:{name}", args=[talk.pk, answer.pk] if name == "source" else [talk.pk])
    for other in (alice, charlie):
        client.force_login(other)
        response = client.get(url) if name in {"conversation", "source"} else client.post(url, {"title": "x"})
        assert response.status_code == 404
    talk.refresh_from_db()
    assert talk.title == "Why is the sky blue?"


@pytest.mark.parametrize("name", ["stop", "again", "rename", "delete"])
def test_nothing_changes_by_get(client: Client, bob: User, talk: Conversation, name: str) -> None:
    client.force_login(bob)
    assert client.get(reverse(f"chat:{name}", args=[talk.pk])).status_code == 405


def test_the_source_is_the_answer_as_it_was_written(client: Client, bob: User, talk: Conversation) -> None:
    text = "**bold** <b>\n\n```\ncode\n```"
    answer = finish(talk, text)
    client.force_login(bob)
    response = client.get(reverse("chat:source", args=[talk.pk, answer.pk]))
    assert response["content-type"] == "text/plain; charset=utf-8"
    assert response.content.decode() == text


def test_rename_and_delete(client: Client, bob: User, talk: Conversation) -> None:
    client.force_login(bob)
    client.post(reverse("chat:rename", args=[talk.pk]), {"title": "The sky"})
    assert b"The sky" in client.get("/chat/").content
    assert client.post(reverse("chat:delete", args=[talk.pk]))["location"] == "/chat/"
    assert Conversation.objects.count() == 0


def test_a_conversation_goes_on_with_its_model_under_a_new_id(
    client: Client, bob: User, talk: Conversation, engine: FaultEngine
) -> None:
    serve_model(engine, "plain", name="small")
    served = ServedModel.objects.get()
    ServedModel.objects.create(engine=served.engine, public_id="another", engine_model="another")
    client.force_login(bob)
    change_model(model=served, public_id="renamed", aliases=[], enabled=True, defaults={}, keep_old=True, by=None)

    assert client.get(reverse("chat:conversation", args=[talk.pk])).context["chosen"] == "renamed"
