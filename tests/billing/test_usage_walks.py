"""From a number on the usage page to what it is made of, and who may see whose."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import formats, translation
from django.utils.html import escape

from accounts.models import Role, Team, User
from billing import numbers
from billing.ledger import log as ledger
from billing.ledger import refusals
from billing.usage import captions
from billing.usage.buckets import moments
from billing.usage.charts import Column, Values, stacked
from billing.usage.forms import UsageForm
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Compared, Group, Metric, Question, Scope, address
from billing.usage.reports import amount, usage
from tests.billing.traffic import PRICE, a_refusal, counts, ended, milliseconds
from tests.factories import join, make_key, make_person, make_team

UTC_ZONE = ZoneInfo("UTC")
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def asked(query: str, scope: Scope, now: datetime = NOON) -> Question:
    return UsageForm(QueryDict(query), scope=scope, now=now).question()


def page(client: Client, place: str) -> str:
    response = client.get(place)
    assert response.status_code == 200
    return response.content.decode()


def rows(html: str) -> list[str]:
    """The names of the breakdown's rows, in their order, without the total."""
    table = html[html.index('id="breakdown"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    return [unescape(re.sub("<[^>]+>", "", name)) for name in re.findall(r'<th scope="row">(.*?)(?:<span|</th>)', body)]


def href(html: str, words: str) -> str:
    """Where the first link with exactly these words leads."""
    found = re.search(rf'<a [^>]*?href="([^"]*)"[^>]*>(?:<svg.*?</svg>)?\s*{re.escape(words)}[ ↓↑]*</a>', html)
    assert found, words
    return unescape(found[1])


def heads(html: str) -> str:
    return html[html.index("<thead>", html.index('id="breakdown"')) :]


def requests(html: str) -> str:
    foot = html[html.index("<tfoot>") : html.index("</tfoot>")]
    return re.findall(r'data-l="Requests">(?:<a [^>]*>)?([^<]*)<', foot)[0]


@pytest.fixture
def used(red: Team, bob: User) -> Team:
    """Bob's key asked llama, the team's service qwen, Bob himself llama in the chat; one call failed."""
    key, service = make_key(red, name="bobs", owner=bob).key, make_key(red, name="service").key
    ledger.write([
        ended(red.pk, counts(900, 100), key_id=key.pk, member_id=bob.pk, model="llama", price=PRICE),
        ended(red.pk, counts(300, 30), key_id=service.pk, model="qwen"),
        ended(red.pk, counts(70, 7), member_id=bob.pk, model="llama", origin="chat"),
        ended(red.pk, counts(5, 0), key_id=service.pk, model="qwen", outcome="upstream_error"),
    ])  # fmt: skip
    return red


def test_a_row_and_the_legend_lead_to_their_series_and_a_chip_leads_back(
    client: Client, alice: User, used: Team
) -> None:
    client.force_login(alice)
    place = reverse("billing:usage", args=[used.slug])
    html = page(client, place)
    assert rows(html) == ["llama", "qwen"]
    assert href(html, "llama") == f"{place}?model=llama"
    narrowed = page(client, f"{place}?model=llama&group=key")
    assert (rows(narrowed), requests(narrowed)) == (["bobs", "Chat, without a key"], "2")
    assert "Model: llama" in narrowed
    (remove,) = re.findall(r'href="([^"]*)" aria-label="Remove the filter Model: llama"', narrowed)
    assert unescape(remove) == f"{place}?group=key"
    assert href(narrowed, "Clear all") == f"{place}?group=key"


def test_filters_of_one_kind_are_any_of_them_and_of_two_kinds_both(client: Client, alice: User, used: Team) -> None:
    client.force_login(alice)
    place = reverse("billing:usage", args=[used.slug])
    assert requests(page(client, f"{place}?model=llama&model=qwen")) == "4"
    assert requests(page(client, f"{place}?model=llama&origin=chat")) == "1"
    assert requests(page(client, f"{place}?outcome=upstream_error")) == "1"
    assert requests(page(client, f"{place}?key=0&member={User.objects.get(name='Bob').pk}")) == "1"
    assert "No usage fits these filters" in page(client, f"{place}?model=gone")


def test_a_bar_leads_to_its_day_and_a_bar_of_weeks_to_its_days(client: Client, alice: User, used: Team) -> None:
    client.force_login(alice)
    today = datetime.now(UTC).date().isoformat()
    place = reverse("billing:usage", args=[used.slug])
    html = page(client, f"{place}?period=7d&group=key")
    last = unescape(re.findall(r'<a href="([^"]*)" tabindex="-1">', html)[-1])
    assert last == f"{place}?period=custom&group=key&first={today}&last={today}"
    assert requests(page(client, last)) == "4"
    weeks = page(client, f"{place}?period=30d&bucket=week")
    first, *_ = (unescape(found) for found in re.findall(r'<a href="([^"]*)" tabindex="-1">', weeks))
    asked_for = asked(first.partition("?")[2], Scope(used), datetime.now(UTC))
    assert asked_for.period.first == asked("period=30d", Scope(used), datetime.now(UTC)).period.first
    assert asked_for.period.last.weekday() == 6
    hours = page(client, f"{place}?period=today")
    assert ('class="hit"' in hours, re.findall(r'<a href="[^"]*" tabindex="-1">', hours)) == (True, [])


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("", ["llama", "qwen"]), ("share", ["qwen", "llama"]), ("-name", ["qwen", "llama"]),
     ("-errors", ["qwen", "llama"]), ("nonsense", ["llama", "qwen"]), ("cost", ["qwen", "llama"])],
)  # fmt: skip
def test_the_table_is_sorted_as_the_address_says(
    client: Client, alice: User, used: Team, sort: str, expected: list[str]
) -> None:
    client.force_login(alice)
    html = page(client, reverse("billing:usage", args=[used.slug]) + f"?sort={sort}")
    assert rows(html) == expected
    assert html.count("aria-sort=") == 1


