"""The first look at a text: whether any of the rules for text could find something in it.

One regular expression says so for all rules at once, and reads 1 KB in about 3 us; the rules themselves take ten to a
hundred times as long and see only the few texts that it does not clear. What it clears, no rule would have touched: a
test holds the two together.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from kairos_async.security.engine import matcher
from kairos_async.security.randomness import KEY_WORDS, TELLING_HEADS
from kairos_async.security.secret_formats import SECRET_FORMATS
from kairos_async.security.shapes import opening
from kairos_async.security.vocabulary import DEFAULT_SENSITIVE_PATTERNS, fold

_LEET: Final = {"a": "[a4]", "e": "[e3]", "l": "[l1]", "o": "[o0]", "s": "[s5$]", "t": "[t7]"}
"""What the digits in `_readings` of a key may stand for (keys.py)."""
_NAME: Final = r"[A-Za-z0-9_.$-]*"
_ASSIGNED: Final = _NAME + r"(?:[\\\"'`\]]*[ \t]*(?:[:=]|%3[Dd])|>)"
_BETWEEN: Final = "[_.$-]{0,2}"
_WORD: Final = re.compile(r"[a-z0-9]{2,}")


def text_filter(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return what says of a text whether it can hold a secret, with keys of these patterns beside the default ones."""
    own = set(patterns) - _DEFAULT
    default = _default_filter()
    if not own:
        return lambda text: _has_mark(text) and default(text)
    matches = matcher(_assignments(own))
    return lambda text: _has_mark(text) and (default(text) or matches(text))


_DEFAULT: Final = frozenset(DEFAULT_SENSITIVE_PATTERNS)


_has_mark: Final = matcher(
    r"[:=>@]|%3[Dd]|(?:^|[^A-Za-z0-9-])--?[A-Za-z]|-----B|[A-Za-z0-9_+/=.~%$@-]{15}|(?i-u:bearer|token|basic)[ \t]"
)
"""What every rule for text needs one of: an operator, an option, a long word or a scheme. Most prose has none, and this
automaton is so small that it stays in the processor's cache, where the one of all rules does not."""


@functools.cache
def _default_filter() -> Callable[[str], bool]:
    openings = [opening(template) for secret_format in SECRET_FORMATS for template in secret_format.templates]
    parts = [
        _assignments(DEFAULT_SENSITIVE_PATTERNS),
        r"(?:^|[^A-Za-z0-9]|\\[nrt]|%[0-9A-F]{2})(?:" + "|".join(sorted(set(openings))) + ")",
        r"://[^\s/?#]*@",
        "-----BEGIN ",
        r"(?i-u:bearer|token)[ \t]+[A-Za-z0-9._~+/-]{12}|(?i-u:basic)[ \t]+[A-Za-z0-9+/]{6}",
        rf"(?i-u:{KEY_WORDS})[^\n]{{0,44}}(?:[A-Za-z0-9_+~-]{{16}}|[A-Za-z0-9+/]{{40}})",
        rf"(?:^|[^A-Za-z0-9])(?i-u:{'|'.join(sorted(TELLING_HEADS))})"
        r"[_+~-](?:[A-Za-z0-9]{1,8}[_+~-]){0,3}[A-Za-z0-9]{12}",
    ]
    return matcher("|".join(f"(?:{part})" for part in parts))


@functools.lru_cache(maxsize=64)
def key_filter(phrases: frozenset[str]) -> Callable[[str], bool]:
    """Return whether one of the phrases can be in a key, given its small letters and digits without what is between."""
    shapes = ("".join(_LEET.get(char, re.escape(char)) for char in phrase) for phrase in sorted(phrases))
    return matcher("|".join(shapes) or "[^\\s\\S]")


def _assignments(patterns: Iterable[str]) -> str:
    """Return the pattern of keys with one of these in their name, before `=`, `:`, in a tag or as an option."""
    any_name = _any_of(patterns)
    option = rf"(?:^|[^A-Za-z0-9-])--?[A-Za-z0-9-]*(?i-u:{any_name})[A-Za-z0-9-]*[ \t]"
    return f"(?i-u:{any_name}){_ASSIGNED}|{option}"


_Phrase: TypeAlias = tuple[str, ...]


def _any_of(patterns: Iterable[str]) -> str:
    """Return the pattern of all words, phrases and globs inside of the name of a key.

    It is kept short, because the engine copies the whole pattern whenever a text does not match it, which is nearly
    always: a phrase that has a shorter one in it is left out, and those that end alike are written together.
    """
    globs = {pattern for pattern in patterns if any(mark in pattern for mark in "*?[")}
    # Of a glob, its longest run of letters and digits; one without can be anywhere. None for names that are not ASCII.
    runs = {max(_WORD.findall(fold(glob).lower()), key=len, default="[A-Za-z0-9]") for glob in globs}
    phrases: list[_Phrase] = []
    words = {tuple(re.findall(r"[a-z0-9]+", text.lower())) for text in set(patterns) - globs if text.isascii()}
    for phrase in sorted(words - {()}, key=lambda phrase: (len("".join(phrase)), phrase)):
        if not any(_is_inside(shorter, phrase) for shorter in phrases):
            phrases.append(phrase)
    endings: dict[str, list[str]] = {}
    for *head, last in phrases:
        endings.setdefault(_leet(last), []).append("".join(f"{_leet(word)}{_BETWEEN}" for word in head))
    spelled = [f"(?:{'|'.join(heads)}){ending}" if any(heads) else ending for ending, heads in endings.items()]
    return "|".join([*sorted(runs), *spelled])


def _is_inside(short: _Phrase, long: _Phrase) -> bool:
    """Whether every spelling of the long phrase has one of the short one in it: the same letters, no more breaks."""
    inside, whole = "".join(short), "".join(long)
    place = whole.find(inside)
    while place >= 0:
        breaks = {end - place for end in _ends(long) if 0 < end - place < len(inside)}
        if breaks <= _ends(short):
            return True
        place = whole.find(inside, place + 1)
    return False


def _ends(phrase: _Phrase) -> set[int]:
    """Return where the words of a phrase end in its letters."""
    return set(itertools.accumulate(map(len, phrase)))


def _leet(word: str) -> str:
    return "".join(_LEET.get(char, char) for char in word)
