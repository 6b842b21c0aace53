import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.timezone import localtime
from pytest_django import DjangoAssertNumQueries

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.models import Price
from billing.prices.pricing import Rates, add_price
from gateway.models import Engine, EngineType, ServedModel
from tests.billing.traffic import ended

pytestmark = pytest.mark.django_db

GIVEN = {"model": "llama3.3:70b", "since": "", "input": "1.9", "cached_input": "", "output": "8", "reasoning": ""}


@pytest.fixture
def operator(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def add(client: Client, **changed: str) -> int:
    return client.post(reverse("billing:add-price"), GIVEN | changed).status_code


def text(client: Client, name: str = "billing:prices", query: str = "", *args: object) -> str:
    response = client.get(reverse(name, args=args) + query)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_a_price_is_added_from_now_on_and_shown_in_force(operator: Client) -> None:
    assert add(operator) == 302
    price = Price.objects.get()
    assert (price.model, price.input, price.cached_input) == ("llama3.3:70b", Decimal("1.9"), None)
    assert price.effective_from <= timezone.now()
    assert "llama3.3:70b 1.90 1.90 8.00 8.00" in text(operator)


@pytest.mark.spec("U2")
@pytest.mark.parametrize(
    ("language", "typed", "read"),
    [("en", "1,250.5", "1250.5"), ("es", "1.250,5", "1250.5"), ("fr", "1 250,5", "1250.5"), ("es", "1,8", "1.8")],
)
def test_amounts_are_read_as_the_language_writes_them(operator: Client, language: str, typed: str, read: str) -> None:
    operator.cookies["language"] = language
    assert add(operator, input=typed) == 302
    assert Price.objects.get().input == Decimal(read)


def test_an_amount_with_two_readings_is_asked_for_again(operator: Client) -> None:
    operator.cookies["language"] = "es"
    response = operator.post(reverse("billing:add-price"), GIVEN | {"input": "1.250"})
    assert response.status_code == 422
    assert "1,25" in response.content.decode()
    assert "1250" in response.content.decode()
    assert 'value="1.250"' in response.content.decode()
    assert not Price.objects.exists()


def test_moments_are_the_platforms_and_the_page_says_so(operator: Client, settings: object) -> None:
    settings.TIME_ZONE = "America/Mexico_City"  # type: ignore[attr-defined]
    tomorrow = localtime(timezone.now() + timedelta(days=1)).replace(hour=8, minute=30, second=0, microsecond=0)
    assert add(operator, since=tomorrow.strftime("%Y-%m-%dT%H:%M")) == 302
    assert Price.objects.get().effective_from == tomorrow
    page = text(operator)
    assert "Moments are in Mexico City time (UTC-6)." in page
    assert "08:30" in page


def test_mistakes_stay_in_the_form(operator: Client) -> None:
    for changed in ({"input": "-1"}, {"model": ""}, {"output": ""}, {"since": "yesterday"}, {"model": "a\0"}):
        assert add(operator, **changed) == 422
    add(operator)
    yesterday = localtime(timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    response = operator.post(reverse("billing:add-price"), GIVEN | {"since": yesterday})
    assert (response.status_code, "This moment has passed" in response.content.decode()) == (422, True)
    assert Price.objects.count() == 1


def test_a_link_fills_in_what_the_model_costs_now(operator: Client) -> None:
    add(operator, model="qwen turbo/2", cached_input="0.5")
    html = operator.get(reverse("billing:prices") + "?model=qwen%20turbo%2F2").content.decode()
    assert 'value="qwen turbo/2"' in html
    assert 'name="cached_input" value="0.5"' in html
    assert operator.get(reverse("billing:prices") + "?model=%00").status_code == 200


def test_one_to_come_is_corrected_on_its_page_to_the_millisecond(operator: Client) -> None:
    since = localtime(timezone.now() + timedelta(days=1)).replace(second=7, microsecond=250_000)
    price = add_price(model="llama", rates=Rates(Decimal("1.125"), Decimal(2)), since=since, by=None)
    place = reverse("billing:price", args=[price.pk])
    operator.cookies["language"] = "es"
    html = operator.get(place).content.decode()
    found = {name: value for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', html) if name in GIVEN}
    assert found == {"since": since.isoformat(timespec="milliseconds")[:23], "input": "1,1250", "output": "2"}
    assert operator.post(place, found).status_code == 302
    price.refresh_from_db()
    assert (price.effective_from, price.input) == (since, Decimal("1.125"))
    assert operator.post(place, found | {"input": "1,0"}).status_code == 302
    price.refresh_from_db()
    assert price.input == 1


def test_one_that_has_begun_has_no_form(operator: Client) -> None:
    add(operator)
    price = Price.objects.get()
    assert "This price has begun" in text(operator, "billing:price", "", price.pk)
    place = reverse("billing:price", args=[price.pk])
    assert operator.post(place, GIVEN | {"since": "2030-01-01T00:00"}).status_code == 422
    operator.post(reverse("billing:remove-price", args=[price.pk]))
    assert Price.objects.filter(pk=price.pk, input=Decimal("1.9")).exists()


def test_one_to_come_is_removed(operator: Client) -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    price = add_price(model="llama", rates=Rates(Decimal(1), Decimal(2)), since=tomorrow, by=None)
    assert "Remove this price?" in text(operator, "billing:remove-price", "", price.pk)
    assert operator.post(reverse("billing:remove-price", args=[price.pk])).status_code == 302
    assert not Price.objects.exists()


def test_models_without_a_price_are_named_used_ones_and_offered_ones(operator: Client, red: Team) -> None:
    engine = Engine.objects.create(name="demo", type=EngineType.DEMO)
    for name in ("offered one", "priced"):
        ServedModel.objects.create(engine=engine, public_id=name, engine_model=name)
    ledger.write([ended(red.pk, model="used/one") for _ in range(3)])
    add(operator, model="priced")
    assert "used/one 3 requests" in text(operator)
    html = operator.get(reverse("gateway:unpriced")).content.decode()
    assert re.findall(r"model=([^#]*)#add", html) == ["offered%20one"]
    assert "not offered now" not in html
    add(operator, model="prized")
    html = operator.get(reverse("gateway:unpriced")).content.decode()
    assert re.findall(r'<li class="breaks">(\w+)</li>', html[html.index("not offered now") :]) == ["prized"]


@pytest.mark.parametrize("as_file", [True, False])
def test_a_list_is_shown_before_it_is_taken_in(operator: Client, as_file: bool) -> None:
    add(operator, model="kept")
    lines = "model,input,output\nkept,1.9,8\nfell,1.8,8\n"
    given: dict[str, object] = (
        {"file": SimpleUploadedFile("prices.csv", lines.encode())} if as_file else {"text": lines}
    )
    preview = operator.post(reverse("billing:import-prices"), given)
    html = preview.content.decode()
    assert preview.status_code == 200
    assert (Price.objects.count(), "fell" in html, "1 more is there already" in html) == (1, True, True)
    assert "from now on" in html
    (found,) = re.findall(r'<textarea[^>]*name="text"[^>]*>\n(.*?)</textarea>', html, re.DOTALL)
    done = operator.post(reverse("billing:import-prices"), {"text": found, "confirmed": "1"})
    assert (done.status_code, Price.objects.count()) == (302, 2)


def test_a_bad_list_is_told_by_its_lines_and_can_be_mended(operator: Client) -> None:
    response = operator.post(reverse("billing:import-prices"), {"text": "model,input,output\n<b>,x,8\n"})
    html = response.content.decode()
    assert (response.status_code, "Line 2: input: “x” is no number such as 1.8." in html) == (422, True)
    assert "&lt;b&gt;,x,8" in html
    for bad in ({}, {"file": SimpleUploadedFile("prices.csv", b"\xff\xfe\x00")}, {"text": "\0"}):
        assert operator.post(reverse("billing:import-prices"), bad).status_code == 422


def test_the_export_is_a_list_that_can_be_taken_in(operator: Client) -> None:
    add(operator)
    exported = operator.get(reverse("billing:prices-csv"))
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    preview = operator.post(reverse("billing:import-prices"), {"text": exported.content.decode()})
    assert "All of these prices are there already." in preview.content.decode()


def test_a_team_sees_what_its_models_cost_now_and_next(client: Client, bob: User, red: Team) -> None:
    engine = Engine.objects.create(name="demo", type=EngineType.DEMO)
    for name in ("free", "paid"):
        ServedModel.objects.create(engine=engine, public_id=name, engine_model=name)
    now = timezone.now()
    add_price(model="paid", rates=Rates(Decimal("1.9"), Decimal(8), Decimal("0.9"), Decimal(9)), by=None)
    add_price(model="paid", rates=Rates(Decimal("1.8"), Decimal(8)), since=now + timedelta(days=1), by=None)
    client.force_login(bob)
    page = text(client, "gateway:models", "", red.slug)
    assert "€/M in" in page
    assert re.search(
        r"paid Demo cached input 0.90 reasoning 9.00 from .*? on 1.80 / 8.00 none not known 1.90 8.00", page
    )
    assert re.search(r"free Demo none not known no price –", page)


def test_the_number_of_queries_does_not_grow_with_the_prices(
    operator: Client, red: Team, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    counted = []
    text(operator)
    for number in range(3):
        add_price(model=f"model {number}", rates=Rates(Decimal(1), Decimal(1)), by=None)
        with django_assert_max_num_queries(12) as queries:
            text(operator)
        counted.append(len(queries))
    assert counted[0] == counted[2]
