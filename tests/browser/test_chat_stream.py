"""The chat in a real browser: whatever happens at 10, 50 or 90 % of an answer, the page ends with the engine's text.

The engine holds back the answer's last words until a test lets it go on, so that 90 % never is the end.
"""

import re
import time
import uuid

import pytest
from playwright.sync_api import Page, WebSocket, WebSocketRoute, expect

from accounts.models import Team, User
from chat.conversations import Question, start, stop
from chat.models import Conversation, Generation, Message
from tests.browser.conftest import AWAY, Visitor
from tests.browser.steps import let_in
from tests.chat.payloads import PAYLOADS
from tests.engines.faultd import FaultEngine, words
from tests.server import LiveServer

WORDS = 150
TEXT = "".join(words(WORDS)).strip()
HELD = f"fault:drip?n={WORDS}&gap=25&hold={WORDS - 2}"
SHARES = (0.1, 0.5, 0.9)
GENEROUS = 30_000  # ms
LINES = """cells => cells.map(cell => {
  const text = document.createRange();
  text.selectNodeContents(cell);
  return new Set(Array.from(text.getClientRects(), (part) => Math.round(part.top))).size;
})"""


@pytest.fixture
def bobs_page(page: Page, bob: User, server: LiveServer) -> Page:
    let_in(page, bob, server)
    return page


def ask(page: Page, text: str, *, model: str = "small") -> None:
    page.goto(f"/chat/?model={model}")
    page.get_by_label("Your question").fill(text)
    page.get_by_role("button", name="Ask").click()
    page.wait_for_url(re.compile(r"/chat/[0-9a-f-]{36}/"))


def ask_next(page: Page, text: str) -> None:
    box = page.get_by_label("Your question")
    box.fill(text)
    box.press("Enter")


def answer(page: Page) -> str:
    return page.locator(".answer .prose").last.inner_text().strip()


def until_written(page: Page, share: float) -> None:
    """Wait until the page shows so much of the answer."""
    expect(page.locator(".answer .prose").last).to_contain_text(f"word{int(WORDS * share)} ", timeout=GENEROUS)


def let_go_on(engine: FaultEngine) -> None:
    engine.completions()[-1].released = True


def whole(page: Page) -> None:
    """The answer has ended and the page shows it character for character."""
    expect(page.locator(".answer .tally").last).to_be_visible(timeout=GENEROUS)
    assert answer(page) == TEXT


def generations(user: User) -> int:
    return Generation.objects.filter(conversation__user=user).count()


@pytest.mark.spec("F34")
def test_reloads_lose_and_double_nothing(bobs_page: Page, bob: User, engine: FaultEngine) -> None:
    """Nor does the page ever ask for the whole again, as it does when what comes does not fit what it shows."""
    began: list[str | bytes] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", lambda frame: began.append(frame) if "cursor" in str(frame) else None)

    bobs_page.on("websocket", listen)
    ask(bobs_page, HELD)
    for share in SHARES:
        until_written(bobs_page, share)
        bobs_page.reload()
        until_written(bobs_page, share)
        assert TEXT.startswith(answer(bobs_page))
    let_go_on(engine)
    whole(bobs_page)
    assert len(began) == 1 + len(SHARES)
    bobs_page.reload()
    whole(bobs_page)
    assert generations(bob) == 1


@pytest.mark.spec("F34")
def test_cut_sockets_lose_and_double_nothing(page: Page, bob: User, server: LiveServer, engine: FaultEngine) -> None:
    """The last one is cut when the end is about to come, which the page must then learn on its return."""
    sockets: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        sockets.append(route)
        route.connect_to_server()

    page.route_web_socket(re.compile("/ws/"), through)
    let_in(page, bob, server)
    ask(page, HELD)
    for share in SHARES:
        until_written(page, share)
        sockets[-1].close(code=1012)
        expect(page.locator("#connection")).to_be_visible()
        if share == SHARES[-1]:
            let_go_on(engine)
        expect(page.locator("#connection")).to_be_hidden(timeout=GENEROUS)
    whole(page)
    assert len(sockets) == 1 + len(SHARES)


@pytest.mark.spec("F35")
def test_further_tabs_show_the_same(bobs_page: Page, engine: FaultEngine) -> None:
    ask(bobs_page, HELD)
    tabs = [bobs_page]
    for share in SHARES:
        until_written(bobs_page, share)
        tab = bobs_page.context.new_page()
        tab.goto(bobs_page.url)
        until_written(tab, share)
        assert TEXT.startswith(answer(tab))
        tabs.append(tab)
    let_go_on(engine)
    for tab in tabs:
        whole(tab)


