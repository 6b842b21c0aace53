"""The budget page of a team and the operator's pages of credit."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.translation import override

from accounts.models import Role, Team, User
from billing.budgets.credit import credit_of, entries_of, top_up
from billing.budgets.monthly import Standing, set_budget
from billing.budgets.words import shown
from billing.ledger import log as ledger
from billing.models import Budget, Period, Unit
from tests.billing.traffic import PRICE, counts, ended, milliseconds
from tests.factories import join, make_key, make_person, make_team

PAGE = "/t/red/budget/"


@pytest.fixture
def owner(client: Client, alice: User, red: Team) -> Client:
    client.force_login(alice)
    return client


def seen(client: Client, address: str = PAGE) -> str:
    """The page's words, white space as one."""
    response = client.get(address)
    assert response.status_code == 200
    main = response.content.decode().partition("<main")[2] or response.content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", main)).replace("\xa0", " ")


def give(client: Client, **fields: str) -> Any:
    return client.post(PAGE, {"subject": "team", "unit": "tokens", "amount": "1000", "end": "hard", **fields})


@pytest.mark.spec("U4")
def test_an_admin_sets_budgets_of_the_team_a_key_and_a_member(owner: Client, red: Team, bob: User) -> None:
    key = make_key(red, name="nightly").key
    assert give(owner).status_code == 302
    assert give(owner, subject=f"key-{key.pk}", unit="money", amount="12.5", end="soft").status_code == 302
    assert give(owner, subject=f"member-{bob.pk}", amount="0").status_code == 302
    found = Budget.objects.order_by("pk").values_list("key_id", "member_id", "unit", "amount", "hard")
    assert list(found) == [
        (None, None, "tokens", 1000, True), (key.pk, None, "money", Decimal("12.5"), False),
        (None, bob.pk, "tokens", 0, True),
    ]  # fmt: skip
    words = seen(owner)
    assert words.index("The whole team") < words.index("nightly") < words.index("Bob")
    assert "0 of 1,000 tokens" in words
    assert "€0.00 of €12.50" in words
    assert "Used up" in words.partition("Bob")[2]


@pytest.mark.spec("U4")
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"amount": "1.5"}, "Tokens are whole numbers."),
        ({"amount": "-1"}, "greater than or equal to 0"),
        ({"amount": "nan"}, "Enter a number."),
        ({"subject": "key-999"}, "Select a valid choice"),
        ({"subject": "member-999"}, "Select a valid choice"),
    ],
)
def test_what_is_no_budget_is_said_beside_its_field(owner: Client, fields: dict[str, str], problem: str) -> None:
    response = give(owner, **fields)
    assert response.status_code == 422
    assert problem in response.content.decode()
    assert not Budget.objects.exists()


def test_a_key_or_member_of_another_team_cannot_be_given_one(owner: Client, blue: Team, charlie: User) -> None:
    for subject in (f"key-{make_key(blue).key.pk}", f"member-{charlie.pk}"):
        assert give(owner, subject=subject).status_code == 422
    theirs = set_budget(team=blue, unit=Unit.TOKENS, amount=Decimal(5), hard=True, by=None)
    assert owner.post(f"{PAGE}{theirs.pk}/remove/").status_code == 404
    assert owner.get(f"{PAGE}?change={theirs.pk}").context["form"].initial == {}
    assert Budget.objects.get() == theirs


@pytest.mark.spec("U3", "U4")
def test_the_page_says_what_is_used_held_and_left(owner: Client, red: Team) -> None:
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=None)
    ledger.write([ended(red.pk, counts(700, 200))])
    words = seen(owner)
    assert "900 of 1,000 tokens" in words
    assert "Nearly used up" in words
    assert "100 tokens" in words
    assert "900 of 1,000 tokens" in seen(owner, f"{PAGE}card/")


def test_a_change_begins_with_what_there_is(owner: Client, red: Team) -> None:
    budget = set_budget(team=red, unit=Unit.MONEY, amount=Decimal("2.5"), hard=False, by=None)
    form = owner.get(f"{PAGE}?change={budget.pk}").context["form"]
    assert form.initial == {"subject": "team", "unit": "money", "amount": Decimal("2.5"), "end": "soft"}
    for odd in ("x", "", "9" * 30, "²"):
        assert owner.get(PAGE, {"change": odd}).status_code == 200


