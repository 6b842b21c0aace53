"""The log of a team, page by page: every row once, in both directions, under every filter, and nobody else's."""

import random
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from accounts.models import Role, Team, User
from accounts.teams import remove_member
from billing.ledger import log as ledger
from billing.ledger import refusals
from billing.ledger.adjustments import adjust
from billing.ledger.months import close_month
from billing.log import captions as log_captions
from billing.log.files import records
from billing.log.rows import PAGE, Entry, Page, Place, Window, read_page
from billing.models import Outcome, UsageRecord
from billing.usage.periods import Period
from billing.usage.questions import Filters, Question, Scope
from tests.billing.traffic import PRICE, a_refusal, counts, ended, milliseconds, random_traffic
from tests.factories import join, make_key, make_person

PARIS = ZoneInfo("Europe/Paris")
AUTUMN = Period(date(2026, 10, 20), date(2026, 11, 20), PARIS)


@pytest.fixture
def paris(red: Team) -> Team:
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    red.refresh_from_db()
    return red


@dataclass(frozen=True)
class Lived:
    """A team's month: requests in time, late ones, and corrections of both."""

    team: Team
    members: list[int]
    keys: list[int]

    def question(self, filters: Filters = Filters(), **scope: int) -> Question:  # noqa: B008  it is frozen
        return Question(Scope(self.team, **scope), AUTUMN, filters=filters)


@pytest.fixture(params=range(3))
def lived(request: pytest.FixtureRequest, paris: Team, blue: Team, alice: User, bob: User) -> Lived:
    chance = random.Random(request.param)
    keys = [make_key(paris).key.pk for _ in range(3)]

    def traffic(team: Team, number: int, first: date, last: date) -> None:
        made = random_traffic(
            team.pk, number, begin=Period(first, last, PARIS).begin, end=Period(first, last, PARIS).end,
            chance=chance, keys=keys,
        )  # fmt: skip
        ledger.write(
            [one._replace(start=one.start._replace(member_id=chance.choice([None, alice.pk, bob.pk]))) for one in made]
        )

    traffic(paris, 130, date(2026, 10, 15), date(2026, 11, 24))
    traffic(blue, 40, date(2026, 10, 15), date(2026, 11, 24))
    close_month(team=paris, month=date(2026, 10, 1), by=alice)
    traffic(paris, 40, date(2026, 9, 20), date(2026, 10, 31))
    made_now = [ended(paris.pk, counts(100, 20), price=PRICE, key_id=keys[0]) for _ in range(2)]
    ledger.write(made_now)
    for one in made_now:
        adjust(request_id=one.start.id, prompt_tokens=chance.randrange(100), reason="half", by=alice)
    return Lived(paris, [alice.pk, bob.pk], keys)


def walk(question: Question) -> list[Entry]:
    """All pages from the newest to the oldest; each page is the one that its neighbour leads back to."""
    found: list[Entry] = []
    page = read_page(question)
    assert page.newer is None
    while True:
        found += page.rows
        if page.older is None:
            return found
        following = read_page(question, Window(page.older))
        assert following.newer is not None
        back = read_page(question, Window(following.newer, newer=True))
        assert back.rows == page.rows
        assert (back.newer, back.older) == (page.newer, page.older)
        page = following


def asked(rows: Iterator[UsageRecord], question: Question) -> list[uuid.UUID]:
    """The same by hand, oldest first."""
    filters, scope, period = question.filters, question.scope, question.period
    return [
        row.id
        for row in rows
        if period.begin <= row.booked_at < period.end
        and (not filters.models or row.model in filters.models)
        and (not filters.keys or (row.key_id or 0) in filters.keys)
        and (not filters.members or (row.member_id or 0) in filters.members)
        and (not filters.origins or row.origin in filters.origins)
        and (not filters.outcomes or row.outcome in filters.outcomes)
        and (scope.member_id is None or row.member_id == scope.member_id)
        and (scope.key_id is None or row.key_id == scope.key_id)
    ]


