"""The chat in a real browser: whatever happens at 10, 50 or 90 % of an answer, the page ends with the engine's text."""

import re
import time
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, WebSocket, expect

from accounts import revision
from accounts.models import Team, User
from chat.conversations import Question, start, stop
from chat.models import Conversation, Generation, Message
from gateway.models import Engine, ServedModel
from tests.browser.conftest import Visitor
from tests.browser.steps import sign_in
from tests.chat.payloads import PAYLOADS
from tests.engines.faultd import FaultEngine, words

WORDS = 150
GAP = 25  # ms
TEXT = "".join(words(WORDS)).strip()
GENEROUS = 30_000  # ms


@pytest.fixture
def engine() -> Iterator[FaultEngine]:
    with FaultEngine() as running:
        yield running


def serve_model(engine: FaultEngine, scenario: str) -> None:
    """Only the fault engine's `scenario` is offered, as the model `small`."""
    Engine.objects.update(enabled=False)
    row = Engine.objects.create(name="fault", type="openai", url=engine.url)
    ServedModel.objects.create(engine=row, public_id="small", engine_model=scenario)
    revision.bump()


@pytest.fixture
def bobs_page(page: Page, bob: User, engine: FaultEngine) -> Page:
    """Bob is signed in, and a model is there that takes its time."""
    serve_model(engine, f"fault:drip?n={WORDS}&gap={GAP}")
    sign_in(page, bob.email)
    return page


def ask(page: Page, text: str = "Go on.") -> None:
    page.goto("/chat/")
    page.get_by_label("Your question").fill(text)
    page.get_by_role("button", name="Ask").click()
    page.wait_for_url(re.compile(r"/chat/[0-9a-f-]{36}/"))


def answer(page: Page) -> str:
    return page.locator(".answer .prose").last.inner_text().strip()


def until_written(page: Page, share: float) -> None:
    """Wait until the page shows so much of the answer."""
    expect(page.locator(".answer .prose").last).to_contain_text(f"word{int(WORDS * share)} ", timeout=GENEROUS)


def whole(page: Page) -> None:
    """The answer has ended and the page shows it character for character."""
    expect(page.locator(".answer .tally").last).to_be_visible(timeout=GENEROUS)
    assert answer(page) == TEXT


@pytest.mark.spec("F34")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_reload_loses_and_doubles_nothing(bobs_page: Page, share: float) -> None:
    ask(bobs_page)
    until_written(bobs_page, share)
    bobs_page.reload()
    until_written(bobs_page, share)
    assert TEXT.startswith(answer(bobs_page))
    whole(bobs_page)
    assert Generation.objects.count() == 1


@pytest.mark.spec("F34")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_socket_loses_and_doubles_nothing(visitor: Visitor, bob: User, engine: FaultEngine, share: float) -> None:
    page = visitor()
    sockets = []

    def through(route: object) -> None:
        sockets.append(route)
        route.connect_to_server()  # type: ignore[attr-defined]

    page.route_web_socket(re.compile("/ws/"), through)
    serve_model(engine, f"fault:drip?n={WORDS}&gap={GAP}")
    sign_in(page, bob.email)
    ask(page)
    until_written(page, share)
    sockets[-1].close(code=1012)
    expect(page.locator("#connection")).to_be_visible()
    expect(page.locator("#connection")).to_be_hidden(timeout=GENEROUS)
    whole(page)
    assert len(sockets) == 2


@pytest.mark.spec("F35")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_second_tab_shows_the_same(bobs_page: Page, share: float) -> None:
    ask(bobs_page)
    until_written(bobs_page, share)
    second = bobs_page.context.new_page()
    second.goto(bobs_page.url)
    until_written(second, share)
    assert TEXT.startswith(answer(second))
    whole(second)
    whole(bobs_page)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_stop_ends_the_answer_at_the_engine_within_a_second(bobs_page: Page, engine: FaultEngine, share: float) -> None:
    ServedModel.objects.update(engine_model=f"fault:drip?n={WORDS}&gap=100")  # time enough to stop it near its end
    revision.bump()
    ask(bobs_page)
    until_written(bobs_page, share)
    pressed = time.monotonic()
    bobs_page.keyboard.press("Escape")
    engine.wait_for(lambda: engine.completions()[-1].closed_at is not None)
    assert (engine.completions()[-1].closed_at or 0) - pressed < 1.0
    expect(bobs_page.get_by_text("Stopped.")).to_be_visible()
    kept = answer(bobs_page).removesuffix("Stopped.").strip()
    assert TEXT.startswith(kept)
    assert Message.objects.get(author="assistant").text.strip() == kept
    bobs_page.reload()
    assert answer(bobs_page) == kept


def test_the_tab_that_did_not_ask_may_stop(bobs_page: Page, engine: FaultEngine) -> None:
    ask(bobs_page)
    second = bobs_page.context.new_page()
    second.goto(bobs_page.url)
    until_written(second, 0.1)
    second.get_by_role("button", name="Stop").click()
    expect(bobs_page.get_by_text("Stopped.")).to_be_visible()
    assert engine.completions()[-1].ended_at is None


def test_what_is_sent_grows_with_the_answer_and_not_with_its_square(page: Page, bob: User, engine: FaultEngine) -> None:
    received: list[int] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: received.append(len(frame)))

    page.on("websocket", listen)
    text = "\n\n".join(f"Paragraph {number} with some words in it." for number in range(400))
    serve_model(engine, "fault:echo?size=40&gap=5")
    sign_in(page, bob.email)
    ask(page, text)
    expect(page.locator(".answer .tally")).to_be_visible(timeout=GENEROUS)
    shown = page.locator(".answer .prose p").all_inner_texts()
    assert "\n\n".join(shown) == text
    # The text as a tail, as settled blocks and in the full render, each with its markup; and each frame's own words.
    assert sum(received) < 8 * len(text) + 400 * len(received) + 20_000


