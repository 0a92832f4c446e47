"""The small language for contracts: `Schema({"name": str, "score": float | None})`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NotRequired, Required, TypeAlias, cast, get_args, get_origin

from pydantic import (
    AliasChoices,
    BaseModel,
    GetCoreSchemaHandler,
    PydanticSchemaGenerationError,
    PydanticUserError,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from kairos_async._types import FieldError, JSONValue
from kairos_async.contracts.annotated import annotated_contract, explained, is_instance, readable
from kairos_async.contracts.contract import Contract, JSONSchema
from kairos_async.contracts.from_json_schema import read_object
from kairos_async.contracts.functions import Custom
from kairos_async.contracts.rules import AllOf, Raw, Rule, resolved
from kairos_async.exceptions import ConfigError, ValidationError

Extra: TypeAlias = Literal["forbid", "ignore", "allow"]
"""What happens to a key that is not declared: an error, left out of the result, or kept in it as it is."""

_EXTRAS: Final = ("forbid", "ignore", "allow")


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What `Schema.validate` found. It never holds the data."""

    errors: tuple[FieldError, ...]

    @property
    def valid(self) -> bool:
        """Whether no rule was broken."""
        return not self.errors

    def __bool__(self) -> bool:
        return self.valid


class Schema:
    """What an object must be: its keys, their types, and rules. Compiled when it is made; never changed after.

    Args:
        fields: each key with its type: anything that Pydantic has a schema for, another Schema, `list[Schema]`,
            `dict[str, T]`, `Literal`, enums, `Annotated`. `T | None` may be absent, and is None then; `NotRequired[T]`
            may be absent, and stays so; `Required[T | None]` must be there. Any text can be a key.
        validators: for a key, the rules beyond its type, from `kairos_async.validators`.
        rules: rules about several keys, from `validators.rule`; checked when each key by itself is right.
        extra: what happens to keys that are not declared.

    Types are strict: "1" and True are no int; an int is fine for a float, and becomes one; NaN is no number.

    Raises:
        ConfigError: a type has no contract, or a validator does not fit; the message names the field and the rule.
    """

    __slots__ = ("_contract", "_extra", "_fields", "_model", "_rules", "_validators")

    def __init__(
        self,
        fields: Mapping[str, Any],
        validators: Mapping[str, Rule | AllOf | Iterable[Rule | AllOf]] | None = None,
        *,
        rules: Iterable[Custom] = (),
        extra: Extra = "forbid",
    ) -> None:
        self._fields = _checked_fields(fields)
        self._validators = _checked_validators(self._fields, validators or {})
        self._rules = _checked_rules(rules)
        if extra not in _EXTRAS:
            raise ConfigError(f"Schema: extra={extra!r} is not one of {', '.join(_EXTRAS)}.")
        self._extra: Extra = extra
        self._model: type[BaseModel] | None = None
        self._contract = annotated_contract(self, f"Schema({', '.join(self._fields)})")

    @classmethod
    def from_pydantic(cls, model: type[BaseModel]) -> Schema:
        """The Schema of a Pydantic model: with all its constraints, validators, defaults and its own rule for extras.

        Raises:
            ConfigError: it is no Pydantic model, or it cannot be strict.
        """
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise ConfigError(f"Schema.from_pydantic takes a Pydantic model class, not {model!r}.")
        made = cls.__new__(cls)
        made._model = model
        made._fields = {_key(name, info): info.annotation for name, info in model.model_fields.items()}
        made._validators, made._rules = {}, ()
        made._extra = model.model_config.get("extra") or "ignore"
        made._contract = annotated_contract(model)
        return made

    @classmethod
    def from_json_schema(cls, spec: Mapping[str, JSONValue]) -> Schema:
        """The Schema that accepts what the JSON Schema (draft 2020-12) of an object accepts, by strict types.

        Keywords that a Schema can express: type, properties, required, additionalProperties, items, prefixItems, enum,
        const, anyOf, minimum and its kin, lengths, pattern, uniqueItems, the formats of dates, times and UUIDs,
        default, and `$ref` to the document's own `$defs`. For all of JSON Schema, pass the dict itself as a contract.

        Raises:
            ConfigError: another keyword, a reference in a circle or to elsewhere, or a document that is no object's.
        """
        made = read_object(spec, cls)
        assert isinstance(made, cls)
        return made

    @property
    def field_names(self) -> list[str]:
        """The declared keys, in their order."""
        return list(self._fields)

    @property
    def required_fields(self) -> list[str]:
        """The declared keys that must be there, in their order."""
        return [name for name in self._fields if name in self._contract.required]

    @property
    def contract(self) -> Contract:
        """The compiled contract."""
        return self._contract

    def validate(self, data: object) -> ValidationResult:
        """Check the data. Nothing that the data does makes this raise.

        Raises:
            ConfigError: there are async rules; await `validate_async`.
        """
        try:
            self._contract.validate(data)
        except ValidationError as error:
            return ValidationResult(error.errors)
        return ValidationResult(())

    async def validate_async(self, data: object) -> ValidationResult:
        """As `validate`, with async and slow rules."""
        try:
            await self._contract.validate_async(data)
        except ValidationError as error:
            return ValidationResult(error.errors)
        return ValidationResult(())

    def extend(
        self,
        fields: Mapping[str, Any] | None = None,
        validators: Mapping[str, Rule | AllOf | Iterable[Rule | AllOf]] | None = None,
        *,
        rules: Iterable[Custom] = (),
        extra: Extra | None = None,
    ) -> Schema:
        """A new Schema with more, or other, fields and more validators and rules. This one stays as it is.

        A field that is declared again takes its new type and only its new validators; the other fields keep theirs.
        """
        fields = dict(fields or {})
        if self._model is not None:
            return self._extended_model(fields, validators or {}, tuple(rules), extra)
        kept = {name: list(of) for name, of in self._validators.items() if name not in fields}
        for name, more in (validators or {}).items():
            kept[name] = [*kept.get(name, ()), *_as_rules(name, more)]
        return Schema(self._fields | fields, kept, rules=(*self._rules, *rules), extra=extra or self._extra)

    def to_json_schema(self) -> JSONSchema:
        """The JSON Schema (draft 2020-12). Functions of `custom` and `rule` are not in it."""
        return self._contract.json_schema()

    def _extended_model(
        self, fields: dict[str, Any], validators: Mapping[str, Any], rules: tuple[Custom, ...], extra: Extra | None
    ) -> Schema:
        model = self._model
        assert model is not None
        if rules or extra is not None:
            raise ConfigError(
                f"A Schema made from {model.__name__} takes rules and extra from the model; set them there."
            )
        _checked_validators(self._fields | fields, validators)
        definitions: dict[str, Any] = {name: (annotation, ...) for name, annotation in fields.items()}
        named = {_key(name, info): name for name, info in model.model_fields.items()}
        for key, more in validators.items():
            name = named.get(key, key)
            declared = model.model_fields.get(name)
            annotation, default = (
                (fields[name], ...) if name in fields or declared is None else (declared.annotation, declared)
            )
            definitions[name] = (Annotated[(annotation, *_as_rules(name, more))], default)
        return Schema.from_pydantic(create_model(model.__name__, __base__=model, **definitions))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if self._model is not None:
            return handler.generate_schema(self._model)
        fields = {name: self._field(name, handler) for name in self._fields}
        compiled: Raw = dict(core_schema.typed_dict_schema(fields, extra_behavior=self._extra))
        for rule in self._rules:
            compiled = rule.apply(compiled)
        return cast(CoreSchema, compiled)

    def _field(self, name: str, handler: GetCoreSchemaHandler) -> core_schema.TypedDictField:
        annotation = self._fields[name]
        marker = get_origin(annotation)
        if marker in (NotRequired, Required):
            (annotation,) = get_args(annotation)
        try:
            rules = self._validators.get(name, ())
            schema: Any = handler.generate_schema(Annotated[(annotation, *rules)] if rules else annotation)
        except ConfigError as error:
            raise ConfigError(f"field {name!r}: {error}") from None
        except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError, ValueError) as error:
            raise ConfigError(f"field {name!r} has a type that no contract is made of: {explained(error)}") from error
        if marker not in (NotRequired, Required) and _is_nullable(resolved(schema, handler)):
            schema = core_schema.with_default_schema(schema, default=None)
        return core_schema.typed_dict_field(schema, required=marker is not NotRequired and schema["type"] != "default")

    def __or__(self, other: Any) -> Any:
        return Annotated[Any, self] | other

    def __ror__(self, other: Any) -> Any:
        return other | Annotated[Any, self]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schema):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((tuple(sorted(self._fields)), self._extra, self._model))

    def _parts(self) -> tuple[Any, ...]:
        return (self._fields, self._validators, self._rules, self._extra, self._model)

    def __repr__(self) -> str:
        if self._model is not None:
            return f"Schema.from_pydantic({self._model.__name__})"
        shown = [f"{{{', '.join(f'{name!r}: {readable(of)}' for name, of in self._fields.items())}}}"]
        if self._validators:
            shown.append(f"validators={ {name: list(rules) for name, rules in self._validators.items()} }")
        if self._rules:
            shown.append(f"rules={list(self._rules)}")
        if self._extra != "forbid":
            shown.append(f"extra={self._extra!r}")
        return f"Schema({', '.join(shown)})"


