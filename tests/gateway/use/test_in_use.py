"""Models in use: sums, shares, who, last use, what is on the way out and what nobody asks for."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.ledger.partitions import ensure_partitions
from billing.prices.pricing import Rates, add_price
from billing.records import Ended
from billing.usage.forms import UsageForm
from billing.usage.questions import Scope
from gateway.lifecycle import set_lifecycle
from gateway.models import Engine, LastUse, ServedModel
from gateway.use.captions import heading, last_said
from gateway.use.last import Last, note_last_uses
from gateway.use.reports import InUse, ModelUse, in_use
from tests.billing.traffic import PRICE, counts, ended, milliseconds, timed
from tests.factories import make_key, make_team

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 26, 14, 40, 5, tzinfo=UTC)


def at(day: int, hour: int = 12, minute: int = 0, month: int = 11) -> int:
    return milliseconds(datetime(2026, month, day, hour, minute, 30, tzinfo=UTC))


@pytest.fixture(autouse=True)
def months() -> None:
    ensure_partitions([date(2026, 10, 1), NOW.date()])


@pytest.fixture
def engine(db: None) -> Engine:
    return Engine.objects.create(name="gpu", type="openai", url="http://127.0.0.1:1")


def offer(engine: Engine, *names: str) -> list[ServedModel]:
    return [ServedModel.objects.create(engine=engine, public_id=name, engine_model=name) for name in names]


def write(*calls: Ended) -> None:
    ledger.write(list(calls))


def asked(team: Team | None, query: str = "", now: datetime = NOW) -> InUse:
    return in_use(UsageForm(QueryDict(query), scope=Scope(team), now=now).question(), now=now)


def one(report: InUse, model: str) -> ModelUse:
    return next(found for found in report.used if found.model == model)


@pytest.mark.spec("U4")
def test_each_models_sums_are_those_of_the_log(red: Team, engine: Engine) -> None:
    offer(engine, "llama", "qwen")
    write(
        ended(red.pk, counts(100, 20), model="llama", at_ms=at(20), price=PRICE),
        ended(red.pk, counts(50, 30), model="llama", at_ms=at(25), outcome="upstream_error"),
        ended(red.pk, counts(0, 0), model="llama", at_ms=at(25), outcome="stopped"),
        ended(red.pk, counts(0, 0), model="llama", at_ms=at(25)),
        ended(red.pk, counts(7, 3, "estimated"), model="qwen", at_ms=at(25)),
        ended(red.pk, counts(900, 900), model="llama", at_ms=at(1, month=10)),  # before the thirty days
    )
    report = asked(red)
    llama, qwen = report.used
    assert (llama.model, llama.requests, llama.prompt_tokens, llama.completion_tokens) == ("llama", 4, 150, 50)
    assert (llama.errors, llama.error_share, llama.priced_requests) == (1, 0.25, 1)
    assert llama.cost_of_thousand == llama.cost * 1000 == (100 * PRICE.input + 20 * PRICE.output) / 1000
    assert (qwen.tokens, qwen.estimated_tokens, qwen.cost_of_thousand) == (10, 10, None)
    assert (report.tokens, report.requests) == (210, 5)


def test_the_line_has_a_point_for_each_day_and_for_each_hour_of_a_short_period(red: Team, engine: Engine) -> None:
    write(
        ended(red.pk, counts(10, 0), model="llama", at_ms=at(25, 23)),
        ended(red.pk, counts(1, 0), model="llama", at_ms=at(26, 0)),
        ended(red.pk, counts(2, 0), model="llama", at_ms=at(26, 14)),
    )
    month, today = asked(red), asked(red, "period=today")
    assert month.used[0].line == (*[0] * 28, 10, 3)
    assert month.running == 29
    assert today.used[0].line == (1, *[0] * 13, 2, *[0] * 9)
    assert today.running == 14


def test_days_are_the_teams_own_and_those_of_utc_when_asked_for(alice: User, engine: Engine) -> None:
    team = make_team("Green", owner=alice, time_zone="Asia/Kolkata")
    write(ended(team.pk, counts(10, 0), model="llama", at_ms=at(24, 20)))  # 1:30 of the 25th in Kolkata
    assert asked(team, "period=7d").used[0].line.index(10) == 5
    assert asked(team, "period=7d&zone=UTC").used[0].line.index(10) == 4


def test_the_first_three_users_are_named_and_the_others_counted(red: Team, alice: User, engine: Engine) -> None:
    keys = [make_key(red, name=f"key {number}").key for number in range(4)]
    write(
        *(
            ended(red.pk, counts(10 * (place + 1), 0), model="llama", at_ms=at(25), key_id=key.pk, key_name=key.name)
            for place, key in enumerate(keys)
        ),
        ended(red.pk, counts(5, 0), model="llama", at_ms=at(25), member_id=alice.pk, key_id=keys[0].pk),
        ended(red.pk, counts(7, 0), model="llama", at_ms=at(25), member_id=alice.pk, origin="chat"),
    )
    (llama,) = asked(red).used
    assert [(who.kind, who.label, who.tokens) for who in llama.users] == [
        ("key", "key 3", 40),
        ("key", "key 2", 30),
        ("key", "key 1", 20),
    ]
    assert llama.others == 2
    write(ended(red.pk, counts(100, 0), model="llama", at_ms=at(25), member_id=alice.pk))
    (llama,) = asked(red).used
    first = llama.users[0]
    assert (first.kind, first.label, first.requests, first.tokens) == ("member", "Alice", 3, 112)


def test_a_removed_user_of_a_model_keeps_a_number(red: Team, engine: Engine) -> None:
    write(
        ended(red.pk, counts(5, 0), model="llama", at_ms=at(25), member_id=987654),
        ended(red.pk, counts(4, 0), model="llama", at_ms=at(25), key_id=45678),
    )
    assert [who.label for who in asked(red).used[0].users] == ["person 987654", "key 45678"]


@pytest.mark.spec("S05")
def test_a_team_sees_its_own_use_and_operators_see_every_teams(red: Team, blue: Team, engine: Engine) -> None:
    write(
        ended(red.pk, counts(10, 0), model="llama", at_ms=at(25)),
        ended(blue.pk, counts(30, 0), model="llama", at_ms=at(25)),
        ended(blue.pk, counts(5, 0), model="secret", at_ms=at(25)),
    )
    assert [(used.model, used.tokens) for used in asked(red).used] == [("llama", 10)]
    llama, _secret = asked(None).used
    assert llama.tokens == 40
    assert [(who.kind, who.label, who.tokens) for who in llama.users] == [("team", "Blue", 30), ("team", "Red", 10)]


def test_the_last_use_is_told_to_the_second_that_the_log_has(red: Team, blue: Team, engine: Engine) -> None:
    write(
        ended(red.pk, model="llama", at_ms=at(26, 9, 7)),
        ended(red.pk, model="llama", at_ms=at(26, 9, 13)),
        ended(blue.pk, model="llama", at_ms=at(26, 9, 14)),
        ended(blue.pk, model="llama", at_ms=at(22, 18)),
        ended(red.pk, model="qwen", at_ms=at(20, 23, 59)),
        ended(red.pk, model="gemma", at_ms=at(26, 9, 12)),
        ended(blue.pk, model="gemma", at_ms=at(26, 9, 11)),
        ended(red.pk, model="phi", at_ms=at(26, 14, 29)),
        ended(blue.pk, model="phi", at_ms=at(26, 14, 16)),
    )
    for name, minute in (("gemma", (9, 12)), ("phi", (14, 29))):
        last = datetime(2026, 11, 26, *minute, 30, tzinfo=UTC)
        assert one(asked(None), name).last == Last(last, exact=True), "two teams in one quarter of an hour"
    # That of an hour ago is read in one go with the others', those before are looked for.
    exact = {name: datetime(2026, 11, *when, 30, tzinfo=UTC) for name, when in {
        "red": (26, 9, 13), "all": (26, 9, 14), "qwen": (20, 23, 59),
    }.items()}  # fmt: skip
    assert one(asked(red), "llama").last == Last(exact["red"], exact=True)
    assert one(asked(None), "llama").last == Last(exact["all"], exact=True)
    assert one(asked(red), "qwen").last == one(asked(None), "qwen").last == Last(exact["qwen"], exact=True)
    assert one(asked(None, "period=today"), "llama").last == Last(exact["all"], exact=True)


def test_the_last_use_is_a_quarter_of_an_hour_where_the_log_is_gone(red: Team, engine: Engine) -> None:
    write(ended(red.pk, model="llama", at_ms=at(25, 9, 13)))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM billing_usage")
    assert asked(red).used[0].last == Last(datetime(2026, 11, 25, 9, 0, tzinfo=UTC), exact=False)


def test_the_last_days_of_models_are_kept_up_to_date(red: Team, blue: Team) -> None:
    def days() -> dict[str, date]:
        return dict(LastUse.objects.values_list("model", "day"))

    today = timezone.now()
    write(ended(red.pk, model="old", at_ms=at(3, month=10)), ended(red.pk, model="llama", at_ms=at(4, month=10)))
    note_last_uses()
    assert days() == {"old": date(2026, 10, 3), "llama": date(2026, 10, 4)}
    write(
        ended(blue.pk, model="llama", at_ms=milliseconds(today)), ended(red.pk, model="new", at_ms=milliseconds(today))
    )
    note_last_uses()
    assert days() == {"old": date(2026, 10, 3), "llama": today.date(), "new": today.date()}
    note_last_uses()
    assert days()["old"] == date(2026, 10, 3)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (Last(datetime(2026, 11, 26, 9, 13, 30, tzinfo=UTC), exact=True), "today 09:13"),
        (Last(datetime(2026, 11, 25, 9, 0, tzinfo=UTC), exact=False), "yesterday about 09:00"),
        (Last(datetime(2026, 11, 3, 9, 13, tzinfo=UTC), exact=True), "11/03/2026 09:13"),
    ],
)
def test_last_use_in_words(last: Last, said: str) -> None:
    with translation.override("en"):
        assert last_said(last, NOW, ZoneInfo("UTC")) == said


def test_models_without_a_use_are_listed_with_the_day_of_their_last(red: Team, blue: Team, engine: Engine) -> None:
    offer(engine, "llama", "old", "never", "blues")
    add_price(model="old", rates=Rates(Decimal(1), Decimal(2)), by=None)
    write(
        ended(red.pk, model="llama", at_ms=at(25)),
        ended(red.pk, model="old", at_ms=at(3, month=10)),
        ended(blue.pk, model="blues", at_ms=at(25)),
    )
    now = timezone.now()
    note_last_uses()
    assert {idle.offer.model: idle.last for idle in asked(red).idle} == {
        "old": date(2026, 10, 3),
        "never": None,
        "blues": None,
    }
    assert {idle.offer.model: idle.last for idle in asked(None).idle} == {"old": date(2026, 10, 3), "never": None}
    priced = {idle.offer.model: idle.has_price for idle in asked(red, now=max(NOW, now)).idle}
    assert (priced["old"], priced["never"]) == (True, False)


def test_a_team_is_not_told_of_models_that_it_may_not_use(red: Team, engine: Engine) -> None:
    offer(engine, "llama", "secret")
    Team.objects.filter(pk=red.pk).update(models=["llama"])
    red.refresh_from_db()
    assert [idle.offer.model for idle in asked(red).idle] == ["llama"]


def test_a_model_that_is_gone_stays_with_what_it_was_used_for(red: Team, engine: Engine) -> None:
    write(ended(red.pk, model="gone", at_ms=at(25)))
    (gone,) = asked(red).used
    assert (gone.offer, gone.requests) == (None, 1)


def test_deprecated_models_in_use_are_named_with_those_who_must_move(
    client: Client, alice: User, red: Team, blue: Team, engine: Engine
) -> None:
    old, _new = offer(engine, "llama2", "llama3")
    set_lifecycle(model=old, retires_on=date(2027, 1, 15), successor="llama3", on_status_page=True, by=alice)
    write(
        ended(red.pk, counts(1, 0), model="llama2", at_ms=milliseconds(timezone.now())),
        ended(blue.pk, counts(2, 0), model="llama2", at_ms=milliseconds(timezone.now())),
    )
    client.force_login(alice)
    page = client.get(reverse("gateway:in-use")).content.decode()
    assert "llama2 – Deprecated: offered until Jan. 15, 2027; use llama3 in its stead." in page
    assert "Still used by Blue, Red." in page


def test_the_heading_names_a_model_that_stands_out(red: Team, engine: Engine) -> None:
    with translation.override("en"):
        assert heading(asked(red)) == "No model was used"
        write(ended(red.pk, counts(30, 0), model="llama", at_ms=at(25)))
        assert heading(asked(red)) == "1 model was used"
        write(*(ended(red.pk, counts(30, 0), model=name, at_ms=at(25)) for name in ("qwen", "gemma")))
        assert heading(asked(red)) == "3 models were used"
        write(ended(red.pk, counts(60, 0), model="qwen", at_ms=at(25)))
        assert heading(asked(red)) == "3 models were used; qwen has 60% of the tokens"


def test_first_token_is_that_of_ninety_five_in_a_hundred(red: Team, engine: Engine) -> None:
    write(
        *(timed(red.pk, ttft_ms=100, duration_ms=1000, model="llama", at_ms=at(25)) for _ in range(94)),
        *(timed(red.pk, ttft_ms=8000, duration_ms=9000, model="llama", at_ms=at(25)) for _ in range(6)),
    )
    first = asked(red).used[0].first_token
    assert first is not None
    assert 6500 < first < 9600


@pytest.mark.parametrize("scope", ["team", "platform"])
def test_the_page_asks_as_often_for_three_models_as_for_one(
    client: Client, alice: User, bob: User, red: Team, blue: Team, engine: Engine, scope: str
) -> None:
    """The demo and `none` are offered and not used, so that both pages list such models."""
    url = reverse("gateway:in-use") if scope == "platform" else reverse("gateway:team-in-use", args=[red.slug])
    client.force_login(alice)
    now = milliseconds(timezone.now() - timedelta(hours=1))
    asked_for = []
    offer(engine, "none", "first", "second", "third")
    for models, teams, members in ((["first"], [red], [alice]), (["second", "third"], [red, blue], [alice, bob])):
        key = make_key(red).key
        write(
            *(
                ended(team.pk, model=model, at_ms=now, member_id=member.pk if team is red else None, key_id=key.pk)
                for model in models
                for team in teams
                for member in members
            ),
            *(ended(red.pk, model=model, at_ms=now, key_id=key.pk) for model in models),
        )
        client.get(url)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(url).status_code == 200
        asked_for.append(len(queries))
    assert asked_for[0] == asked_for[1]
    assert asked_for[0] <= 24


def test_links_carry_the_question_on(client: Client, alice: User, red: Team, engine: Engine) -> None:
    write(ended(red.pk, model="a/b c", at_ms=milliseconds(timezone.now()), member_id=alice.pk))
    client.force_login(alice)
    page = client.get(reverse("gateway:team-in-use", args=[red.slug]), {"period": "7d", "group": "key", "bad": "x"})
    usage = reverse("billing:usage", args=[red.slug])
    assert f'href="{usage}?period=7d&amp;model=a%2Fb+c"' in page.content.decode()
    assert f'href="{usage}?period=7d&amp;model=a%2Fb+c&amp;member={alice.pk}"' in page.content.decode()


def test_an_htmx_request_gets_the_part_alone(client: Client, bob: User, red: Team) -> None:
    client.force_login(bob)
    url = reverse("gateway:team-in-use", args=[red.slug])
    part = client.get(url, headers={"HX-Request": "true"})
    assert "<html" not in part.content.decode()
    assert "HX-Request" in part.headers["vary"]
    assert client.get(url).content.decode().count("<h1>") == 1
