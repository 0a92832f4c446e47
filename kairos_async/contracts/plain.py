"""The copy of a Python value as plain JSON built-ins, which is what a contract returns and what state can hold."""

from __future__ import annotations

import enum
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias, cast

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from kairos_async._types import JSONValue
from kairos_async.security import UntrustedText
from kairos_async.security.engine import as_json
from kairos_async.security.plain import is_wrapped_secret, parts_of

MAX_DEPTH: Final = 100
"""How many lists and objects may lie inside each other. A value that contains itself is over it, too."""

MAX_NODES: Final = 4_000_000
"""How many values one value may hold, counted as often as they are reached: shared parts can multiply without end."""

LARGE: Final = 1_000_000
"""How many values a contract that contains itself looks at, since its own way may have no other end."""

MAX_INT_BITS: Final = 14_000
"""About 4,200 digits; Python refuses to print or parse integers beyond 4,300."""

_JSON_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (type(None), "null"),
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)
_BY_TYPE: Final = dict(_JSON_TYPES)

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_NEVER_DUMPED: Final = (bytes, bytearray, memoryview, set, frozenset)


class NotJSON(Exception):
    """A value that has no JSON form. `path` leads to it, from inside out; `rule` and `expected`: see `FieldError`."""

    def __init__(self, rule: str, expected: str, value: object) -> None:
        super().__init__(rule)
        self.rule = rule
        self.expected = expected
        self.actual = json_type(value)
        self.path: list[str | int] = []


def json_type(value: object) -> str:
    """The JSON type of a value, or "other". Only `type(value)` is asked, never what the object says of itself."""
    kind = type(value)
    if (exact := _BY_TYPE.get(kind)) is not None:
        return exact
    return next((name for base, name in _JSON_TYPES if issubclass(kind, base)), "other")


def to_plain(value: object, *, convert: bool = True, finite: bool = True) -> JSONValue:
    """A fresh copy of `value` in str, int, float, bool, None, list and dict with str keys: exactly these types.

    Subclasses of these (a str subclass, an IntEnum) become their base. With `convert`, tuples become lists, and what
    Pydantic can dump (models, dataclasses, dates, UUIDs, ...) is dumped; sets, bytes and iterators never are. Without
    `finite`, NaN and infinities are left in, for someone else to refuse.

    Raises:
        NotJSON: anything else; NaN and infinities, lone surrogates, integers of over 4,200 digits, cycles, more than
            `MAX_DEPTH` levels or `MAX_NODES` values.
    """
    return _Copier(convert, finite).copy(value, 0)


def is_plain(value: object) -> bool:
    """Whether the value is of JSON built-ins, exactly, as far as its first `LARGE` values and 100 levels say."""
    return all(_is_plain(part) for level in _levels(value) for part in level)


def _is_plain(part: Any) -> bool:
    kind = type(part)
    if kind is dict:
        return all(type(key) is str for key in part)
    return kind is list or (kind in _SCALARS and (kind is not int or part.bit_length() <= MAX_INT_BITS))


def is_large(value: object) -> bool:
    """Whether more than `LARGE` values are reached in the lists and objects; shared parts count each time."""
    return sum(map(len, _levels(value))) > LARGE


def _levels(value: object) -> Iterator[list[Any]]:
    """The value, what is in it, what is in that: to 100 levels, and until more than `LARGE` values were seen."""
    level: list[Any] = [value]
    seen = 0
    for _ in range(MAX_DEPTH + 1):
        yield level
        seen += len(level)
        below: list[Any] = []
        for part in level:
            if type(part) is dict:
                below.extend(part.values())
            elif type(part) in (list, tuple):
                below.extend(part)
        if not below or seen > LARGE:
            return
        level = below


class _Copier:
    __slots__ = ("convert", "finite", "nodes")

    def __init__(self, convert: bool, finite: bool) -> None:
        self.convert = convert
        self.finite = finite
        self.nodes = 0

    def copy(self, value: object, depth: int) -> JSONValue:
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if issubclass(kind, str):
            return _text(value)
        if issubclass(kind, int):
            return _integer(value)
        if issubclass(kind, float):
            return self._number(value)
        if depth > MAX_DEPTH:
            raise NotJSON("max_depth", f"at most {MAX_DEPTH} levels of nesting", value)
        if issubclass(kind, dict):
            return self._object(value, depth)
        if issubclass(kind, list) or (self.convert and issubclass(kind, tuple)):
            return self._array(value, depth)
        return self._other(value, depth)

    def _count(self, value: object) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise NotJSON("max_size", f"at most {MAX_NODES} values", value)

    def _number(self, value: object) -> float:
        number = float.__float__(cast(float, value))
        if self.finite and number - number != 0.0:
            raise NotJSON("finite", "a finite number", value)
        return number

    def _object(self, value: object, depth: int) -> JSONValue:
        copied: dict[str, JSONValue] = {}
        for key, item in dict.items(cast(dict[object, object], value)):
            self._count(value)
            if not issubclass(type(key), str):
                raise NotJSON("key_type", "keys that are strings", value)
            plain_key = _text(key)
            try:
                copied[plain_key] = self.copy(item, depth + 1)
            except NotJSON as error:
                error.path.append(plain_key)
                raise
        return copied

    def _array(self, value: object, depth: int) -> JSONValue:
        copied: list[JSONValue] = []
        items = list.__iter__ if issubclass(type(value), list) else tuple.__iter__
        for item in items(cast(Any, value)):
            self._count(value)
            try:
                copied.append(self.copy(item, depth + 1))
            except NotJSON as error:
                error.path.append(len(copied))
                raise
        return copied

    def _other(self, value: object, depth: int) -> JSONValue:
        kind = type(value)
        if not self.convert or issubclass(kind, _NEVER_DUMPED):
            raise NotJSON("json", "a JSON value", value)
        try:
            dumped = dump_object(value)
        except ValueError:
            raise NotJSON("json", "a JSON value", value) from None
        return self.copy(dumped, depth + 1)


