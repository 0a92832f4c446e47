"""Rules for a value beyond its type. They are written with `kairos_async.validators`.

A rule stands in a Schema's `validators`, or in `Annotated[float, v.range(min=0)]` on a Pydantic model's field. It
changes the core schema that Pydantic made for the field: into Pydantic's own constraints where those exist, so that
they are in the JSON Schema and cost nothing; into a call of a function where they do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from kairos_async._types import JSONScalar
from kairos_async.contracts.errors import CUSTOM_ERROR, alternatives
from kairos_async.contracts.plain import to_plain
from kairos_async.exceptions import ConfigError

Raw: TypeAlias = dict[str, Any]
"""A core schema as the plain dict that it is."""

_TRANSPARENT: Final = frozenset({"nullable", "default", "function-after", "function-before", "function-wrap"})
"""Core schemas around the one whose values a rule is about; None of a nullable is not its business."""


class Rule(ABC):
    """A rule for the values of a field."""

    __slots__ = ()

    @abstractmethod
    def apply(self, schema: Raw) -> Raw:
        """The core schema with this rule in it.

        Raises:
            ConfigError: the rule says nothing about values of this type, or contradicts another one.
        """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast(CoreSchema, self.apply(resolved(handler(source), handler)))


def resolved(schema: CoreSchema, handler: GetCoreSchemaHandler) -> Raw:
    """The schema itself where Pydantic made a reference of it, as it does of `type Score = float`; models stay one."""
    found: Raw = dict(handler.resolve_ref_schema(schema))
    if found is schema or found["type"] in ("model", "dataclass", "typed-dict"):
        return dict(schema)
    return {key: value for key, value in found.items() if key != "ref"}


class Check:
    """A function in a core schema that gives JSON for JSON: the value itself, here. No other function is trusted to."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any], None]) -> None:
        self.function = function

    def __call__(self, value: Any) -> Any:
        """The value itself. Raises what the function raises."""
        self.function(value)
        return value


@dataclass(frozen=True, slots=True)
class Bounds(Rule):
    """Constraints that Pydantic knows itself. `limits` maps the kind of core schema to its entries."""

    name: str
    text: str
    noun: str
    limits: Mapping[str, Mapping[str, float | int | str]] = field(hash=False)

    def apply(self, schema: Raw) -> Raw:
        if (limits := self.limits.get(schema["type"])) is not None:
            return self._tightened(schema, limits)
        if schema["type"] in _TRANSPARENT:
            return schema | {"schema": self.apply(dict(schema["schema"]))}
        if schema["type"] == "union":
            choices = [self._choice(choice) for choice in schema["choices"]]
            if any(changed for _, changed in choices):
                return schema | {"choices": [choice for choice, _ in choices]}
        raise ConfigError(f"{self} is for {self.noun}, and this field is of type {schema['type']!r}.")

    def _choice(self, choice: Any) -> tuple[Any, bool]:
        schema, *label = choice if isinstance(choice, tuple) else (choice,)
        if schema["type"] not in self.limits:
            return choice, False
        applied = self.apply(dict(schema))
        return ((applied, *label) if label else applied), True

    def _tightened(self, schema: Raw, limits: Mapping[str, float | int | str]) -> Raw:
        merged = dict(schema)
        for key, limit in limits.items():
            present = merged.get(key)
            if present is None:
                merged[key] = limit
            elif key == "pattern":
                raise ConfigError(f"{self} is a second pattern beside {present!r}. Make one pattern of the two.")
            else:
                merged[key] = max(present, limit) if key in ("ge", "min_length") else min(present, limit)
        for low, high in (("ge", "le"), ("min_length", "max_length")):
            if merged.get(low) is not None and merged.get(high) is not None and merged[low] > merged[high]:
                raise ConfigError(f"{self} leaves no value: the minimum {merged[low]!r} is above {merged[high]!r}.")
        return merged

    def __str__(self) -> str:
        return f"{self.name}({self.text})"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """The value is one of those given, and of the same type; an int is fine for a float field."""

    values: tuple[JSONScalar, ...]

    def apply(self, schema: Raw) -> Raw:
        kind = _inner(schema)["type"]
        types = _SCALAR_KINDS.get(kind)
        if types is None or not all(type(value) in types for value in self.values):
            raise ConfigError(f"{self} does not fit a field of type {kind!r}, which could never hold all these values.")
        as_float = kind == "float"
        allowed = {_distinct(value, as_float) for value in self.values}
        facts = {"rule": "one_of", "expected": f"one of {alternatives(self.values)}", "told": None}

        def check(value: Any) -> None:
            if type(value) not in _SCALARS or _distinct(value, as_float) not in allowed:
                raise PydanticCustomError(CUSTOM_ERROR, "not one of the allowed values", facts)

        return checked(schema, ValueCheck(check, self.values))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler(schema)
        nullable = any(branch.get("type") == "null" for branch in described.get("anyOf", ()))
        described["enum"] = [*self.values, None] if nullable and None not in self.values else list(self.values)
        return described

    def __str__(self) -> str:
        return f"one_of({', '.join(map(repr, self.values))})"

    __repr__ = __str__


