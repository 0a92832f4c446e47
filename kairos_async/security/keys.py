"""Which keys hold secrets: a key is split into words, look-alike letters are folded, and the words are matched.

`apiKey`, `X-API-KEY`, `my.api_key`, `APIKEY` and the same with Cyrillic letters are all the words "api key", which the
pattern "api_key" matches. `max_tokens`, `token_count` and `tokenizer` are not the word "token": other words say that
such a key counts or describes, and `tokenizer` is a different word.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from kairos_async.exceptions import ConfigError
from kairos_async.security.engine import as_json
from kairos_async.security.suspicion import json_filter, key_filter
from kairos_async.security.vocabulary import (
    COMPOUND_ENDINGS,
    DEFAULT_SENSITIVE_PATTERNS,
    DESCRIBING_LAST_WORDS,
    NOT_A_COMPOUND,
    NUMERIC_SECRETS,
    QUANTIFYING_WORDS,
    TEXT_TOKEN_WORDS,
    fold,
)

NOT_SENSITIVE: Final = 0
SENSITIVE: Final = 1
"""Strings and containers under the key are secret; a number there counts something."""
SENSITIVE_NUMBER_TOO: Final = 2
"""Numbers under the key are secret as well: a PIN, a card number, whatever a user's own pattern names."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_UNSPLIT_WORDS: Final = re.compile(r"[a-z]+|[0-9]+|[^\W\d_a-z]+")
_LEET_INSIDE: Final = re.compile(r"[a-z][013457@$]+[a-z]")
_LEET: Final = str.maketrans("013457@$", "oleastas")
_LONGEST_PHRASE: Final = 32
"""Characters. Words are joined up to this length when they are compared with the patterns."""
_BETWEEN_WORDS: Final = bytes(code for code in range(128) if not chr(code).isalnum())
_LONGEST_KEY: Final = 512
"""Characters. Of a longer key, which is data, the beginning and the end are judged."""
_CACHED_KEYS: Final = 131_072
_CACHED_KEY_LENGTH: Final = 128

_Key = TypeVar("_Key", str, bytes)


class KeyMatcher(dict[str, int]):
    """The verdict on each key: `matcher[key]` is NOT_SENSITIVE, SENSITIVE or SENSITIVE_NUMBER_TOO.

    `may_need_look` says of JSON whether a key or a text in it needs a closer look: False for most.

    A dict, because the answer is asked for at every key of every event: a known key costs one look-up. It keeps at most
    131,072 keys of at most 128 characters, so that keys which data invents cannot fill the memory.

    Args:
        patterns: words and phrases (`"password"`, `"api_key"`, matched word-wise) or globs with `*`, `?` or `[...]`,
            matched against the whole key without regard to case, as it is and as words joined by `_`. Globs are taken
            literally: `"*token*"` also matches `max_tokens`.

    Raises:
        ConfigError: a pattern is not a string, is empty, has no letter or digit to match, or opens a `[` that it does
            not close.
    """

    __slots__ = ("_globs", "_numeric", "_phrases", "may_need_look", "of_bytes")

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__()
        phrases: set[str] = set()
        globs: list[str] = []
        for pattern in patterns:
            check_pattern(pattern)
            if any(mark in pattern for mark in "*?["):
                globs.append(pattern)
            else:
                phrases.add("".join(split_words(pattern)))
        self._phrases = _first_equal(frozenset(phrases))
        self._numeric = NUMERIC_SECRETS | (phrases - _DEFAULT_PHRASES)
        self._globs = {pattern: re.compile(fnmatch.translate(fold(pattern).lower())) for pattern in globs}
        self.of_bytes: Final = _BytesMatcher(self)
        self.may_need_look: Callable[[bytes], bool] = self._first_look

    def _first_look(self, data: bytes) -> bool:
        # Compiling takes 20 ms: not before the first data come.
        self.may_need_look = json_filter(self._phrases, self._globs, _DEFAULT_PHRASES)
        return self.may_need_look(data)

    def may_hold_secret(self, text: str) -> bool:
        """Whether a rule could find something in a text without lone surrogates: False for most."""
        return self.may_need_look(as_json(text))

    def __missing__(self, key: str) -> int:
        verdict = self._judge(key)
        remember(self, key, verdict)
        return verdict

    def _judge(self, key: str) -> int:
        if len(key) > _LONGEST_KEY:
            key = f"{key[: _LONGEST_KEY // 2]} {key[-_LONGEST_KEY // 2 :]}"
        for words in _readings(key) if self._can_match(key) else ():
            verdict = self._judge_words(words)
            if verdict:
                return verdict
        if self._globs:
            folded = fold(key).lower()
            joined = "_".join(split_words(key))
            if any(glob.match(folded) or glob.match(joined) for glob in self._globs.values()):
                return SENSITIVE_NUMBER_TOO
        return NOT_SENSITIVE

    def _can_match(self, key: str) -> bool:
        """Whether a phrase can be in the key: a look of 1 us, where reading the words of a key takes 10 us or more."""
        if not key.isascii() or "@" in key or "$" in key:
            return True
        letters = key.lower().encode("ascii").translate(None, _BETWEEN_WORDS).decode("ascii")
        return key_filter(self._phrases)(letters)

    def _judge_words(self, words: list[str]) -> int:
        for start, end, phrase in _phrases_of(words):
            if (phrase in self._phrases or (end == start + 1 and self._is_compound(phrase))) and not _is_cancelled(
                words, start, end, phrase
            ):
                return SENSITIVE_NUMBER_TOO if phrase in self._numeric else SENSITIVE
        return NOT_SENSITIVE

    def _is_compound(self, word: str) -> bool:
        """Whether a single word ends in a sensitive one: `dbpassword`, `csrftoken`."""
        ending = next((ending for ending in COMPOUND_ENDINGS if word.endswith(ending)), None)
        if ending is None or ending not in self._phrases:
            return False
        before = word[: -len(ending)]
        return before not in NOT_A_COMPOUND and not (ending == "token" and before in TEXT_TOKEN_WORDS)


