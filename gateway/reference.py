"""The API's description as its page shows it: rows and samples, all read from the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.utils.formats import number_format
from django.utils.safestring import SafeString
from django.utils.text import slugify

from gateway.openapi import BEARER, document, examples, this_installation
from gateway.openapi.organization import ADMIN
from gateway.openapi.paths import EVENTS, JSON
from gateway.samples import ADMIN_KEY, KEY, coded, coloured, curl, laid_out

type Json = dict[str, Any]

EXACT = 2**53  # whole numbers above it are no bound that anybody reads


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request or an answer. `values` are those that it may have, `default` the one it has unasked."""

    name: str
    type: str
    required: bool
    values: str
    default: str
    meaning: SafeString


@dataclass(frozen=True, slots=True)
class Endpoint:
    anchor: str
    method: str
    path: str
    title: str
    text: SafeString
    fields: list[Field]
    answer: list[Field]
    note: SafeString
    request: SafeString
    example: SafeString
    statuses: list[str]


@dataclass(frozen=True, slots=True)
class Failure:
    status: str
    code: str
    when: SafeString
    retry: bool


@dataclass(frozen=True, slots=True)
class Header:
    name: str
    meaning: SafeString
    when: str


@dataclass(frozen=True, slots=True)
class Streaming:
    """What a stream is, one that went well, and the end of one that did not."""

    text: SafeString
    rules: list[SafeString]
    example: SafeString
    broken: SafeString


@dataclass(frozen=True, slots=True)
class Dialect:
    name: str
    text: SafeString
    differences: list[SafeString]


@dataclass(frozen=True, slots=True)
class Reference:
    endpoints: list[Endpoint]
    streaming: Streaming
    failures: list[Failure]
    headers: list[Header]
    dialects: list[Dialect]
    limits: list[Json]
    key_text: SafeString
    key_pattern: str


def reference(model: str) -> Reference:
    """In the active language. `model` stands in the examples; where it is empty, the examples' own do."""
    described = document(this_installation())
    parts = described["components"]
    bearer = parts["securitySchemes"][BEARER]
    shown: set[str] = set()
    return Reference(
        endpoints=[
            _endpoint(described, path, method, operation, model, shown)
            for path, operations in described["paths"].items()
            for method, operation in operations.items()
        ],
        streaming=_streaming(described["paths"]["/v1/chat/completions"]["post"]),
        failures=list(_failures(parts["responses"])),
        headers=[_header(name, header) for name, header in parts["headers"].items()],
        dialects=[_dialect(dialect) for dialect in described["x-tertulia-dialects"]],
        limits=described["x-tertulia-limits"],
        key_text=coded(bearer["description"]),
        key_pattern=bearer["x-tertulia-pattern"],
    )


def _endpoint(described: Json, path: str, method: str, operation: Json, model: str, shown: set[str]) -> Endpoint:
    """`shown`: the schemas whose fields an endpoint above has listed; they are not listed again."""
    asked = operation.get("requestBody", {}).get("content", {}).get(JSON)
    answered = operation["responses"]["200"]["content"][JSON]
    body = _example(asked, model) if asked else None
    example = _example(answered, model)
    place = path.replace("{model}", quote(model or examples.MODEL["id"], safe=":"))
    return Endpoint(
        anchor=slugify(path.removeprefix("/v1").replace("/", "-")),
        method=method.upper(),
        path=path,
        title=operation["summary"],
        text=coded(operation["description"]),
        fields=[
            *(_fields(described, asked["schema"], shown, values=True) if asked else ()),
            *map(_parameter, operation.get("parameters", [])),
        ],
        answer=list(_fields(described, answered["schema"], set(), values=False)),
        note=coded(_resolved(described, asked["schema"])["description"]) if asked else SafeString(),
        request=curl(place, body, key=_key(operation), query=_query(operation)),
        example=coloured(laid_out(json.dumps(example))) if example else SafeString(),
        statuses=[status for status in operation["responses"] if status != "200"],
    )


def _key(operation: Json) -> str:
    """The variable that a command takes its key from; empty where it needs none."""
    signed: list[Json] | None = operation.get("security")
    if signed is None:
        return KEY
    return ADMIN_KEY if {ADMIN: []} in signed else ""


def _query(operation: Json) -> Json:
    """What must stand in the address, by example."""
    return {
        given["name"]: given["example"]
        for given in operation.get("parameters", [])
        if given["in"] == "query" and given["required"]
    }


