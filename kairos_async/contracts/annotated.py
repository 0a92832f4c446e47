"""Contracts from annotations: Pydantic models, TypeAdapter annotations, and schemas of the small language."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError, to_json
from pydantic_core import ValidationError as Refused

from kairos_async._types import FieldError, JSONValue
from kairos_async.contracts import hardening
from kairos_async.contracts.contract import VALUE, Contract, JSONSchema, declared_keys, fresh
from kairos_async.contracts.deferred import RuledContract, placed_rules
from kairos_async.contracts.errors import from_not_json, from_pydantic, not_checkable
from kairos_async.contracts.flattening import flatten, leaf_keys
from kairos_async.contracts.paths import SchemaMap
from kairos_async.contracts.plain import LARGE, NotJSON, is_large, is_plain, to_plain
from kairos_async.contracts.rules import Raw
from kairos_async.exceptions import ConfigError, ValidationError


def annotated_contract(annotation: Any, name: str | None = None) -> Contract:
    """The contract of an annotation, with the deferred rules that are in it."""
    contract = AnnotatedContract(annotation, name)
    placed = placed_rules(contract.core)
    return RuledContract(contract, placed) if placed else contract


class AnnotatedContract(Contract):
    """What Pydantic accepts for an annotation, strictly.

    A value passes if its Python form does, or if it is JSON data and its JSON form does: "2024-01-01" for a date, a
    list for a set, the value of an enum's member. Simple schemas are tried first on a schema without models, which
    costs no more than Pydantic itself and leaves nothing to dump.

    Raises:
        ConfigError: Pydantic has no schema or no JSON Schema for the annotation, or it cannot be strict.
    """

    __slots__ = (
        "_adapter",
        "_dump",
        "_is_recursive",
        "_leaves",
        "_map",
        "_output_schema",
        "_quick",
        "_schema",
        "_validator",
        "core",
    )

    core: Raw
    """The core schema that decides, for those who reason about contracts."""

    def __init__(self, annotation: Any, name: str | None = None) -> None:
        self.name = readable(annotation) if name is None else name
        self.is_async = False
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
            self.core = hardening.harden(self._adapter.core_schema)
            self._validator = hardening.validator(self.core)
            self._dump = hardening.serializer(self._adapter.core_schema).to_python
            self._schema: JSONSchema = self._adapter.json_schema()
            self._output_schema: JSONSchema = self._adapter.json_schema(
                mode="serialization", schema_generator=_OutputSchema
            )
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None
        except _NO_SCHEMA as error:
            raise ConfigError(f"{self.name} cannot be a contract: {explained(error)}.{self._blamed()}") from error
        flat = flatten(self.core)
        # Strict by configuration, which nothing in a flat schema overrides: as an argument, that takes 0.4 us of 0.9.
        self._quick: Callable[[object], Any] | None = (
            None if flat is None else hardening.validator(flat).validate_python
        )
        self._leaves = None if flat is None else leaf_keys(flat)
        self._is_recursive = hardening.contains(self.core, "definition-ref")
        self._map = SchemaMap(self._schema)
        self.fields, self.required = declared_keys(self._schema)

    @property
    def leaves(self) -> frozenset[str] | None:
        return self._leaves

    def validate(self, value: object, subject: str = VALUE) -> JSONValue:
        refused: Refused | None = None
        if self._is_recursive and is_large(value):
            error = NotJSON("max_size", f"at most {LARGE} values", value)
            raise ValidationError(subject, from_not_json(error, self._map))
        if self._quick is not None and type(value) in _BUILT_IN:
            try:
                return self._quick(value)  # type: ignore[no-any-return]
            except Refused as found:
                refused = found
            except BaseException as found:
                _let_interrupts_through(found)
        return self._validate_fully(value, subject, refused)

    def json_schema(self) -> JSONSchema:
        return fresh(self._schema)

    def output_schema(self) -> JSONSchema:
        return fresh(self._output_schema)

    def _blamed(self) -> str:
        """The field with a type that has no JSON form, as the end of a sentence; "" if no such field is known."""
        core = getattr(self, "core", None)
        field = core and hardening.field_without_json(core)
        return f" Field {field!r} has a type without a JSON form." if field else ""

    def _validate_fully(self, value: object, subject: str, refused: Refused | None) -> JSONValue:
        try:
            if refused is not None and is_plain(value):
                raise refused  # what is JSON has no other form that could pass
            return self._checked(value)
        except BaseException as error:
            _let_interrupts_through(error)
            errors = self._translated(error, value)
        raise ValidationError(subject, errors)

    def _translated(self, error: BaseException, value: object) -> list[FieldError]:
        try:
            if isinstance(error, Refused):
                return from_pydantic(error.errors(include_url=False), self._map)
            if isinstance(error, NotJSON):
                return from_not_json(error, self._map)
        except BaseException as further:
            _let_interrupts_through(further)
        return not_checkable(value)

    def _checked(self, value: object) -> JSONValue:
        try:
            return self._dumped(self._validator.validate_python(value, strict=True))
        except Refused:
            try:
                data = to_json(to_plain(value, convert=False, finite=False), inf_nan_mode="constants")
            except NotJSON:
                data = None
        if data is not None:
            return self._dumped(self._validator.validate_json(data, strict=True))
        # There are instances in it, whose fields Pydantic reads by name where their model has an alias.
        return self._dumped(self._validator.validate_python(value, strict=True, by_alias=True, by_name=True))

    def _dumped(self, validated: object) -> JSONValue:
        return to_plain(self._dump(validated, mode="json", by_alias=True, warnings="error"), convert=False)


_BUILT_IN: Final = frozenset({dict, list, str, int, float, bool, type(None)})
"""What the schema without models is tried on; it would only fail at an instance."""


class _OutputSchema(GenerateJsonSchema):
    """Says of keys with defaults that they are there, as they are in every result."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return field["schema"]["type"] == "default" or super().field_is_required(field, total)


_NO_SCHEMA = (
    PydanticSchemaGenerationError,
    PydanticUserError,
    PydanticInvalidForJsonSchema,
    SchemaError,
    NameError,
    TypeError,
    ValueError,
    RecursionError,
)


def _let_interrupts_through(error: BaseException) -> None:
    """Raise the error if it is the user's interrupt.

    Everything else that validation raises is the doing of the value or of a rule: methods of hostile objects that raise
    SystemExit, and panics of the Rust side, which are no Exceptions either.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error


def readable(annotation: Any) -> str:
    """The annotation as a reader wrote it: `Report`, `list[Report]`, `str | None`."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return repr(annotation).replace("typing.", "").replace("<class '", "").replace("'>", "")


def is_instance(annotation: object) -> bool:
    """Whether this is an object of a model or a dataclass, where its class was meant."""
    return isinstance(annotation, BaseModel) or (
        dataclasses.is_dataclass(annotation) and not isinstance(annotation, type)
    )


def explained(error: BaseException) -> str:
    """What Pydantic says, in one line, without its links; of an error in a nested schema, the field and the reason."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
    if not isinstance(error, SchemaError):
        # Its way out is none here: what a type is that Pydantic takes as it comes, no contract could say.
        return lines[0].partition(". Set `arbitrary_types_allowed")[0].rstrip(".")
    fields = [name for line in lines for name in re.findall(r'Field "(.+)":$', line)]
    reason = lines[-1].removeprefix("error: ").removeprefix("SchemaError: ").rstrip(".")
    return f"field {'.'.join(fields)!r}: {reason}" if fields else reason