@functools.lru_cache(maxsize=64)
def _first_equal(phrases: frozenset[str]) -> frozenset[str]:
    """Return the first of equal sets. To find a cached filter by another one than it was made for takes 6 us, not 0.2,
    for each new key."""
    return phrases


class _BytesMatcher(dict[bytes, int]):
    """The same verdicts for ASCII keys found in texts."""

    __slots__ = ("_matcher",)

    def __init__(self, matcher: KeyMatcher) -> None:
        super().__init__()
        self._matcher: Final = matcher

    def __missing__(self, key: bytes) -> int:
        name = key.decode("ascii", "replace")
        # What the first look at a text takes for a key, and nothing else, so that a text is judged alike with others.
        verdict = self._matcher._judge(name) if self._matcher.may_hold_secret(f"{name}=") else NOT_SENSITIVE
        remember(self, key, verdict)
        return verdict


def remember(cache: dict[_Key, int], key: _Key, verdict: int) -> None:
    """Keep a verdict, unless the key is too long to be met again. A full cache begins anew."""
    if len(key) <= _CACHED_KEY_LENGTH:
        if len(cache) >= _CACHED_KEYS:
            cache.clear()
        cache[key] = verdict


def split_words(key: str) -> list[str]:
    """Return the words of a key in lower case: `"dbPassword2"` gives `["db", "password", "2"]`."""
    return [word.lower() for word in _WORDS.findall(fold(key))]


_DEFAULT_PHRASES: Final = frozenset("".join(split_words(pattern)) for pattern in DEFAULT_SENSITIVE_PATTERNS)


def _readings(key: str) -> Iterator[list[str]]:
    """Yield the ways to read a key as words: by its capitals, without regard to case, and with digits as letters."""
    folded = fold(key)
    yield [word.lower() for word in _WORDS.findall(folded)]
    lower = folded.lower()
    if lower != folded:
        yield _UNSPLIT_WORDS.findall(lower)
    if _LEET_INSIDE.search(lower):
        yield _UNSPLIT_WORDS.findall(lower.translate(_LEET))


def _phrases_of(words: list[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, words[start:end] joined), the longest first at each start, at most 32 characters long."""
    for start in range(len(words)):
        found = []
        phrase = ""
        for end in range(start, len(words)):
            phrase += words[end]
            if len(phrase) > _LONGEST_PHRASE and end > start:
                break
            found.append((start, end + 1, phrase))
        yield from reversed(found)


def _is_cancelled(words: list[str], start: int, end: int, phrase: str) -> bool:
    """Whether a word around the phrase says that the key counts or describes: `token_type`, `has_token`."""
    if end < len(words) and words[-1] in DESCRIBING_LAST_WORDS:
        return True
    if start == 0:
        return False
    before = words[start - 1]
    if before in QUANTIFYING_WORDS or words[0] in QUANTIFYING_WORDS:
        return True
    return phrase in ("token", "pass") and before in TEXT_TOKEN_WORDS


def check_pattern(pattern: object) -> None:
    """Raise ConfigError for what is no pattern."""
    if not isinstance(pattern, str):
        raise ConfigError(f"Sensitive pattern {pattern!r} is not a string; use words or a glob such as '*api_key*'.")
    if not any(char.isalnum() or char in "*?" for char in pattern):
        raise ConfigError(f"Sensitive pattern {pattern!r} has no letter or digit to match; use words or a glob.")
    rest = pattern
    while "[" in rest:
        # As in fnmatch: a `]` directly after `[` or `[!` belongs to the set.
        inside = rest.partition("[")[2].removeprefix("!")
        if "]" not in inside[1:]:
            raise ConfigError(f"Sensitive pattern {pattern!r} is no glob: a '[' is not closed. Write '[[]' for a '['.")
        rest = inside[1:].partition("]")[2]