def test_a_head_sorts_from_high_to_low_and_once_more_turns_it(client: Client, alice: User, used: Team) -> None:
    client.force_login(alice)
    place = reverse("billing:usage", args=[used.slug])
    assert href(heads(page(client, place)), "Cost") == f"{place}?sort=-cost#breakdown"
    assert href(heads(page(client, f"{place}?sort=-cost")), "Cost") == f"{place}?sort=cost#breakdown"
    assert href(page(client, place), "Share of tokens") == f"{place}?sort=share#breakdown"
    assert href(page(client, f"{place}?sort=share"), "Share of tokens") == f"{place}#breakdown"


@pytest.mark.spec("U4")
def test_members_see_their_own_usage_of_one_team_at_a_time(client: Client, bob: User, blue: Team, used: Team) -> None:
    join(blue, bob)
    ledger.write([ended(blue.pk, counts(4000, 0), member_id=bob.pk, model="blues"), ended(blue.pk, model="others")])
    client.force_login(bob)
    place = reverse("billing:my-usage")
    mine = page(client, f"{place}?of={used.slug}&group=key")
    assert (rows(mine), requests(mine)) == (["bobs", "Chat, without a key"], "2")
    elsewhere = page(client, f"{place}?of={blue.slug}")
    assert (rows(elsewhere), requests(elsewhere)) == (["blues"], "1")
    assert f'<option value="{blue.slug}" selected>' in elsewhere
    csv = client.get(reverse("billing:my-usage-file", args=["csv"]) + f"?of={used.slug}").content.decode()
    assert len(csv.splitlines()) == 2
    assert "qwen" not in csv


