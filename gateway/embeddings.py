"""An engine's embeddings as callers see them: in the encoding they asked for, whatever the engine prefers.

The vectors' own bytes pass untouched where the engine has used that encoding: writing a few thousand numbers anew costs
more than all the rest of a request.
"""

import base64
import json
import math
import re
from array import array
from collections.abc import Mapping, Sequence
from sys import byteorder
from typing import Any

from gateway.answers import is_error
from gateway.engines.client import written
from gateway.engines.facts import Item, Json
from gateway.errors import EngineFailed, UnreadableAnswer

_DATA = re.compile(r'"data"\s*:\s*')
_DECODER = json.JSONDecoder()


def read(item: Item) -> Json:
    """The answer as an object. Raises UnreadableAnswer, or EngineFailed for an error in its place."""
    try:
        found = json.loads(item.decode(), parse_constant=_no_number) if isinstance(item, bytes) else item
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswer("The engine's answer is not JSON.") from error
    if isinstance(found, dict) and is_error(found):
        raise EngineFailed("The engine answered with an error.")
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, list) or not all(map(_is_embedding, data)):
        raise UnreadableAnswer("The engine's answer cannot be read.")
    return found


def shaped(vectors: bytes, more: Mapping[str, Any]) -> bytes:
    """The answer as it goes out, with the fields of `more` beside the vectors."""
    return b'{"object":"list","data":' + vectors + b"," + written(more)[1:]


def vectors(item: Item, found: Json, *, encoding: str) -> bytes:
    """The list of vectors as it goes out. Raises UnreadableAnswer for what is none in the engine's own encoding."""
    data = found["data"]
    wanted = str if encoding == "base64" else list
    as_wanted = all(type(one["embedding"]) is wanted and one.keys() == _KEYS for one in data)
    raw = _raw_data(item, data) if as_wanted else None
    return written([_embedding(place, one, wanted) for place, one in enumerate(data)]) if raw is None else raw


_KEYS = {"object", "index", "embedding"}


def _is_embedding(one: object) -> bool:
    if not isinstance(one, dict):
        return False
    vector = one.get("embedding")
    return isinstance(vector, str) or (isinstance(vector, list) and {type(number) for number in vector} <= {int, float})


def _raw_data(item: Item, data: Sequence[Any]) -> bytes | None:
    """The bytes of the list of vectors, where they can be told from the rest."""
    if not isinstance(item, bytes):
        return None
    text = item.decode()
    for place in _DATA.finditer(text):
        found, end = _DECODER.raw_decode(text, place.end())
        if found == data:
            return text[place.end() : end].encode()
    return None


def _embedding(place: int, one: Json, wanted: type) -> Json:
    vector, index = one["embedding"], one.get("index")
    turned = vector if type(vector) is wanted else _turned(vector)
    return {"object": "embedding", "index": index if type(index) is int else place, "embedding": turned}


def _turned(vector: str | list[float]) -> str | list[float]:
    """From base64 of little-endian 32-bit floats to numbers, or the other way."""
    try:
        if isinstance(vector, list):
            return base64.b64encode(_little(array("f", vector)).tobytes()).decode()
        numbers = list(_little(array("f", base64.b64decode(vector, validate=True))))
    except (ValueError, OverflowError) as error:
        raise UnreadableAnswer("The engine's answer cannot be read.") from error
    if not all(map(math.isfinite, numbers)):
        raise UnreadableAnswer("The engine's answer holds what is no number.")
    return numbers


def _little(numbers: "array[float]") -> "array[float]":
    if byteorder == "big":
        numbers.byteswap()
    return numbers


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
