"""The one interface behind which every kind of contract stands."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, TypeAlias

from kairos_async._types import JSONValue

JSONSchema: TypeAlias = dict[str, JSONValue]
"""A JSON Schema document, draft 2020-12."""

CountLLMCall: TypeAlias = Callable[[int], None]
"""Called with the number of model calls before they are made; it may raise to refuse them."""

VALUE: Final = "The value"
"""The subject of an error when the caller names none."""


class Contract(ABC):
    """What a value must be. Made once by `compile_contract`, shared by all runs, never changed.

    Attributes:
        name: for messages, such as "Report", "list[Report]" or "Schema(name, score)".
        fields: the top-level keys that it declares, None if it is not the contract of an object.
        required: the declared top-level keys that must be there.
        is_async: True if a rule is async, asks a model, or is declared slow; use `validate_async` then.
    """

    __slots__ = ("fields", "is_async", "name", "required")

    schema_says_all: ClassVar[bool] = False
    """Whether `json_schema` accepts exactly what the contract accepts, by the semantics of JSON Schema."""

    name: str
    fields: frozenset[str] | None
    required: frozenset[str]
    is_async: bool

    @property
    def leaves(self) -> frozenset[str] | None:
        """The keys of what it returns, if that is a dict of which all keys are known and no value is a container."""
        return None

    @property
    def judges(self) -> int:
        """How many of its rules ask a model."""
        return 0

    @abstractmethod
    def validate(self, value: object, subject: str = VALUE) -> JSONValue:
        """The validated value as fresh JSON built-ins: defaults filled in, int widened to float, objects dumped.

        Raises:
            ValidationError: the value broke the contract, or has no JSON form. Nothing else is raised, whatever the
                value is.
            ConfigError: the contract has async rules, so that `validate_async` must be awaited instead.
        """

    async def validate_async(
        self, value: object, subject: str = VALUE, *, count_llm_call: CountLLMCall | None = None
    ) -> JSONValue:
        """As `validate`, with async rules awaited and slow ones run in a worker thread, after all others passed.

        `count_llm_call` is told of each call to a model before it is made; what it raises comes through.
        """
        return self.validate(value, subject)

    @abstractmethod
    def json_schema(self) -> JSONSchema:
        """A fresh copy of the JSON Schema of what the contract accepts, as a provider or a form generator wants it."""

    @abstractmethod
    def output_schema(self) -> JSONSchema:
        """A fresh copy of the JSON Schema of what `validate` returns: defaults are there, dates are strings."""

    def __repr__(self) -> str:
        return f"<Contract {self.name}>"


def declared_keys(schema: Mapping[str, JSONValue]) -> tuple[frozenset[str] | None, frozenset[str]]:
    """The properties that a JSON Schema of an object declares (None if it is none), and which of them it requires."""
    resolved = dict(schema)
    seen: set[str] = set()
    while isinstance(ref := resolved.get("$ref"), str) and ref.startswith("#/$defs/") and ref not in seen:
        seen.add(ref)
        definitions = schema.get("$defs")
        target = definitions.get(ref.removeprefix("#/$defs/")) if isinstance(definitions, dict) else None
        resolved = dict(target) if isinstance(target, dict) else {}
    properties, required = resolved.get("properties"), resolved.get("required")
    if resolved.get("type") != "object" or not isinstance(properties, dict):
        return None, frozenset()
    names = required if isinstance(required, list) else []
    return frozenset(properties), frozenset(name for name in names if isinstance(name, str) and name in properties)


def fresh(schema: JSONSchema) -> JSONSchema:
    """A copy that the caller may change."""
    return copy.deepcopy(schema)
