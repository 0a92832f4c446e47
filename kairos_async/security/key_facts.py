"""What is known of keys, so that each is looked at once: whether it is sensitive, and whether it can stay as it is."""

from __future__ import annotations

import functools
from typing import Final

from kairos_async.security.keys import KeyMatcher, remember
from kairos_async.security.known import KnownSecrets
from kairos_async.security.secrets import scrub
from kairos_async.security.vocabulary import VALUE_FIELDS

ODD: Final = -1
"""Of a key: it has a secret in itself, or characters that no output can encode."""


class KeyFacts(dict[str, int]):
    """What the matcher says of each key, or ODD: one look-up for both.

    Attributes:
        shared: what holds for every run: these facts. No property, which would take half a hundredth of an item.
    """

    __slots__ = ("_plain", "matcher", "shared")

    shared: KeyFacts

    known_count: Final = 0
    """Of secrets, for which `RunFacts` look into keys."""

    def __init__(self, matcher: KeyMatcher) -> None:
        super().__init__()
        self.matcher: Final = matcher
        self.shared = self
        self._plain: dict[frozenset[str], bool] = {}

    def are_plain(self, keys: frozenset[str]) -> bool:
        """Whether values that are no containers hold nothing to register, under whichever of these keys they stand.

        For the keys that contracts declare: what is known of a set of keys is never forgotten.
        """
        known = self._plain.get(keys)
        if known is None:
            known = self._plain[keys] = VALUE_FIELDS.isdisjoint(keys) and not any(self[key] for key in keys)
        return known

    def __missing__(self, key: str) -> int:
        if type(key) is not str:
            return ODD
        fact = self.matcher[key] if scrub(key, self.matcher, None) is key else ODD
        remember(self, key, fact)
        return fact


class RunFacts(dict[str, int]):
    """The same for one run: a key is also odd if it has a secret in it that the run knows."""

    __slots__ = ("_known", "known_count", "shared")

    def __init__(self, shared: KeyFacts, known: KnownSecrets) -> None:
        super().__init__()
        self.shared: Final = shared
        self._known: Final = known
        self.known_count: Final = known.count

    def __missing__(self, key: str) -> int:
        fact = self.shared[key]
        if type(key) is not str:
            return fact
        if self._known and self._known.found_in(key):
            fact = ODD
        remember(self, key, fact)
        return fact


@functools.lru_cache(maxsize=64)
def facts_of(patterns: tuple[str, ...]) -> KeyFacts:
    """Return the facts for these patterns, one table for all runs that use the same.

    Raises:
        ConfigError: as `KeyMatcher` does.
    """
    return KeyFacts(KeyMatcher(patterns))
