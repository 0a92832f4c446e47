"""The first look at data: whether it is JSON data without sensitive keys, and which texts are in it.

It goes by levels: a list of records is asked once for all their keys together. Most of what a run stores and tells
passes here, so each call, each event and each write costs a few microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from kairos_async.security.keys import KeyMatcher
from kairos_async.security.plain import is_secret_pair, named_value
from kairos_async.security.vocabulary import VALUE_FIELDS

DEEPEST: Final = 128
"""Levels. State holds at most 100; events and exports wrap a few around them."""
_MOST_CONTAINERS: Final = 20_000
_FEW: Final = 8
"""From this many values or containers on it pays to ask about all of them at once."""
_NUMBERS: Final = frozenset({int, float})
_IGNORED: Final = frozenset({type(None), bool})
_KINDS: Final = _NUMBERS | _IGNORED | {str, dict, list}


def is_plain(data: Any, key_facts: Mapping[Any, int], keys: KeyMatcher, texts: list[str]) -> bool:
    """Whether a dict or list is JSON data that only its texts could keep from passing as it is.

    It is not if it has a key of which `key_facts` is not 0, a secret in a name/value object or a pair, another type
    than those of JSON, a number that JSON cannot write, or if it is too deep, too large or not a tree: then a closer
    look is needed.

    Args:
        data: a dict or list.
        key_facts: what is known of each key, 0 if nothing is wrong with it.
        keys: the matcher, for names that stand in values.
        texts: gets the strings inside the data.

    Raises:
        Exception: what the code of a key of a class of its own raised; OverflowError for an integer beyond all floats.
    """
    level = [data]
    met = 1
    for _ in range(DEEPEST):
        opened = _opened(level, key_facts.__getitem__, keys)
        if opened is None:
            return False
        level = []
        numbers: list[float] = []
        if not all([_sort(values, texts, numbers, level) for values in opened]):
            return False
        if numbers and not math.isfinite(sum(numbers, 0.0)):
            return False
        if not level:
            return True
        met += len(level)
        if met > _MOST_CONTAINERS:
            return False
    return False


def _opened(level: list[Any], fact: Callable[[Any], int], keys: KeyMatcher) -> list[Collection[Any]] | None:
    """The values of the containers of a level; None if a key, a name/value object or a pair needs a closer look."""
    if len(level) > _FEW:
        names: set[Any] = set()
        values: list[Any] = []
        for part in level:
            if type(part) is dict:
                names.update(part)
                values += part.values()
            elif len(part) == 2 and is_secret_pair(part, keys):
                return None
            else:
                values += part
        is_named = not VALUE_FIELDS.isdisjoint(names) and any(named_value(p, keys) for p in level if type(p) is dict)
        return None if is_named or any(map(fact, names)) else [values]
    opened: list[Collection[Any]] = []
    for part in level:
        if type(part) is dict:
            if any(map(fact, part)) or (not VALUE_FIELDS.isdisjoint(part) and named_value(part, keys)):
                return None
            opened.append(part.values())
        elif len(part) == 2 and is_secret_pair(part, keys):
            return None
        else:
            opened.append(part)
    return opened


def _sort(values: Collection[Any], texts: list[str], numbers: list[float], containers: list[Any]) -> bool:
    """Sort the values of a container by what has to be asked about them; whether all are of the types of JSON."""
    if len(values) > _FEW:
        kinds = set(map(type, values))
        for kind in kinds - _IGNORED:
            target: list[Any] = texts if kind is str else numbers if kind in _NUMBERS else containers
            target.extend(values if len(kinds) == 1 else [value for value in values if type(value) is kind])
        return kinds <= _KINDS
    for value in values:
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind is int or kind is float:
            numbers.append(value)
        elif kind is dict or kind is list:
            containers.append(value)
        elif value is not None and kind is not bool:
            return False
    return True