def test_nobody_gets_at_others_usage_by_the_address_of_their_own(client: Client, bob: User, used: Team) -> None:
    stranger = make_person("Dora")
    join(used, stranger)
    client.force_login(stranger)
    place = reverse("billing:my-usage")
    for query in ("", f"?member={bob.pk}", f"?member={bob.pk}&group=member", "?group=team&team=1", "?of=nobody"):
        assert "<tfoot>" not in page(client, place + query)
    outsider = make_person("Emil")
    make_team("Emils", owner=outsider)
    client.force_login(outsider)
    assert "<tfoot>" not in page(client, f"{place}?of={used.slug}")
    nobody = make_person("Nemo")
    client.force_login(nobody)
    assert client.get(place).status_code == 404


def test_an_operator_sees_teams_and_neither_their_keys_nor_their_people(
    client: Client, alice: User, blue: Team, used: Team
) -> None:
    ledger.write([ended(blue.pk, counts(50, 5), key_id=make_key(blue, name="secret-name").key.pk)])
    refusals.write([a_refusal(blue.pk, key_id=make_key(blue, name="refused-name").key.pk)])
    client.force_login(alice)
    place = reverse("billing:platform-usage")
    html = page(client, place)
    assert rows(html) == ["Red", "Blue"]
    below = page(client, f"{place}?part=below")
    assert "1 call was refused" in below
    for query in ("?group=key", "?group=member", f"?key=1&team={blue.pk}"):
        html = page(client, place + query)
        assert "secret-name" not in html
        assert "refused-name" not in html
    assert rows(page(client, f"{place}?team={blue.pk}&group=model")) == ["llama"]


def test_a_key_has_a_report_for_its_owner_and_the_admins(
    client: Client, alice: User, bob: User, charlie: User, used: Team
) -> None:
    own = used.keys.get(name="bobs")
    others = used.keys.get(name="service")
    viewer, admin = make_person("Vera"), make_person("Adam")
    join(used, viewer, Role.VIEWER)
    join(used, admin, Role.ADMIN)

    def status(person: User, pk: int) -> int:
        client.force_login(person)
        return client.get(reverse("billing:key-report", args=[used.slug, pk])).status_code

    assert [status(person, own.pk) for person in (alice, admin, bob, viewer, charlie)] == [200, 200, 200, 404, 404]
    assert [status(person, others.pk) for person in (alice, admin, bob, viewer)] == [200, 200, 404, 404]
    client.force_login(bob)
    html = page(client, reverse("billing:key-report", args=[used.slug, own.pk]) + f"?key={others.pk}&group=key")
    assert (rows(html), requests(html)) == (["llama"], "1")


def test_a_year_by_key_names_fifty_and_adds_up_the_rest(red: Team) -> None:
    at = milliseconds(NOON)
    ledger.write([ended(red.pk, counts(1000 - key, 1), key_id=key, at_ms=at) for key in range(1, 61)])
    question = asked("period=custom&first=2025-11-21&last=2026-11-20&group=key", Scope(red))
    report = usage(question, now=NOON)
    assert (len(report.series), report.series[-1].label, report.series[-1].total.requests) == (51, "others", 10)
    assert sum(one.total.tokens for one in report.series) == report.total.tokens
    drawn = usage(question, now=NOON, whole=False)
    assert [one.total for one in drawn.series] == [one.total for one in report.series]
    assert [one.key for one in drawn.series[:7]] == [str(key) for key in range(1, 8)]
    assert drawn.series[0].bars == tuple(one.tokens for one in report.series[0].buckets)
    assert [any(one.bars) for one in drawn.series] == [True] * 7 + [False] * 44
    assert [one.buckets for one in drawn.series] == [()] * 51


@pytest.mark.parametrize("metric", Metric)
def test_of_the_series_that_are_drawn_what_is_measured_is_read(red: Team, metric: Metric) -> None:
    at = milliseconds(NOON)
    ledger.write([
        ended(red.pk, counts(10 * number, number), model=model, at_ms=at - number * 86_400_000, price=PRICE)
        for model in ("llama", "qwen") for number in range(1, 9)
    ])  # fmt: skip
    question = asked(f"period=30d&metric={metric.value}", Scope(red))
    drawn, whole = (usage(question, now=NOON, whole=whole) for whole in (False, True))
    for part, all_of_it in zip(drawn.series, whole.series, strict=True):
        assert part.bars == all_of_it.bars == tuple(amount(one, metric) for one in all_of_it.buckets)
        assert sum(part.bars) > 0