def _key(name: str, info: FieldInfo) -> str:
    """The key of a model's field in its JSON Schema: the first of its aliases that is one key."""
    alias = info.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return next((choice for choice in choices if isinstance(choice, str)), name)


def _is_nullable(schema: Raw) -> bool:
    while schema["type"].startswith("function-"):
        schema = schema["schema"]
    return bool(schema["type"] == "nullable")


def _checked_fields(fields: object) -> dict[str, Any]:
    if not isinstance(fields, Mapping):
        raise ConfigError(f"Schema takes a dict of keys and types, such as {{'name': str}}, not {fields!r}.")
    for name, annotation in fields.items():
        if type(name) is not str:
            raise ConfigError(f"Schema: the key {name!r} must be a str.")
        if isinstance(annotation, Mapping):
            raise ConfigError(f"Schema: field {name!r} is a dict. For an object in the object, write Schema({{...}}).")
        if isinstance(annotation, str):
            raise ConfigError(f"Schema: field {name!r} has the type {annotation!r} as text. Write the type itself.")
        if is_instance(annotation):
            kind = type(annotation).__name__
            raise ConfigError(f"Schema: field {name!r} is {annotation!r}, an instance of {kind}. Use the class {kind}.")
    return dict(fields)


def _checked_validators(fields: Mapping[str, Any], validators: object) -> dict[str, tuple[Rule | AllOf, ...]]:
    if not isinstance(validators, Mapping):
        raise ConfigError(f"Schema: validators must be a dict of keys and lists of rules, not {validators!r}.")
    for name in validators:
        if name not in fields:
            raise ConfigError(f"Schema: validators are given for {name!r}, which is no field. Fields: {list(fields)}.")
    return {name: _as_rules(name, rules) for name, rules in validators.items()}


def _as_rules(name: str, rules: object) -> tuple[Rule | AllOf, ...]:
    given = [rules] if isinstance(rules, (Rule, AllOf)) else rules
    if not isinstance(given, Iterable):
        raise ConfigError(f"Schema: the validators of field {name!r} must be a list of rules, not {rules!r}.")
    found: list[Rule | AllOf] = []
    for rule in given:
        if not isinstance(rule, (Rule, AllOf)):
            way_out = "Use v.range and the like."
            if callable(rule):
                called = getattr(rule, "__name__", "function")
                is_ours = getattr(rule, "__module__", None) == "kairos_async.validators"
                way_out = f"Call it: v.{called}(...)." if is_ours else f"Use v.custom({called})."
            raise ConfigError(f"Schema: field {name!r} has the validator {rule!r}, which is no rule. {way_out}")
        found.append(rule)
    return tuple(found)


def _checked_rules(rules: Iterable[Custom]) -> tuple[Custom, ...]:
    found = tuple(rules)
    for rule in found:
        if not isinstance(rule, Custom):
            raise ConfigError(f"Schema: rules has {rule!r}. Use v.rule(function, message).")
    return found
