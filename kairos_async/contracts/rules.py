"""Rules for a value beyond its type. They are written with `kairos_async.validators`.

A rule stands in a Schema's `validators`, or in `Annotated[float, v.range(min=0)]` on a Pydantic model's field. It
changes the core schema that Pydantic made for the field: into Pydantic's own constraints where those exist, so that
they are in the JSON Schema and cost nothing; into a call of a function where they do not.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

import anyio.to_thread
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from kairos_async._types import JSONScalar
from kairos_async.contracts.contract import CountLLMCall
from kairos_async.contracts.errors import CUSTOM_ERROR, alternatives
from kairos_async.contracts.plain import to_plain
from kairos_async.exceptions import ConfigError

Raw: TypeAlias = dict[str, Any]
"""A core schema as the plain dict that it is."""

CustomFunction: TypeAlias = Callable[[Any], bool | str | Awaitable[bool | str]]
"""Says whether a value is right: a bool, or a sentence on what is wrong with it. May be async, may raise."""

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
        return cast(CoreSchema, self.apply(dict(handler(source))))


class Check:
    """A function in a core schema that gives JSON for JSON: the value itself, here. No other function is trusted to."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any], None]) -> None:
        self.function = function

    def __call__(self, value: Any) -> Any:
        """The value itself. Raises what the function raises."""
        self.function(value)
        return value


def is_async_callable(function: object) -> bool:
    """Whether a call of it gives an awaitable: a coroutine function, a partial of one, or an object that is one."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


@dataclass(frozen=True, slots=True)
class Broken:
    """A value broke a deferred rule. `told` is for people alone: it may have been made from the value."""

    rule: str
    expected: str
    told: str | None = None


class Deferred(ABC):
    """A rule that is checked after all others passed: it is async, slow, or asks a model."""

    __slots__ = ()

    is_judge: ClassVar[bool] = False
    """Whether it is checked last of all, since it costs a model call."""

    @property
    @abstractmethod
    def needs_await(self) -> bool:
        """Whether `check_now` cannot check it."""

    @property
    @abstractmethod
    def is_slow(self) -> bool:
        """Whether it should run in a worker thread."""

    @abstractmethod
    async def check(self, value: Any, count_llm_call: CountLLMCall | None) -> Broken | None:
        """None if the value, which has the form of JSON, is right. Slow functions run in a worker thread."""

    @abstractmethod
    def check_now(self, value: Any) -> Broken | None:
        """As `check`, without awaiting anything. Never called on a rule that `needs_await`."""


class DeferredCheck(Check):
    """Marks in a core schema where a deferred rule belongs; lets every value pass."""

    __slots__ = ("rule",)

    def __init__(self, rule: Deferred) -> None:
        super().__init__(_pass)
        self.rule = rule


def _pass(_: Any) -> None:
    pass


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
class Custom(Rule, Deferred):
    """A function of the user's. `message` says what the contract wants, for people and for feedback.

    `rule` is "custom" for a field and "rule" for several fields of one object.
    """

    function: CustomFunction
    message: str
    slow: bool
    is_async: bool
    rule: str = "custom"

    @property
    def needs_await(self) -> bool:
        return self.is_async

    @property
    def is_slow(self) -> bool:
        return self.slow

    def apply(self, schema: Raw) -> Raw:
        deferred = self.slow or self.is_async
        return checked(schema, DeferredCheck(self) if deferred else Check(self._check))

    def _check(self, value: Any) -> None:
        broken = self.check_now(value)
        if broken is not None:
            facts = {"rule": broken.rule, "expected": broken.expected, "told": broken.told}
            raise PydanticCustomError(CUSTOM_ERROR, "a custom rule is broken", facts)

    def check_now(self, value: Any) -> Broken | None:
        try:
            return self._broken_if(self.function(value))
        except Exception:
            return Broken(self.rule, self.message)

    async def check(self, value: Any, count_llm_call: CountLLMCall | None) -> Broken | None:
        try:
            if self.is_async:
                return self._broken_if(await self.function(value))  # type: ignore[misc]  # it is a coroutine function
            if self.slow:
                return self._broken_if(await anyio.to_thread.run_sync(self.function, value, abandon_on_cancel=True))
        except Exception:
            return Broken(self.rule, self.message)
        return self.check_now(value)

    def _broken_if(self, outcome: object) -> Broken | None:
        if isinstance(outcome, str):
            return Broken(self.rule, self.message, outcome or None)
        return None if outcome else Broken(self.rule, self.message)

    def __str__(self) -> str:
        return f"{self.rule}({getattr(self.function, '__qualname__', 'function')})"

    __repr__ = __str__


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
