"""The state store: JSON values by key, each with the step that wrote it.

A value is copied into built-in types when it is stored and copied again when it is read, so nobody can change it from
outside. Each key keeps one version per writer: a reader gets the newest version whose writer is upstream of it, so
what it reads depends on the graph alone and never on which of two unordered steps was faster.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from kairos_async._types import MISSING, JSONValue, Missing
from kairos_async.contracts.plain import dump_object
from kairos_async.exceptions import ConfigError, ScopeError, StateError

MAX_DEPTH: Final = 100
MAX_INT_BITS: Final = 14_000
"""About 4,200 digits; Python refuses to print or parse integers beyond 4,300."""

_MOST_SMALL: Final = 1 << 62
_LEAST_SMALL: Final = -_MOST_SMALL
"""Between these, an integer needs no look at its bits."""

INPUTS: Final = ""
"""The writer of the run's initial inputs. No step can have this name."""

_FEW: Final = 4
"""Records that are looked at one by one, because a look at all together is not free either."""
_DICT: Final = frozenset((dict,))
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True, slots=True)
class StateLimits:
    """Hard limits in bytes: of one value, and of all values of a run together.

    A string counts its UTF-8 length, any other scalar 8 bytes, an entry of a list or dict 8 bytes more, and keys count
    as strings.
    """

    value_bytes: int = 64 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("value_bytes", "total_bytes"):
            limit = getattr(self, name)
            if type(limit) is not int or limit < 1:
                raise ConfigError(f"StateLimits {name}={limit!r} must be a whole number of bytes of at least 1.")


DEFAULT_LIMITS: Final = StateLimits()


_TOO_LARGE: Final = "is larger than the limit"
_SHOWN_ENDS: Final = 4
"""Parts of a long path that a message shows of each end: of a message, 500 characters are kept. Parts are whole, since
half a secret in a key would not be found."""