def _example(content: Json, model: str) -> Json | None:
    """The first of them, with the caller's own model."""
    first: Json | None = next((example["value"] for example in content.get("examples", {}).values()), None)
    return {**first, "model": model} if first and model and "model" in first else first


def _parameter(given: Json) -> Field:
    type_ = _type({}, given["schema"], nulls=False)
    kind = f"{type_} ({given['in']})"
    return Field(given["name"], kind, given["required"], "", "", coded(given["description"]))


def _fields(described: Json, schema: Json, shown: set[str], prefix: str = "", *, values: bool) -> Iterator[Field]:
    """The schema's fields, each with those inside it. Inner ones that nobody has described are left out.

    `values`: whether to say what a field may hold; null is then no type of its own.
    """
    if schema.get("$ref") in shown:
        return
    shown.add(schema.get("$ref", ""))
    shown.discard("")
    found = _resolved(described, schema)
    for name, given in found.get("properties", {}).items():
        field = _resolved(described, given)
        meaning = field.get("description", "")
        if prefix and not meaning:
            continue
        yield Field(
            name=f"{prefix}{name}",
            type=_type(described, field, nulls=not values),
            required=values and name in found.get("required", []),
            values=_values(field) if values else _words(field),
            default=json.dumps(field["default"]).strip('"') if "default" in field else "",
            meaning=coded(meaning),
        )
        yield from _fields(described, given, shown, f"{prefix}{name}.", values=values)
        for way in [field, *field.get("anyOf", [])]:
            yield from _fields(described, way.get("items", {}), shown, f"{prefix}{name}[].", values=values)


def _resolved(described: Json, schema: Json) -> Json:
    """The schema that a reference names; of several that an answer may have, the first. What it says itself wins."""
    if "$ref" in schema:
        kind, _, name = schema["$ref"].removeprefix("#/components/").partition("/")
        found: Json = described["components"][kind][name]
        return found
    ways = schema.get("anyOf", [])
    if ways and "$ref" in ways[0]:
        return {**_resolved(described, ways[0]), **{name: schema[name] for name in schema if name != "anyOf"}}
    return schema


def _type(described: Json, schema: Json, *, nulls: bool) -> str:
    """`number`, `string | null`, `object[]`, as TypeScript would write it."""
    if "x-tertulia-type" in schema:
        return str(schema["x-tertulia-type"])
    ways = schema.get("anyOf") if "type" not in schema else None
    if ways:
        return _either(_type(described, _resolved(described, way), nulls=nulls) for way in ways)
    kinds = schema.get("type", "string" if "const" in schema else "")
    return _either(
        f"{_type(described, _resolved(described, schema.get('items', {})), nulls=nulls)}[]" if kind == "array" else kind
        for kind in ([kinds] if isinstance(kinds, str) else kinds)
        if nulls or kind != "null"
    )


def _either(types: Iterator[str]) -> str:
    found = dict.fromkeys(word for type_ in types for word in type_.split(" | "))
    return " | ".join(found)


def _values(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None or max(abs(least), abs(most or 0)) > EXACT:
        return _words(schema)
    if most is None:
        return f"≥ {number_format(least)}"
    return f"{number_format(least, force_grouping=True)} – {number_format(most, force_grouping=True)}".replace("-", "−")


def _words(schema: Json) -> str:
    """The words that it must be one of, or that it usually is."""
    words = [schema["const"]] if "const" in schema else schema.get("enum", schema.get("examples", []))
    words = words or [word for way in schema.get("anyOf", []) for word in way.get("enum", [])]
    return " · ".join(word for word in words if word)


def _streaming(operation: Json) -> Streaming:
    events = operation["responses"]["200"]["content"][EVENTS]
    text, _, rules = events["schema"]["description"].partition("\n\n")
    return Streaming(
        text=coded(text),
        rules=[coded(rule.removeprefix("- ")) for rule in rules.splitlines()],
        example=coloured(events["examples"]["stream"]["value"].rstrip()),
        broken=coloured(events["examples"]["broken"]["value"].rstrip()),
    )


def _failures(responses: Mapping[str, Json]) -> Iterator[Failure]:
    for name, response in responses.items():
        for code in response["x-tertulia-codes"]:
            yield Failure(name.removeprefix("Error"), code["code"], coded(code["description"]), code["retry"])


def _header(name: str, header: Json) -> Header:
    return Header(name, coded(header["description"]), header["x-tertulia-when"])


def _dialect(dialect: Json) -> Dialect:
    differences = [coded(difference) for difference in dialect["differences"]]
    return Dialect(dialect["name"], coded(dialect["description"]), differences)
