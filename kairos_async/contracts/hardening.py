"""Pydantic's core schemas, made strict where annotations cannot reach.

Pydantic trusts three things that a boundary cannot: an instance of a model (it may have been made without validation,
or changed since), NaN and infinities, and whatever lies at an `Any`. Settings for these belong to each model and cannot
be given from outside, so the core schema that Pydantic made is copied with them set. Core schemas are documented in
`pydantic_core.core_schema`; kinds that this module does not know are kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from pydantic import Secret, SecretBytes, SecretStr
from pydantic_core import CoreConfig, CoreSchema, SchemaSerializer, SchemaValidator, ValidationError

from kairos_async.contracts.guards import ANY, GUARDS
from kairos_async.contracts.regex import check_pattern, longest_text
from kairos_async.contracts.rules import Raw
from kairos_async.exceptions import ConfigError

VALUES: Final = frozenset(
    {"cls", "config", "default", "discriminator", "expected", "function", "members", "metadata", "serialization"}
)
"""Entries of a core schema that hold values, not schemas."""

CONFIG: Final = CoreConfig(strict=True, ser_json_inf_nan="constants", allow_inf_nan=False)
"""Set on every schema that takes a configuration."""


PLAIN_CONFIG: Final = frozenset({"title", "extra_fields_behavior", *CONFIG})
"""Settings of a model that change nothing about its fields' values."""


def harden(schema: CoreSchema) -> Raw:
    """A copy that validates instances again, refuses NaN, infinities and lone surrogates, and copies an `Any` as JSON.

    Raises:
        ConfigError: a field says that it is not strict, or a regex is not for the linear-time engine.
    """
    return _hardened(cast(Raw, schema), "")


def _hardened(node: Raw, where: str) -> Raw:
    kind = node["type"]
    if kind == "any":
        return ANY
    _refuse(node, where)
    if kind == "lax-or-strict":
        return _hardened(node["strict_schema"], where)
    copied = {key: value if key in VALUES else _below(key, value, where) for key, value in node.items()}
    if kind in _SETTINGS:
        copied.update(_SETTINGS[kind](node))
    if isinstance(config := node.get("config"), dict):
        copied["config"] = {**config, **CONFIG}
    if kind == "default" and "default" in node:
        copied["default"] = _checked_default(copied, where)
    if kind not in GUARDS:
        return copied
    try:
        return GUARDS[kind](copied)
    except ConfigError as error:
        raise ConfigError(f"{_subject(where)}: {error}") from None


def _for_text(node: Raw) -> Raw:
    # A length is taken of Unicode text only: that finds lone surrogates.
    found: Raw = {"min_length": node.get("min_length") or 0}
    if node.get("pattern") is not None:
        longest = longest_text(node["pattern"])
        found["max_length"] = min(longest, node.get("max_length") or longest)
    return found


def _for_object(node: Raw) -> Raw:
    keys = node.get("keys_schema", {"type": "any"})
    found: Raw = {} if "values_schema" in node else {"values_schema": ANY}
    found |= {"keys_schema": {"type": "str", "min_length": 0}} if keys["type"] == "any" else {}
    return found | {"strict": True}  # of a `Mapping`, Pydantic says strict=False by itself


def _for_list(node: Raw) -> Raw:
    return {} if "items_schema" in node else {"items_schema": ANY}


def _for_number(_: Raw) -> Raw:
    return {"allow_inf_nan": False}


def _for_model(_: Raw) -> Raw:
    return {"revalidate_instances": "always"}


_SETTINGS: Final[dict[str, Callable[[Raw], Raw]]] = {
    "str": _for_text,
    "dict": _for_object,
    "list": _for_list,
    "set": _for_list,
    "frozenset": _for_list,
    "float": _for_number,
    "decimal": _for_number,
    "model": _for_model,
    "dataclass": _for_model,
}
"""What is set on each kind of core schema."""