def test_a_running_period_is_compared_up_to_the_same_time_of_the_day(red: Team) -> None:
    """By days, the last of them by quarters. At noon UTC it is one o'clock in Paris, which in October was at eleven."""
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    red.refresh_from_db()

    def before(days: int, hour: int) -> int:
        return milliseconds(datetime(2026, 11, 20, hour, tzinfo=UTC) - timedelta(days=days))

    ledger.write([
        ended(red.pk, at_ms=before(30, 10)), ended(red.pk, at_ms=before(30, 11)), ended(red.pk, at_ms=before(30, 13)),
        ended(red.pk, at_ms=before(31, 23)),
        ended(red.pk, at_ms=before(35, 10)), ended(red.pk, at_ms=before(35, 13)),
    ])  # fmt: skip
    assert usage(asked("period=30d", Scope(red)), now=NOON).before.requests == 4
    assert usage(asked("period=30d&compare=weekdays", Scope(red)), now=NOON).before.requests == 1
    report = usage(asked("period=30d", Scope(red)), now=NOON)
    assert [place for place, sums in enumerate(report.buckets_before) if sums.requests] == [24, 29]
    assert usage(asked("period=30d&compare=off", Scope(red)), now=NOON).before.requests == 0
    assert asked("compare=off", Scope(red)).compared == Compared.NOT


@pytest.mark.spec("S16")
def test_names_are_text_wherever_they_stand(client: Client, alice: User, red: Team) -> None:
    name = "<script>alert(1)</script>\"'&%s{}"
    key = make_key(red, name=name[:90]).key
    ledger.write([ended(red.pk, model=name, key_id=key.pk), ended(red.pk, model="x", key_id=key.pk)])
    client.force_login(alice)
    place = reverse("billing:usage", args=[red.slug])
    for query in ("", "?group=key", f"?key={key.pk}&group=key", "?metric=requests&bucket=week"):
        assert "<script>alert" not in page(client, place + query)
    narrowed = page(client, href(page(client, place), html_of(name)))
    assert (rows(narrowed), requests(narrowed)) == ([name], "1")


def html_of(text: str) -> str:
    return str(escape(text))