class ValueCheck(Check):
    """The check of `OneOf`; `values` is for those who reason about contracts."""

    __slots__ = ("values",)

    def __init__(self, function: Callable[[Any], None], values: tuple[JSONScalar, ...]) -> None:
        super().__init__(function)
        self.values = values


_SCALARS: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None)})

_SCALAR_KINDS: Final[Mapping[str, frozenset[type]]] = {
    "str": frozenset({str}),
    "int": frozenset({int}),
    "float": frozenset({int, float}),
    "bool": frozenset({bool}),
    "any": _SCALARS,
    "union": _SCALARS,
    "literal": _SCALARS,
}


def _distinct(value: JSONScalar, as_float: bool) -> tuple[type, JSONScalar]:
    return (float if as_float else type(value)), value


def _inner(schema: Raw) -> Raw:
    while schema["type"] in _TRANSPARENT:
        schema = schema["schema"]
    return schema


def checked(schema: Raw, check: Check) -> Raw:
    """The schema with the check on its values, but not on the None of a nullable or on a default."""
    if schema["type"] in ("nullable", "default"):
        return schema | {"schema": checked(dict(schema["schema"]), check)}
    return {"type": "function-after", "function": {"type": "no-info", "function": check}, "schema": schema}


@dataclass(frozen=True, slots=True)
class Unique(Rule):
    """The items of a list differ from each other, as JSON values: True is not 1, but 1 is 1.0."""

    def apply(self, schema: Raw) -> Raw:
        if _inner(schema)["type"] != "list":
            raise ConfigError(f"{self} is for lists, and this field is of type {_inner(schema)['type']!r}.")
        facts = {"rule": "unique", "expected": "items that differ from each other", "told": None}

        def check(value: Any) -> None:
            if len({_canonical(item) for item in to_plain(value)}) < len(value):  # type: ignore[union-attr]
                raise PydanticCustomError(CUSTOM_ERROR, "duplicates", facts)

        return checked(schema, Check(check))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"uniqueItems": True}

    def __repr__(self) -> str:
        return "unique()"


def _canonical(value: Any) -> Any:
    """A hashable stand-in for a JSON value, equal for equal values."""
    if isinstance(value, list):
        return ("list", *map(_canonical, value))
    if isinstance(value, dict):
        return ("dict", frozenset((key, _canonical(item)) for key, item in value.items()))
    return (isinstance(value, bool), value)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Several rules as one, in their order; the first that is broken ends it.

    It is grouped metadata in the sense of the annotated-types package, which Pydantic takes apart by itself:
    https://github.com/annotated-types/annotated-types#groupedmetadata
    """

    rules: tuple[Rule, ...]

    __is_annotated_types_grouped_metadata__: ClassVar[Literal[True]] = True

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __str__(self) -> str:
        return f"all_of({', '.join(map(str, self.rules))})"

    __repr__ = __str__