class _Refused(Exception):
    """A value that state does not hold; the path to it grows while the copy unwinds."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.path: list[str] = []


def store_copy(value: object, limit: int, subject: str) -> tuple[JSONValue, int]:
    """A complete copy of the value in exact built-in types, and its size in bytes (see `StateLimits`).

    Tuples become lists; subclasses of built-in types become the built-in type; what Pydantic can dump (models,
    dataclasses, dates, enums, ...) is dumped. A `pydantic.SecretStr` stays wrapped, in a wrapper of its own, and
    what leaves the run shows it as `[REDACTED]`.

    Raises:
        StateError: the value is not JSON (NaN, infinities, bytes, sets, iterators, cycles, other objects, keys that are
            no strings, lone surrogates), is nested over 100 levels, or is larger than `limit`; or it is an object of
            which a dump would lose a wrapped secret or the mark of untrusted text.
    """
    budget = [limit]
    try:
        copied = _copy(value, 0, budget)
        if budget[0] < 0:
            raise _Refused(_TOO_LARGE)
    except _Refused as refused:
        path = refused.path[::-1]
        if len(path) > 2 * _SHOWN_ENDS:
            path = [*path[:_SHOWN_ENDS], "...", *path[-_SHOWN_ENDS:]]
        where = "$" + "".join(path)
        way_out = "State holds JSON values: str, int, float, bool, None, list, and dict with str keys."
        if refused.rule is _TOO_LARGE:
            way_out = "Store less, or raise StateLimits(value_bytes=)."
            refused.rule = f"{_TOO_LARGE} of {limit} bytes"
        raise StateError(f"{subject}: the value at {where} {refused.rule}. {way_out}") from None
    return copied, limit - budget[0]


def _copy(value: Any, depth: int, budget: list[int]) -> Any:
    kind = type(value)
    if kind is str:
        budget[0] -= len(value) if value.isascii() else _utf8_length(value)
        return value
    if kind is float:
        budget[0] -= 8
        if value - value != 0.0:
            raise _Refused("is NaN or infinite")
        return value
    if kind is int:
        budget[0] -= 8
        if value.bit_length() > MAX_INT_BITS:
            raise _Refused("is an integer of more than 4,200 digits")
        return value
    if kind is dict:
        return _copy_dict(value, depth, budget)
    if kind is list or kind is tuple:
        return _copy_list(value, depth, budget)
    if value is None or kind is bool:
        budget[0] -= 8
        return value
    if isinstance(value, SecretStr):
        budget[0] -= 8
        return SecretStr(str.__str__(value.get_secret_value()))
    return _copy(_as_builtin(value), depth, budget)


def _copy_dict(value: dict[Any, Any], depth: int, budget: list[int]) -> JSONValue:
    if depth == MAX_DEPTH:
        raise _Refused(f"is nested over {MAX_DEPTH} levels, or contains itself")
    copied: dict[str, JSONValue] = {}
    left = budget[0]
    for key, item in value.items():
        if type(key) is not str:
            if not isinstance(key, str):
                raise _Refused(f"has a key of type {type(key).__name__}")
            key = str.__str__(key)
        left -= 8 + (len(key) if key.isascii() else _utf8_length(key))
        # As in a list: a third of the time of a small dict.
        kind = type(item)
        if kind is str and item.isascii():
            left -= len(item)
            copied[key] = item
        elif (kind is int and _LEAST_SMALL < item < _MOST_SMALL) or (kind is float and item - item == 0.0):
            left -= 8
            copied[key] = item
        else:
            budget[0] = left
            try:
                copied[key] = _copy(item, depth + 1, budget)
            except _Refused as refused:
                refused.path.append(f".{key}")
                raise
            left = budget[0]
        if left < 0:
            raise _Refused(_TOO_LARGE)
    budget[0] = left
    return copied


def _copy_list(value: list[Any] | tuple[Any, ...], depth: int, budget: list[int]) -> JSONValue:
    if depth == MAX_DEPTH:
        raise _Refused(f"is nested over {MAX_DEPTH} levels, or contains itself")
    copied: list[JSONValue] = []
    left = budget[0]
    for item in value:
        left -= 8
        # Short text and numbers are most of what there is: taking them here halves the time of a list of them.
        kind = type(item)
        if kind is str and item.isascii():
            left -= len(item)
            copied.append(item)
        elif (kind is int and _LEAST_SMALL < item < _MOST_SMALL) or (kind is float and item - item == 0.0):
            left -= 8
            copied.append(item)
        else:
            budget[0] = left
            try:
                copied.append(_copy(item, depth + 1, budget))
            except _Refused as refused:
                refused.path.append(f"[{len(copied)}]")
                raise
            left = budget[0]
        if left < 0:
            raise _Refused(_TOO_LARGE)
    budget[0] = left
    return copied


def _utf8_length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise _Refused("has a lone surrogate, which is no Unicode text") from None


def _as_builtin(value: object) -> object:
    """The built-in value that stands for an object of any other type."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dict):
        return dict(dict.items(value))
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (bytes, bytearray, memoryview, set, frozenset)):
        raise _Refused(f"is of type {type(value).__name__}")
    try:
        return dump_object(value)
    except ValueError as error:
        raise _Refused(f"is of type {type(value).__name__}, {error}") from None


def key_size(key: object, subject: str) -> int:
    """The size of a key in bytes.

    Raises:
        StateError: it is not a str, or holds a lone surrogate.
    """
    if type(key) is not str:
        raise StateError(f"{subject} key of type {type(key).__name__} is not a str.")
    try:
        return len(key) if key.isascii() else _utf8_length(key)
    except _Refused as refused:
        raise StateError(f"{subject} key {key!r} {refused.rule}.") from None