def test_a_keys_menu_leads_to_its_budget_or_to_a_form_that_knows_the_key(owner: Client, red: Team, blue: Team) -> None:
    key, theirs = make_key(red).key, make_key(blue).key
    address = f"{PAGE}?key={key.pk}"
    assert f"{address}#set" in owner.get("/t/red/keys/").content.decode()
    assert owner.get(address).context["form"].initial == {"subject": f"key-{key.pk}"}
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(70), hard=False, by=None, key=key)
    form = owner.get(address).context["form"]
    assert form.initial == {"subject": f"key-{key.pk}", "unit": "tokens", "amount": Decimal(70), "end": "soft"}
    set_budget(team=blue, unit=Unit.TOKENS, amount=Decimal(9), hard=True, by=None, key=theirs)
    assert "amount" not in owner.get(f"{PAGE}?key={theirs.pk}").context["form"].initial


def test_viewers_and_members_read_and_admins_alone_see_the_form(client: Client, bob: User, red: Team) -> None:
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=None)
    client.force_login(bob)
    assert client.get(PAGE).context["form"] is None
    assert "Set a budget" not in seen(client)
    assert "0 of 1,000 tokens" in seen(client)


@pytest.mark.spec("U4", "S05", "S06")
def test_members_see_the_teams_budgets_and_their_own(client: Client, alice: User, bob: User, red: Team) -> None:
    everybodys = {"unit": Unit.TOKENS, "hard": True, "by": alice}
    set_budget(team=red, amount=Decimal(1000), **everybodys)
    set_budget(team=red, amount=Decimal(2000), key=make_key(red, name="nightly").key, **everybodys)
    set_budget(team=red, amount=Decimal(3000), key=make_key(red, name="alices", owner=alice).key, **everybodys)
    set_budget(team=red, amount=Decimal(4000), key=make_key(red, name="bobs", owner=bob).key, **everybodys)
    set_budget(team=red, amount=Decimal(5000), member=alice, **everybodys)
    set_budget(team=red, amount=Decimal(6000), member=bob, **everybodys)
    top_up(team=red, amount=Decimal(250), by=alice, note="Invoice 7")
    everything = ["The whole team", "alices", "bobs", "nightly", "Alice", "Bob"]

    def named(person: User) -> list[str]:
        client.force_login(person)
        return [budget.title for budget in client.get(PAGE).context["budgets"]]

    vera = make_person("Vera")
    join(red, vera, Role.VIEWER)
    assert named(alice) == everything
    assert named(vera) == everything
    assert ("Invoice 7" in seen(client), "Alice" in seen(client)) == (True, True)
    assert named(bob) == ["The whole team", "bobs", "Bob"]
    words = seen(client)
    assert "€250.00" in words  # sums name nobody
    assert [name for name in ("nightly", "alices", "Alice", "Invoice 7") if name in words] == []


def test_a_budget_is_removed(owner: Client, red: Team) -> None:
    budget = set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=None)
    assert owner.post(f"{PAGE}{budget.pk}/remove/").status_code == 302
    assert "No budget is set" in seen(owner)


@pytest.mark.parametrize("number", [1, 3])
def test_the_page_asks_no_more_for_three_budgets_than_for_one(
    owner: Client, red: Team, number: int, django_assert_num_queries: Any
) -> None:
    for _ in range(number):
        set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(9), hard=True, by=None, key=make_key(red).key)
    owner.get(PAGE)
    with django_assert_num_queries(12):
        owner.get(PAGE)


@pytest.mark.spec("U7")
def test_an_operator_enters_a_payment_and_a_correction(owner: Client, red: Team, blue: Team, alice: User) -> None:
    place = reverse("billing:credit", args=["blue"])
    payment = {
        "kind": "top_up",
        "amount": "1,250.50",
        "note": "invoice 7",
        "form_id": "00000000-0000-4000-8000-000000000001",
    }
    assert owner.post(place, payment).status_code == 302
    assert owner.post(place, payment).status_code == 302  # sent twice
    assert owner.post(place, {"kind": "correction", "amount": "-0.5", "note": ""}).status_code == 302
    assert [(one.amount, one.note, one.by) for one in entries_of(blue)] == [
        (Decimal("-0.5"), "", alice), (Decimal("1250.5"), "invoice 7", alice),
    ]  # fmt: skip
    assert "€1,250.00" in seen(owner, place)
    words = seen(owner, reverse("billing:credits"))
    assert words.index("Blue") < words.index("€1,250.00") < words.index("Red") < words.index("Pays afterwards")


@pytest.mark.spec("U7")
@pytest.mark.parametrize(
    "fields", [{"amount": "-1"}, {"amount": "0"}, {"amount": "1e30"}, {"kind": "gift", "amount": "1"}]
)
def test_what_is_no_payment_is_not_entered(owner: Client, red: Team, fields: dict[str, str]) -> None:
    assert owner.post(reverse("billing:credit", args=["red"]), {"kind": "top_up", **fields}).status_code == 422
    assert not entries_of(red)


