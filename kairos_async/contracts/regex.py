"""Regular expressions whose time is bounded: which are taken, and for how long a text.

The engine is that of the Rust crate `regex`. Its time is linear in the text, but also in the size of the pattern with
its repetitions written out: `a.{3000}b` costs 3,000 times what `a.b` does, about 50 seconds for a megabyte, and nothing
else runs meanwhile. So text that is long for its pattern is refused before it is matched.
"""

from __future__ import annotations

from typing import Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

from kairos_async.exceptions import ConfigError

WORK: Final = 2_000_000
"""The largest product of a text's length and a pattern's size. At up to 16 ns each (measured), that is some 30 ms."""

LARGEST: Final = 2_000
"""The largest size of a pattern, which leaves 1,000 characters for the text."""


def check_pattern(pattern: object) -> str:
    """The pattern, if the linear-time engine takes it.

    Raises:
        ConfigError: it is not a str, not a valid regex, too large, or has look-around or back-references.
    """
    if not isinstance(pattern, str):
        raise ConfigError(f"The pattern {pattern!r} must be a str; of a compiled regex, pass its .pattern.")
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError as error:
        reason = str(error).rstrip().rsplit("\n", 1)[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ")
    else:
        size = pattern_size(pattern)
        if size <= LARGEST:
            return pattern
        reason = f"with its repetitions written out it has {size} parts, and {LARGEST} is the most; use v.length"
    raise ConfigError(
        f"The pattern {pattern!r} is refused: {reason.rstrip('.')}. Patterns run on an engine whose time is linear in "
        "the text, which has no look-around and no back-references; check such things in v.custom."
    )


def longest_text(pattern: str) -> int:
    """How many characters a text may have to be matched with the pattern."""
    return WORK // max(1, pattern_size(pattern))


def pattern_size(pattern: str) -> int:
    """The number of characters and classes in the pattern when its counted repetitions are written out.

    For a pattern that the engine takes; what is not understood counts as plain characters.
    """
    return _Counter(pattern).alternatives()


class _Counter:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def alternatives(self) -> int:
        size = last = 0
        while self._at < len(self._pattern):
            sign = self._take()
            if sign == ")":
                break
            if sign == "{" and (times := self._count()) is not None:
                size, last = size + last * (times - 1), last * times
                continue
            last = self._size_of(sign, last)
            if sign not in "*+?":
                size += last
        return size

    def _size_of(self, sign: str, last: int) -> int:
        if sign in "*+?":
            return last
        if sign in "^$|":
            return 0
        if sign == "(":
            return self._group()
        if sign == "[":
            self._skip_class()
        elif sign == "\\":
            self._skip_escape()
        return 1

    def _group(self) -> int:
        if self._pattern.startswith("?", self._at):
            end = min(found for sign in (":", ">", ")") if (found := self._pattern.find(sign, self._at)) >= 0)
            self._at = end + (self._pattern[end] != ")")
        return self.alternatives()

    def _skip_class(self) -> None:
        """Go on after the class, in which there may be others."""
        for first in ("^", "]"):
            self._at += self._pattern.startswith(first, self._at)
        depth = 1
        while depth and self._at < len(self._pattern):
            sign = self._take()
            self._at += sign == "\\"
            depth += (sign == "[") - (sign == "]")

    def _skip_escape(self) -> None:
        if self._take() in "pPxuU" and self._pattern.startswith("{", self._at):
            self._at = self._pattern.find("}", self._at) + 1

    def _count(self) -> int | None:
        """The most that `{n,m}` repeats what is before it; None if this is no repetition."""
        end = self._pattern.find("}", self._at)
        low, _, high = self._pattern[self._at : end].replace(" ", "").partition(",")
        if end < 0 or not low.isdigit():
            return None
        self._at = end + 1
        return max(1, int(low), int(high) if high.isdigit() else 1)

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1] if self._at <= len(self._pattern) else ""
