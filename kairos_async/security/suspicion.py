r"""The first look at data and texts: whether any rule for keys or text could find something in it.

Regular expressions say so for all rules at once, and read 1 KB in 5 us, or in 10 if there are long words; the rules
themselves take ten times as long and more, and see only what is not cleared. What is cleared, no rule would have
touched: a test holds the two together.

It reads JSON, in which the keys, pairs and name/value objects of a whole value are seen with its texts: encoding 1 KB
takes 1 to 4 us, where a walk over its parts in Python takes up to 30. So a text has its escapes here, `\n` for a line
feed, and a `"` without a backslash never belongs to a text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeAlias

from kairos_async.security.engine import matcher
from kairos_async.security.randomness import KEY_WORDS, TELLING_HEADS
from kairos_async.security.secret_formats import SECRET_FORMATS
from kairos_async.security.shapes import openings
from kairos_async.security.vocabulary import NAME_FIELDS, VALUE_FIELDS, fold

_LEET: Final = {"a": "[a4]", "e": "[e3]", "l": "[l1]", "o": "[o0]", "s": "[s5$]", "t": "[t7]"}
"""What the digits in `_readings` of a key may stand for (keys.py)."""
_LINE_END: Final = r"\\[bfnrt]"
"""Or a tab: a character of which the escape ends in a letter, which is none of a word after it."""
_CHAR: Final = r'(?:[^"\\]|\\.)'
"""A character of a text."""
_CHAR_OF_LINE: Final = r'(?:[^"\\]|\\[^n])'
_BLANK: Final = r"(?:[ \t]|\\t)"
_NAME: Final = r"[A-Za-z0-9_.$-]*"
_BETWEEN: Final = "[_.$-]*"
_BEFORE: Final = rf"(?:[^A-Za-z0-9]|{_LINE_END}|%[0-9A-F]{{2}})"
_ODD: Final = r'(?:[^"\\A-Za-z0-9_.-]|\\.)'
"""In a key: what the patterns of names know nothing of, such as blanks and look-alike letters."""
_RUN: Final = re.compile(r"[a-z0-9]{2,}")
_LAST_LETTERS: Final = 3


Filter: TypeAlias = Callable[[bytes], bool]


def json_filter(phrases: frozenset[str], globs: Collection[str], default: frozenset[str]) -> Filter:
    """Return what says of JSON whether it can hold a secret, or a key that needs a closer look.

    Args:
        phrases: that make a key sensitive, without what is between their words.
        globs: the same for whole keys.
        default: the phrases of which this is asked in any case.
    """
    in_any = _default_filter(default)
    own = phrases - default
    if not (own or globs):
        return in_any
    matches = matcher(_any_of([_assignments(own, globs), _options(own, globs)]))
    return lambda data: in_any(data) or matches(data)


@functools.cache
def _default_filter(phrases: frozenset[str]) -> Filter:
    """Return the filter for these phrases and for all that is no assignment to a key.

    It is several automata. The engine builds the states of one when it meets them, and has room for some 3,000: one for
    names, which are told by their letters, and for tokens, which are told by their length, has more, and once a process
    has read a few megabytes of different texts, it takes 50 to 2,000 ns for each character, and not 2. For the same
    reason nothing here counts, or remembers that something was there, beside a tree of names. Two automata read all
    data, and two more those with a long word or an option.
    """
    names = matcher(_any_of([_assignments(phrases), *_structures()]))
    around = [_options(phrases), *_marks()]
    others = matcher(_any_of([*around, _LONG_WORD]))
    later: list[Filter] = []

    def may_need_look(data: bytes) -> bool:
        if names(data):
            return True
        if not others(data):
            return False
        if not later:  # compiling takes 10 ms
            later.extend((matcher(_any_of([*around, _openings()])), matcher(_any_of(_introduced()))))
        return later[0](data) or later[1](data)

    return may_need_look


def _any_of(patterns: Iterable[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)


_OF_WORD: Final = "[A-Za-z0-9_+/=.~%$@-]"
_LONG_WORD: Final = (
    rf"[^:,\[A-Za-z0-9_+/=.~%$@-]{_OF_WORD}{{15}}|[:,\[][A-Za-z_/=~%$@]{_OF_WORD}{{14}}"
    r"|[:,\[][0-9.+eE-]+[A-DF-Za-df-z_/=~%$@]"
)
"""What every rule for tokens needs. After what may stand before a number in JSON, none of digits alone: floats do not
count."""


def _marks() -> list[str]:
    """Return what shows a secret in a text by what stands around it, besides assignments."""
    return [
        r'://[^\s/?#"]*@',
        "-----BEGIN ",
        rf"(?i-u:bearer|token){_BLANK}+[A-Za-z0-9._~+/-]{{12}}|(?i-u:basic){_BLANK}+[A-Za-z0-9+/]{{6}}",
    ]


def _openings() -> str:
    """Return the pattern of how tokens of published formats begin."""
    return openings((template for secret_format in SECRET_FORMATS for template in secret_format.templates), _BEFORE)


def _introduced() -> list[str]:
    """Return what stands before tokens of other formats on their line, or begins them."""
    near = KEY_WORDS.replace(r"\b", "")
    return [
        # At any distance: counting it takes too many states.
        rf"(?i-u:{near}){_CHAR_OF_LINE}*[A-Za-z0-9_+~/-]{{16}}",
        rf"{_BEFORE}(?i-u:{'|'.join(sorted(TELLING_HEADS))})[_+~-](?:[A-Za-z0-9]{{1,8}}[_+~-]){{0,3}}[A-Za-z0-9]{{12}}",
    ]


def _structures() -> list[str]:
    """Return what of the structure of data needs a closer look, besides names with a sensitive word in them."""
    value = rf'"(?:{"|".join(sorted(VALUE_FIELDS))})":'
    odd_name = rf'"(?:{"|".join(sorted(NAME_FIELDS))})":"{_CHAR}*{_ODD}'
    return [
        rf'{_ODD}[A-Za-z0-9_.-]*":',
        rf'\["{_CHAR}*{_ODD}{_CHAR}*","{_CHAR}*"\]',
        rf"{odd_name}.*{value}|{value}.*{odd_name}",
        r'"\*{10}"|[^\\]""',  # what a pydantic.SecretStr becomes
        r"\\u00[01]",  # control characters, of which the escapes end in what could be letters of a word
    ]


@functools.lru_cache(maxsize=64)
def key_filter(phrases: frozenset[str]) -> Callable[[str], bool]:
    """Return whether one of the phrases can be in a key, given its small letters and digits without what is between."""
    shapes = ("".join(_LEET.get(char, re.escape(char)) for char in phrase) for phrase in sorted(phrases))
    return matcher("|".join(shapes) or "[^\\s\\S]")


def _assignments(phrases: Collection[str], globs: Collection[str] = ()) -> str:
    """Return the pattern of names with one of these in them: as a key, before `=` or `:`, in a tag.

    A name as a whole text is one too: it may be the first of a pair, or stand beside a value.
    """
    names = [*_names([phrase for phrase in phrases if phrase.isascii()])]
    names += [f"(?i-u:{run}){_NAME}" for run in sorted({_literal(glob) for glob in globs})]
    return rf"(?:{'|'.join(names)})(?:[\\\"'`\]]*{_BLANK}*(?:[:=]|%3[Dd])|>|\"[,}}])"


def _options(phrases: Collection[str], globs: Collection[str] = ()) -> str:
    """Return the pattern of options, `--api-key`, with how one of these ends in them."""
    endings = {phrase[-_LAST_LETTERS:] for phrase in phrases if phrase.isascii()}
    runs = {_literal(glob) for glob in globs}
    inside = "|".join([*("-*".join(map(_leet, ending)) for ending in sorted(endings)), *sorted(runs)])
    return rf"(?:[^A-Za-z0-9-]|{_LINE_END})--?[A-Za-z0-9-]*(?i-u:{inside})[A-Za-z0-9-]*{_BLANK}"


def _literal(glob: str) -> str:
    """Return letters and digits that are in every name that matches a glob; any character if there are none."""
    before_sets = fold(glob).lower().partition("[")[0]
    return max(_RUN.findall(before_sets), key=len, default='["A-Za-z0-9_.$-]')


def _names(phrases: Collection[str]) -> list[str]:
    """Return the patterns of names with a phrase in them, which no small letter follows: no "pin" in "shipping".

    Half of the phrases are kinds of keys, of which the last letters are enough. That, and not to ask what stands before
    a phrase, makes an automaton of few states; it stops at as many keys as an exact one.
    """
    keys = {phrase for phrase in phrases if phrase.removesuffix("s").endswith("key")} - {"key", "keys"}
    kinds = {phrase.removesuffix("s").removesuffix("key")[-_LAST_LETTERS:] for phrase in keys}
    words = {*(f"{kind}{key}" for kind in kinds for key in ("key", "keys")), *(set(phrases) - keys)}
    found = [
        ({word for word in words if word[-1].isalpha()}, f"(?:[A-Z0-9_.$-]{_NAME})?"),
        ({word for word in words if not word[-1].isalpha()}, _NAME),
    ]
    return [f"(?i-u:{_tree(some)}){rest}" for some, rest in found if some]


def _tree(words: Collection[str], between: str = "") -> str:
    """Return the pattern of the words, with separators between their letters; what begins alike is written once."""
    follows: dict[str, set[str]] = {}
    for word in words:
        if word:
            follows.setdefault(word[0], set()).add(word[1:])
    found = [between + _leet(char) + _tree(rests, _BETWEEN) for char, rests in sorted(follows.items())]
    pattern = found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"
    return f"(?:{pattern})?" if "" in words and found else pattern if found else ""


def _leet(char: str) -> str:
    return _LEET.get(char, char)