def _text(value: object) -> str:
    text = str.__str__(cast(str, value))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotJSON("unicode", "text without lone surrogates", value) from None
    return text


def _integer(value: object) -> int:
    number = int.__int__(cast(int, value))
    if number.bit_length() > MAX_INT_BITS:
        raise NotJSON("max_digits", "an integer of at most 4,200 digits", value)
    return number


def dump_object(value: object) -> object:
    """The JSON form of a Pydantic model, a dataclass, a date, an enum or whatever else Pydantic can dump.

    Raises:
        ValueError: Pydantic cannot dump the object, or it contains itself; or it is an iterator or has one in it, which
            Pydantic would read to its end, if it has one; or the dump would lose what it holds: a wrapped secret
            becomes stars, and untrusted text a text like any other. The message is the end of a sentence about its
            type.
    """
    if (iterator := _iterator_in(value)) is not None:
        inside = "" if iterator is value else f"which has an iterator in it, of type {type(iterator).__name__}, "
        raise ValueError(f"{inside}which cannot be written as JSON")
    try:
        dumped = to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, RecursionError):
        raise ValueError("which cannot be written as JSON") from None
    if type(dumped) is not str or _STARS in dumped:
        text = as_json(dumped)
        if (_STARS.encode() in text or _FLAGS in text) and (lost := _lost(value)):
            raise ValueError(lost)
    return dumped


_Inside: TypeAlias = Callable[[Any], Iterable[object]]


def _iterator_in(value: object) -> object | None:
    """An iterator that a dump of the value would read, be it the value; None if there is none. What properties and
    serializers give is not known."""
    waiting: list[Any] = [value]
    seen: dict[int, object] = {}  # by id; kept, so that no id is used twice
    while waiting:
        part: object = waiting.pop()
        inside = _inside(type(part))
        if inside is iter:
            return part
        if inside is not None and id(part) not in seen:
            seen[id(part)] = part
            waiting += [below for below in inside(part) if type(below) not in _SCALARS]
    return None


def _look_inside(kind: type) -> _Inside | None:
    if hasattr(kind, "__next__"):
        return iter
    if issubclass(kind, BaseModel):
        return lambda model: [
            *map(vars(model).get, kind.__pydantic_fields__),
            getattr(model, "__pydantic_extra__", None),
        ]
    if names := getattr(kind, "__dataclass_fields__", ()):
        return lambda instance: [getattr(instance, name, None) for name in names]
    return next((inside for base, inside in _CONTAINERS if issubclass(kind, base)), None)


_inside: Final[Callable[[type], _Inside | None]] = functools.lru_cache(maxsize=1_000)(_look_inside)
"""What gives the parts of an object of this class at which a dump would look; None: there are none; `iter`: the object
is an iterator. To work it out takes as long as the dump of a small model."""

_CONTAINERS: Final[tuple[tuple[type, _Inside], ...]] = (
    (dict, dict.values),
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (deque, deque.__iter__),
    (enum.Enum, lambda member: (member.value,)),
)

_STARS: Final = "****"
"""What is left of a `pydantic.SecretStr`."""
_FLAGS: Final = b'"flags":['
"""What is left of an `UntrustedText`, among others."""


def _lost(value: object) -> str:
    """What a dump of the value would lose, as the end of a sentence; empty if nothing."""
    for part in parts_of(value):
        if is_wrapped_secret(part):
            return (
                "which has a wrapped secret in it, of which only stars would be left. Give a pydantic.SecretStr by "
                "itself or in a dict, or a str under a sensitive key"
            )
        if isinstance(part, UntrustedText):
            return (
                "which has untrusted text in it, whose mark would be lost. Give its .raw, and mark it again where a "
                "prompt is made, with untrusted() or ask(fence=[...])"
            )
    return ""
