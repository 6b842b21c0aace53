"""Asking, asking again, renaming and deleting, and what others may see of it: nothing."""

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.utils import timezone

from accounts.errors import NotAllowed
from accounts.models import Role, Team, User
from accounts.teams import remove_member
from chat.conversations import (
    QUESTION_LIMIT,
    TITLE_LENGTH,
    Question,
    ask,
    ask_again,
    delete,
    group_by_day,
    history,
    listed,
    rename,
    start,
    stop,
    title_from,
    turns,
    visible_to,
)
from chat.errors import Busy, Empty, NoModel, TooLong
from chat.models import Conversation, Generation, Message
from tests.factories import join, make_person


def question(text: str = "Why is the sky blue?", model: str = "small", client_id: uuid.UUID | None = None) -> Question:
    return Question(text, model, client_id or uuid.uuid4())


def answered(generation: Generation, text: str) -> None:
    """The generation as a run would have left it."""
    Message.objects.filter(pk=generation.message_id).update(text=text)
    Generation.objects.filter(pk=generation.pk).update(state=Generation.State.DONE, finished_at=timezone.now())


@pytest.fixture
def talk(bob: User, red: Team) -> Conversation:
    return start(user=bob, team=red, question=question())


def live(conversation: Conversation) -> Generation:
    return Generation.objects.get(conversation=conversation, state__in=Generation.LIVE)


def test_a_first_question_makes_message_answer_and_generation(bob: User, red: Team) -> None:
    talk = start(user=bob, team=red, question=question("Why is the sky blue?\nShortly."))
    [turn] = turns(talk.pk)
    assert (turn.question.text, turn.answer.text if turn.answer else None) == ("Why is the sky blue?\nShortly.", "")
    assert live(talk).state == Generation.State.PENDING
    assert talk.team == red
    assert visible_to(bob).get().title == "Why is the sky blue?"


@pytest.mark.spec("F33", "R18")
def test_sending_a_first_question_twice_starts_one_conversation(bob: User, red: Team) -> None:
    asked = question()
    assert start(user=bob, team=red, question=asked) == start(user=bob, team=red, question=asked)
    assert Message.objects.count() == 2


@pytest.mark.spec("F33", "R18")
def test_sending_twice_asks_once(bob: User, talk: Conversation) -> None:
    answered(live(talk), "Because.")
    asked = question("And at night?")
    first = ask(user=bob, conversation=talk, question=asked)
    assert ask(user=bob, conversation=talk, question=asked) == first
    answered(first, "Dark.")
    assert ask(user=bob, conversation=talk, question=asked) == first, "also when it has been answered"
    assert Generation.objects.count() == 2


@pytest.mark.spec("R18", "F35")
@pytest.mark.django_db(transaction=True)
def test_the_same_question_from_two_tabs_at_once_asks_once(bob: User, red: Team) -> None:
    talk = start(user=bob, team=red, question=question())
    answered(live(talk), "Because.")
    asked = question("And at night?")

    def send() -> uuid.UUID:
        try:
            return ask(user=bob, conversation=talk, question=asked).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert len({sent.result() for sent in [threads.submit(send) for _ in range(8)]}) == 1


@pytest.mark.spec("F35")
def test_another_question_while_one_is_answered_is_busy(bob: User, talk: Conversation) -> None:
    with pytest.raises(Busy):
        ask(user=bob, conversation=talk, question=question("And?"))
    with pytest.raises(Busy):
        ask_again(user=bob, conversation=talk)
    assert Message.objects.count() == 2


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (question("  \n "), Empty),
        (question("x" * (QUESTION_LIMIT + 1)), TooLong),
        (question(model=""), NoModel),
    ],
)
def test_a_question_that_cannot_be_asked_leaves_nothing(
    bob: User, red: Team, wrong: Question, error: type[Exception]
) -> None:
    with pytest.raises(error):
        start(user=bob, team=red, question=wrong)
    assert Conversation.objects.count() == 0


