"""A contract's JSON Schema in the subset that each provider takes, and the way back for what it answers.

Providers enforce a part of JSON Schema each. What they drop still holds: the contract checks the answer here. What they
cannot express at all is an error when the step is made, because an answer could never be right by their schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from kairos_async._types import MISSING, JSONValue, Missing
from kairos_async.contracts.contract import JSONSchema
from kairos_async.exceptions import ConfigError

Structured: TypeAlias = Literal["schema", "json", "prompt"]
"""How an answer's form is asked for: the provider's structured output by schema; its JSON mode (OpenAI's format only),
with the schema in the prompt; the prompt alone."""

_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
"""The string formats that Anthropic takes; others become part of the description."""

_NOT_STRICT: Final = ("patternProperties", "not", "if", "prefixItems", "dependentRequired", "dependentSchemas")
"""What OpenAI's strict mode has no words for, and what says too much to be left out."""

_WRAPPED: Final = "value"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is sent for a schema, and the schema itself, by which the answer is turned back."""

    sent: JSONSchema
    schema: JSONSchema
    wrapped: bool = False
    nulls: bool = False

    def restore(self, value: JSONValue, text: str) -> JSONValue:
        """The answer, which the text was, as the schema means it: out of its wrapping, with fields left out that are
        null for want of a way to say that they are absent."""
        if self.wrapped and isinstance(value, dict) and value.keys() == {_WRAPPED}:
            value = value[_WRAPPED]
        return _without_nulls(value, self.schema, self.schema) if self.nulls and "null" in text else value


def for_anthropic(schema: JSONSchema) -> Shape:
    """Closed objects; rules beyond types, enums and a few others become words in the description."""
    wrapped = _is_no_object(schema)
    return Shape(_anthropic(_wrap(schema) if wrapped else schema, ""), schema, wrapped)


def for_openai(schema: JSONSchema) -> Shape:
    """Strict mode: closed objects, every property required; one that may be absent may be null instead."""
    wrapped = _is_no_object(schema)
    root = _wrap(schema) if wrapped else schema
    return Shape(_openai(root, root, ""), schema, wrapped, nulls=True)


def for_gemini(schema: JSONSchema) -> Shape:
    """Plain JSON Schema, as it is."""
    return Shape(schema, schema)


def in_words(schema: JSONSchema) -> str:
    """The part of a prompt that says what the answer has to be, for models that take no schema."""
    shown = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return f"Answer with one JSON value and nothing else. It has to follow this JSON Schema:\n{shown}"


def _is_no_object(schema: JSONSchema) -> bool:
    return _resolved(schema, schema).get("type") != "object"


def _wrap(schema: JSONSchema) -> JSONSchema:
    """An object around a schema of something else, which providers want at the root."""
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped: JSONSchema = {"type": "object", "properties": {_WRAPPED: inner}, "required": [_WRAPPED]}
    return {**wrapped, "$defs": schema["$defs"]} if "$defs" in schema else wrapped


def _refuse(at: str, what: str, provider: str) -> ConfigError:
    return ConfigError(
        f"The contract cannot be asked of {provider}: {at or 'its root'} {what}. Declare it otherwise, or use "
        "structured='prompt', which puts the schema into the prompt and checks the answer here."
    )


def _each(value: object, change: Callable[[JSONSchema, str], JSONSchema], at: str) -> Any:
    """The schemas in a list or a mapping, each changed."""
    if isinstance(value, list):
        return [change(_as_schema(entry), f"{at}/{place}") for place, entry in enumerate(value)]
    assert isinstance(value, dict)
    return {name: change(_as_schema(entry), f"{at}/{name}") for name, entry in value.items()}


def _as_schema(value: object) -> JSONSchema:
    return cast(JSONSchema, value) if isinstance(value, dict) else {}


def _anthropic(schema: JSONSchema, at: str) -> JSONSchema:
    rest = dict(schema)
    sent: JSONSchema = {}
    if "$defs" in rest:
        sent["$defs"] = _each(rest.pop("$defs"), _anthropic, f"{at}/$defs")
    if "$ref" in rest:
        return {**sent, "$ref": rest["$ref"]}
    kind = rest.pop("type", None)
    for word in ("enum", "const"):
        if word in rest and not any(isinstance(v, dict | list) for v in _listed(rest[word])):
            sent[word] = rest.pop(word)
            kind = None
    unions = [(word, rest.pop(word)) for word in ("anyOf", "oneOf", "allOf") if word in rest]
    if unions:
        word, branches = unions[0]
        sent["allOf" if word == "allOf" else "anyOf"] = _each(branches, _anthropic, f"{at}/{word}")
    elif not sent.keys() & {"enum", "const"}:
        if not isinstance(kind, str):
            raise _refuse(at, "allows any type" if kind is None else "has several types in a list", "Anthropic")
        sent["type"] = kind
    sent |= {word: rest.pop(word) for word in ("description", "title") if word in rest}
    _anthropic_parts(kind, rest, sent, at)
    if rest:
        hint = "{" + ", ".join(f"{key}: {value}" for key, value in rest.items()) + "}"
        sent["description"] = f"{sent['description']}\n\n{hint}" if "description" in sent else hint
    return sent


def _anthropic_parts(kind: JSONValue, rest: dict[str, JSONValue], sent: JSONSchema, at: str) -> None:
    """Move what is inside of objects, arrays and strings, as far as it can be said."""
    if kind == "object":
        if isinstance(rest.get("additionalProperties"), dict) or "patternProperties" in rest:
            raise _refuse(at, "is an object whose keys are not declared", "Anthropic")
        sent["properties"] = _each(rest.pop("properties", {}), _anthropic, f"{at}/properties")
        rest.pop("additionalProperties", None)
        sent["additionalProperties"] = False
        if "required" in rest:
            sent["required"] = rest.pop("required")
    elif kind == "array":
        if isinstance(rest.get("items"), dict):
            sent["items"] = _anthropic(_as_schema(rest.pop("items")), f"{at}/items")
        if rest.get("minItems") in (0, 1):
            sent["minItems"] = rest.pop("minItems")
    elif kind == "string" and rest.get("format") in _FORMATS:
        sent["format"] = rest.pop("format")


def _listed(value: JSONValue) -> list[JSONValue]:
    return value if isinstance(value, list) else [value]


def _openai(schema: JSONSchema, root: JSONSchema, at: str) -> JSONSchema:
    def inside(sub: JSONSchema, place: str) -> JSONSchema:
        return _openai(sub, root, place)

    only = schema.get("allOf")
    if isinstance(only, list) and len(only) == 1:
        return inside({**_without(schema, "allOf"), **_as_schema(only[0])}, at)
    if "$ref" in schema and len(schema) > 1 and "$defs" not in schema:
        return inside({**_resolved({"$ref": schema["$ref"]}, root), **_without(schema, "$ref")}, at)
    _check_strict(schema, at)
    sent = _without(schema, "default")
    if "oneOf" in sent:
        sent["anyOf"] = sent.pop("oneOf")
    for word in sent.keys() & {"anyOf", "allOf", "$defs"}:
        sent[word] = _each(sent[word], inside, f"{at}/{word}")
    if isinstance(sent.get("items"), dict):
        sent["items"] = inside(_as_schema(sent["items"]), f"{at}/items")
    if sent.get("type") == "object":
        _openai_object(schema, sent, inside, at)
    return sent


def _check_strict(schema: JSONSchema, at: str) -> None:
    if found := next((word for word in _NOT_STRICT if word in schema), None):
        raise _refuse(at, f"says {found!r}", "OpenAI in strict mode")
    if not schema.keys() & {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}:
        raise _refuse(at, "allows any type", "OpenAI in strict mode")


def _openai_object(
    schema: JSONSchema, sent: JSONSchema, inside: Callable[[JSONSchema, str], JSONSchema], at: str
) -> None:
    if isinstance(schema.get("additionalProperties"), dict):
        raise _refuse(at, "is an object whose keys are not declared", "OpenAI in strict mode")
    properties = _each(schema.get("properties", {}), inside, f"{at}/properties")
    required = _listed(schema.get("required", []))
    for name, part in properties.items():
        if name not in required and not _takes_null(part):
            properties[name] = {"anyOf": [part, {"type": "null"}]}
    sent |= {"properties": properties, "required": list(properties), "additionalProperties": False}


def _without(schema: JSONSchema, key: str) -> JSONSchema:
    return {name: value for name, value in schema.items() if name != key}


def _resolved(schema: JSONSchema, root: JSONSchema) -> JSONSchema:
    """What a schema says once its `$ref` is followed; {} for a reference that leads nowhere here."""
    seen: set[str] = set()
    while isinstance(ref := schema.get("$ref"), str) and ref not in seen:
        seen.add(ref)
        found: object = root
        for part in ref.removeprefix("#/").split("/") if ref.startswith("#/") else ():
            found = found.get(part) if isinstance(found, dict) else None
        schema = _as_schema(found) if found is not root else {**root, "$ref": None}
    return schema


def _takes_null(schema: JSONSchema) -> bool:
    if "null" in _listed(schema.get("type")) or None in _listed(schema.get("enum", "")):
        return True
    return any(_takes_null(_as_schema(branch)) for branch in _listed(schema.get("anyOf", [])))


def _without_nulls(value: JSONValue, schema: JSONSchema, root: JSONSchema) -> JSONValue:
    schema = _branch(value, _resolved(schema, root), root)
    if isinstance(value, list):
        items = _as_schema(schema.get("items"))
        return [_without_nulls(entry, items, root) for entry in value]
    if not isinstance(value, dict):
        return value
    properties, required = _as_schema(schema.get("properties")), _listed(schema.get("required", []))
    kept: dict[str, JSONValue] = {}
    for name, entry in value.items():
        part = _as_schema(properties.get(name))
        may_be_absent = name in properties and name not in required and not _takes_null(_resolved(part, root))
        if entry is not None or not may_be_absent:
            kept[name] = _without_nulls(entry, part, root)
    return kept


def _branch(value: JSONValue, schema: JSONSchema, root: JSONSchema) -> JSONSchema:
    """The branch of a union that is of the value's kind and, for an object, declares all of its keys."""
    branches = [
        _branch(value, _resolved(_as_schema(branch), root), root)
        for word in ("anyOf", "oneOf", "allOf")
        for branch in (_listed(schema[word]) if word in schema else ())
    ]
    for branch in branches:
        properties = branch.get("properties")
        if isinstance(value, dict) and isinstance(properties, dict) and value.keys() <= properties.keys():
            return branch
        if isinstance(value, list) and isinstance(branch.get("items"), dict):
            return branch
    return schema


def parsed_json(text: str) -> JSONValue | Missing:
    """The JSON data that an answer is, also one inside of a single code fence; MISSING if it is none."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```"):
        stripped = stripped[3:-3].removeprefix("json").strip()
    try:
        value: JSONValue = json.loads(stripped, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return MISSING
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
