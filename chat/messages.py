"""What a page may send over its socket, parsed once. Unknown keys are ignored, anything malformed is refused."""

import json
import uuid
from dataclasses import dataclass

from chat.conversations import QUESTION_LIMIT, Question

FRAME_LIMIT = 4 * QUESTION_LIMIT + 4096  # characters of JSON; each of the text's may be escaped


class Unreadable(ValueError):
    """The frame is not one of ours."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the page stands: its newest message. It is then brought up to date."""

    newest: int | None


@dataclass(frozen=True, slots=True)
class Ack:
    """The page has shown every frame up to this one."""

    frame: int


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Again:
    model: str


type PageMessage = Cursor | Ack | Stop | Again | Question


def parse(frame: str) -> PageMessage:
    """Raises Unreadable."""
    try:
        found = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    if not isinstance(found, dict):
        raise Unreadable
    match found.get("type"):
        case "cursor":
            newest = str(found.get("newest", ""))
            return Cursor(int(newest) if newest.isdecimal() and len(newest) < 19 else None)
        case "ack":
            return Ack(_whole(found.get("frame")))
        case "stop":
            return Stop()
        case "again":
            return Again(_text(found.get("model", "")))
        case "ask":
            return Question(_text(found.get("text")), _text(found.get("model")), _uuid(found.get("client_id")))
        case _:
            raise Unreadable


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unreadable
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable
    return value.encode("utf-8", "replace").decode()


def _uuid(value: object) -> uuid.UUID:
    try:
        return uuid.UUID(_text(value))
    except ValueError as error:
        raise Unreadable from error