@pytest.mark.spec("U3", "F37")
def test_every_row_is_on_one_page_and_in_each_file_under_every_filter(lived: Lived) -> None:
    alice, bob = lived.members
    questions = [
        lived.question(),
        lived.question(Filters(models=("llama",))),
        lived.question(Filters(models=("llama", "qwen"), origins=("chat",))),
        lived.question(Filters(keys=(0,))),
        lived.question(Filters(keys=(0, lived.keys[1]))),
        lived.question(Filters(members=(0, bob))),
        lived.question(Filters(outcomes=(Outcome.UPSTREAM_ERROR, Outcome.INTERRUPTED))),
        lived.question(Filters(models=("none such",))),
        lived.question(member_id=alice),
        lived.question(Filters(outcomes=(Outcome.OK,)), key_id=lived.keys[0]),
    ]
    everything = list(UsageRecord.objects.filter(team=lived.team).order_by("at", "id"))
    assert len(asked(iter(everything), questions[0])) > 2 * PAGE
    for question in questions:
        wanted = asked(iter(everything), question)
        assert [row.id for row in reversed(walk(question))] == wanted
        assert [uuid.UUID(row["request_id"]) for row in records(question)] == wanted


def test_a_page_in_the_middle_is_what_lies_on_both_sides_of_a_place(lived: Lived) -> None:
    whole = walk(lived.question())
    middle = whole[70].place
    assert read_page(lived.question(), Window(middle)).rows == tuple(whole[71 : 71 + PAGE])
    assert read_page(lived.question(), Window(middle, newer=True)).rows == tuple(whole[70 - PAGE : 70])
    assert read_page(lived.question(), Window(whole[0].place, newer=True)) == Page((), None, whole[0].place)
    assert read_page(lived.question(), Window(whole[-1].place)) == Page((), None, None)


def test_a_place_is_read_as_it_was_written_and_nothing_else_is_one() -> None:
    place = Place(datetime(2026, 11, 26, 1, 2, 3, 456789, tzinfo=UTC), uuid.uuid4())
    assert Place.read(str(place)) == place
    for wrong in ("", "1", f"1-{place.id}", f"-1-{place.id.hex}", f"{10**17}0-{place.id.hex}", f"٣-{place.id.hex}"):
        assert Place.read(wrong) is None, wrong


