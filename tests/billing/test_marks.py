"""A series has one mark, a hue and a pattern, wherever and whenever it is drawn."""

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.limits.windows import WINDOWS
from billing.models import Outcome, SeriesMark
from billing.usage.buckets import moments
from billing.usage.charts import Column, Values, stacked
from billing.usage.marking import CHOSEN, turn_of_refusal, turns
from billing.usage.marks import MARKS, hue_of, mark_of, next_turn, told_apart
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Group, Question, Scope
from billing.usage.sections.answers import answers
from billing.usage.sections.endings import Refusals, Refused, endings
from billing.usage.sections.endings_captions import shown_endings, shown_refusals
from tests.billing.sessions import beside, wait_until_one_waits
from tests.billing.traffic import PRICE, counts, ended, milliseconds
from tests.factories import make_key

pytestmark = pytest.mark.spec("U4")
NAMES = ["llama3.3:70b", "qwen3:32b", "gpt-oss:120b", "gemma3:27b", "phi4", "mistral", "deepseek", "nemotron"]
REASONS = [  # codes of `gateway.errors` with which a known caller is refused, without those that name a window
    "insufficient_quota", "model_not_found", "model_not_allowed", "invalid_value", "missing_required_parameter",
    "request_too_large", "unsupported_media_type", "idempotency_conflict", "idempotency_mismatch",
    "service_unavailable", "overloaded", "model_without_price", "internal_error",
]  # fmt: skip
NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 3), ZoneInfo("UTC"))


def used(team: Team, tokens: dict[str, int], **changed: object) -> None:
    ledger.write([ended(team.pk, counts(number, 0), model=name, **changed) for name, number in tokens.items()])


def legend(client: Client, place: str) -> dict[str, str]:
    """The marks of a page's chart by the names of its series."""
    response = client.get(place)
    assert response.status_code == 200
    html = response.content.decode()
    found = {
        unescape(name).strip(): mark
        for mark, name in re.findall(r'<li>(?:<a [^>]*>)?<svg class="swatch".*?url\(#q(\d+)\)"/></svg>([^<]+)<', html)
    }
    drawn = re.findall(r'<g fill="url\(#q(\d+)\)">', html)
    assert sorted(found.values()) == sorted(drawn)
    metres = re.findall(r'<rect fill="url\(#q(\d+)\)" width="[1-9]', html[html.index('id="breakdown"') :])
    assert {mark for mark in metres if mark != "8"} <= set(drawn)
    return found


def usage_of(team: Team) -> str:
    return reverse("billing:usage", args=[team.slug])


@pytest.fixture
def seen(client: Client, alice: User, red: Team) -> dict[str, str]:
    """Eight models, of which each was drawn once; alice is signed in."""
    used(red, {name: 1000 - place for place, name in enumerate(NAMES)})
    client.force_login(alice)
    first = legend(client, usage_of(red))
    assert first.pop("others") == "8"
    last = NAMES[-1]
    return first | {last: legend(client, f"{usage_of(red)}?model={last}")[last]}


def test_each_mark_has_a_pattern_of_its_own_that_is_defined_once() -> None:
    text = (Path(settings.BASE_DIR) / "templates/billing/patterns.html").read_text()
    found = re.findall(r'<pattern id="q(\d+)".*?class="p(\d)".*?/>(.*?)</pattern>', text)
    assert sorted(int(mark) for mark, _, _ in found) == sorted([*MARKS, 8])
    assert all(int(hue) == hue_of(int(mark)) for mark, hue, _ in found)
    assert len({(hue, drawn) for _, hue, drawn in found}) == len(MARKS) + 1


def test_series_without_a_chart_between_them_differ_while_there_are_marks(seen: dict[str, str]) -> None:
    assert sorted(seen) == sorted(NAMES)
    assert len(set(seen.values())) == 8
    assert len({mark[-1] for name, mark in seen.items() if name != NAMES[-1]}) == 7  # in one chart no two have a hue


def test_a_ninth_model_moves_none_of_eight(client: Client, red: Team, seen: dict[str, str]) -> None:
    used(red, {"a-ninth": 5000})
    now = legend(client, usage_of(red))
    ninth = now.pop("a-ninth")
    assert now.pop("others") == "8"
    assert now == {name: seen[name] for name in NAMES[:6]}
    assert ninth not in seen.values()
    assert legend(client, f"{usage_of(red)}?model={NAMES[6]}&model={NAMES[7]}") == {
        name: seen[name] for name in NAMES[6:]
    }


@pytest.mark.parametrize(
    "query",
    [
        "?model=phi4&model=nemotron",
        "?sort=name",
        "?metric=requests",
        "?metric=cost",
        "?compare=off",
        "?period=custom&first={before}&last={before}",
        "?period=90d&bucket=week",
        "?origin=api&period=today",
    ],
)
def test_no_question_moves_a_mark(client: Client, red: Team, seen: dict[str, str], query: str) -> None:
    at = datetime.now(UTC) - timedelta(days=40)
    used(red, {name: 10 ** (place % 4) for place, name in enumerate(NAMES)}, at_ms=milliseconds(at), price=PRICE)
    used(red, {name: 10 + place for place, name in enumerate(NAMES)}, price=PRICE)
    now = legend(client, usage_of(red) + query.format(before=at.date()))
    now.pop("others", None)
    assert now
    assert now == {name: seen[name] for name in now}


