"""Regular expressions whose time is bounded: which are taken, and for how long a text.

The engine is that of the Rust crate `regex`. Its time is linear in the text, but also in the number of the pattern's
parts that can be under way at once: `a.{300}b` costs 300 times what `a.b` does, and nothing else runs meanwhile. So the
cost of a character is bounded from the pattern, and text that is long for its pattern is refused before it is matched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydantic_core import SchemaError, SchemaValidator, core_schema

from kairos_async.exceptions import ConfigError

# Nanoseconds for one character of up to four bytes, measured at the engine's slowest (its "Pike VM", to which it turns
# when a pattern is too large for its automaton, or has a word boundary and the text is not ASCII).
_CHARACTER: Final = 250
_ASCII_PART: Final = 20
_UNICODE_PART: Final = 120
_AUTOMATON: Final = 10  # of a pattern that is small enough to stay on the automaton

_UNICODE_SIGNS: Final = (".", "[^", *(f"\\{sign}" for sign in "wWdDsSpP"))
"""What stands in a class or an escape of many characters."""

_BUDGET: Final = 15_000_000
"""Nanoseconds for one match, of which the check of a value may need two."""

_SHORTEST: Final = 200
"""Characters that a pattern must at least leave for the text."""

_MOST_PARTS: Final = 5_000
_SMALL: Final = 8
"""Parts of a pattern whose automaton is never too large."""


def check_pattern(pattern: object) -> str:
    """The pattern, if the linear-time engine takes it.

    Raises:
        ConfigError: it is not a str, not a valid regex, too costly, or has look-around or back-references.
    """
    if not isinstance(pattern, str):
        raise ConfigError(f"The pattern {pattern!r} must be a str; of a compiled regex, pass its .pattern.")
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError as error:
        reason = str(error).rstrip().rsplit("\n", 1)[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ")
    else:
        longest = longest_text(pattern)
        if longest >= _SHORTEST:
            return pattern
        reason = (
            f"it is so costly that only text of {longest} characters could be matched in time, and {_SHORTEST} is the "
            "least; use fewer repetitions, anchor it with ^, or check the length with v.length"
        )
    raise ConfigError(
        f"The pattern {pattern!r} is refused: {reason.rstrip('.')}. Patterns run on an engine whose time is linear in "
        "the text, which has no look-around and no back-references; check such things in v.custom."
    )


def longest_text(pattern: str) -> int:
    """How many characters a text may have to be matched with the pattern."""
    try:
        return int(_BUDGET / _Parser(pattern).cost())
    except _TooLarge:
        return 0


class _TooLarge(Exception):
    pass


class _Part(NamedTuple):
    """A character or class, and how many characters of a match can come before it."""

    least: float
    most: float
    cost: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a pattern: its parts, with counted repetitions written out, and the lengths of what it matches."""

    parts: tuple[_Part, ...] = ()
    least: float = 0
    most: float = 0

    def then(self, other: _Piece) -> _Piece:
        """This piece, and the other one behind it."""
        moved = tuple(_Part(p.least + self.least, p.most + self.most, p.cost) for p in other.parts)
        if len(self.parts) + len(moved) > _MOST_PARTS:
            raise _TooLarge
        return _Piece(self.parts + moved, self.least + other.least, self.most + other.most)

    def repeated(self, low: int, high: float) -> _Piece:
        """This piece, `low` to `high` times."""
        copies = max(low, 1) if high == math.inf else int(high)
        if copies * len(self.parts) > _MOST_PARTS:
            raise _TooLarge
        factor = 1 if low == high else 2  # to go on and to go over are two ways
        endless = high == math.inf and self.most > 0
        parts = tuple(
            _Part(p.least + n * self.least, math.inf if endless else p.most + n * self.most, factor * p.cost)
            for n in range(copies)
            for p in self.parts
        )
        return _Piece(parts, low * self.least, math.inf if endless else copies * self.most)