def read_copy(value: Any) -> Any:
    """A copy of a stored value that shares nothing which can be changed."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        if _SCALARS.issuperset(map(type, value.values())):  # most are: 0.2 us instead of 0.8
            return value.copy()
        return {k: v if type(v) in _SCALARS else read_copy(v) for k, v in value.items()}
    if kind is list:
        # Records without containers, such as the outputs of a foreach: two thirds of the time of looking at each alone.
        if len(value) > _FEW and type(value[0]) is dict and _DICT.issuperset(map(type, value)):
            values = itertools.chain.from_iterable(map(dict.values, value))
            if _SCALARS.issuperset(map(type, values)):
                return list(map(dict.copy, value))
        return [v if type(v) in _SCALARS else read_copy(v) for v in value]
    return SecretStr(value.get_secret_value()) if kind is SecretStr else value


Upstream = Callable[[str], bool]
"""Whether the writer of this name is upstream of the reader."""


class StateStore:
    """The values of one run. Steps see it only through the scoped views of their context.

    Every method is safe to call from any thread. Values handed in must come from `store_copy`; values handed out are
    the stored ones, for `read_copy`.
    """

    __slots__ = ("_lock", "_older", "_total", "_values", "_writers", "limits")

    def __init__(self, inputs: Mapping[str, object] | None = None, limits: StateLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._values: dict[str, JSONValue] = {}
        self._writers: dict[str, str] = {}  # of keys that are not named like their writer, as a step's output is
        self._older: dict[str, list[tuple[str, JSONValue]]] = {}
        self._total = 0
        for key, value in (inputs or {}).items():
            length = key_size(key, "Input")
            copied, size = store_copy(value, limits.value_bytes, f"Input {key!r}")
            self.commit(INPUTS, {key: copied}, length + size)

    def read(self, key: str, upstream: Upstream) -> JSONValue | Missing:
        """The newest version that the inputs or a writer upstream of the reader gave, or MISSING."""
        with self._lock:
            if key not in self._values:
                return MISSING
            writer = self._writers.get(key, key)
            if writer == INPUTS or upstream(writer):
                return self._values[key]
            for older_writer, value in reversed(self._older.get(key, ())):
                if older_writer == INPUTS or upstream(older_writer):
                    return value
            return MISSING

    def keys(self, upstream: Upstream) -> Iterator[str]:
        """The keys for which `read` gives a value."""
        with self._lock:
            known = list(self._values)
        return (key for key in known if self.read(key, upstream) is not MISSING)

    def commit(self, writer: str, values: dict[str, JSONValue], size: int, upstream: Upstream | None = None) -> None:
        """Store what one successful attempt produced, all of it or nothing.

        Args:
            writer: the step, or `INPUTS`.
            values: from `store_copy`, by key.
            size: of all values together, in bytes.
            upstream: of the writer; may be None when the keys are new for certain.

        Raises:
            ScopeError: another step wrote one of the keys and neither of the two runs after the other.
            StateError: the run's total would exceed its limit.
        """
        with self._lock:
            overwritten = [] if self._values.keys().isdisjoint(values) else self._overwritten(writer, values, upstream)
            self._reserve(writer, size)
            for key in overwritten:
                self._older.setdefault(key, []).append((self._writers.get(key, key), self._values[key]))
            self._values.update(values)
            self._writers.update((key, writer) for key in values if key != writer)
            if writer in values:
                self._writers.pop(writer, None)

    def commit_output(self, step: str, output: JSONValue, size: int) -> None:
        """`commit` of nothing but a step's output, which no other step can write.

        Raises:
            StateError: the run's total would exceed its limit.
        """
        size += len(step)
        with self._lock:
            if self._total + size > self.limits.total_bytes:
                self._reserve(step, size)
            self._total += size
            if step in self._values:  # a re-plan can add a step with the name of a key that there is
                self._older.setdefault(step, []).append((self._writers.pop(step, step), self._values[step]))
            self._values[step] = output

    def _reserve(self, writer: str, size: int) -> None:
        if self._total + size > self.limits.total_bytes:
            raise StateError(
                f"Storing {size} bytes of step {writer!r} would take the run's state to {self._total + size} "
                f"bytes; the limit is {self.limits.total_bytes}. Store less, or raise StateLimits(total_bytes=)."
            )
        self._total += size

    def _overwritten(self, writer: str, values: dict[str, JSONValue], upstream: Upstream | None) -> list[str]:
        known = [key for key in values if key in self._values]
        for key in known:
            last = self._writers.get(key, key)
            if last not in (INPUTS, writer) and not (upstream and upstream(last)):
                first, second = sorted((last, writer))
                raise ScopeError(
                    f"Steps {first!r} and {second!r} both write key {key!r} and neither runs after the other. "
                    "Order them with depends_on, or write to two keys."
                )
        return known

    def snapshot(self) -> dict[str, JSONValue]:
        """The newest version of every key. The values are the stored ones."""
        with self._lock:
            return dict(self._values)