def test_a_question_goes_by_enter_and_the_box_is_empty_and_keeps_the_focus(bobs_page: Page) -> None:
    ask(bobs_page)
    until_written(bobs_page, 0.05)
    bobs_page.keyboard.press("Escape")
    expect(bobs_page.get_by_text("Stopped.")).to_be_visible()
    box = bobs_page.get_by_label("Your question")
    box.click()
    bobs_page.keyboard.type("First line")
    bobs_page.keyboard.press("Shift+Enter")
    bobs_page.keyboard.type("second line")
    bobs_page.keyboard.press("Enter")
    expect(bobs_page.locator(".ask .words").last).to_have_text("First line\nsecond line")
    expect(box).to_have_value("")
    expect(box).to_be_focused()


def test_a_question_while_one_is_answered_comes_back_with_the_reason(bobs_page: Page) -> None:
    ask(bobs_page)
    until_written(bobs_page, 0.05)
    box = bobs_page.get_by_label("Your question")
    box.fill("And then?")
    box.press("Enter")
    expect(bobs_page.get_by_role("alert")).to_contain_text("An answer is being written")
    expect(box).to_have_value("And then?")
    assert Generation.objects.count() == 1


def test_a_draft_survives_a_reload(bobs_page: Page) -> None:
    bobs_page.goto("/chat/")
    bobs_page.get_by_label("Your question").fill("Half a thought")
    bobs_page.reload()
    expect(bobs_page.get_by_label("Your question")).to_have_value("Half a thought")


def test_boundaries_are_announced_and_words_are_not(bobs_page: Page) -> None:
    ask(bobs_page)
    expect(bobs_page.get_by_role("log")).to_have_attribute("aria-live", "off")
    expect(bobs_page.get_by_role("status").first).to_be_attached()
    whole(bobs_page)
    expect(bobs_page.locator("#status")).to_have_text("Answer complete")


def test_the_page_does_not_move_under_a_reader(bobs_page: Page, engine: FaultEngine) -> None:
    ServedModel.objects.update(engine_model="fault:echo?size=20&gap=10")
    revision.bump()
    ask(bobs_page, "\n\n".join(f"Paragraph {number} of many." for number in range(150)))
    expect(bobs_page.locator(".answer .prose").last).to_contain_text("Paragraph 40 ", timeout=GENEROUS)
    log = bobs_page.locator("#log")
    log.hover()
    bobs_page.mouse.wheel(0, -400)
    expect(bobs_page.get_by_role("button", name="New text below")).to_be_visible()
    place = log.evaluate("log => log.scrollTop")
    expect(bobs_page.locator(".answer .prose").last).to_contain_text("Paragraph 80 ", timeout=GENEROUS)
    assert log.evaluate("log => log.scrollTop") == place
    bobs_page.get_by_role("button", name="New text below").click()
    expect(bobs_page.get_by_role("button", name="New text below")).to_be_hidden()


def test_an_engine_that_is_down_is_said_in_words_and_can_be_tried_again(
    page: Page, bob: User, engine: FaultEngine
) -> None:
    serve_model(engine, "fault:refuse")
    sign_in(page, bob.email)
    ask(page)
    expect(page.get_by_role("alert")).to_contain_text(re.compile("engine"))
    ServedModel.objects.update(engine_model="fault:ok?n=3")
    revision.bump()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer .prose")).to_have_text("word0 word1 word2", timeout=GENEROUS)


def test_signing_out_elsewhere_ends_the_socket_and_says_so(bobs_page: Page, bob: User) -> None:
    ask(bobs_page)
    until_written(bobs_page, 0.05)
    other = bobs_page.context.new_page()
    other.goto("/account/logout/")
    other.get_by_role("button", name="Sign Out").click()
    bobs_page.keyboard.press("Escape")
    expect(bobs_page.locator("#connection")).to_contain_text("You are signed out")


def test_asking_and_reading_work_without_javascript(visitor: Visitor, bob: User, engine: FaultEngine) -> None:
    serve_model(engine, "fault:drip?n=60&gap=50")
    page = visitor(java_script_enabled=False)
    sign_in(page, bob.email)
    ask(page)
    expect(page.locator(".answer .prose")).to_have_text("".join(words(60)).strip(), timeout=GENEROUS)
    page.get_by_label("Your question").fill("And now stop.")
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible(timeout=GENEROUS)


@pytest.mark.spec("S09")
def test_nothing_that_a_model_writes_or_a_person_names_runs_or_fetches(
    visitor: Visitor, bob: User, red: Team, engine: FaultEngine
) -> None:
    page = visitor()
    strangers: list[str] = []
    page.on("request", lambda request: strangers.append(request.url) if "evil" in request.url else None)
    serve_model(engine, "fault:echo?size=7")
    bob.name = "<img src=x onerror=window.hacked=1>"
    bob.save()
    sign_in(page, bob.email)
    stored = stored_answers(bob, red)
    for conversation in stored:
        page.goto(f"/chat/{conversation.pk}/")
        assert_harmless(page, strangers)
    for payload in (*PAYLOADS[:6], "\n\n".join(PAYLOADS)):
        ask(page, payload)
        expect(page.locator(".answer .tally")).to_be_visible(timeout=GENEROUS)
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