@pytest.mark.spec("U6", "U7")
def test_an_operator_lets_a_teams_calls_go_on_beyond_its_credit(owner: Client, red: Team) -> None:
    top_up(team=red, amount=Decimal(1), by=None)
    ledger.write([ended(red.pk, counts(2_000_000, 0), price=PRICE)])
    place = reverse("billing:credit", args=["red"])
    assert "Used up" in seen(owner, place)
    assert "-€0.80" in seen(owner)
    owner.post(f"{place}binding/", {"off": "1"})
    credit = credit_of(red, now=datetime.now(UTC))
    assert credit is not None
    assert not credit.binding
    assert "Used up, calls go on" in seen(owner, reverse("billing:credits"))


def test_the_card_is_empty_where_nothing_is_set(owner: Client, red: Team) -> None:
    assert seen(owner, f"{PAGE}card/").strip() == ""


MADRID = ZoneInfo("Europe/Madrid")
RENEWS = datetime(2026, 11, 30, 23, 0, tzinfo=UTC)  # midnight in Madrid


@pytest.mark.parametrize(
    ("spent", "used_up_on", "pace"),
    [
        (50, None, ""),
        (51, date(2026, 11, 30), "At this pace it is used up on November 30."),
        (100, date(2026, 11, 16), ""),  # it is used up
    ],
)
def test_the_pace_is_said_where_the_budget_does_not_last(
    red: Team, spent: int, used_up_on: date | None, pace: str
) -> None:
    budget = Budget(team=red, unit=Unit.TOKENS, period=Period.MONTH, amount=Decimal(100), hard=True)
    now = datetime(2026, 11, 16, tzinfo=MADRID)
    found = shown(Standing(budget, Decimal(spent), Decimal(0), RENEWS), now=now, zone=MADRID, used_up_on=used_up_on)
    assert (found.meter.today, found.pace) == ("50.00%", pace)


@pytest.mark.parametrize(
    ("language", "pace"),
    [("es", "A este ritmo se agota el 17 de noviembre."), ("fr", "À ce rythme, il sera épuisé le 17 novembre.")],
)
def test_the_pace_ends_with_one_full_stop_in_each_language(red: Team, language: str, pace: str) -> None:
    budget = Budget(team=red, unit=Unit.TOKENS, period=Period.MONTH, amount=Decimal(100), hard=True)
    now, day = datetime(2026, 11, 16, tzinfo=MADRID), date(2026, 11, 17)
    with override(language):
        standing = Standing(budget, Decimal(90), Decimal(0), RENEWS)
        assert shown(standing, now=now, zone=MADRID, used_up_on=day).pace == pace


def test_the_card_and_the_budget_page_foretell_what_the_usage_page_does(owner: Client, red: Team) -> None:
    now = datetime.now(UTC)
    begin = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    times = [now - timedelta(days=ago) for ago in range(1, 8)]
    ledger.write([ended(red.pk, counts(100, 0), at_ms=milliseconds(at)) for at in times])
    spent = 100 * sum(at >= begin for at in times)
    set_budget(team=red, unit=Unit.TOKENS, amount=spent + Decimal("0.001"), hard=False, by=None)
    today = f"{now:%B} {now.day}"
    assert f"At this pace it is used up on {today}." in seen(owner)
    assert f"At this pace it is used up on {today}." in seen(owner, f"{PAGE}card/")
    assert f"tokens is used up on {today}" in seen(owner, "/t/red/usage/")


@pytest.mark.parametrize(
    ("amount", "spent", "reserved", "meter", "state"),
    [
        (100, 40, 20, ("40.00%", "20.00%"), "well"),
        (100, 80, 20, ("80.00%", "20.00%"), "used-up"),
        (100, 80, 19, ("80.00%", "19.00%"), "high"),
        (100, 150, 20, ("100.00%", "0.00%"), "used-up"),
        (100, 90, 30, ("90.00%", "10.00%"), "used-up"),
        (0, 0, 0, ("100.00%", "0.00%"), "used-up"),
    ],
)
def test_a_meter_never_runs_over(
    red: Team, amount: int, spent: int, reserved: int, meter: tuple[str, str], state: str
) -> None:
    budget = Budget(team=red, unit=Unit.TOKENS, period=Period.MONTH, amount=Decimal(amount), hard=True)
    standing = Standing(budget, Decimal(spent), Decimal(reserved), RENEWS)
    found = shown(standing, now=datetime(2026, 11, 16, tzinfo=MADRID), zone=MADRID)
    assert ((found.meter.spent, found.meter.reserved), found.state) == (meter, state)


def test_a_team_named_like_an_address_is_found(owner: Client, alice: User) -> None:
    make_team("Credit", owner=alice)
    assert owner.get(reverse("billing:credit", args=["credit"])).status_code == 200