def _checked_default(node: Raw, where: str) -> Any:
    """The default, as validation leaves it. One that refers to a definition cannot be checked alone, and is kept."""
    default, schema = node["default"], node["schema"]
    if contains(schema, "definition-ref"):
        return default
    try:
        return validator(schema).validate_python(default, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
    raise ConfigError(
        f"Field {where!r} has a default that its own type and rules refuse: {default!r} ({reason}). "
        "Change the default, or declare what it is, such as `str | None`."
    )


def contains(node: Any, kind: str) -> bool:
    """Whether a core schema of this kind is anywhere in this one."""
    if isinstance(node, dict):
        return node.get("type") == kind or any(contains(part, kind) for part in node.values())
    return isinstance(node, (list, tuple)) and any(contains(part, kind) for part in node)


def _below(key: str, value: Any, where: str) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            return _hardened(value, where)
        in_fields = key == "fields"
        return {name: _below(key, sub, _named(where, name) if in_fields else where) for name, sub in value.items()}
    if isinstance(value, list):
        return [_below(key, item, where) for item in value]
    if isinstance(value, tuple):
        return tuple(_below(key, item, where) for item in value)
    return value


def _named(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _refuse(node: Raw, where: str) -> None:
    subject, kind = _subject(where), node["type"]
    if node.get("strict") is False and kind not in _LAX_BY_ITSELF:
        raise ConfigError(f"{subject} says strict=False, and contracts are strict. Remove it, or convert in the step.")
    if kind == "is-subclass":
        raise ConfigError(f"{subject} is a class, which has no JSON form.")
    function = (node.get("function") or {}).get("function") if kind == "function-after" else None
    if isinstance(function, type) and issubclass(function, (Secret, SecretStr, SecretBytes)):
        raise ConfigError(
            f"{subject} is a {function.__name__}, of which only stars would be left: a contract gives JSON. "
            "Declare it as str, under a key that is sensitive."
        )
    _refuse_pattern(node, subject)
    _refuse_bounds(node, subject)


_LAX_BY_ITSELF: Final = frozenset({"tagged-union", "dict"})
"""Where Pydantic says strict=False without being asked to."""


def _refuse_pattern(node: Raw, subject: str) -> None:
    config = node.get("config") or {}
    engines = (node.get("regex_engine"), config.get("regex_engine"))
    if "python-re" in engines or (node["type"] == "str" and not isinstance(node.get("pattern") or "", str)):
        raise ConfigError(
            f"{subject} uses Python's re for its pattern, whose time can grow exponentially. Give the pattern as a str "
            "and no regex_engine, so that the linear-time engine checks it."
        )
    if node["type"] == "str" and node.get("pattern") is not None:
        try:
            check_pattern(node["pattern"])
        except ConfigError as error:
            raise ConfigError(f"{subject}: {error}") from None


def _refuse_bounds(node: Raw, subject: str) -> None:
    for low, high in (("ge", "le"), ("ge", "lt"), ("gt", "le"), ("gt", "lt"), ("min_length", "max_length")):
        least, most = node.get(low), node.get(high)
        if least is None or most is None:
            continue
        if least > most or (least == most and (low, high) not in (("ge", "le"), ("min_length", "max_length"))):
            raise ConfigError(f"{subject} leaves no value: its minimum {least!r} is above its maximum {most!r}.")


def _subject(where: str) -> str:
    return f"Field {where!r}" if where else "The contract"


_NOT_JSON: Final = frozenset({"callable", "is-instance", "is-subclass", "function-plain", "generator"})


def field_without_json(node: Any, where: str = "") -> str | None:
    """The path of the first field whose type has no JSON form; None if none is found."""
    if not isinstance(node, dict):
        found = (field_without_json(part, where) for part in node) if isinstance(node, (list, tuple)) else ()
        return next((field for field in found if field), None)
    if node.get("type") in _NOT_JSON:
        return where or None
    for key, part in node.items():
        if key in VALUES:
            continue
        named = part.items() if key == "fields" and isinstance(part, dict) else [("", part)]
        for name, below in named:
            if field := field_without_json(below, _named(where, name) if name else where):
                return field
    return None


def validator(schema: Raw) -> SchemaValidator:
    """The compiled schema. Models compiled earlier are not used in their place, since they were not hardened."""
    return SchemaValidator(cast(CoreSchema, schema), CONFIG, False)


def serializer(schema: CoreSchema) -> SchemaSerializer:
    """What dumps the validator's results, with NaN left as it is to be refused rather than turned into null.

    It is made from Pydantic's own schema, since what `harden` adds is no business of a dump.
    """
    return SchemaSerializer(cast(CoreSchema, _dumping(schema)), CONFIG, False)


def _dumping(node: Any) -> Any:
    if isinstance(node, list):
        return [_dumping(part) for part in node]
    if not isinstance(node, dict):
        return node
    copied = {key: value if key in VALUES else _dumping(value) for key, value in node.items()}
    if isinstance(config := copied.get("config"), dict):
        copied["config"] = {**config, "ser_json_inf_nan": "constants"}
    return copied
