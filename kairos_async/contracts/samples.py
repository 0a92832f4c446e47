"""Example texts of regular expressions. They are guesses, to be checked by whoever uses them."""

from __future__ import annotations

from typing import Final

_CLASSES: Final = {
    "d": "05٣9",
    "w": "aé_7",
    "s": " \t\x85",
    "D": "a-",
    "W": " -",
    "S": "a0-",
}
_PRINTABLE: Final = [chr(code) for code in range(32, 127)]
_MOST: Final = 4096
_VARIANTS: Final = 4


def texts_matching(pattern: str, lengths: list[int]) -> list[str]:
    """A few texts in which the pattern is likely to be found, some of about the lengths asked for.

    Groups, alternatives, classes and quantifiers are understood; for anything else there may be no text.
    """
    found: dict[str, None] = {}
    for target in (0, *sorted(set(lengths))):
        for variant in range(_VARIANTS):
            try:
                text = _Writer(pattern, variant, min(target, _MOST)).write()
            except (_Unknown, RecursionError):
                return list(found)
            found[text] = None
    return list(found)


class _Unknown(Exception):
    pass


class _Writer:
    """Writes one text along the pattern. The first repetitions that can grow are stretched to reach the length."""

    def __init__(self, pattern: str, variant: int, target: int) -> None:
        self._pattern = pattern
        self._at = 0
        self._variant = variant
        self._target = target

    def write(self) -> str:
        text = self._alternatives()
        if self._at < len(self._pattern):
            raise _Unknown
        return text

    def _alternatives(self) -> str:
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[self._variant % len(options)]

    def _sequence(self) -> str:
        written = ""
        while self._at < len(self._pattern) and self._peek() not in "|)":
            written += self._repeated(self._one())
        return written

    def _repeated(self, choices: list[str]) -> str:
        low, high = self._quantifier()
        count = low
        if high is None or high > low:
            wanted = max(low + self._variant % 2, self._target)
            count = wanted if high is None else min(wanted, high)
        text = "".join(choices[(self._variant + i) % len(choices)] for i in range(count)) if choices else ""
        self._target = max(0, self._target - len(text))
        return text

    def _quantifier(self) -> tuple[int, int | None]:
        bounds: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        sign = self._peek()
        found: tuple[int, int | None] = (1, 1)
        if sign in bounds and sign:
            self._at += 1
            found = bounds[sign]
        elif sign == "{":
            end = self._pattern.find("}", self._at)
            low, comma, high = self._pattern[self._at + 1 : end].partition(",")
            if end < 0 or not low.isdigit() or (high and not high.isdigit()):
                raise _Unknown
            self._at = end + 1
            found = (int(low), int(high) if high else (None if comma else int(low)))
        if found != (1, 1) and self._peek() in ("?", "+"):
            self._at += 1
        return found

    def _one(self) -> list[str]:
        """The texts that the next part can stand for."""
        sign = self._take()
        if sign in "^$":
            return [""]
        if sign == ".":
            return ["a", "-", "é", "\r"]
        if sign == "[":
            return self._class()
        if sign == "(":
            return [self._group()]
        if sign == "\\":
            return self._escape()
        return [sign]

    def _group(self) -> str:
        if self._pattern.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise _Unknown
        written = self._alternatives()
        if self._take() != ")":
            raise _Unknown
        return written

    def _escape(self) -> list[str]:
        sign = self._take()
        if sign in "bBAz":
            return [""]
        if sign in _CLASSES:
            return list(_CLASSES[sign])
        if sign in "ntr":
            return [{"n": "\n", "t": "\t", "r": "\r"}[sign]]
        if sign.isalnum():
            raise _Unknown
        return [sign]

    def _class(self) -> list[str]:
        negated = self._peek() == "^"
        self._at += negated
        members: list[str] = []
        while (sign := self._take()) != "]" or not members:
            first = self._escape() if sign == "\\" else [sign]
            if sign == "[":
                raise _Unknown
            if len(first) == 1 and self._peek() == "-" and not self._pattern.startswith("-]", self._at):
                self._at += 1
                last = self._take()
                last = self._escape()[0] if last == "\\" else last
                low, high = ord(first[0]), ord(last)
                first = [chr(low), chr(high), chr((low + high) // 2)]
            members.extend(first)
        return [sign for sign in _PRINTABLE if sign not in members][:8] if negated else members

    def _peek(self) -> str:
        return self._pattern[self._at] if self._at < len(self._pattern) else ""

    def _take(self) -> str:
        if self._at >= len(self._pattern):
            raise _Unknown
        self._at += 1
        return self._pattern[self._at - 1]
