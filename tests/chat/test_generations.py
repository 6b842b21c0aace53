"""Generations against an engine on a real socket: they run, stop, fail and end as they should, watched or not."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone, translation

from accounts.database import in_database
from accounts.models import Team, User
from accounts.people import deactivate_person
from accounts.teams import remove_member
from billing.budgets.monthly import set_budget
from billing.ledger.partitions import ensure_partitions
from billing.limits.limiter import limiter
from billing.limits.tiers import limit_member
from billing.limits.windows import Bounds
from billing.models import BudgetAccount, Price, Unit, UsageRecord
from billing.spool.shipper import Shipper
from billing.spool.writer import spool
from chat import generations
from chat.claims import DEAD_AFTER, PROCESS, claim, mark_interrupted
from chat.conversations import Question, ask_again, delete, start, stop
from chat.generations import Characters, supervisor
from chat.models import Conversation, Generation
from chat.show import sentence
from console.preparation import compile_messages_if_changed
from gateway.models import ServedModel
from gateway.snapshot import holder
from tests.chat.conftest import serve_model, web_process
from tests.engines.faultd import FaultEngine, words

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

GENEROUS = 20.0  # seconds until a condition that will come is given up


async def until[T](look: Callable[[], Awaitable[T]], *, wanted: Callable[[T], bool] = bool) -> T:
    """Look until what is seen is wanted."""
    async with asyncio.timeout(GENEROUS):
        while not wanted(seen := await look()):  # noqa: ASYNC110  # what is waited for lies in the database
            await asyncio.sleep(0.02)
    return seen


def generation_of(conversation: Conversation) -> Generation:
    return Generation.objects.select_related("message").filter(conversation=conversation).latest("created_at")


async def ended(conversation: Conversation) -> Generation:
    return await until(
        lambda: in_database(generation_of, conversation), wanted=lambda found: found.state not in Generation.LIVE
    )


async def asked(user: User, team: Team, text: str = "Go on.") -> Conversation:
    return await in_database(start, user=user, team=team, question=Question(text, "small", uuid.uuid4()))


async def written(conversation: Conversation, characters: int) -> None:
    """Wait until the answer has so many characters."""

    async def look() -> bool:
        run = supervisor.run_of(conversation.pk)
        return run is not None and run.answer.seq >= characters

    await until(look)


@pytest.mark.spec("F34")
async def test_an_answer_nobody_watches_is_written_to_its_end(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=20&gap=5")
    async with web_process(tmp_path):
        found = await ended(await asked(bob, red))
    assert found.message.text == "".join(words(20))
    assert (found.state, found.error, found.seq) == (Generation.State.DONE, "", len(found.message.text))
    assert (found.completion_tokens, found.estimated, found.process) == (20, False, PROCESS)
    assert found.request_id is not None
    assert found.ttft_ms is not None
    assert engine.requests[-1].body["messages"] == [{"role": "user", "content": "Go on."}]


async def test_what_is_written_is_saved_on_the_way(bob: User, red: Team, engine: FaultEngine, tmp_path: Path) -> None:
    await in_database(serve_model, engine, "fault:drip?n=200&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        found = await until(lambda: in_database(generation_of, talk), wanted=lambda found: bool(found.message.text))
        assert found.state == Generation.State.RUNNING
        assert "".join(words(200)).startswith(found.message.text)
        assert found.seq == len(found.message.text)
        await in_database(stop, user=bob, conversation=talk)
        await ended(talk)


@pytest.mark.spec("R11")
async def test_stop_closes_the_engine_and_keeps_what_came(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=1000&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        await written(talk, 20)
        pressed = time.monotonic()
        await in_database(stop, user=bob, conversation=talk)
        found = await ended(talk)

        async def closed() -> bool:
            return engine.requests[-1].closed_at is not None

        await until(closed)
    exchange = engine.requests[-1]
    assert exchange.closed_at is not None
    assert exchange.closed_at - pressed < 1.0, "decided: upstream is closed within a second"
    assert found.state == Generation.State.STOPPED
    assert found.message.text
    assert "".join(words(1000)).startswith(found.message.text)
    assert found.estimated


async def test_a_stop_whose_notification_is_lost_is_found_with_the_next_save(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=1000&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        await written(talk, 20)
        generation = Generation.objects.filter(conversation=talk)
        await in_database(generation.update, stop_requested_at=timezone.now())
        assert (await ended(talk)).state == Generation.State.STOPPED


async def test_an_engine_that_is_down_fails_with_its_code_and_again_works(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:refuse")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        found = await ended(talk)
        assert (found.state, found.message.text) == (Generation.State.FAILED, "")
        assert found.error in {"service_unavailable", "bad_gateway"}
        await in_database(serve_model, engine, "fault:ok?n=3")
        await holder.refresh()
        await in_database(ask_again, user=bob, conversation=talk)
        again = await ended(talk)
        assert (again.state, again.message.text) == (Generation.State.DONE, "".join(words(3)))
        assert again.message.parent_id == found.message.parent_id


@pytest.mark.spec("U4")
@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "A limit of yours is reached: requests a minute. Your question is kept; ask again in a moment."),
        ("es", "Se alcanzó un límite tuyo: peticiones por minuto."),
        ("fr", "Une limite qui vous concerne est atteinte : requêtes par minute."),
    ],
)
async def test_the_chat_is_limited_as_programs_are_and_says_which_limit_it_was(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path, language: str, told: str
) -> None:
    limiter.counters.clear()
    await in_database(serve_model, engine, "fault:ok?n=3")
    await in_database(limit_member, team=red, user=bob, bounds=Bounds(requests_per_minute=1), by=None)
    async with web_process(tmp_path):
        assert (await ended(await asked(bob, red))).state == Generation.State.DONE
        refused = await ended(await asked(bob, red))
    assert (refused.state, refused.message.text) == (Generation.State.FAILED, "")
    assert refused.error.startswith("rate_limit_exceeded:member:requests-per-minute:")
    compile_messages_if_changed()
    with translation.override(language):
        assert sentence(refused.error).startswith(told)
    assert len(engine.completions()) == 1


def test_a_limit_that_nobody_knows_is_told_in_general_words() -> None:
    for code in ("rate_limit_exceeded", "rate_limit_exceeded:", "rate_limit_exceeded:team:fortnight:1"):
        assert sentence(code) == "Too many requests just now. Your question is kept; wait a moment."


async def test_an_engine_that_breaks_off_leaves_what_it_wrote(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:cut?after=7")
    async with web_process(tmp_path):
        found = await ended(await asked(bob, red))
    assert found.state == Generation.State.FAILED
    assert found.message.text == "".join(words(7))


async def test_a_model_that_is_no_longer_offered_fails_in_words(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    async with web_process(tmp_path):
        found = await ended(await asked(bob, red))
    assert (found.state, found.error) == (Generation.State.FAILED, "model_not_found")


async def test_deleting_a_conversation_stops_its_answer(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=1000&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        await written(talk, 20)
        await in_database(delete, user=bob, conversation=talk)

        async def gone() -> bool:
            return supervisor.run_of(talk.pk) is None and engine.requests[-1].closed_at is not None

        await until(gone)


@pytest.mark.parametrize("how", ["deactivated", "left"])
async def test_the_answer_of_somebody_who_lost_the_right_is_ended_at_once(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "HEARTBEAT_EVERY", 600.0)
    await in_database(serve_model, engine, "fault:drip?n=1000&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        await written(talk, 20)
        if how == "deactivated":
            await in_database(deactivate_person, user=bob, by=None)
        else:
            await in_database(remove_member, team=red, user=bob, by=None)
        found = await ended(talk)
    assert (found.state, found.error) == (Generation.State.STOPPED, "not_allowed")


@pytest.mark.spec("F25")
async def test_an_answer_knows_its_cost_at_its_end_and_the_log_says_the_same(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    def set_price() -> None:
        ensure_partitions()
        Price.objects.create(model="small", effective_from=timezone.now(), input=Decimal("0.5"), output=Decimal(2))
        serve_model(engine, "fault:drip?n=20&gap=20")

    await in_database(set_price)
    async with web_process(tmp_path):
        whole = await ended(await asked(bob, red))
        talk = await asked(bob, red)
        await written(talk, 20)
        await in_database(stop, user=bob, conversation=talk)
        stopped = await ended(talk)
        spool().rotate(force=True)
        await in_database(Shipper(tmp_path).ship_once)
    assert whole.cost == (whole.prompt_tokens * Decimal("0.5") + 20 * 2) / 1_000_000
    assert stopped.cost > 0
    rows = await in_database(
        lambda: list(UsageRecord.objects.order_by("at").values_list("id", "completion_tokens", "cost"))
    )
    assert rows == [(one.request_id, one.completion_tokens, one.cost) for one in (whole, stopped)]


async def test_the_end_of_the_server_marks_what_it_cut(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=1000&gap=20")
    async with web_process(tmp_path):
        talk = await asked(bob, red)
        await written(talk, 20)
    found = await in_database(generation_of, talk)
    assert (found.state, found.error) == (Generation.State.INTERRUPTED, "drained")
    assert found.message.text


async def test_two_that_claim_at_once_never_claim_the_same(bob: User, red: Team) -> None:
    talks = [await asked(bob, red) for _ in range(6)]
    claimed = await asyncio.gather(*(in_database(claim, 2) for _ in range(5)))
    found = [task.conversation_id for tasks in claimed for task in tasks]
    found += [task.conversation_id for task in await in_database(claim, 20)]
    assert sorted(found) == sorted(talk.pk for talk in talks)


@pytest.mark.parametrize(
    ("process", "silent", "state"),
    [
        (PROCESS, False, Generation.State.RUNNING),
        ("elsewhere:1:aa", False, Generation.State.RUNNING),
        ("elsewhere:1:aa", True, Generation.State.INTERRUPTED),
        (PROCESS.rsplit(":", 1)[0] + ":older", False, Generation.State.INTERRUPTED),
        (f"{PROCESS.split(':')[0]}:4194303:aa", False, Generation.State.INTERRUPTED),
    ],
    ids=["this", "elsewhere", "elsewhere and silent", "earlier here", "dead"],
)
async def test_what_dead_processes_left_is_marked(
    bob: User, red: Team, process: str, silent: bool, state: Generation.State
) -> None:
    talk = await asked(bob, red)
    heartbeat = timezone.now() - (DEAD_AFTER * 2 if silent else DEAD_AFTER / 2)
    mine = Generation.objects.filter(conversation=talk)
    await in_database(mine.update, state=Generation.State.RUNNING, process=process, heartbeat_at=heartbeat)
    await in_database(mark_interrupted)
    assert (await in_database(generation_of, talk)).state == state


def test_pieces_that_cut_a_character_in_two_join_it_again() -> None:
    characters = Characters()
    pieces = ["a\ud83d", "\ude00b", "\ud83d", "x", "\x00", "\udc00"]
    assert "".join(map(characters.whole, pieces)) == "a\U0001f600b\ufffdx\ufffd\ufffd"


@pytest.mark.spec("U4", "F31")
@pytest.mark.parametrize(("amount", "written"), [(10, 0), (10_000, 20)])
async def test_a_question_that_a_budget_does_not_cover_says_so_and_another_is_booked(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path, amount: int, written: int
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=20&gap=5")
    budget = await in_database(
        set_budget, team=red, unit=Unit.TOKENS, amount=Decimal(amount), hard=True, by=None, member=bob
    )
    async with web_process(tmp_path):
        found = await ended(await asked(bob, red))
        spool().rotate(force=True)
        await in_database(ensure_partitions)
        await in_database(Shipper(tmp_path).ship_once)
    assert (found.state, found.error) == (
        (Generation.State.DONE, "") if written else (Generation.State.FAILED, "insufficient_quota")
    )
    assert found.message.text == "".join(words(written))
    assert len(engine.completions()) == bool(written)
    account = await in_database(BudgetAccount.objects.get, budget=budget)
    assert (account.reserved, account.spent > written) == (0, bool(written))


@pytest.mark.spec("F31")
async def test_an_answer_that_goes_beyond_its_budget_is_cut_and_what_was_written_is_kept(
    bob: User, red: Team, engine: FaultEngine, tmp_path: Path
) -> None:
    await in_database(serve_model, engine, "fault:drip?n=500&gap=10")
    await in_database(ServedModel.objects.filter(public_id="small").update, default_reserve=8)
    await in_database(set_budget, team=red, unit=Unit.TOKENS, amount=Decimal(100), hard=True, by=None)
    async with web_process(tmp_path):
        found = await ended(await asked(bob, red))
    assert (found.state, found.error) == (Generation.State.FAILED, "insufficient_quota")
    assert found.message.text.startswith("".join(words(8)))
    assert sentence(found.error).startswith("The budget or credit that pays for this has too little left.")
