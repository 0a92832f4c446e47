"""From broken rules to `FieldError`, and from these to feedback.

Everything but `field`, `actual` and `message` comes from the contract alone. The rules are a closed vocabulary; what
Pydantic reports and this table does not know becomes "invalid".
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import ErrorDetails

from kairos_async._types import FieldError, JSONValue
from kairos_async.contracts.paths import Place, SchemaMap
from kairos_async.contracts.plain import NotJSON, json_type

CUSTOM_ERROR: Final = "kairos_rule"
"""The Pydantic error type of a rule from `kairos_async.validators`; its context has `rule`, `expected` and `told`."""

_DATE: Final = "a date as YYYY-MM-DD"
_DATETIME: Final = "a date and time in ISO 8601"
_TIME: Final = "a time in ISO 8601"
_DURATION: Final = "a duration in ISO 8601"

# Pydantic's error types: https://docs.pydantic.dev/latest/errors/validation_errors/. The names in braces are entries of
# an error's context that come from the schema; entries that come from the data, such as actual_length, must not be
# used here.
_TABLE: Final[dict[str, tuple[str, str]]] = {
    "string_type": ("type", "a string"),
    "string_sub_type": ("type", "a string"),
    "string_unicode": ("unicode", "text without lone surrogates"),
    "int_type": ("type", "an integer"),
    "int_from_float": ("type", "an integer"),
    "int_parsing": ("type", "an integer"),
    "int_parsing_size": ("type", "an integer"),
    "float_type": ("type", "a number"),
    "float_parsing": ("type", "a number"),
    "bool_type": ("type", "true or false"),
    "bool_parsing": ("type", "true or false"),
    "none_required": ("type", "null"),
    "list_type": ("type", "a list"),
    "tuple_type": ("type", "a list"),
    "set_type": ("type", "a list"),
    "frozen_set_type": ("type", "a list"),
    "iterable_type": ("type", "a list"),
    "set_item_not_hashable": ("type", "items that are no lists or objects"),
    "dict_type": ("type", "an object"),
    "mapping_type": ("type", "an object"),
    "model_type": ("type", "an object"),
    "model_attributes_type": ("type", "an object"),
    "dataclass_type": ("type", "an object"),
    "decimal_type": ("type", "a number or its text"),
    "decimal_parsing": ("type", "a number or its text"),
    "bytes_type": ("type", "a string"),
    "invalid_key": ("key_type", "keys that are strings"),
    "finite_number": ("finite", "a finite number"),
    "greater_than": ("greater_than", "a value > {gt}"),
    "greater_than_equal": ("greater_than_equal", "a value >= {ge}"),
    "less_than": ("less_than", "a value < {lt}"),
    "less_than_equal": ("less_than_equal", "a value <= {le}"),
    "multiple_of": ("multiple_of", "a multiple of {multiple_of}"),
    "decimal_max_digits": ("max_digits", "at most {max_digits} digits"),
    "decimal_max_places": ("max_digits", "at most {decimal_places} decimal places"),
    "decimal_whole_digits": ("max_digits", "at most {whole_digits} digits before the point"),
    "string_too_short": ("min_length", "text of length >= {min_length}"),
    "string_too_long": ("max_length", "text of length <= {max_length}"),
    "string_pattern_mismatch": ("pattern", "text that matches {pattern}"),
    "string_not_ascii": ("pattern", "text of ASCII characters"),
    "bytes_too_short": ("min_length", "bytes of length >= {min_length}"),
    "bytes_too_long": ("max_length", "bytes of length <= {max_length}"),
    "too_short": ("min_length", "a length >= {min_length}"),
    "too_long": ("max_length", "a length <= {max_length}"),
    "literal_error": ("one_of", "one of {expected}"),
    "enum": ("one_of", "one of {expected}"),
    "union_tag_invalid": ("one_of", "one of {expected_tags} as {discriminator}"),
    "union_tag_not_found": ("required", "a key {discriminator} that says which kind of object it is"),
    "date_type": ("format", _DATE),
    "date_parsing": ("format", _DATE),
    "date_from_datetime_parsing": ("format", _DATE),
    "date_from_datetime_inexact": ("format", _DATE),
    "date_past": ("format", "a date in the past"),
    "date_future": ("format", "a date in the future"),
    "datetime_type": ("format", _DATETIME),
    "datetime_parsing": ("format", _DATETIME),
    "datetime_object_invalid": ("format", _DATETIME),
    "datetime_from_date_parsing": ("format", _DATETIME),
    "datetime_past": ("format", "a time in the past"),
    "datetime_future": ("format", "a time in the future"),
    "timezone_naive": ("format", "a time without a time zone"),
    "timezone_aware": ("format", "a time with its time zone"),
    "timezone_offset": ("format", "a time with the right UTC offset"),
    "time_type": ("format", _TIME),
    "time_parsing": ("format", _TIME),
    "time_delta_type": ("format", _DURATION),
    "time_delta_parsing": ("format", _DURATION),
    "uuid_type": ("format", "a UUID"),
    "uuid_parsing": ("format", "a UUID"),
    "uuid_version": ("format", "a UUID of version {expected_version}"),
    "url_type": ("format", "a URL"),
    "url_parsing": ("format", "a URL"),
    "url_syntax_violation": ("format", "a URL"),
    "url_too_long": ("max_length", "a URL of length <= {max_length}"),
    "url_scheme": ("format", "a URL that starts with {expected_schemes}"),
    "recursion_loop": ("max_depth", "a value that does not contain itself"),
    "value_error": ("custom", "a value that the contract's own check accepts"),
    "assertion_error": ("custom", "a value that the contract's own check accepts"),
}

MOST_PLACES: Final = 100
"""How many places are shown of one broken rule."""

_FLOOD: Final = 1_000
"""Broken rules up to which all are looked at."""

_INVALID: Final = ("invalid", "a value that the contract accepts")

RULES: Final = frozenset(rule for rule, _ in _TABLE.values()) | {
    "invalid", "json", "required", "unknown_key", "rule", "judge", "not", "unique", "contains", "max_size",
}  # fmt: skip
"""Every name that `FieldError.rule` can have."""


class Wrong(NamedTuple):
    """A broken rule at a place, before there are words for it; `told`: see `functions.Broken`."""

    place: Place
    rule: str
    expected: str
    actual: str
    told: str | None = None


def from_pydantic(details: list[ErrorDetails], schema: SchemaMap) -> list[FieldError]:
    """The errors of a Pydantic `ValidationError`. `details` has the inputs, of which only the type is looked at."""
    more: Counter[tuple[str, str, str]] = Counter()
    # What is left out of a flood must not change what feedback says. Where types have alternatives it could: those that
    # are refused at one place are told together.
    if len(details) > _FLOOD and not schema.has_unions():
        details, more = _few_of_a_kind(details, schema)
    return arranged((_from_details(detail, schema) for detail in details), more)


def _few_of_a_kind(
    details: list[ErrorDetails], schema: SchemaMap
) -> tuple[list[ErrorDetails], Counter[tuple[str, str, str]]]:
    """The first of those that break the same rule at places which differ in indices alone, and how many more there are.

    That costs 1 us for each, where finding its place costs 5.
    """
    few: list[ErrorDetails] = []
    others: dict[tuple[object, ...], ErrorDetails] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    for detail in details:
        # The items of a tuple have each a place of its own.
        path = tuple([part if type(part) is str else min(part, MOST_PLACES) for part in detail["loc"]])
        told = detail.get("ctx", {}) if detail["type"] == CUSTOM_ERROR else {}
        kind = (detail["type"], path, told.get("rule"), told.get("expected"))
        counts[kind] += 1
        if counts[kind] <= MOST_PLACES:
            few.append(detail)
        else:
            others[kind] = detail
    more: Counter[tuple[str, str, str]] = Counter()
    for other, detail in others.items():
        more[_broken(_from_details(detail, schema))] += counts[other] - MOST_PLACES
    return few, more


def from_not_json(error: NotJSON, schema: SchemaMap) -> list[FieldError]:
    """The error of a value, or a part of one, that has no JSON form."""
    place = schema.locate(tuple(reversed(error.path)))
    return [_field_error(Wrong(place, error.rule, error.expected, error.actual))]


def not_checkable(value: object) -> list[FieldError]:
    """The error of a value at which validation itself broke, such as one whose methods raise."""
    return [_field_error(Wrong(Place("", "", ()), *_INVALID, json_type(value)))]


def _field_error(wrong: Wrong) -> FieldError:
    """The error with its sentence."""
    place, rule, expected, actual, told = wrong
    subject = place.field or "the value"
    if rule == "required":
        message = f"{subject}: is missing, expected {expected}"
    elif rule == "unknown_key":
        message = f"{subject}: is not declared, expected {expected}"
    else:
        message = f"{subject}: expected {told or expected}, got {actual}"
    return FieldError(place.field, place.declared, rule, expected, actual, message)


def _from_details(detail: ErrorDetails, schema: SchemaMap) -> Wrong:
    kind, loc = detail["type"], detail["loc"]
    if "[key]" in loc:
        loc = tuple(part for part in loc if part != "[key]")
    actual = json_type(detail["input"])
    place = schema.locate(loc, tagged=True)
    if kind == "missing":
        return Wrong(place, "required", described(place), "absent")
    if kind == "extra_forbidden":
        return Wrong(place, "unknown_key", known_keys(schema.locate(loc[:-1], tagged=True)), actual)
    context = detail.get("ctx", {})
    if kind == CUSTOM_ERROR:
        return Wrong(place, context["rule"], context["expected"], actual, context["told"])
    rule, expected = _TABLE.get(kind, _INVALID)
    return Wrong(place, rule, _filled(expected, context) if "{" in expected else expected, actual)


def alternatives(values: Iterable[object]) -> str:
    """The values as Pydantic lists them: "'a', 'b' or 1"."""
    *most, last = map(repr, values)
    return f"{', '.join(most)} or {last}" if most else last


def _filled(template: str, context: Mapping[str, Any]) -> str:
    try:
        return template.format_map(context)
    except (KeyError, ValueError):
        return _INVALID[1]


def known_keys(place: Place) -> str:
    """What to expect where a key is not declared."""
    names = dict.fromkeys(
        name for node in place.nodes if isinstance(found := node.get("properties"), Mapping) for name in found
    )
    return f"only the keys {', '.join(names)}" if names else "no keys"


NOUNS: Final[Mapping[str, str]] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


def described(place: Place) -> str:
    """What the contract wants at a place, in a few words: "a string", "an integer or null"."""
    words: list[str] = []
    for node in place.nodes:
        for branch in (node, *(b for b in _branches(node))):
            kinds = branch.get("type")
            listed = kinds if isinstance(kinds, list) else [kinds]
            words.extend(NOUNS[kind] for kind in listed if isinstance(kind, str) and kind in NOUNS)
    return " or ".join(dict.fromkeys(words)) or "a value"


def _branches(node: Mapping[str, JSONValue]) -> list[Mapping[str, JSONValue]]:
    found = [*_listed(node.get("anyOf")), *_listed(node.get("oneOf"))]
    return [branch for branch in found if isinstance(branch, Mapping)]


def _listed(value: JSONValue) -> list[JSONValue]:
    return value if isinstance(value, list) else []


def arranged(found: Iterable[Wrong], more: Mapping[tuple[str, str, str], int] | None = None) -> list[FieldError]:
    """Without duplicates, alternatives of a type joined, in the order of the contract's words, then of the data.

    Of each broken rule the first places are explained, and the last of these says how many more there are, together
    with those in `more`: a sentence for each of 100,000 wrong items would keep the event loop for a second.
    """
    first: dict[tuple[str, str], Wrong] = {}
    several: dict[tuple[str, str], list[Wrong]] = {}
    for wrong in found:
        where = wrong.place.declared, wrong.place.field
        before = first.setdefault(where, wrong)
        if before is not wrong:
            several.setdefault(where, [before]).append(wrong)
    places: Counter[tuple[str, str, str]] = Counter()
    few: list[Wrong] = []
    for where, alone in first.items():
        for wrong in _joined(several[where]) if where in several else (alone,):
            places[_broken(wrong)] += 1
            if places[_broken(wrong)] <= MOST_PLACES:
                few.append(wrong)
    errors: list[FieldError] = []
    places.update(more or {})
    few.sort(key=_broken)
    for broken, same in itertools.groupby(few, _broken):
        errors += map(_field_error, same)
        if (left := places[broken] - MOST_PLACES) > 0:
            last = errors[-1]
            errors[-1] = dataclasses.replace(last, message=f"{last.message} (and so at {left:,} more places)")
    return errors


def _broken(wrong: Wrong) -> tuple[str, str, str]:
    """The rule that is broken, in the contract's own words."""
    return wrong.place.declared, wrong.rule, wrong.expected


def _joined(together: list[Wrong]) -> list[Wrong]:
    """The rules that are broken at one place, each once, and alternatives of a type as one."""
    unique = {(wrong.rule, wrong.expected): wrong for wrong in together}
    types = [wrong for wrong in unique.values() if wrong.rule == "type"]
    if len(types) < 2:
        return list(unique.values())
    rest = [wrong for wrong in unique.values() if wrong.rule != "type"]
    return [*rest, types[0]._replace(expected=" or ".join(wrong.expected for wrong in types))]


def feedback(errors: Iterable[FieldError]) -> list[dict[str, str]]:
    """What a model may be told to mend its answer: `field`, `rule` and `expected`, all in the contract's own words.

    Sorted, each broken rule once, so that it is the same for any two values that break the same rules. Not one
    character of it comes from the value.
    """
    broken = sorted({(error.declared, error.rule, error.expected) for error in errors})
    return [{"field": declared, "rule": rule, "expected": expected} for declared, rule, expected in broken]
