"""Whether one shape holds every value of another one, as far as that can be shown."""

from __future__ import annotations

import math
from fractions import Fraction

from pydantic_core import SchemaValidator, ValidationError, core_schema

from kairos_async._types import JSONScalar
from kairos_async.contracts.shapes import Anything, Atom, Lists, Numbers, Objects, Shape, Text, Values, scalar_of


def uncovered(producer: Shape, consumer: Shape, at: str = "") -> str | None:
    """None if every value of `producer` is in `consumer`; else where, and why that could not be shown.

    A vague atom of the consumer covers nothing. A vague atom of the producer is at most what it says, so that covering
    all of it is enough.
    """
    for atom in producer:
        reason = _uncovered_atom(atom, consumer, at)
        if reason is not None:
            return reason
    return None


def _uncovered_atom(atom: Atom, consumer: Shape, at: str) -> str | None:
    where = at or "the value"
    if isinstance(atom, Values):
        missing = [value for value in atom.values if not any(_holds(other, value) for other in consumer)]
        return f"{where}: {missing[0]!r} is not known to be accepted" if missing else None
    reasons: list[str] = []
    for other in consumer:
        if isinstance(other, Anything) and not other.vague:
            return None
        reason = _why_not(atom, other, at)
        if reason is None:
            return None
        reasons.append(reason)
    return reasons[0] if len(reasons) == 1 else f"{where}: no single alternative accepts {_name(atom)}"


def _why_not(atom: Atom, other: Atom, at: str) -> str | None:
    where = at or "the value"
    if other.vague:
        return f"{where}: a rule of the consumer, or a part that contains itself, is not decidable"
    if isinstance(atom, Numbers) and isinstance(other, Numbers):
        return None if _numbers_fit(atom, other) else f"{where}: numbers out of the range, or of another kind"
    if isinstance(atom, Text) and isinstance(other, Text):
        return None if _text_fits(atom, other) else f"{where}: text whose length, pattern or format is not known to fit"
    if isinstance(atom, Lists) and isinstance(other, Lists):
        return _lists_fit(atom, other, at)
    if isinstance(atom, Objects) and isinstance(other, Objects):
        return _objects_fit(atom, other, at)
    return f"{where}: {_name(atom)} is not known to be accepted"


def _name(atom: Atom) -> str:
    return type(atom).__name__.lower()


def _numbers_fit(atom: Numbers, other: Numbers) -> bool:
    if atom.whole is not other.whole:
        return False
    if other.low is not None and (
        atom.low is None or atom.low < other.low or (atom.low == other.low and other.open_low and not atom.open_low)
    ):
        return False
    if other.high is not None and (
        atom.high is None
        or atom.high > other.high
        or (atom.high == other.high and other.open_high and not atom.open_high)
    ):
        return False
    return _steps_fit(atom, other)


def _steps_fit(atom: Numbers, other: Numbers) -> bool:
    alike = atom.step == other.step and atom.tolerant is other.tolerant
    if alike or other.step is None or (other.whole and other.step == 1):
        return True
    if not atom.whole:
        return False  # a multiple of a float is a matter of rounding
    step = Fraction(1 if atom.step is None else atom.step)
    return type(other.step) is int and type(atom.step) in (int, type(None)) and (step / other.step).denominator == 1


def _text_fits(atom: Text, other: Text) -> bool:
    return (
        atom.min_length >= other.min_length
        and _at_most(atom.max_length, other.max_length)
        and set(other.patterns) <= set(atom.patterns)
        and other.format in (None, atom.format)
    )


def _lists_fit(atom: Lists, other: Lists, at: str) -> str | None:
    where = at or "the value"
    if atom.min_length < other.min_length or not _at_most(atom.max_length, other.max_length):
        return f"{where}: lists of a length that is not accepted"
    items = (*atom.items, *(a for shape in atom.first for a in shape))
    alike = not atom.unique or _mixes_numbers(items) or (_has_floats(other.items) and _rounds(items))
    if other.unique and alike and (atom.max_length is None or atom.max_length > 1):
        return f"{where}: lists with duplicates"
    longest = max(len(atom.first), len(other.first))
    for index in range(longest if atom.max_length is None else min(longest, atom.max_length)):
        reason = uncovered(_item(atom, index), _item(other, index), f"{at}[{index}]")
        if reason is not None:
            return reason
    if atom.max_length is not None and atom.max_length <= longest:
        return None
    return uncovered(atom.items, other.items, f"{at}[]")


