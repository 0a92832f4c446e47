"""The first look at data: whether it is JSON data without sensitive keys, and which texts are in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kairos_async.security.plain import VALUE_FIELDS

DEEPEST: Final = 128
"""Levels. State holds at most 100; events and exports wrap a few around them."""
SMALL: Final = 1 << 62
"""Numbers up to here need no closer look; NaN and infinities are not below it."""
_MOST_CONTAINERS: Final = 20_000
_FEW: Final = 8
"""From this many values on it pays to ask for their types all at once."""
_IGNORED: Final = frozenset({type(None), bool})
_NUMBERS: Final = frozenset({int, float})


def is_plain(data: Any, key_facts: Mapping[Any, int], texts: list[str]) -> bool:
    """Whether a dict or list is JSON data that only its texts could keep from passing as it is.

    It is not if it has a key of which `key_facts` is not 0, a name/value object or a pair, another type than those of
    JSON, a float that is not finite or a very large integer, or if it is too deep, too large or not a tree: then a
    closer look is needed.

    Args:
        data: a dict or list.
        key_facts: what is known of each key, 0 if nothing is wrong with it.
        texts: gets the strings inside the data.
    """
    containers = [data]
    for part in containers:  # which grows meanwhile
        if type(part) is dict:
            if any(map(key_facts.__getitem__, part)) or not VALUE_FIELDS.isdisjoint(part):
                return False
            part = part.values()
        elif len(part) == 2 and type(part[0]) is str:
            return False
        if not _take(part, texts, containers):
            return False
    # Fewer containers than levels are allowed cannot be too deep, and a cycle would have gone on to the largest number.
    return len(containers) <= DEEPEST or _is_shallow(data)


def _take(values: Any, texts: list[str], containers: list[Any]) -> bool:
    """Sort the values of one container into texts and containers; whether no other needs a closer look."""
    if len(values) > _FEW:
        kinds = set(map(type, values))
        if kinds == {str}:
            texts.extend(values)
            return True
        if kinds == {int}:
            return bool(min(values) > -SMALL and max(values) < SMALL)
    for value in values:
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind is dict or kind is list:
            containers.append(value)
        elif not (kind in _IGNORED or (kind in _NUMBERS and -SMALL < value < SMALL)):
            return False
    return len(containers) <= _MOST_CONTAINERS


def _is_shallow(data: Any) -> bool:
    """Whether a tree is at most as deep as allowed."""
    level = [data]
    for _ in range(DEEPEST):
        level = [
            value
            for part in level
            for value in (part.values() if type(part) is dict else part)
            if type(value) is dict or type(value) is list
        ]
        if not level:
            return True
    return False
