"""Streams shaped by stencils say what they would if each event was parsed anew, and their texts keep their bytes."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.answers import Shaped, Shaper, said
from gateway.engines.client import parsed_object
from gateway.engines.facts import EngineFacts, Item, Kind, Route
from gateway.errors import GatewayError
from gateway.stencils import CREDIT, SIGN, Stencils

ROUTE = Route(EngineFacts(1, "e", "vllm", "", "", "ma02"), "public", "engine")
HOLE = "\ue000"  # where an event's text goes, as it is put together
SOUND = [
    b"word", b" ", rb"\"", rb"\\", rb"\/", rb"\n", rb"\u00e9", rb"\ud83d", rb"\ude00", rb"\ud83d\ude00", b"\x7f",
    "ñ".encode(), "😀".encode(), b"\xff", b"\xe2\x82", b"{}[]:,", rb"\",\"finish_reason\":\"stop\"",
    rb"\"content\":\"x", rb"\"model\":\"engine\"", b"",
]  # fmt: skip
BROKEN = [
    b'"', b"\\", b"\x00", b"\n", rb"\x41", rb"\u12", b'","finish_reason":"stop', b'","role":"user',
    b'","tool_calls":[{"index":0}],"x":"', b'"},"finish_reason":"stop","x":{"y":"', b'"}},{"delta":{"content":"',
]  # fmt: skip


class Deaf(Stencils):
    """Knows no stencil: each event is parsed."""

    def press(self, items: Sequence[Item], start: int, out: list[bytes]) -> tuple[int, int]:
        return start, 0


class Watched(Stencils):
    def __init__(self) -> None:
        super().__init__()
        self.pressed = 0

    def press(self, items: Sequence[Item], start: int, out: list[bytes]) -> tuple[int, int]:
        after, texts = super().press(items, start, out)
        self.pressed += after - start
        return after, texts


def shaper(kind: Kind, model: str, stencils: Stencils) -> Shaper:
    """One that has had its first event."""
    made = Shaper(ROUTE, model, kind)
    made.stencils = stencils
    made.event(b'{"id":"c1","created":1,"choices":[{"index":0,"delta":{"role":"assistant"}}]}')
    return made


def shaped(by: Shaper, event: bytes) -> Shaped | type[GatewayError] | None:
    out: list[bytes] = []
    after, texts = by.stencils.press([event], 0, out)
    if after:
        return Shaped(out[0], counts=bool(texts))
    try:
        return by.event(event)
    except GatewayError as error:
        return type(error)


def check(kind: Kind, model: str, events: list[tuple[bytes, bytes]]) -> int:
    """That each event with its text goes out as one that was parsed would. How many were not parsed."""
    watched = Watched()
    ours, theirs = shaper(kind, model, watched), shaper(kind, model, Deaf())
    for event, text in events:
        before = watched.pressed
        got, wanted = shaped(ours, event), shaped(theirs, event)
        if not isinstance(got, Shaped) or not isinstance(wanted, Shaped):
            assert got == wanted
            continue
        assert (got.counts, got.finishes, got.usage) == (wanted.counts, wanted.finishes, wanted.usage)
        assert (got.data is None) == (wanted.data is None)
        if got.data is not None and wanted.data is not None:
            assert parsed_object(got.data) == parsed_object(wanted.data)
            assert got.data == event or wanted.data != event
            if watched.pressed > before and says(wanted.data, text):
                assert text in got.data
    assert (ours.finished, ours.answer_id, ours.closing()) == (theirs.finished, theirs.answer_id, theirs.closing())
    return watched.pressed


def says(event: bytes, text: bytes) -> bool:
    """Whether the text, if it is the inside of a string, is what an event says."""
    meant = parsed_object(b'{"text":"%s"}' % text)
    return meant is not None and len(meant) == 1 and meant["text"] in said(event)


def written(value: object, chance: random.Random) -> str:
    """JSON with its members in any order, now and then one of them twice, and blanks in any place."""

    def gap() -> str:
        return chance.choice(["", "", "", " ", "\n", "\t "])

    if isinstance(value, dict):
        members = list(value.items())
        chance.shuffle(members)
        if members and chance.random() < 0.1:
            members.insert(0, (members[-1][0], "said twice"))
        inner = ",".join(f"{gap()}{json.dumps(name)}{gap()}:{gap()}{written(one, chance)}" for name, one in members)
        return f"{{{inner}{gap()}}}"
    if isinstance(value, list):
        return f"[{','.join(gap() + written(one, chance) for one in value)}{gap()}]"
    return json.dumps(value, ensure_ascii=value != HOLE)


def some(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def any_of(needed: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(needed, optional=optional)


SAID = some(HOLE, HOLE, HOLE, "", "abc", None, ["x"], 7)
TOOLS = some(None, [], [{"index": 0, "function": {"arguments": HOLE}}], "x")
DELTA = any_of(
    {},
    {
        "role": some("assistant", "user", None), "content": SAID, "reasoning": SAID, "reasoning_content": SAID,
        "text": SAID, "tool_calls": TOOLS, "refusal": some(None, HOLE), "x": some(None, HOLE, {"content": HOLE}),
    },
)  # fmt: skip
CHOICE = any_of(
    {"index": some(0, 0, 0, 1, "1", [1])},
    {
        "delta": DELTA | DELTA | some({"content": HOLE}, None, "x", [1]), "text": SAID, "message": DELTA,
        "finish_reason": some(None, None, None, "", "stop"), "stop_reason": some(None, "x"), "x": some({"text": HOLE}),
        "logprobs": some(None, {"content": [{"token": HOLE}]}, {"text": HOLE}, {"content": HOLE}),
    },
)  # fmt: skip
EVENT = any_of(
    {"choices": st.lists(CHOICE, min_size=1, max_size=2) | some([], [{"index": 0, "delta": {"content": HOLE}}])},
    {
        "id": some("c1", "c1", "c2", "", 7), "created": some(1, 1, 2, "x"), "model": some("engine", "public", None, 7),
        "object": some("chat.completion.chunk"), "usage": some(None, {}, {"prompt_tokens": 1, "completion_tokens": 2}),
        "system_fingerprint": some(None, "fp", HOLE), "content": some(HOLE), "kv_transfer_params": some(None),
        "timings": some(None, {"prompt_n": 1, "predicted_n": 2}, {"prompt_n": HOLE}), "error": some(None, False),
    },
)  # fmt: skip
TEXT = st.lists(some(*SOUND) | some(*SOUND) | some(*BROKEN), max_size=4).map(b"".join)
FAIR = st.lists(some(*SOUND), max_size=4).map(b"".join)
thoroughly = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@st.composite
def streams(draw: Callable[..., Any], text: st.SearchStrategy[bytes]) -> list[tuple[bytes, bytes]]:
    """Events of up to three forms, each with the text that was put into it."""
    chance = random.Random(draw(st.integers(0, 10**6)))
    forms = [written(one, chance).encode() for one in draw(st.lists(EVENT, min_size=1, max_size=3))]
    places = draw(st.lists(st.tuples(st.integers(0, len(forms) - 1), text), min_size=2, max_size=14))
    return [(forms[place].replace(HOLE.encode(), given), given) for place, given in places]


@pytest.mark.spec("T3", "A4", "A5")
@thoroughly
@given(st.sampled_from([Kind.CHAT, Kind.TEXT]), st.sampled_from(["engine", "public"]), streams(TEXT))
def test_a_stencil_says_what_parsing_would(kind: Kind, model: str, events: list[tuple[bytes, bytes]]) -> None:
    check(kind, model, events)


@pytest.mark.spec("T3")
@thoroughly
@given(streams(FAIR), st.data())
def test_a_stencil_fits_no_event_of_another_structure(events: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """Among events that are alike, some with a piece of another in the place of their own."""
    mixed = []
    for event, text in events:
        mixed.append((event, text))
        start = data.draw(st.integers(0, len(event)))
        end = data.draw(st.integers(start, min(len(event), start + 12)))
        mixed.append((event[:start] + data.draw(some(*SOUND, *BROKEN)) + event[end:], b""))
    check(Kind.CHAT, "public", mixed)


ENGINES = {
    "vllm": '{"id":"c1","object":"chat.completion.chunk","created":1,"model":"engine","choices":[{"index":0,'
    '"delta":{"content":"%s"},"logprobs":null,"finish_reason":null,"token_ids":null}]}',
    "vllm reasoning": '{"id":"c1","object":"chat.completion.chunk","created":1,"model":"engine","choices":[{"index":0,'
    '"delta":{"reasoning":"%s"},"logprobs":null,"finish_reason":null}]}',
    "llama.cpp": '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"%s"}}],"created":1,"id":"c1",'
    '"model":"engine","system_fingerprint":"b1","object":"chat.completion.chunk"}',
    "ollama": '{"id":"c1","object":"chat.completion.chunk","created":1,"model":"engine","system_fingerprint":'
    '"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"%s"},"finish_reason":null}]}',
    "text": '{"id":"c1","object":"text_completion","created":1,"model":"engine","choices":[{"index":0,"text":"%s",'
    '"logprobs":null,"finish_reason":null}]}',
}


@pytest.mark.spec("A4", "A5")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", ["engine", "public"])
def test_nearly_no_event_of_a_known_engine_is_parsed(engine: str, model: str) -> None:
    kind = Kind.TEXT if engine == "text" else Kind.CHAT
    texts = [f"word{number} ".encode() for number in range(100)]
    events = [(ENGINES[engine].encode().replace(b"%s", text), text) for text in texts]
    assert check(kind, model, events) >= 97


@pytest.mark.spec("A5")
def test_an_event_in_which_nothing_must_change_keeps_every_byte() -> None:
    form = '{ "choices":[ {"delta":{"content":"%s" },"index":0}],"model" :"engine", "id":"c1" }'
    ours = shaper(Kind.CHAT, "engine", Stencils())
    for text in (*SOUND, *SOUND):
        event = form.encode().replace(b"%s", text)
        got = shaped(ours, event)
        assert isinstance(got, Shaped)
        assert got.data == event


@pytest.mark.spec("T3")
@pytest.mark.parametrize("inside", BROKEN)
def test_what_is_not_the_inside_of_a_string_is_parsed(inside: bytes) -> None:
    form = ENGINES["llama.cpp"].encode()
    fair = [(form.replace(b"%s", text), text) for text in (b"a", b"b", b"c", b"d")]
    assert check(Kind.CHAT, "public", fair) == 3
    assert check(Kind.CHAT, "public", [*fair, (form.replace(b"%s", inside), inside)]) == 3


@pytest.mark.spec("T3")
def test_one_quote_is_not_both_the_beginning_and_the_end_of_a_text() -> None:
    form = ENGINES["vllm"].encode()
    events = [(form.replace(b"%s", text), text) for text in (b"a", b"b", b"c")]
    assert check(Kind.CHAT, "public", [*events, (form.replace(b'"%s"', b'"'), b"")]) == 2


def test_a_stencil_is_cut_at_the_text_and_not_at_another_that_stands_before_it() -> None:
    form = b'{"id":"c1","model":"engine","choices":[{"index":0,"text":"%s","delta":{"content":"abc"}}]}'
    texts = (b"x", b"", b"y", b"")
    assert check(Kind.CHAT, "public", [(form.replace(b"%s", text), text) for text in texts]) == 1


@pytest.mark.spec("T3")
def test_choices_by_turns_have_a_stencil_each() -> None:
    form = '{"id":"c1","model":"engine","choices":[{"index":%d,"delta":{"content":"%s"}}]}'
    events = [((form % (number % 3, number)).encode(), b"%d" % number) for number in range(60)]
    assert check(Kind.CHAT, "public", events) >= 54


def test_a_stream_whose_events_are_never_alike_is_soon_taken_for_one() -> None:
    """Learning costs more than parsing: it is given up after a while, and what goes out is the same."""
    form = '{"id":"c1","created":%d,"model":"engine","choices":[{"index":0,"delta":{"content":"x"}}]}'
    learned: list[bytes] = []

    class Counted(Watched):
        def _keep(self, head: bytes, tail: bytes, shaped: bytes | None) -> None:
            learned.append(head)
            super()._keep(head, tail, shaped)

    ours = shaper(Kind.CHAT, "public", Counted())
    for number in range(50):
        got = shaped(ours, (form % number).encode())
        assert isinstance(got, Shaped)
        assert (parsed_object(got.data or b"") or {})["created"] in {0, number}
    assert len(learned) == CREDIT


def test_a_text_that_reads_like_the_sign_is_no_different() -> None:
    form = ENGINES["vllm"].encode()
    texts = [SIGN.encode(), b"a", SIGN.encode(), b"", SIGN.encode() + rb"\"", b"b"]
    assert check(Kind.CHAT, "public", [(form.replace(b"%s", text), text) for text in texts]) >= 3