def test_the_address_after_a_choice_keeps_what_is_not_as_usual(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    place = reverse("billing:usage", args=[red.slug])
    sent = "?period=7d&first=2026-01-01&last=2026-01-31&compare=before&metric=tokens&group=key&origin=&bucket=&zone="
    answer = client.get(place + sent, headers={"HX-Request": "true"})
    assert answer.headers["HX-Push-Url"] == f"{place}?period=7d&group=key"
    assert "HX-Push-Url" not in client.get(place + sent).headers


def test_what_the_address_asks_for_in_vain_is_the_usual(red: Team) -> None:
    usual = asked("", Scope(red))
    assert (usual.group, usual.metric, usual.bucket, usual.compared) == (
        Group.MODEL,
        Metric.TOKENS,
        Bucket.DAY,
        Compared.BEFORE,
    )
    nonsense = "period=ever&group=team&metric=x&bucket=second&compare=y&zone=Mars&key=a&member=-1&outcome=fine&team=3"
    assert asked(nonsense, Scope(red)) == usual
    assert asked("bucket=hour&period=30d", Scope(red)).bucket == Bucket.DAY
    assert asked("bucket=hour&period=7d", Scope(red)).bucket == Bucket.HOUR
    assert asked("bucket=day&period=custom&first=2026-01-01&last=2026-07-05", Scope(red)).bucket == Bucket.DAY
    assert asked("bucket=day&period=custom&first=2026-01-01&last=2026-07-06", Scope(red)).bucket == Bucket.WEEK
    assert asked("zone=UTC", Scope(None)).period.zone.key == Scope(None).zone
    assert asked("group=tokens&metric=requests", Scope(red)).metric == Metric.TOKENS
    assert asked("group=tokens&metric=cost", Scope(red)).metric == Metric.COST


@pytest.mark.parametrize(
    "query",
    [
        "",
        "period=7d&group=key&metric=cost&model=a&model=b&key=0&compare=off&zone=UTC",
        "period=custom&first=2026-01-01&last=2026-02-01&bucket=week&sort=-cost&outcome=ok",
    ],
)
def test_the_address_of_a_page_asks_the_same_again(red: Team, query: str) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    red.refresh_from_db()
    form = UsageForm(QueryDict(query), scope=Scope(red), now=NOON)
    question = form.question()
    assert asked(address(**form.state()), Scope(red)) == question
    assert address(**form.state()) == address(**{name: QueryDict(query).getlist(name) for name in form.fields})


@pytest.mark.spec("U4")
def test_empty_pages_say_why_and_what_to_do(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    place = reverse("billing:usage", args=[red.slug])
    assert href(page(client, place), "Create a key") == reverse("accounts:keys", args=[red.slug])
    make_key(red, name="newest", models=["llama"])
    waiting = page(client, place)
    assert "Send the first one with the key “newest”" in waiting
    assert '"model":"llama"' in unescape(waiting)
    assert "Waiting for the first request" in waiting
    ledger.write([ended(red.pk)])
    today = formats.date_format(datetime.now(UTC).date(), "DATE_FORMAT")
    assert f"The first usage is of {today}" in page(client, f"{place}?period=custom&first=2026-01-01&last=2026-01-31")


@pytest.mark.parametrize("group", ["model", "key", "member", "outcome"])
def test_a_year_takes_as_many_queries_as_a_day(client: Client, alice: User, used: Team, group: str) -> None:
    client.force_login(alice)
    place = reverse("billing:usage", args=[used.slug]) + f"?group={group}"
    page(client, place)
    today = datetime.now(UTC).date()
    year = f"&period=custom&first={today - timedelta(days=365)}&last={today}"
    counted = []
    for query in ("&period=today", "", year, "&bucket=month", "&zone=UTC"):
        with CaptureQueriesContext(connection) as queries:
            page(client, place + query)
        counted.append(len(queries))
    assert max(counted) - min(counted) <= 1  # hours are read from another table than days


@pytest.mark.parametrize("language", ["en", "es", "fr"])
def test_whole_numbers_are_written_as_django_writes_them(language: str) -> None:
    with translation.override(language):
        for number in (0, 7, 999, 1000, 12_345, 1_234_567, -1_234, 10**12):
            assert numbers.whole(number) == formats.number_format(number)


def test_days_before_the_first_usage_are_not_passed_off_as_days_without(client: Client, alice: User, red: Team) -> None:
    now = datetime.now(UTC)
    ledger.write([ended(red.pk), ended(red.pk, at_ms=milliseconds(now - timedelta(days=40)))])
    client.force_login(alice)
    place = reverse("billing:usage", args=[red.slug])
    first = formats.date_format((now - timedelta(days=40)).date(), "DATE_FORMAT")
    assert f"The days before are not all there: the first usage is of {first}." in page(client, place)
    assert "The days before are not all there" not in page(client, f"{place}?compare=off")
    ledger.write([ended(red.pk, at_ms=milliseconds(now - timedelta(days=70)))])
    assert "The days before are not all there" not in page(client, place)


def test_a_chart_has_the_outline_of_what_it_is_compared_with_within_its_scale() -> None:
    columns = [Column("", "Mon", href="/mon"), Column("", "Tue", reading="Tue · 2", href="")]
    chart = stacked(
        columns, [Values("a", "a", (1.0, 2.0))], running=None, write=lambda number, top: str(number), other="others",
        before=(4.0, 0.0),
    )  # fmt: skip
    assert chart.outline == "M0 0.0H1V200.0H2"
    assert chart.stacks[0].bars[1].height == "100.0"
    assert [(hit.x, hit.title, hit.href) for hit in chart.hits] == [("0.00%", "Mon", "/mon"), ("50.00%", "Tue · 2", "")]
    assert stacked(columns, [], running=None, write=lambda number, top: "", other="").outline == ""


def test_months_and_weeks_begin_with_the_period_and_on_mondays() -> None:
    period = Period(date(2026, 10, 30), date(2026, 12, 2), UTC_ZONE)
    assert moments(period, Bucket.MONTH) == (date(2026, 10, 30), date(2026, 11, 1), date(2026, 12, 1))
    assert moments(period, Bucket.WEEK)[:3] == (date(2026, 10, 30), date(2026, 11, 2), date(2026, 11, 9))


def test_a_number_of_requests_leads_to_the_log_where_the_reader_sees_the_same_rows(
    client: Client, alice: User, bob: User, used: Team
) -> None:
    log = f"{reverse('billing:usage', args=[used.slug])}log/"
    own = used.keys.get(name="bobs")
    cases = [
        (
            alice,
            f"{reverse('billing:usage', args=[used.slug])}?period=7d&metric=cost&origin=api",
            "period=7d&origin=api",
        ),
        (bob, reverse("billing:my-usage"), f"member={bob.pk}"),
        (bob, reverse("billing:key-report", args=[used.slug, own.pk]), f"key={own.pk}"),
    ]
    for person, place, query in cases:
        client.force_login(person)
        html = page(client, place)
        total = html[html.index("<tfoot>") : html.index("</tfoot>")]
        assert [unescape(found) for found in re.findall(r'href="([^"]*)"', total)] == [f"{log}?{query}"]
        first = QueryDict(unescape(re.findall(r'data-l="Requests"><a href="[^"?]*\?([^"]*)"', html)[0]))
        assert dict(first.lists()) == {**dict(QueryDict(query).lists()), "model": ["llama"]}
    client.force_login(bob)  # who is shown by the team's address what is his own
    html = page(client, reverse("billing:usage", args=[used.slug]))
    assert f"{log}?member={bob.pk}" in unescape(html[html.index("<tfoot>") : html.index("</tfoot>")])


@dataclass(frozen=True)
class Check:
    at: datetime
    agrees: bool


@pytest.mark.spec("U2")
def test_the_lead_says_how_fresh_the_numbers_are_and_whether_they_are_the_logs(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Asia/Kathmandu")
    red.refresh_from_db()
    report = usage(asked("period=7d", Scope(red)), now=NOON)
    said = "Nov. 14, 2026 to Nov. 20, 2026, Kathmandu time (UTC+05:45). Data up to 17:45:00."
    assert captions.lead(report) == said
    assert captions.lead(report, Check(NOON, agrees=True)) == f"{said} Charts and log agree, checked 17:45."
    yesterday = Check(NOON - timedelta(days=1), agrees=False)
    assert captions.lead(report, yesterday) == (
        f"{said} Charts and log did not agree when they were last checked, Nov. 19, 2026, 17:45: the log counts."
    )
    assert captions.lead(usage(asked("period=today&zone=UTC", Scope(red)), now=NOON)) == (
        "Nov. 20, 2026, UTC. Data up to 12:00:00."
    )


def test_the_words_of_a_bar_are_no_markup() -> None:
    columns = [Column("", "<b>", href='/?a=1&b="'), Column("", "Tue", reading="<i> · 2")]
    chart = stacked(
        columns, [Values("a & b", "a", (1.0, 2.0))], running=None, write=lambda number, top: str(number), other="others"
    )
    assert re.findall(r"<title>(.*?)</title>", chart.stacks[0].titled) == [
        "&lt;b&gt; · a &amp; b", "Tue · a &amp; b",
    ]  # fmt: skip
    assert re.findall(r"<title>(.*?)</title>", chart.pointed) == ["&lt;b&gt;", "&lt;i&gt; · 2"]
    assert re.findall(r'href="(.*?)"', chart.pointed) == ["/?a=1&amp;b=&quot;"]
