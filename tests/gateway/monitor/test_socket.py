"""The monitor's socket: for whom, what comes over it, and when it is closed. Over the application as servers run it."""

import asyncio
import json
from dataclasses import replace
from time import monotonic

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.database import in_database
from accounts.models import User
from accounts.people import deactivate_person
from gateway.models import Engine, ServedModel

settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # console.asgi wants to see it

from console.asgi import application  # noqa: E402
from gateway.monitor import consumers, watching  # noqa: E402
from gateway.monitor.pulse import Flow, Heart  # noqa: E402
from gateway.monitor.watching import watchers  # noqa: E402
from tests.gateway.monitor.test_pulse import A_PROCESS  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

ORIGIN = "http://localhost"


class Page(WebsocketCommunicator):
    def __init__(self, cookie: str = "", *, origin: str | None = ORIGIN, language: str = "en") -> None:
        headers = [(b"host", b"localhost"), (b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        super().__init__(application, f"/ws/monitor/?lang={language}", headers=headers)

    async def say(self, kind: str) -> None:
        await self.send_to(text_data=json.dumps({"type": kind}))

    async def hear(self) -> str:
        """The next frame, which is acknowledged."""
        frame = await self.receive_from(timeout=20)
        assert isinstance(frame, str)
        await self.say("ack")
        return frame

    async def hear_until(self, words: str) -> str:
        while words not in (frame := await self.hear()):
            pass
        return frame

    async def closed_with(self) -> int:
        while True:
            event = await self.receive_output(timeout=20)
            if event["type"] == "websocket.close":
                await self.disconnect()
                return int(event["code"])
            await self.say("ack")


def signed_in(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def cookie_of(browser: Client) -> str:
    return browser.cookies[settings.SESSION_COOKIE_NAME].value


async def opened(user: User, browser: Client | None = None, **more: str) -> Page:
    browser = browser or await in_database(signed_in, user)
    page = Page(cookie_of(browser), **more)  # type: ignore[arg-type]  # a language
    assert (await page.connect(timeout=20))[0]
    return page


@pytest.fixture
def engine(db: None) -> Engine:
    engine = Engine.objects.create(name="gpu", type="vllm", url="http://127.0.0.1:1", max_concurrent=4)
    ServedModel.objects.create(engine=engine, public_id="llama", engine_model="llama")
    return engine


FLOW = Flow("llama", "gpu", running=2, minute=30, ended=40, failed=10, tokens_per_second=52.4)
HEART = Heart()


async def tell(**changed: object) -> None:
    await in_database(HEART._tell, replace(A_PROCESS, **changed))  # type: ignore[arg-type]  # its own words


@pytest.mark.spec("S11")
@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null", None])
async def test_another_sites_page_cannot_open_it(alice: User, origin: str | None) -> None:
    browser = await in_database(signed_in, alice)
    assert (await Page(cookie_of(browser), origin=origin).connect())[0] is False


@pytest.mark.spec("S05")
async def test_it_is_closed_for_strangers_and_for_members_who_operate_nothing(bob: User) -> None:
    stranger = Page()
    assert (await stranger.connect())[0]
    assert await stranger.closed_with() == consumers.SIGNED_OUT
    assert await (await opened(bob)).closed_with() == consumers.NOT_YOURS


async def test_an_operator_is_shown_everything_first_and_then_what_changes(alice: User, engine: Engine) -> None:
    await tell(flows=(FLOW,), calls=2)
    page = await opened(alice)
    first = await page.hear()
    for part in (
        'id="region-models" hx-swap-oob="true"',
        'id="region-engines"',
        'id="region-processes"',
        "llama",
        "gpu",
    ):
        assert part in first
    await tell(flows=(replace(FLOW, running=3),), calls=3)
    news = await page.hear_until("m0-running")
    assert "region-" not in news
    assert '<span class="cell" id="m0-running" hx-swap-oob="true"><span class="state live">3</span></span>' in news
    assert "m0-errors" not in news, "what has not changed is not sent"
    await page.disconnect()


async def test_a_table_is_sent_anew_when_a_row_comes_or_goes(alice: User, engine: Engine) -> None:
    page = await opened(alice)
    assert "mistral" not in await page.hear()
    await in_database(ServedModel.objects.create, engine=engine, public_id="mistral", engine_model="m")
    news = await page.hear_until("mistral")
    assert 'id="region-models" hx-swap-oob="true"' in news
    assert 'id="region-engines"' not in news
    await page.disconnect()


async def test_it_speaks_the_pages_language(alice: User, engine: Engine) -> None:
    await tell()
    page = await opened(alice, language="es")
    assert 'id="region-models"' in (frame := await page.hear())
    assert ">Modelo<" in frame
    await page.disconnect()


async def test_nothing_is_sent_while_the_page_has_not_taken_the_last_frame(alice: User, engine: Engine) -> None:
    page = await opened(alice)
    await page.receive_from(timeout=20)
    await tell(flows=(FLOW,))
    assert await page.receive_nothing(timeout=2.5)
    await page.say("ack")
    assert "m0-running" in await page.hear()
    await page.disconnect()


async def test_a_page_that_holds_still_is_sent_nothing_and_everything_afterwards(alice: User, engine: Engine) -> None:
    page = await opened(alice)
    await page.hear()
    await page.say("hold")
    await tell(flows=(FLOW,))
    while not await page.receive_nothing(timeout=2.5):  # a frame that was on its way
        await page.receive_from()
    await page.say("go")
    assert 'id="region-models"' in await page.hear()
    await page.disconnect()


async def test_a_page_that_holds_still_before_it_took_a_frame_is_not_taken_for_slow(
    alice: User, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "STUCK_SECONDS", 0.5)
    monkeypatch.setattr(watching, "WATCHED_FOR", 1.5)
    page = await opened(alice)
    await page.receive_from(timeout=20)
    await page.say("hold")
    assert await page.receive_nothing(timeout=2.5)
    await page.say("go")
    assert 'id="region-models"' in await page.hear()
    await page.disconnect()


async def test_while_every_page_holds_still_nobody_looks_but_after_the_people(
    alice: User, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "WATCHED_FOR", 1.5)
    page = await opened(alice)
    await page.hear()
    await page.say("hold")
    while not await page.receive_nothing(timeout=2.5):  # a frame that was on its way
        await page.receive_from()
    before = watchers.picture
    assert await page.receive_nothing(timeout=2.5)
    assert watchers.picture is before
    await in_database(User.objects.filter(pk=alice.pk).update, is_operator=False)
    assert await page.closed_with() == consumers.SIGNED_OUT


async def test_a_page_that_goes_on_again_and_again_makes_nobody_look_more_often(alice: User, engine: Engine) -> None:
    page = await opened(alice)
    await page.hear()
    seen, began = [watchers.picture], monotonic()
    while monotonic() - began < 3:
        for word in ("hold", "go", "ack"):
            await page.say(word)
        await asyncio.sleep(0.01)
        if watchers.picture is not seen[-1]:
            seen.append(watchers.picture)
    assert len(seen) <= 8
    await page.disconnect()


async def test_a_page_that_never_takes_a_frame_is_closed(
    alice: User, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "STUCK_SECONDS", 0.5)
    page = await opened(alice)
    await page.receive_from(timeout=20)
    event = await page.receive_output(timeout=20)
    assert (event["type"], event["code"]) == ("websocket.close", consumers.TOO_SLOW)
    await page.disconnect()


@pytest.mark.parametrize("words", ["x", "[]", "{}", '{"type": "sing"}', "{" * 300])
async def test_what_no_page_says_closes_it(alice: User, words: str) -> None:
    page = await opened(alice)
    await page.send_to(text_data=words)
    assert await page.closed_with() == consumers.NOT_OURS


@pytest.mark.spec("S06")
@pytest.mark.parametrize("way", ["signed out", "deactivated", "no operator any more", "new password"])
async def test_it_is_closed_when_its_person_may_no_longer_see_it(alice: User, bob: User, way: str) -> None:
    browser = await in_database(signed_in, alice)
    page = await opened(alice, browser)
    await page.hear()

    def lose() -> None:
        match way:
            case "signed out":
                browser.post(reverse("account_logout"))
            case "deactivated":
                deactivate_person(user=alice, by=None)
            case "no operator any more":
                User.objects.filter(pk=alice.pk).update(is_operator=False)
            case _:
                alice.set_password("another battery staple")
                alice.save(update_fields=["password"])

    await in_database(lose)
    assert await page.closed_with() == consumers.SIGNED_OUT


async def test_a_person_opens_so_many_pages_and_no_more(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_OF_A_PERSON", 2)
    pages = [await opened(alice) for _ in range(2)]
    assert await (await opened(alice)).closed_with() == consumers.TOO_MANY
    for page in pages:
        await page.disconnect()


async def test_nobody_looks_when_nobody_watches(alice: User) -> None:
    page = await opened(alice)
    await page.hear()
    assert watchers._task is not None
    await page.disconnect()
    assert (watchers._task, watchers.picture) == (None, None)