def test_whoever_looks_sees_the_same_marks(client: Client, alice: User, bob: User, red: Team) -> None:
    keys = {name: make_key(red, name=name, owner=bob).key for name in ("one", "two", "three")}
    for place, key in enumerate(keys.values()):
        used(red, {NAMES[place]: 100 - place, NAMES[3]: 1}, key_id=key.pk, member_id=bob.pk)
    client.force_login(alice)
    models, by_key = legend(client, usage_of(red)), legend(client, f"{usage_of(red)}?group=key")
    client.force_login(bob)
    assert legend(client, f"{reverse('billing:my-usage')}?group=key&key={keys['three'].pk}") == {
        "three": by_key["three"]
    }
    assert legend(client, f"{reverse('billing:key-report', args=[red.slug, keys['two'].pk])}") == {
        name: models[name] for name in (NAMES[1], NAMES[3])
    }
    member = legend(client, f"{usage_of(red)}?group=key")
    assert member == by_key


def test_the_platform_and_each_team_have_marks_of_their_own(client: Client, alice: User, red: Team, blue: Team) -> None:
    used(red, {"llama": 10, "qwen": 5})
    used(blue, {"qwen": 100})
    client.force_login(alice)
    place = reverse("billing:platform-usage")
    assert legend(client, place) == {"Blue": "1", "Red": "2"}
    assert legend(client, f"{place}?group=model") == {"qwen": "1", "llama": "2"}
    assert legend(client, usage_of(red)) == {"llama": "1", "qwen": "2"}
    used(red, {"llama": 1000})
    assert legend(client, place) == {"Red": "2", "Blue": "1"}
    assert legend(client, f"{usage_of(red)}?group=member") == {"Service keys": "1"}
    assert sorted(SeriesMark.objects.values_list("team__name", "kind", "value", "turn"), key=str) == sorted(
        [
            (None, "team", str(blue.pk), 1), (None, "team", str(red.pk), 2), (None, "model", "qwen", 1),
            (None, "model", "llama", 2), ("Red", "model", "llama", 1), ("Red", "model", "qwen", 2),
            ("Red", "member", "0", 1),
        ],
        key=str,
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_two_pages_at_once_give_one_mark_to_one_series_and_another_to_another(red: Team) -> None:
    found: list[dict[str, int]] = []
    with transaction.atomic():
        SeriesMark.objects.create(team=red, kind="model", value="llama", turn=1)
        same = beside(lambda: found.append(turns(red, Group.MODEL, ["llama", "qwen"])))
        wait_until_one_waits()
    same.join(30)
    with transaction.atomic():
        SeriesMark.objects.create(team=red, kind="model", value="phi", turn=3)
        other = beside(lambda: found.append(turns(red, Group.MODEL, ["gemma"])))
        wait_until_one_waits()
    other.join(30)
    assert found == [{"llama": 1, "qwen": 2}, {"gemma": 4}]
    assert turns(red, Group.MODEL, ["qwen", "llama", "gemma", "phi"]) == {"llama": 1, "qwen": 2, "phi": 3, "gemma": 4}


def test_more_series_than_marks_share_them_and_evade_only_where_they_meet(red: Team) -> None:
    def shown(*names: str) -> list[int]:
        given = turns(red, Group.KEY, names)
        series = [Values(name, name, (1.0,), given[name]) for name in names]
        chart = stacked([Column("", "")], series, running=None, write=lambda number, top: "", other="")
        return [stack.mark for stack in chart.stacks]

    keys = [str(number) for number in range(1, 29)]
    for place in range(0, 28, 7):
        assert len(set(shown(*keys[place : place + 7]))) == 7
    assert sorted(turns(red, Group.KEY, keys).values()) == list(range(1, 29))
    alone = {key: shown(key)[0] for key in keys}
    assert sorted({alone[key] for key in keys[:21]}) == sorted(MARKS)
    first, second = keys[0], next(key for key in keys[21:] if alone[key] == alone[keys[0]])
    third = next(key for key in keys[1:21] if alone[key] == mark_of(2))  # the mark next to the one they share
    assert shown(second, third, first) == [*shown(third, first, second)[2:], alone[third], alone[first]]
    assert len(set(shown(second, third, first))) == 3


@example(taken=set(range(1, 43)) - {22}, drawn=[1])  # 22 has the mark of 1
@given(taken=st.sets(st.integers(1, 50)), drawn=st.lists(st.integers(1, 50), max_size=6))
def test_a_newcomer_gets_what_nobody_has_and_a_hue_that_the_chart_does_not_have(
    taken: set[int], drawn: list[int]
) -> None:
    taken |= set(drawn)
    turn = next_turn(taken, drawn)
    assert turn not in taken
    marks = {mark_of(one) for one in drawn}
    assert mark_of(turn) not in marks
    free = [one for one in range(1, len(MARKS) + 1) if one not in taken and mark_of(one) not in marks]
    if free:
        assert turn in free
        hues = {hue_of(mark) for mark in marks}
        others = [one for one in free if hue_of(mark_of(one)) not in hues]
        assert turn == (others or free)[0]


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 60), max_size=8))
def test_no_two_of_a_chart_share_a_mark_and_only_those_evade_that_must(given_turns: dict[str, int]) -> None:
    found = told_apart(given_turns)
    assert len(set(found.values())) == len(given_turns)
    assert told_apart(dict(reversed(given_turns.items()))) == found
    for key, turn in given_turns.items():
        before = [one for one, other in given_turns.items() if other and mark_of(other) == mark_of(turn or 1)]
        if turn and all((turn, key) <= (given_turns[one], one) for one in before):
            assert found[key] == mark_of(turn)


