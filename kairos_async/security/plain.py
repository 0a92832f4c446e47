"""Foreign objects as plain data: what redaction can look into, and what it shows of the rest."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import pathlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol, cast

from kairos_async.security.keys import KeyMatcher
from kairos_async.security.vocabulary import NAME_FIELDS, VALUE_FIELDS

_MOST_STRINGS: Final = 10_000
"""Strings that are taken from one value when it is registered."""

_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
"""The real name of a class, whatever its metaclass makes of `__name__`."""


class _Wrapped(Protocol):
    """What `pydantic.SecretStr` and `SecretBytes` have in common."""

    def get_secret_value(self) -> object: ...


def type_name(value: object) -> str:
    """Return the name of the value's class: letters, digits, `_` and `.`, at most 100 characters."""
    return class_name(type(value))


def class_name(kind: type) -> str:
    """Return the name of a class as `type_name` does; `"object"` when no character of it is left."""
    kept = "".join(char for char in _type_name(kind)[:100] if char.isascii() and (char.isalnum() or char in "_."))
    return kept or "object"


def is_wrapped_secret(value: object) -> bool:
    """Whether the value is a wrapper such as `pydantic.SecretStr`."""
    return not isinstance(value, type) and callable(getattr(type(value), "get_secret_value", None))


def as_plain(value: object) -> object:
    """Return built-in data that says what the value holds, one level deep; None when it cannot be looked into.

    Whatever the value's own code raises comes through.
    """
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    fields = getattr(type(value), "model_fields", None)
    if isinstance(fields, dict):
        return {**{name: getattr(value, name) for name in fields}, **(getattr(value, "model_extra", None) or {})}
    return None


def strings_in(value: object) -> Iterator[str]:
    """Yield the strings inside a value, wrapped secrets unwrapped; at most 10,000. Never raises."""
    return itertools.islice((part for part in parts_of(value) if type(part) is str), _MOST_STRINGS)


def parts_of(value: object) -> Iterator[object]:
    """Yield the value and all that is inside of it, wrapped secrets before what they hold. Never raises."""
    waiting: list[object] = [value]
    seen: set[int] = set()
    kept: list[object] = []  # so that no id is used twice
    while waiting:
        part = waiting.pop()
        if type(part) in (str, int, float, bool, type(None)):
            yield part
        elif id(part) not in seen:
            seen.add(id(part))
            kept.append(part)
            yield part
            waiting.extend(reversed(_parts(part)))


def _parts(value: object) -> list[object]:
    try:
        if is_wrapped_secret(value):
            return [cast(_Wrapped, value).get_secret_value()]
        plain = as_plain(value) if type(value) not in (dict, list) else value
    except KeyboardInterrupt:
        raise
    except BaseException:
        return []  # nothing of it can be shown either, so nothing of it needs to be known
    if isinstance(plain, dict):
        return list(plain.values())
    if isinstance(plain, list):
        return plain
    return [] if plain is None else [plain]


def named_value(data: Mapping[Any, object], keys: KeyMatcher) -> str | None:
    """Return the key of the value in `{"name": "X-Api-Key", "value": ...}`, None when it is no such object."""
    if VALUE_FIELDS.isdisjoint(data):
        return None
    sensitive = any(type(name := data.get(field)) is str and keys[name] for field in NAME_FIELDS)
    return next((field for field in data if field in VALUE_FIELDS), None) if sensitive else None


def is_secret_pair(data: list[Any], keys: KeyMatcher) -> bool:
    """Whether a list is a pair such as `["Authorization", "Bearer ..."]`."""
    return len(data) == 2 and type(data[0]) is str and type(data[1]) is str and keys[data[0]] > 0


def _decoded(value: Any) -> str:
    return bytes(value).decode("utf-8", "backslashreplace")


_CONVERSIONS: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...]] = (
    (str, str.__str__),
    ((bytes, bytearray, memoryview), _decoded),
    (enum.Enum, lambda value: value.value),
    (int, int.__int__),
    (float, float.__float__),
    (dict, lambda value: dict(dict.items(value))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: list(tuple.__iter__(value))),
    (Mapping, lambda value: dict(value.items())),
    ((set, frozenset, AbstractSet), list),
    (pathlib.PurePath, str),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    ((datetime.timedelta, decimal.Decimal, uuid.UUID), str),
)
"""What becomes of an object that is no JSON data: the first that fits. Subclasses are read by their base's methods."""