@pytest.mark.spec("S16")
def test_a_nul_in_a_question_does_no_harm(bob: User, red: Team) -> None:
    talk = start(user=bob, team=red, question=question("a\x00b"))
    assert turns(talk.pk)[0].question.text == "a\ufffdb"


def test_another_answer_stands_beside_the_first(bob: User, talk: Conversation) -> None:
    answered(live(talk), "Because.")
    generation = ask_again(user=bob, conversation=talk)
    [turn] = turns(talk.pk)
    assert turn.versions == 2
    assert turn.answer is not None
    assert turn.answer.pk == generation.message_id
    assert history(generation) == [{"role": "user", "content": "Why is the sky blue?"}], "without the first answer"


def test_the_model_is_given_the_thread_without_empty_answers(bob: User, talk: Conversation) -> None:
    answered(live(talk), "")
    answered(ask_again(user=bob, conversation=talk), "Because.")
    generation = ask(user=bob, conversation=talk, question=question("And at night?"))
    assert history(generation) == [
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "And at night?"},
    ]


@pytest.mark.spec("S05")
def test_nobody_else_sees_asks_stops_renames_or_deletes(
    alice: User, charlie: User, blue: Team, red: Team, talk: Conversation
) -> None:
    for other in (alice, charlie):
        assert list(visible_to(other)) == []
        stop(user=other, conversation=talk)
        rename(user=other, conversation=talk, title="Mine")
        delete(user=other, conversation=talk)
        with pytest.raises(NotAllowed):
            ask_again(user=other, conversation=talk)
    talk.refresh_from_db()
    assert talk.title == "Why is the sky blue?"
    assert live(talk).stop_requested_at is None


def test_a_viewer_may_not_chat(red: Team) -> None:
    victor = make_person("Victor")
    join(red, victor, Role.VIEWER)
    with pytest.raises(NotAllowed):
        start(user=victor, team=red, question=question())


def test_leaving_the_team_hides_conversations_and_coming_back_shows_them(
    alice: User, bob: User, red: Team, talk: Conversation
) -> None:
    remove_member(team=red, user=bob, by=alice)
    assert list(visible_to(bob)) == []
    join(red, bob)
    assert list(visible_to(bob)) == [talk]


def test_deleting_deletes(bob: User, talk: Conversation) -> None:
    delete(user=bob, conversation=talk)
    assert (Conversation.objects.count(), Message.objects.count(), Generation.objects.count()) == (0, 0, 0)


def test_renaming_keeps_a_name_on_one_line(bob: User, talk: Conversation) -> None:
    rename(user=bob, conversation=talk, title="  The \n sky ")
    rename(user=bob, conversation=talk, title="   ")
    talk.refresh_from_db()
    assert talk.title == "The sky"


def test_a_long_first_line_is_cut_between_words() -> None:
    title = title_from("word " * 40)
    assert len(title) <= TITLE_LENGTH
    assert title.endswith("word…")
    assert len(title_from("x" * 500)) == TITLE_LENGTH


def test_the_list_groups_by_day() -> None:
    today = dt.date(2026, 11, 23)
    rows = [
        Conversation(title=title, updated_at=dt.datetime(2026, 11, day, 12, tzinfo=dt.UTC))
        for title, day in [("a", 23), ("b", 22), ("c", 17), ("d", 16)]
    ]
    groups = [(name, [row.title for row in found]) for name, found in group_by_day(rows, today=today)]
    assert groups == [("today", ["a"]), ("yesterday", ["b"]), ("week", ["c"]), ("earlier", ["d"])]


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_takes_one_query(bob: User, red: Team, count: int, django_assert_num_queries: object) -> None:
    for _ in range(count):
        start(user=bob, team=red, question=question())
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert [(row.title, bool(row.live)) for row in listed(bob)] == [("Why is the sky blue?", True)] * count  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [1, 3])
def test_the_thread_takes_one_query(
    bob: User, talk: Conversation, count: int, django_assert_num_queries: object
) -> None:
    for _ in range(count - 1):
        answered(live(talk), "So.")
        ask(user=bob, conversation=talk, question=question("And?"))
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert len(turns(talk.pk)) == count