def shown(client: Client, team: Team, query: str = "", **headers: str) -> str:
    response = client.get(reverse("billing:log", args=[team.slug]) + query, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def links(html: str, rel: str) -> list[str]:
    return [address.replace("&amp;", "&") for address in re.findall(rf'href="([^"]+)" rel="{rel}"', html)]


def times(html: str) -> list[str]:
    return re.findall(r'<time[^>]* datetime="([^"]+)"', html)


@pytest.fixture
def sixty(red: Team) -> list[str]:
    """So many that there are two pages; by their minutes, newest first."""
    now = timezone.now().replace(microsecond=0)
    moments = [now - timedelta(minutes=minute) for minute in range(60)]
    ledger.write([ended(red.pk, at_ms=milliseconds(moment), model="llama") for moment in moments])
    return [moment.isoformat() for moment in moments]


def test_the_links_of_the_page_lead_to_the_older_rows_and_back(
    client: Client, alice: User, red: Team, sixty: list[str]
) -> None:
    client.force_login(alice)
    first = shown(client, red, "?period=7d&model=llama")
    assert times(first) == sixty[:PAGE]
    assert links(first, "prev") == []
    (older,) = links(first, "next")
    second = shown(client, red, older)
    assert times(second) == sixty[PAGE:]
    assert links(second, "next") == []
    (newer,) = links(second, "prev")
    assert times(shown(client, red, newer)) == sixty[:PAGE]
    assert times(shown(client, red, f"{older}&before=nonsense")) == sixty[:PAGE]


def test_older_rows_are_added_to_the_table_without_its_frame(
    client: Client, alice: User, red: Team, sixty: list[str]
) -> None:
    client.force_login(alice)
    (older,) = links(shown(client, red), "next")
    part = shown(client, red, older, **{"HX-Request": "true", "HX-Target": "older"})
    assert part.strip().startswith("<tbody>")
    assert times(part) == sixty[PAGE:]
    whole = shown(client, red, older, **{"HX-Request": "true", "HX-Target": "log"})
    assert whole.strip().startswith("<header")


def test_a_row_says_who_asked_what_and_what_came_of_it(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    ledger.write([
        ended(red.pk, counts(1234, 56, "estimated"), model="<i>llama", key_id=1, key_name="ci", member_name="Ann",
              price=PRICE, outcome="upstream_error"),
    ])  # fmt: skip
    page = plain(shown(client, red))
    assert "&lt;i&gt;llama ci Ann 1,234 estimated 56 estimated 12 ms 340 ms €0.001335 engine error 200" in page


def test_late_requests_and_corrections_say_so(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    begin = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    month = (begin - timedelta(days=1)).date()
    ledger.write([ended(red.pk)])
    close_month(team=red, month=month, by=alice)
    now = ended(red.pk, counts(1000, 200), price=PRICE)
    ledger.write([ended(red.pk, at_ms=milliseconds(begin - timedelta(hours=3))), now])
    adjust(request_id=now.start.id, prompt_tokens=900, reason="the bill", by=alice)
    page = shown(client, red, "?period=month")
    assert "came late, booked on" in page
    assert "the bill" in plain(page)
    assert "-100 0" in plain(page)
    assert page.count(reverse("billing:log-request", args=[red.slug, now.start.id])) == 2


@pytest.mark.spec("S05", "U4")
def test_members_see_their_own_rows_and_viewers_the_teams(
    client: Client, alice: User, bob: User, charlie: User, red: Team, blue: Team
) -> None:
    vera = make_person("Vera")
    join(red, vera, Role.VIEWER)
    own, others = ended(red.pk, model="bobs", member_id=bob.pk), ended(red.pk, model="alices", member_id=alice.pk)
    service = ended(red.pk, model="service")
    ledger.write([own, others, service, ended(blue.pk, model="blues-secret")])
    refusals.write([a_refusal(red.pk, model="bobs-refused", member_id=bob.pk), a_refusal(red.pk, model="not-bobs")])
    models = ("bobs", "alices", "service", "blues-secret", "bobs-refused", "not-bobs")

    def seen(person: User, query: str = "") -> set[str]:
        client.force_login(person)
        return {model for model in models if f'data-l="Model">{model}<' in shown(client, red, query)}

    assert (seen(bob), seen(bob, "?show=refused")) == ({"bobs"}, {"bobs-refused"})
    assert (seen(vera), seen(vera, "?show=refused")) == ({"bobs", "alices", "service"}, {"bobs-refused", "not-bobs"})
    assert seen(bob, f"?member={alice.pk}") == {"bobs"}  # no filter that he is offered
    client.force_login(bob)
    for kind in ("log-csv", "log-ndjson"):
        text = b"".join(client.get(reverse(f"billing:{kind}", args=[red.slug])).streaming_content).decode()  # type: ignore[attr-defined]
        assert "bobs" in text
        assert "alices" not in text
    for one, status in ((own, 200), (others, 404), (service, 404)):
        assert client.get(reverse("billing:log-request", args=[red.slug, one.start.id])).status_code == status
    client.force_login(charlie)
    assert client.get(reverse("billing:log-request", args=[blue.slug, own.start.id])).status_code == 404
    assert client.get(reverse("billing:log", args=[red.slug])).status_code == 404


def test_refused_calls_have_pages_of_their_own(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    now = timezone.now().replace(microsecond=0)
    moments = [now - timedelta(minutes=minute) for minute in range(PAGE + 5)]
    calls = [a_refusal(red.pk, at_ms=milliseconds(moment), model=f"m{place}") for place, moment in enumerate(moments)]
    refusals.write([*calls[:-1], replace(calls[-1], count=7, key_name="<b>")])
    first = shown(client, red, "?show=refused")
    assert times(first) == [moment.isoformat() for moment in moments[:PAGE]]
    (older,) = links(first, "next")
    second = shown(client, red, older)
    assert times(second) == [moment.isoformat() for moment in moments[PAGE:]]
    assert "&lt;b&gt; – the key&#x27;s limit of requests a minute rate_limit_exceeded 429 7 of a minute" in plain(
        second
    )
    (newer,) = links(second, "prev")
    assert times(shown(client, red, newer)) == times(first)
    assert len(times(shown(client, red, "?show=refused&model=m3&outcome=ok"))) == 1
    page = client.get(reverse("billing:log-request", args=[red.slug, calls[-1].id]))
    assert page.status_code == 200
    assert escape("the key's limit of requests a minute") in page.content.decode()


def test_each_filter_can_be_taken_away_and_leads_back_to_the_usage_page(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    key = make_key(red, name="nightly").key
    ledger.write([ended(red.pk, model="llama", key_id=key.pk)])
    html = shown(client, red, f"?period=7d&model=llama&key={key.pk}&outcome=ok&zone=UTC")
    assert re.findall(r'<span class="chip">([^<]+)<', html) == [
        "Model: llama ", "Key: nightly ", "End: answered ", "Time zone: UTC ",
    ]  # fmt: skip
    assert f'href="?period=7d&amp;key={key.pk}&amp;outcome=ok&amp;zone=UTC"' in html
    usage = reverse("billing:usage", args=[red.slug])
    assert f'href="{usage}?period=7d&amp;model=llama&amp;key={key.pk}&amp;outcome=ok&amp;zone=UTC"' in html


@pytest.mark.parametrize("rows", [1, 3])
def test_a_page_takes_as_many_queries_for_one_row_as_for_three(
    client: Client, alice: User, red: Team, rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(alice)
    keys = [make_key(red).key for _ in range(rows)]
    ledger.write([ended(red.pk, key_id=key.pk, key_name=key.name, member_id=alice.pk) for key in keys])
    refusals.write([a_refusal(red.pk) for _ in range(rows)])
    shown(client, red)
    with django_assert_num_queries(14):
        assert len(times(shown(client, red))) == rows
    with django_assert_num_queries(12):
        assert len(times(shown(client, red, "?show=refused"))) == rows


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ("0.0133460000004", "€0.013346"),
        ("12", "€12.00"),
        ("0.00000004", "€0.00000004"),
        ("0", "€0.00"),
        ("-0.002106", "-€0.002106"),
    ],
)
def test_a_cost_keeps_the_decimals_that_tell_requests_apart(cost: str, said: str) -> None:
    assert log_captions._cost(Decimal(cost), signed=False) == said


@pytest.mark.spec("F37")
def test_who_and_what_is_gone_stays_in_the_log_under_its_name(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    key, gone = make_key(red, name="nightly").key, make_person("Gone")
    ledger.write(
        [ended(red.pk, model="retired", key_id=key.pk, key_name="nightly", member_id=gone.pk, member_name="Gone")]
    )
    key.delete()
    gone.delete()
    assert "retired nightly Gone 10 5" in plain(shown(client, red, "?model=retired"))
    today = timezone.now().date()
    (line,) = records(Question(Scope(red), Period(today, today, ZoneInfo("UTC"))))
    assert (line["key"], line["member"], line["model"]) == ("nightly", "Gone", "retired")


def test_what_is_asked_of_the_page_cannot_break_it(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    ledger.write([ended(red.pk)])
    for query in (
        "?model='%22;--&key=1%27", "?before=1-2&after=3", "?key=999999999999999999&member=0", "?model=%00",
        "?show=nothing", "?outcome=error&outcome=ok", "?first=9999-12-31&last=9999-12-31&period=custom",
        f"?before={10**17}-{uuid.UUID(int=0).hex}", f"?after=0-{uuid.UUID(int=0).hex}",
    ):  # fmt: skip
        shown(client, red, query)


@pytest.mark.spec("S05")
@pytest.mark.parametrize("page", ["billing:usage", "billing:log"])
def test_a_person_of_another_team_has_no_name_in_a_filter_and_one_who_left_keeps_it(
    client: Client, alice: User, bob: User, charlie: User, red: Team, page: str
) -> None:
    ledger.write([ended(red.pk, member_id=bob.pk)])
    remove_member(team=red, user=bob, by=alice)
    client.force_login(alice)
    html = client.get(f"{reverse(page, args=[red.slug])}?member={charlie.pk}&member={bob.pk}").content.decode()
    assert f"person {charlie.pk}" in html
    assert ("Charlie" in html, "Bob" in html, f"person {bob.pk}" in html) == (False, True, False)


def test_the_sums_of_the_log_are_those_of_its_rows(lived: Lived) -> None:
    rows = walk(lived.question())
    lines = list(records(lived.question()))
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(getattr(row, name) for row in rows) == sum(line[name] for line in lines)
    assert sum((row.cost or Decimal(0)) for row in rows) == sum(Decimal(line["cost"] or 0) for line in lines)
