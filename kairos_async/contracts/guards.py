"""What a contract adds to Pydantic's core schemas: a look at what Pydantic lets pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic_core import PydanticCustomError, PydanticKnownError

from kairos_async._types import JSONValue
from kairos_async.contracts.errors import CUSTOM_ERROR, alternatives
from kairos_async.contracts.plain import NotJSON, to_plain
from kairos_async.contracts.rules import Check, Raw


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
    """Tells True from 1 and 1.0 from 1, which literals and enums of Pydantic do not; an int is fine for a float."""

    __slots__ = ("allowed", "error")

    def __init__(self, kind: Literal["literal_error", "enum"], expected: list[Any]) -> None:
        super().__init__(self._compare)
        numbers = [value for value in expected if type(value) in (bool, int, float)]
        self.allowed = {(type(value), value) for value in numbers} | {(int, v) for v in numbers if type(v) is float}
        self.error = PydanticKnownError(kind, {"expected": alternatives(expected)})

    def _compare(self, value: Any) -> None:
        if type(value) in (bool, int, float) and (type(value), value) not in self.allowed:
            raise self.error


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
    check = TypeGuard("literal_error", node["expected"])
    return _guarded(node, check) if check.allowed else node


def _guarded_enum(node: Raw) -> Raw:
    check = TypeGuard("enum", [member.value for member in node["members"]])
    return _guarded(node, check) if check.allowed else node


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
    "set": _guarded_set,
    "frozenset": _guarded_set,
}
"""What Pydantic lets pass and a contract does not: another type of number, and a list with duplicates for a set."""