@pytest.mark.spec("F35")
def test_stop_ends_the_answer_at_the_engine_within_a_second(bobs_page: Page, engine: FaultEngine) -> None:
    """By the key, by the button, and in a tab that did not ask."""
    ask(bobs_page, HELD)
    other = bobs_page.context.new_page()
    other.goto(bobs_page.url)
    ways = [
        lambda: bobs_page.keyboard.press("Escape"),
        lambda: bobs_page.get_by_role("button", name="Stop").click(),
        lambda: other.get_by_role("button", name="Stop").click(),
    ]
    for turn, (share, press) in enumerate(zip(SHARES, ways, strict=True), start=1):
        if turn > 1:
            ask_next(bobs_page, HELD)
        expect(bobs_page.locator(".answer")).to_have_count(turn)
        until_written(bobs_page, share)
        until_written(other, share)
        pressed = time.monotonic()
        press()
        engine.wait_for(lambda: engine.completions()[-1].closed_at is not None)
        assert (engine.completions()[-1].closed_at or 0) - pressed < 1.0, "decided: upstream is closed within a second"
        for page in (bobs_page, other):
            expect(page.get_by_text("Stopped.")).to_have_count(turn)
        kept = answer(bobs_page)
        assert TEXT.startswith(kept)
        assert answer(other) == kept
        assert Message.objects.filter(author="assistant").latest("pk").text.strip() == kept
    bobs_page.reload()
    assert answer(bobs_page) == kept


def test_what_is_sent_grows_with_the_answer_and_not_with_its_square(bobs_page: Page) -> None:
    received: list[int] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: received.append(len(frame)))

    bobs_page.on("websocket", listen)
    text = "\n\n".join(f"Paragraph {number} with some words in it." for number in range(400))
    ask(bobs_page, text, model="echo")
    expect(bobs_page.locator(".answer .tally")).to_be_visible(timeout=GENEROUS)
    shown = bobs_page.locator(".answer .prose p").all_inner_texts()
    assert "\n\n".join(shown) == text
    # The text as a tail, as settled blocks and in the full render, each with its markup; and each frame's own words.
    assert sum(received) < 8 * len(text) + 400 * len(received) + 20_000


def test_the_composer_keeps_what_was_not_asked(bobs_page: Page, bob: User) -> None:
    bobs_page.goto("/chat/?model=small")
    bobs_page.get_by_label("Your question").fill("Half a thought")
    bobs_page.reload()
    expect(bobs_page.get_by_label("Your question")).to_have_value("Half a thought")
    ask(bobs_page, HELD)
    until_written(bobs_page, 0.05)
    ask_next(bobs_page, "And then?")
    expect(bobs_page.get_by_role("alert")).to_contain_text("An answer is being written")
    box = bobs_page.get_by_label("Your question")
    expect(box).to_have_value("And then?")
    assert generations(bob) == 1
    box.fill("")
    bobs_page.keyboard.press("Escape")
    expect(bobs_page.get_by_text("Stopped.")).to_be_visible()
    box.click()
    bobs_page.keyboard.type("First line")
    bobs_page.keyboard.press("Shift+Enter")
    bobs_page.keyboard.type("second line")
    bobs_page.keyboard.press("Enter")
    expect(bobs_page.locator(".ask .words").last).to_have_text("First line\nsecond line")
    expect(box).to_have_value("")
    expect(box).to_be_focused()


def test_the_page_does_not_move_under_a_reader_and_announces_boundaries_alone(bobs_page: Page) -> None:
    ask(bobs_page, "\n\n".join(f"Paragraph {number} of many." for number in range(400)), model="echo")
    log, prose = bobs_page.get_by_role("log"), bobs_page.locator(".answer .prose").last
    expect(log).to_have_attribute("aria-live", "off")
    expect(prose).to_contain_text("Paragraph 40 ", timeout=GENEROUS)
    log.hover()
    bobs_page.mouse.wheel(0, -400)
    expect(bobs_page.get_by_role("button", name="New text below")).to_be_visible()
    place = log.evaluate("log => log.scrollTop")
    expect(prose).to_contain_text("Paragraph 80 ", timeout=GENEROUS)
    assert log.evaluate("log => log.scrollTop") == place
    bobs_page.get_by_role("button", name="New text below").click()
    expect(bobs_page.get_by_role("button", name="New text below")).to_be_hidden()
    expect(bobs_page.locator("#status")).to_have_text("Answer complete", timeout=GENEROUS)


