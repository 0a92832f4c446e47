"""Runs of the characters that tokens and encoded data are made of: the cheap first look at a text."""

from __future__ import annotations

from typing import Final, TypeAlias

Span: TypeAlias = tuple[int, int]
"""A place in a text: start, and end, which is not included."""

SHORTEST_RUN: Final = 16
_RUN_CHARACTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+/=.~%$@"
# Marked in one pass at 1 ns a byte, long runs are then found by a search for "xxx...". A regular expression takes ten
# times as long for the same.
_MARKS: Final = bytes(120 if code in _RUN_CHARACTERS else 32 for code in range(256))
_LONG_RUN: Final = b"x" * SHORTEST_RUN


def long_runs(data: bytes) -> list[Span]:
    """Return the runs of at least 16 characters that tokens are made of, as (start, end)."""
    marked = data.translate(_MARKS)
    runs = []
    start = marked.find(_LONG_RUN)
    while start >= 0:
        end = marked.find(b" ", start)
        end = len(marked) if end < 0 else end
        runs.append((start, end))
        start = marked.find(_LONG_RUN, end)
    return runs
