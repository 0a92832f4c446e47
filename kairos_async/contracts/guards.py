"""What a contract adds to Pydantic's core schemas: a look at what Pydantic lets pass."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic_core import PydanticCustomError, PydanticKnownError, SchemaValidator, core_schema

from kairos_async._types import JSONValue
from kairos_async.contracts.errors import CUSTOM_ERROR, alternatives
from kairos_async.contracts.plain import NotJSON, to_plain
from kairos_async.contracts.rules import Check, Raw
from kairos_async.exceptions import ConfigError


def _nothing(_: Any) -> None:
    pass


class AsPlain(Check):
    """Copies what lies at an `Any` as JSON."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_nothing)

    def __call__(self, value: Any) -> JSONValue:
        """The copy in JSON built-ins."""
        try:
            return to_plain(value)
        except NotJSON as error:
            facts = {"rule": error.rule, "expected": error.expected, "told": None}
        raise PydanticCustomError(CUSTOM_ERROR, "not JSON", facts)


ANY: Final[Raw] = {
    "type": "function-after",
    "function": {"type": "no-info", "function": AsPlain()},
    "schema": {"type": "any"},
}
"""What stands for `Any`."""


class TypeGuard(Check):
    """Tells True from 1 and 1.0 from 1, which literals and enums of Pydantic do not; an int is fine for a float.

    Of the members of an enum in a literal, it takes the values, too, as Pydantic does of text alone.
    """

    __slots__ = ("allowed", "error", "members")

    def __init__(self, kind: Literal["literal_error", "enum"], expected: list[Any], members: list[enum.Enum]) -> None:
        super().__init__(_nothing)
        numbers = [value for value in expected if type(value) in (bool, int, float)]
        self.allowed = {(type(value), value) for value in numbers} | {(int, v) for v in numbers if type(v) is float}
        self.members = {(type(member.value), member.value): member for member in members}
        self.error = PydanticKnownError(kind, {"expected": alternatives(expected)})

    def __call__(self, value: Any) -> Any:
        """The value, or the member of the enum that has it."""
        if type(value) in (bool, int, float):
            if (type(value), value) not in self.allowed:
                raise self.error
            return self.members.get((type(value), value), value)
        return self.members.get((str, value), value) if type(value) is str else value


class SetGuard(Check):
    """Makes a list a set, and refuses one with duplicates, as the set's JSON Schema does."""

    __slots__ = ("kind",)

    def __init__(self, kind: type[set[Any]] | type[frozenset[Any]]) -> None:
        super().__init__(_nothing)
        self.kind = kind

    def __call__(self, value: Any) -> Any:
        """The set."""
        made = self.kind(value)
        if len(made) < len(value):
            raise PydanticCustomError(CUSTOM_ERROR, "duplicates", _UNIQUE)
        return made


_UNIQUE: Final = {"rule": "unique", "expected": "items that differ from each other", "told": None}


def _guarded(node: Raw, check: Check) -> Raw:
    return {"type": "function-before", "function": {"type": "no-info", "function": check}, "schema": node}


def _guarded_literal(node: Raw) -> Raw:
    members = [each for each in node["expected"] if isinstance(each, enum.Enum)]
    return _guarded_values(node, "literal_error", node["expected"], members)


def _guarded_enum(node: Raw) -> Raw:
    return _guarded_values(node, "enum", node["members"], [])


def _guarded_values(node: Raw, kind: Literal["literal_error", "enum"], given: list[Any], members: list[Any]) -> Raw:
    expected = [each.value if isinstance(each, enum.Enum) else each for each in given]
    for value in expected:
        if not isinstance(value, (str, int, float, type(None))):
            raise ConfigError(f"{value!r} is among the values to choose from, and is no JSON scalar.")
    check = TypeGuard(kind, expected, members)
    return _guarded(node, check) if check.allowed or members else node


def _guarded_date(node: Raw) -> Raw:
    # To Pydantic, strict or not, the text of a number is seconds since 1970.
    kind = node["type"]
    text = {"type": "custom-error", "custom_error_type": f"{kind}_parsing", "custom_error_context": {"error": ""}}
    pattern, parse = _DATES[kind]
    steps = [
        text | {"schema": {"type": "str", "pattern": pattern}},
        {"type": "function-plain", "function": {"type": "no-info", "function": parse}},
        node,
    ]
    return {"type": "json-or-python", "json_schema": {"type": "chain", "steps": steps}, "python_schema": node}


_DATES: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "date": (r"^\d{4}-\d\d-\d\d$", SchemaValidator(core_schema.date_schema()).validate_python),
    "datetime": (r"^\d{4}-\d\d-\d\d[Tt_ ]", SchemaValidator(core_schema.datetime_schema()).validate_python),
}


def _guarded_set(node: Raw) -> Raw:
    kind: type[set[Any]] | type[frozenset[Any]] = set if node["type"] == "set" else frozenset
    items = {key: value for key, value in node.items() if key in ("items_schema", "min_length", "max_length")}
    made = {"type": "function-after", "function": {"type": "no-info", "function": SetGuard(kind)}}
    return {
        "type": "json-or-python",
        "json_schema": made | {"schema": {"type": "list", **items}},
        "python_schema": node,
    }


GUARDS: Final[dict[str, Callable[[Raw], Raw]]] = {
    "literal": _guarded_literal,
    "enum": _guarded_enum,
    "date": _guarded_date,
    "datetime": _guarded_date,
    "set": _guarded_set,
    "frozenset": _guarded_set,
}
"""What Pydantic lets pass and a contract does not: another type of number, duplicates in a set, a number for a date."""