def test_a_wide_table_scrolls_in_its_frame_on_a_phone_with_its_words_whole(
    visitor: Visitor, bob: User, server: LiveServer
) -> None:
    page = visitor(viewport={"width": 360, "height": 740}, color_scheme="dark")
    let_in(page, bob, server)
    names = ["llamacpp", "protocol", "quantisation", "experimental", "compatibility"]
    ask(page, f"|{'|'.join(names)}|\n{'|---' * len(names)}|\n|{'|'.join(names)}|", model="quick-echo")
    expect(page.locator(".answer .tally")).to_be_visible(timeout=GENEROUS)
    wide = "element => element.scrollWidth > element.clientWidth"
    for _ in range(50):  # the answer is drawn anew when it is whole, and its columns find their widths after that
        if page.locator(".prose .table-wrap").evaluate(wide):
            break
        page.wait_for_timeout(100)
    assert page.locator(".prose .table-wrap").evaluate(wide)
    assert not page.locator("#log").evaluate(wide)
    assert not page.locator("html").evaluate(wide)
    expect(page.locator(".prose tbody td")).to_have_text(names)
    assert page.locator(".prose tbody td").evaluate_all(LINES) == [1] * len(names)


def test_an_engine_that_is_down_is_said_in_words_and_can_be_tried_again(
    bobs_page: Page, port_of_the_engine_that_is_away: int
) -> None:
    ask(bobs_page, "fault:ok?n=3", model=AWAY)
    expect(bobs_page.get_by_role("alert")).to_contain_text("engine")
    with FaultEngine(port=port_of_the_engine_that_is_away):
        bobs_page.wait_for_timeout(1500)  # a look each second finds that an engine is back
        bobs_page.get_by_role("button", name="Try again").click()
        expect(bobs_page.locator(".answer .prose")).to_have_text("word0 word1 word2", timeout=GENEROUS)


@pytest.mark.spec("F36")
def test_signing_out_elsewhere_ends_the_socket_at_once_and_says_so(bobs_page: Page, engine: FaultEngine) -> None:
    ask(bobs_page, HELD)
    until_written(bobs_page, 0.05)
    other = bobs_page.context.new_page()
    other.goto("/account/logout/")
    other.get_by_role("button", name="Sign Out").click()
    expect(bobs_page.locator("#connection")).to_contain_text("You are signed out")
    let_go_on(engine)


def test_asking_and_reading_work_without_javascript(visitor: Visitor, bob: User, server: LiveServer) -> None:
    page = visitor(java_script_enabled=False)
    let_in(page, bob, server)
    ask(page, "fault:drip?n=60&gap=30")
    expect(page.locator(".answer .prose")).to_have_text("".join(words(60)).strip(), timeout=GENEROUS)
    page.get_by_label("Your question").fill(HELD)
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible(timeout=GENEROUS)


@pytest.mark.spec("S09")
def test_nothing_that_a_model_writes_or_a_person_names_runs_or_fetches(bobs_page: Page, bob: User, red: Team) -> None:
    page = bobs_page
    strangers: list[str] = []
    page.on("request", lambda request: strangers.append(request.url) if "evil" in request.url else None)
    bob.name = "<img src=x onerror=window.hacked=1>"
    bob.save()
    for conversation in stored_answers(bob, red):
        page.goto(f"/chat/{conversation.pk}/")
        assert_harmless(page, strangers)
    ask(page, "\n\n".join(PAYLOADS), model="quick-echo")
    for turn, payload in enumerate(PAYLOADS[:6], start=1):
        expect(page.locator(".answer .tally")).to_have_count(turn, timeout=GENEROUS)
        ask_next(page, payload)
    expect(page.locator(".answer .tally")).to_have_count(7, timeout=GENEROUS)
    assert_harmless(page, strangers)


def stored_answers(bob: User, red: Team) -> list[Conversation]:
    """A conversation whose answers are all the payloads, and one named after each kind of trouble."""
    found = []
    for text in ("\n\n".join(PAYLOADS), *PAYLOADS[:3]):
        conversation = start(user=bob, team=red, question=Question(text, "small", uuid.uuid4()))
        stop(user=bob, conversation=conversation)
        stored = text.replace("\x00", "")
        Message.objects.filter(conversation=conversation, author="assistant").update(text=stored)
        Generation.objects.filter(conversation=conversation).update(state="done")
        Conversation.objects.filter(pk=conversation.pk).update(title=stored[:200])
        found.append(conversation)
    return found


def assert_harmless(page: Page, strangers: list[str]) -> None:
    assert page.evaluate("window.hacked") is None
    assert strangers == []
    inside = page.locator(".prose")
    for wrong in (
        "script",
        "img",
        "iframe",
        "form",
        "style",
        "[id^=x]",
        "[style]",
        "[onclick]",
        "[hx-get]",
        "button:not(.copy)",
    ):
        expect(inside.locator(wrong)).to_have_count(0)
    for link in inside.locator("a").all():
        assert re.match(r"(https?:|mailto:)", link.get_attribute("href") or "")