def test_a_team_that_goes_takes_its_marks_along(red: Team) -> None:
    going = Team.objects.create(name="Going", slug="going")
    for team in (going, red, None):
        turns(team, Group.MODEL, ["llama"])
    going.delete()
    assert sorted(str(team) for team in SeriesMark.objects.values_list("team__name", flat=True)) == ["None", "Red"]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_only_read_is_drawn_all_the_same(client: Client, alice: User, red: Team) -> None:
    used(red, {"llama": 10, "qwen": 5})
    client.force_login(alice)
    client.get(reverse("billing:log", args=[red.slug]))  # the first visit also writes the session down
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        try:
            assert legend(client, usage_of(red)) == {"llama": "1", "qwen": "2"}
        finally:
            cursor.execute("SET default_transaction_read_only = off")
    assert not SeriesMark.objects.exists()


def test_marks_take_one_query_and_those_that_were_chosen_none(
    red: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    turns(red, Group.MODEL, NAMES[:7])
    with django_assert_num_queries(1):
        turns(red, Group.MODEL, NAMES[:7])
    with django_assert_num_queries(0):
        for group in CHOSEN:
            turns(red, group, ["ok"])


def test_every_outcome_and_reason_has_a_mark_that_no_other_has() -> None:
    outcomes = [CHOSEN[Group.OUTCOME][outcome] for outcome in [*Outcome.values, "error"]]
    assert len({mark_of(turn) for turn in outcomes}) == len(outcomes) == len(CHOSEN[Group.OUTCOME])
    reasons = [turn_of_refusal("rate_limit_exceeded", f"team:{window.name}") for window in WINDOWS]
    reasons += [turn_of_refusal(code, "") for code in REASONS]
    assert 0 not in reasons
    assert len({mark_of(turn) for turn in reasons}) == len(reasons)
    assert turn_of_refusal("a-code-of-tomorrow", "") == 0


def test_reasons_keep_their_marks_whichever_are_most(red: Team) -> None:
    question = Question(Scope(red), NOVEMBER)
    columns = [Column("", "") for _ in moments(NOVEMBER, Bucket.DAY)]

    def refused(*counted: tuple[str, str, int]) -> dict[str, int]:
        found = tuple(Refused(code, reason, (number, 0, 0), number, None) for code, reason, number in counted)
        shown = shown_refusals(Refusals(found, ()), (0, 0, 0), question, columns, None)
        assert [stack.mark for stack in shown.plot.stacks] == [line.mark for line in shown.lines]
        return {line.label: line.mark for line in shown.lines}

    limit, quota = ("rate_limit_exceeded", "key:tokens-per-minute"), ("insufficient_quota", "")
    of_team, unknown = ("rate_limit_exceeded", "team:tokens-per-minute"), ("a-code-of-tomorrow", "")
    assert refused((*limit, 9), (*quota, 3)) == refused((*quota, 8), (*limit, 2))
    many = refused((*unknown, 9), (*limit, 7), (*of_team, 5), (*quota, 3))
    assert many["the key's limit of tokens a minute"] == refused((*limit, 1))["the key's limit of tokens a minute"]
    assert many["a budget or credit that is used up"] == refused((*quota, 1))["a budget or credit that is used up"]
    assert len(set(many.values())) == 4


def test_outcomes_have_the_marks_of_the_upper_half(client: Client, alice: User, red: Team) -> None:
    wrong = ["upstream_timeout", "stopped", "drained"]
    for place, outcome in enumerate(wrong):
        ledger.write([ended(red.pk, outcome=outcome) for _ in range(place + 1)])
    client.force_login(alice)
    above = legend(client, f"{usage_of(red)}?group=outcome&metric=requests")
    begins = moments(NOVEMBER, Bucket.DAY)
    question = Question(Scope(red), NOVEMBER)
    at = milliseconds(datetime(2026, 11, 2, tzinfo=UTC))
    ledger.write([ended(red.pk, outcome=outcome, at_ms=at) for outcome in [*wrong, "upstream_timeout"]])
    ended_ = endings(question, answers(question, begins, now=NOVEMBER.end), begins, now=NOVEMBER.end)
    shown = shown_endings(ended_, question, [Column("", "")] * 3, None)
    assert {line.label: str(line.mark) for line in shown.lines} == above
