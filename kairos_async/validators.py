"""Rules for the fields of a contract, to be imported as `from kairos_async import validators as v`.

They stand in `Schema(..., validators={"score": [v.range(min=0.0, max=1.0)]})`, and in annotations of Pydantic models
and dataclasses: `score: Annotated[float, v.range(min=0.0, max=1.0)]`. A rule does not apply to the None of an optional
field. Wrong arguments are a ConfigError at once; a rule that does not fit its field is one when the contract is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from kairos_async._types import JSONScalar
from kairos_async.contracts.functions import Custom, CustomFunction, is_async_callable
from kairos_async.contracts.regex import check_pattern
from kairos_async.contracts.rules import AllOf, Bounds, OneOf, Rule
from kairos_async.exceptions import ConfigError

__all__ = ["all_of", "custom", "length", "not_empty", "one_of", "pattern", "range", "rule"]


def range(*, min: float | None = None, max: float | None = None) -> Rule:
    """A number from `min` to `max`, both included; None: no bound on that side.

    Raises:
        ConfigError: no bound at all, one that is no finite number, or `min` above `max`.
    """
    _check_bounds("range", min, max, whole=False)
    integers: dict[str, float | int | str] = {}
    numbers: dict[str, float | int | str] = {}
    if min is not None:
        integers["ge"], numbers["ge"] = math.ceil(min), float(min)
    if max is not None:
        integers["le"], numbers["le"] = math.floor(max), float(max)
    kinds = {"float": numbers, "decimal": numbers}
    if min is None or max is None or integers["ge"] <= integers["le"]:  # type: ignore[operator]
        kinds["int"] = integers
    return Bounds("range", _shown(min, max), "numbers", kinds)


def length(*, min: int | None = None, max: int | None = None) -> Rule:
    """Text of `min` to `max` characters; a list or an object of as many entries. None: no bound on that side.

    Raises:
        ConfigError: no bound at all, one that is no whole number >= 0, or `min` above `max`.
    """
    _check_bounds("length", min, max, whole=True)
    limits: dict[str, float | int | str] = {}
    if min is not None:
        limits["min_length"] = min
    if max is not None:
        limits["max_length"] = max
    return Bounds("length", _shown(min, max), "text, lists and objects", {kind: limits for kind in _SIZED})


def not_empty() -> Rule:
    """Text, a list or an object that is not empty."""
    return Bounds("not_empty", "", "text, lists and objects", {kind: {"min_length": 1} for kind in _SIZED})


def pattern(regex: str) -> Rule:
    r"""Text in which the regex is found; anchor it with `^` and `$` to match all of the text.

    The engine is that of the Rust crate `regex` (https://docs.rs/regex/latest/regex/#syntax): its time is linear in the
    length of the text. `$` is the very end of the text, and `\d`, `\w` and `\s` know Unicode.

    Raises:
        ConfigError: the regex is not valid, too large, or has look-around or back-references.
    """
    return Bounds("pattern", repr(regex), "text", {"str": {"pattern": check_pattern(regex)}})


def one_of(*values: JSONScalar | Iterable[JSONScalar]) -> Rule:
    """One of the values, given one by one or as one list. True is not 1, nor is 1.0, save in a float field.

    Raises:
        ConfigError: there is no value, or one is not a str, int, finite float, bool or None.
    """
    given: tuple[object, ...] = values
    if len(values) == 1 and isinstance(values[0], Iterable) and not isinstance(values[0], str):
        given = tuple(values[0])
    allowed: list[JSONScalar] = []
    for value in given:
        if not isinstance(value, (str, int, float, type(None))) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise ConfigError(f"one_of: {value!r} cannot be chosen; use str, int, finite float, bool and None.")
        allowed.append(value)
    if not allowed:
        raise ConfigError("one_of needs at least one value.")
    return OneOf(tuple(allowed))


def custom(function: CustomFunction, message: str | None = None, *, slow: bool = False) -> Rule:
    """A function of your own: it gets the value, and says whether it is right.

    It returns True or False, or a sentence on what is wrong (any str is a failure). If it raises, the value is wrong,
    too, and the exception's text is dropped, since it may hold the value. It may be async. `message` says what the
    contract wants ("a prime number"); it alone is told to a model that tries again. It must not change the value.

    Args:
        slow: a sync function that takes more than a few milliseconds; it is run in a worker thread. (That frees the
            event loop only as far as the function lets other threads run; Python's `re` does not.)

    Async and slow functions get the value in its JSON form, after all other rules of the contract have passed.

    Raises:
        ConfigError: `function` is not callable, or is async and declared slow.
    """
    return _custom("custom", function, message, slow)


def rule(function: CustomFunction, message: str | None = None, *, slow: bool = False) -> Custom:
    """A rule about several fields of one object: `v.rule(lambda d: d["low"] <= d["high"], "low must not exceed high")`.

    It stands in `Schema(..., rules=[...])` or in `all_of(contract, ...)`, and gets the whole object after its fields
    have passed. Otherwise as `custom`.
    """
    return _custom("rule", function, message, slow)


def all_of(*rules: Rule | AllOf) -> AllOf:
    """Several rules under one name, checked in their order until one is broken.

    Raises:
        ConfigError: there is no rule, or something else is among them.
    """
    for each in rules:
        if not isinstance(each, (Rule, AllOf)):
            raise ConfigError(f"all_of: {each!r} is not a rule; use v.range, v.length, v.custom and the like.")
    if not rules:
        raise ConfigError("all_of needs at least one rule.")
    return AllOf(tuple(one for each in rules for one in (each.rules if isinstance(each, AllOf) else (each,))))


_SIZED = ("str", "list", "dict", "set", "frozenset", "tuple", "bytes")


def _check_bounds(name: str, low: object, high: object, *, whole: bool) -> None:
    if low is None and high is None:
        raise ConfigError(f"{name} needs min, max or both.")
    for side, bound in (("min", low), ("max", high)):
        if bound is None:
            continue
        if whole and (type(bound) is not int or bound < 0):
            raise ConfigError(f"{name}: {side}={bound!r} must be a whole number >= 0.")
        if type(bound) not in (int, float) or not math.isfinite(bound):  # type: ignore[arg-type]
            raise ConfigError(f"{name}: {side}={bound!r} must be a finite number.")
    if low is not None and high is not None and low > high:  # type: ignore[operator]
        raise ConfigError(f"{name}: min={low!r} is above max={high!r}, so that no value is right.")


def _shown(low: object, high: object) -> str:
    return ", ".join(f"{side}={bound!r}" for side, bound in (("min", low), ("max", high)) if bound is not None)


def _custom(kind: str, function: CustomFunction, message: str | None, slow: bool) -> Custom:
    if not callable(function):
        raise ConfigError(f"{kind}: {function!r} is not callable. Pass the function, without calling it.")
    if message is not None and not isinstance(message, str):
        raise ConfigError(f"{kind}: message={message!r} must be a str that says what the contract wants.")
    is_async = is_async_callable(function)
    if is_async and slow:
        raise ConfigError(f"{kind}: slow=True runs a sync function in a thread, and {function!r} is async. Drop slow.")
    return Custom(function, message or "a value that the contract's own check accepts", slow, is_async, kind)