class _Parser:
    """Reads a pattern that the engine takes; what it does not understand counts as plain characters."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._has_boundary = False
        self._has_flags = False

    def cost(self) -> int:
        """Nanoseconds for one character, in the worst case."""
        options = self._options()
        if self._at < len(self._pattern):
            raise _TooLarge  # it was not understood
        whole = _either(options)
        if len(whole.parts) <= _SMALL and not self._has_boundary:
            return _AUTOMATON
        anchored = len(options) == 1 and re.match(r"\^(?![*?{])", self._pattern) and not self._has_flags
        ends = [(p.least, p.cost) for p in whole.parts] if anchored else [(0.0, p.cost) for p in whole.parts]
        ends += [(p.most + 1, -p.cost) for p in whole.parts if anchored and p.most < math.inf]
        return _CHARACTER + _highest(ends)

    def _options(self) -> list[_Piece]:
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        return options

    def _sequence(self) -> _Piece:
        found = _Piece()
        while self._peek() not in ("", "|", ")"):
            found = found.then(self._quantified(self._one()))
        return found

    def _quantified(self, piece: _Piece) -> _Piece:
        while bounds := self._quantifier():
            piece = piece.repeated(*bounds)
        return piece

    def _quantifier(self) -> tuple[int, float] | None:
        sign = self._peek()
        if sign in ("*", "+", "?"):
            self._at += 1
            return {"*": (0, math.inf), "+": (1, math.inf), "?": (0, 1.0)}[sign]
        end = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at + 1 : end].replace(" ", "").partition(",")
        if sign != "{" or end < 0 or not low.isdigit():
            return None
        self._at = end + 1
        return int(low), float(high) if high.isdigit() else (math.inf if comma else int(low))

    def _one(self) -> _Piece:
        start, sign = self._at, self._take()
        if sign in "^$":
            return _Piece()
        if sign == "(":
            return self._group()
        if sign == "[":
            self._skip_class()
        elif sign == "\\" and self._skip_escape():
            return _Piece()
        text = self._pattern[start : self._at]
        plain = text.isascii() and not self._has_flags and not any(sign in text for sign in _UNICODE_SIGNS)
        return _Piece((_Part(0, 0, _ASCII_PART if plain else _UNICODE_PART),), 1, 1)

    def _group(self) -> _Piece:
        if self._peek() == "?":
            end = min(found for sign in ":>)" if (found := self._pattern.find(sign, self._at)) >= 0)
            self._has_flags = self._has_flags or (self._pattern[end] != ">" and end > self._at + 1)
            self._at = end + 1
            if self._pattern[end] == ")":
                return _Piece()
        piece = _either(self._options())
        self._at += 1
        return piece

    def _skip_class(self) -> None:
        """Go on after the class, in which there may be others."""
        for first in ("^", "]"):
            self._at += self._pattern.startswith(first, self._at)
        depth = 1
        while depth and self._at < len(self._pattern):
            sign = self._take()
            self._at += sign == "\\"
            depth += (sign == "[") - (sign == "]")

    def _skip_escape(self) -> bool:
        """Go on after the escape; True if it stands for a place and no character."""
        sign = self._take()
        if sign in "pPxuUb" and self._pattern.startswith("{", self._at):
            self._at = self._pattern.find("}", self._at) + 1
        self._has_boundary = self._has_boundary or sign in "bB<>"
        return sign in "bBAz<>"

    def _peek(self) -> str:
        return self._pattern[self._at] if self._at < len(self._pattern) else ""

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1] if self._at <= len(self._pattern) else ""


def _either(options: list[_Piece]) -> _Piece:
    parts = tuple(part for option in options for part in option.parts)
    if len(parts) > _MOST_PARTS:
        raise _TooLarge
    return _Piece(parts, min(option.least for option in options), max(option.most for option in options))


def _highest(changes: Iterable[tuple[float, int]]) -> int:
    """The highest sum that is reached when the changes are made in order; of those at one place, the rises first."""
    level = highest = 0
    for _, change in sorted(changes, key=lambda pair: (pair[0], -pair[1])):
        level += change
        highest = max(highest, level)
    return highest