def _mixes_numbers(shape: Shape) -> bool:
    """Whether values can be alike to a set of Python and not to JSON Schema, as True and 1 are."""
    booleans = any(isinstance(atom, Values) and any(type(v) is bool for v in atom.values) for atom in shape)
    return (booleans and len(shape) > 1) or any(not isinstance(atom, (Values, Numbers, Text)) for atom in shape)


def _has_floats(shape: Shape) -> bool:
    return any(
        not isinstance(atom, (Values, Text)) and not (isinstance(atom, Numbers) and atom.whole) for atom in shape
    )


def _rounds(shape: Shape) -> bool:
    """Whether there are ints that are alike as floats."""
    bounds = [b for atom in shape if isinstance(atom, Numbers) and atom.whole for b in (atom.low, atom.high)]
    return any(bound is None or abs(bound) > 2**53 for bound in bounds)


def _item(lists: Lists, index: int) -> Shape:
    return lists.first[index] if index < len(lists.first) else lists.items


def _objects_fit(atom: Objects, other: Objects, at: str) -> str | None:
    return _keys_fit(atom, other, at or "the value") or _properties_fit(atom, other, at) or _extra_fits(atom, other, at)


def _keys_fit(atom: Objects, other: Objects, where: str) -> str | None:
    least = max(atom.min_length, sum(p.required for p in atom.properties.values()))
    most = atom.max_length if atom.extra is not None else _least(atom.max_length, len(atom.properties))
    if least < other.min_length or not _at_most(most, other.max_length):
        return f"{where}: objects with a number of keys that is not accepted"
    given = {name for name, declared in atom.properties.items() if declared.required}
    missing = [name for name, declared in other.properties.items() if declared.required and name not in given]
    return f"{where}: the key {missing[0]!r} may be missing" if missing else None


def _properties_fit(atom: Objects, other: Objects, at: str) -> str | None:
    for name, given in atom.properties.items():
        target = other.properties[name].shape if name in other.properties else other.extra
        if target is None and given.shape:
            return f"{at or 'the value'}: the key {name!r} is not accepted"
        reason = uncovered(given.shape, target or (), f"{at}.{name}")
        if reason is not None:
            return reason
    return None


def _extra_fits(atom: Objects, other: Objects, at: str) -> str | None:
    """Whether the keys that the producer does not declare fit, as keys that the consumer declares or as any others."""
    if atom.extra is None:
        return None
    for name, declared in other.properties.items():
        reason = None if name in atom.properties else uncovered(atom.extra, declared.shape, f"{at}.{name}")
        if reason is not None:
            return reason
    if other.extra is None:
        return f"{at or 'the value'}: undeclared keys are not accepted"
    return uncovered(atom.extra, other.extra, f"{at}.*")


def _least(one: int | None, two: int) -> int:
    return two if one is None else min(one, two)


def _at_most(high: int | None, limit: int | None) -> bool:
    return limit is None or (high is not None and high <= limit)


def _holds(atom: Atom, value: JSONScalar) -> bool:
    """Whether the atom is known to have the scalar among its values."""
    if atom.vague:
        return False
    if isinstance(atom, Anything):
        return True
    if isinstance(atom, Values):
        return any(scalar_of(value) == scalar_of(mine) for mine in atom.values)
    if isinstance(atom, Text) and isinstance(value, str):
        return atom.format is None and _fits_text(atom, value)
    if isinstance(atom, Numbers) and type(value) is (int if atom.whole else float):
        exact = Numbers(atom.whole, value, value, step=None)
        return _numbers_fit(exact, Numbers(atom.whole, atom.low, atom.high, atom.open_low, atom.open_high)) and (
            _is_multiple(value, atom.step)
        )
    return False


def _is_multiple(value: float | int, step: float | int | None) -> bool:
    if step is None:
        return True
    if type(value) is int and type(step) is int:
        return value % step == 0
    return math.isfinite(value) and float(value).is_integer() and step == 1


def _fits_text(text: Text, value: str) -> bool:
    if not (text.min_length <= len(value) and _at_most(len(value), text.max_length)):
        return False
    try:
        for pattern in text.patterns:
            if pattern.ecma:
                return False  # not known
            SchemaValidator(core_schema.str_schema(pattern=pattern.text)).validate_python(value)
    except ValidationError:
        return False
    return True
