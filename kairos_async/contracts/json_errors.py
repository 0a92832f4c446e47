"""From the errors of jsonschema-rs to `Wrong`. This module needs the extra `jsonschema`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from jsonschema_rs import ValidationError as Refused

from kairos_async._types import JSONValue
from kairos_async.contracts.errors import NOUNS, Wrong, alternatives, known_keys
from kairos_async.contracts.paths import SchemaMap
from kairos_async.contracts.plain import json_type

_EXPECTED: Final[Mapping[str, tuple[str, str]]] = {
    "minimum": ("greater_than_equal", "a value >= {limit}"),
    "maximum": ("less_than_equal", "a value <= {limit}"),
    "exclusiveMinimum": ("greater_than", "a value > {limit}"),
    "exclusiveMaximum": ("less_than", "a value < {limit}"),
    "multipleOf": ("multiple_of", "a multiple of {multiple_of}"),
    "minLength": ("min_length", "text of length >= {limit}"),
    "maxLength": ("max_length", "text of length <= {limit}"),
    "minItems": ("min_length", "a length >= {limit}"),
    "maxItems": ("max_length", "a length <= {limit}"),
    "minProperties": ("min_length", "a number of keys >= {limit}"),
    "maxProperties": ("max_length", "a number of keys <= {limit}"),
    "pattern": ("pattern", "text that matches {pattern}"),
    "format": ("format", "text of the format {format}"),
    "falseSchema": ("not", "no value at all, or text that is shorter"),
    "contains": ("contains", "a list with an item that the contract asks for"),
    "uniqueItems": ("unique", "items that differ from each other"),
    "not": ("not", "a value other than those that the contract excludes"),
    "oneOf": ("one_of", "a value that fits exactly one of the alternatives"),
    "anyOf": ("one_of", "a value that fits one of the alternatives"),
    "propertyNames": ("unknown_key", "keys that the contract allows"),
    "unevaluatedItems": ("max_length", "no items that the contract does not declare"),
}


def translated(errors: Iterable[Refused], value: JSONValue, schema: SchemaMap) -> Iterator[Wrong]:
    """The broken rules, in the words of other contracts; of a union, those of the branch that is closest."""
    for error in errors:
        kind, facts, path = error.kind.name, error.kind.as_dict(), list(error.instance_path)
        if kind in ("additionalProperties", "unevaluatedProperties"):
            allowed = known_keys(schema.locate(path))
            for key in facts["unexpected"]:
                yield Wrong(schema.locate([*path, key]), "unknown_key", allowed, "other")
        elif kind == "required":
            place = schema.locate([*path, facts["property"]])
            yield Wrong(place, "required", "a value", "absent")
        elif kind in ("anyOf", "oneOf") and (fitting := _fitting(facts.get("context", []), path)):
            yield from translated(fitting, value, schema)
        else:
            rule, expected = _rule(kind, facts)
            yield Wrong(schema.locate(path), rule, expected, json_type(_at(value, path)))


def _rule(kind: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    if kind == "type":
        return "type", " or ".join(NOUNS[name] for name in facts["types"])
    if kind == "enum":
        return "one_of", f"one of {alternatives(facts['options'])}"
    if kind == "const":
        return "one_of", f"one of {alternatives([facts['expected_value']])}"
    rule, expected = _EXPECTED.get(kind, ("invalid", "a value that the contract accepts"))
    return rule, expected.format_map(facts)


def _fitting(branches: list[list[Refused]], path: list[str | int]) -> list[Refused]:
    """The errors to show of a union: those of the one branch of the value's type, or the types if no branch has it."""
    wrong_type = [[e for e in branch if e.kind.name == "type" and list(e.instance_path) == path] for branch in branches]
    if branches and all(wrong_type):
        return [errors[0] for errors in wrong_type]
    right_type = [branch for branch, wrong in zip(branches, wrong_type, strict=True) if not wrong]
    return right_type[0] if len(right_type) == 1 else []


def _at(value: JSONValue, path: list[str | int]) -> JSONValue:
    for key in path:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int):
            value = value[key] if key < len(value) else None
    return value
