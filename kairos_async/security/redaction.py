"""Redaction of whatever leaves a run: by key, by shape and by known value.

One `Redactor` serves one run, because it knows the secret values that this run has stored. What is known of keys is
shared by all runs with the same patterns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn, cast

from kairos_async._types import JSONScalar, JSONValue
from kairos_async.exceptions import ConfigError
from kairos_async.security.engine import as_json, encodable
from kairos_async.security.key_facts import ODD, KeyFacts, RunFacts, facts_of
from kairos_async.security.keys import SENSITIVE_NUMBER_TOO, check_pattern
from kairos_async.security.known import REDACTED, KnownSecrets
from kairos_async.security.messages import clean_message
from kairos_async.security.plain import (
    as_plain,
    is_secret_pair,
    is_wrapped_secret,
    named_value,
    strings_in,
    type_name,
)
from kairos_async.security.quick import DEEPEST, is_plain
from kairos_async.security.runs import SHORTEST_RUN
from kairos_async.security.secrets import SHORTEST_TEXT, scrub, without_known
from kairos_async.security.vocabulary import DEFAULT_SENSITIVE_PATTERNS

_BIG: Final = 10**4000
"""Integers beyond cannot be written as JSON: Python refuses to print more than 4,300 digits."""
_NON_FINITE: Final[dict[str, JSONValue]] = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

_Seen = dict[int, tuple[object, JSONValue]]
"""Containers by identity: the object, kept alive, and what became of it."""


class Redactor:
    """Replaces secrets by `[REDACTED]`. One a run.

    Args:
        patterns: words or globs for keys, beside `DEFAULT_SENSITIVE_PATTERNS`. `KeyMatcher` says what they match.
        registry: known values to start with, shared with whoever else holds it; None for a new one.

    Raises:
        ConfigError: a pattern is no word and no glob.
    """

    __slots__ = ("_facts", "_keys", "_known")

    def __init__(self, patterns: Sequence[str] = (), *, registry: KnownSecrets | None = None) -> None:
        self._known = KnownSecrets() if registry is None else registry
        self._use(_beside_defaults(_listed(patterns)))

    def _use(self, shared: KeyFacts) -> None:
        self._keys = shared.matcher
        # Without a secret of its own, a run finds all that it asks of keys where other runs have left it.
        self._facts: KeyFacts | RunFacts = RunFacts(shared, self._known) if self._known.count else shared

    def __repr__(self) -> str:
        return "<Redactor>"

    def __deepcopy__(self, _: object) -> Redactor:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Redactor knows a run's secrets and is not pickled. Pickle what redact() or to_dict() returns."
        )

    def is_sensitive(self, key: str) -> bool:
        """Whether the value under this key is a secret."""
        return self._keys[key] > 0

    def register(self, value: object) -> None:
        """Remember every string of at least 6 characters in the value: it is scrubbed wherever it turns up again."""
        for text in strings_in(value):
            self._known.add(text)

    def register_sensitive_parts(self, value: object, key: str | None = None) -> None:
        """Register the strings under sensitive keys inside the value; all of them if `key`, its own, is sensitive.

        A wrapped secret, such as a `pydantic.SecretStr`, is registered wherever it stands.
        """
        if key is not None and self._keys[key]:
            self.register(value)
        elif type(value) not in _LEAVES and self._texts_of_plain(value) is None:
            self._register_inside(value)

    def _register_inside(self, value: object) -> None:
        keys = self._keys
        waiting: list[object] = [value]
        while waiting:
            part = waiting.pop()
            if type(part) is dict:
                for key, inner in part.items():
                    if keys[key]:
                        self.register(inner)
                    elif type(inner) not in _LEAVES:
                        waiting.append(inner)
                if named := named_value(part, keys):
                    self.register(part[named])
            elif type(part) is list:
                if is_secret_pair(part, keys):
                    self.register(part[1])
                waiting.extend(inner for inner in part if type(inner) not in _LEAVES)
            elif is_wrapped_secret(part):
                self.register(part)

    def are_plain(self, key: str, leaves: frozenset[str]) -> bool:
        """Whether there is nothing to register in dicts without containers that are stored under the key and have no
        other keys than these. It is the same for all runs with the same patterns."""
        return not self._keys[key] and self._facts.shared.are_plain(leaves)

    def passes(self, value: JSONValue, leaves: frozenset[str], *, shows: bool) -> bool:
        """Whether it is known without a search that `take_in` does nothing for a value, and shows it as it is.

        That is so of a dict without containers that has no other keys than `leaves`, which `are_plain` has been asked
        about; if it is to be shown, with no text but short words, in which none of the rules for texts would find
        anything. To search for that takes 1.0 us of a step of 15, and to know it 0.1.
        """
        if self._known.count or type(value) is not dict or not leaves.issuperset(value):
            return False
        if shows:
            for part in value.values():
                if type(part) is str and not (
                    part.isascii() and (len(part) < SHORTEST_TEXT or (len(part) < SHORTEST_RUN and part.isalnum()))
                ):
                    return False
        return True

    def take_in(self, value: JSONValue, key: str, *, shows: bool, data: bytes | None = None) -> tuple[bool, JSONValue]:
        """Register what is sensitive in a value that is stored under the key, and so has been checked for the state.

        `data` is the value as JSON, if that is known.

        Returns:
            Whether `holds_secret`, asked before that; and with `shows` the value redacted, else None. One look at the
            value serves for all three.
        """
        known = self._known
        texts = None
        if not self._keys[key]:
            # Encoding all of it and one look at that cost a third of what a walk over a list of records does.
            data = as_json(value) if data is None else data
            if not self._keys.may_need_look(data) and not (known.count and known.found_in_utf8(data)):
                return False, value if shows else None
            texts = self._texts_of_plain(value)
        if texts is not None:
            text = "\n".join(texts)
            if not (known.count and known.found_in(text)):
                if not shows:
                    return False, None
                return False, value if self._is_clean_text(text) else self._value(value, {}, 0)
        found = self.holds_secret(value)
        self.register_sensitive_parts(value, key)
        return found, self.under(key, value) if shows else None

    def holds_secret(self, value: JSONValue) -> bool:
        """Whether a registered secret is in the value, as a key or in a string, but not under a sensitive key."""
        known = self._known
        if not known.count:
            return False
        texts = self._texts_of_plain(value)
        if texts is not None and not known.found_in("\n".join(texts)):
            return False
        keys = self._keys
        waiting: list[JSONValue] = [value]
        while waiting:
            part = waiting.pop()
            if type(part) is str:
                if known.found_in(part):
                    return True
            elif type(part) is dict:
                if any(known.found_in(key) for key in part):
                    return True
                named = named_value(part, keys)
                waiting.extend(inner for key, inner in part.items() if not keys[key] and key != named)
            elif type(part) is list:
                waiting.extend(part[:1] if is_secret_pair(part, keys) else part)
        return False

    def without_secrets(self, value: JSONValue) -> JSONValue:
        """Return a value of the state without the registered secrets for which `holds_secret` is true."""
        known, keys = self._known, self._keys
        if type(value) is str:
            return without_known(value, known)
        if type(value) is list:
            is_pair = is_secret_pair(value, keys)
            return [part if is_pair and place else self.without_secrets(part) for place, part in enumerate(value)]
        if type(value) is not dict:
            return value
        named = named_value(value, keys)
        cleaned: dict[str, JSONValue] = {}
        fresh = _Fresh()
        for key, part in value.items():
            cleaned[fresh.key(without_known(key, known))] = (
                part if keys[key] or key == named else self.without_secrets(part)
            )
        return cleaned

    def text(self, text: str) -> str:
        """Return the text with secrets replaced; the same object if there are none.

        Lone surrogates become `?`, because no output can encode them.
        """
        if type(text) is not str:
            text = str.__str__(text)
        return scrub(text, self._keys, self._known)

    def name(self, name: str) -> str:
        """Return what `text` does for a name from code, such as a step's, by a look-up; a run's values aside."""
        return name if self._facts.shared[name] != ODD else self.text(name)

    def redact(self, data: object) -> JSONValue:
        """Return the data as JSON data with secrets replaced. Never raises.

        JSON data without a secret comes back as the same object. Tuples and sets become lists; dataclasses, Pydantic
        models and mappings become dicts; bytes, dates, paths and enums become strings; an exception becomes its class
        name and its cleaned message. NaN and infinities become their names. Anything else becomes the name of its type,
        and so does a container nested deeper than 128 levels or inside of itself.
        """
        try:
            return cast(JSONValue, data) if self._is_clean(data) else self._value(data, {}, 0)
        except RecursionError:  # the caller is itself near the limit of the stack
            return type_name(data)

    def under(self, key: str, data: object) -> JSONValue:
        """Return what `redact` makes of the data under this key."""
        return next(iter(cast(dict[str, JSONValue], self.redact({key: data})).values()))

    def _facts_now(self) -> KeyFacts | RunFacts:
        """Return what is known of keys, anew if more secrets are known than when it was found out."""
        if self._facts.known_count != self._known.count:
            self._facts = RunFacts(self._facts.shared, self._known)
        return self._facts

    def _is_clean(self, data: object) -> bool:
        """Whether data passes as it is. Most has no secret, and one look at all its texts together costs little."""
        texts = self._texts_of_plain(data)
        if not texts:
            return texts is not None
        text = "\n".join(texts)
        return not (self._known.count and self._known.found_in(text)) and self._is_clean_text(text)

    def _is_clean_text(self, text: str) -> bool:
        """Whether no rule finds anything in the text, and any output can encode it; known values aside."""
        return encodable(text) is text and not self._keys.may_hold_secret(text)

    def _texts_of_plain(self, data: object) -> list[str] | None:
        """Return all texts in JSON data in which no key or number needs a closer look; None for any other data."""
        if type(data) not in _CONTAINERS:
            return None
        facts = self._facts if self._facts.known_count == self._known.count else self._facts_now()
        texts: list[str] = []
        try:
            return texts if is_plain(data, facts, self._keys, texts) else None
        except Exception:
            return None  # an integer beyond all floats, or a key that is a string of a class of its own and raised

    def _value(self, value: Any, seen: _Seen, depth: int) -> JSONValue:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind in _SCALARS:
            return _finite(value)
        known = seen.get(id(value))
        if known is not None:
            return known[1]
        if depth >= DEEPEST:
            return type_name(value)
        seen[id(value)] = value, type_name(value)  # what a way back to here becomes
        result: JSONValue
        if kind is dict:
            result = self._dict(value, seen, depth + 1)
        elif kind is list:
            result = self._list(value, seen, depth + 1)
        else:
            result = self._other(value, seen, depth + 1)
        seen[id(value)] = value, result
        return result

    def _dict(self, data: dict[str, Any], seen: _Seen, depth: int) -> dict[str, JSONValue]:
        facts = self._facts_now()
        changed: dict[str, JSONValue] = {}
        for key, value in data.items():
            level = facts[key] if type(key) is str else ODD
            if level == ODD:
                return self._dict_with_odd_keys(data, seen, depth)
            if level:
                new = self._hidden(value, level)
            elif value is None or type(value) is bool:
                continue
            else:
                new = self._value(value, seen, depth)
            if new is not value:
                changed[key] = new
        if named := named_value(data, self._keys):
            changed[named] = self._hidden(data[named], SENSITIVE_NUMBER_TOO)
        return {**data, **changed} if changed else data

    def _dict_with_odd_keys(self, data: dict[Any, Any], seen: _Seen, depth: int) -> dict[str, JSONValue]:
        """Redact a dict of which a key is no string, or has a secret in it. Keys that become equal are numbered."""
        result: dict[str, JSONValue] = {}
        fresh = _Fresh()
        for key, value in data.items():
            plain = self._key(key)
            text = fresh.key(self.text(plain))
            level = self._keys[plain]
            result[text] = self._hidden(value, level) if level else self._value(value, seen, depth)
        if named := named_value(result, self._keys):
            result[named] = self._hidden(result[named], SENSITIVE_NUMBER_TOO)
        return result

    def _key(self, key: object) -> str:
        """Return a key as JSON would write it."""
        if type(key) is str:
            return key
        plain = self._value(as_plain(key) if isinstance(key, str | bytes) else key, {}, 0)
        if isinstance(plain, str):
            return plain
        if plain is None or isinstance(plain, bool):
            return {None: "null", True: "true", False: "false"}[plain]
        return str(plain) if isinstance(plain, int | float) else type_name(key)

    def _list(self, data: list[Any], seen: _Seen, depth: int) -> JSONValue:
        changed: dict[int, JSONValue] = {}
        for index, value in enumerate(data):
            new = self._value(value, seen, depth)
            if new is not value:
                changed[index] = new
        result = [changed.get(index, value) for index, value in enumerate(data)] if changed else data
        if is_secret_pair(result, self._keys) and result[1] != REDACTED:
            return [result[0], REDACTED]
        return result

    def _hidden(self, value: Any, level: int) -> JSONValue:
        """Return what stands for a value under a sensitive key: itself if it can be no secret."""
        kind = type(value)
        if value is None or kind is bool or (kind is str and value == REDACTED):
            return cast(JSONScalar, value)
        if level != SENSITIVE_NUMBER_TOO and (kind is int or kind is float):
            return _finite(value)
        return REDACTED

    def _other(self, value: Any, seen: _Seen, depth: int) -> JSONValue:
        try:
            if is_wrapped_secret(value):
                return REDACTED
            if isinstance(value, BaseException):
                return f"{type_name(value)}: {clean_message(value, self)}"
            plain = as_plain(value)
            return type_name(value) if plain is None else self._value(plain, seen, depth)
        except (KeyboardInterrupt, RecursionError):
            raise
        except BaseException:
            # The value's own code raised, be it SystemExit: it cannot be looked into, so nothing of it is shown.
            return type_name(value)


_CONTAINERS: Final = (dict, list)
_SCALARS: Final = frozenset({type(None), bool, int, float})
_LEAVES: Final = _SCALARS | {str}


def _finite(value: bool | int | float | None) -> JSONValue:
    if type(value) is float:
        return value if math.isfinite(value) else _NON_FINITE[repr(value)]
    if type(value) is int and not -_BIG < value < _BIG:
        return "int"
    return value


class _Fresh(dict[str, int]):
    """The keys of a dict that is being made, none of them twice, with the last number that each was given."""

    __slots__ = ()

    def key(self, text: str) -> str:
        """Return the text, with a number behind it if it is taken. Many equal ones take linear time."""
        number = self.get(text)
        if number is None:
            self[text] = 1
            return text
        while (key := f"{text} ({number + 1})") in self:
            number += 1
        self[text], self[key] = number + 1, 1
        return key


def _listed(patterns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise ConfigError(f"Sensitive patterns are a list of strings: write [{patterns!r}] and not {patterns!r}.")
    return tuple(patterns)


def _alone(patterns: tuple[str, ...]) -> KeyFacts:
    for pattern in patterns:
        check_pattern(pattern)
    return facts_of(patterns)


@functools.lru_cache(maxsize=64)
def _beside_defaults(patterns: tuple[str, ...]) -> KeyFacts:
    """The facts for the defaults and these. Cached by the user's own: hashing all of them takes 5 us a run."""
    for pattern in patterns:
        check_pattern(pattern)
    return facts_of((*DEFAULT_SENSITIVE_PATTERNS, *patterns))


def redact_sensitive(data: object, patterns: Sequence[str] | None = None) -> JSONValue:
    """Return the data with secrets replaced, as `Redactor.redact` does.

    Args:
        data: anything; JSON data without a secret comes back as the same object.
        patterns: words or globs for keys, in place of `DEFAULT_SENSITIVE_PATTERNS`; None for these. With `[]` only
            strings that look like credentials are replaced.

    Raises:
        ConfigError: a pattern is no word and no glob.
    """
    redactor = Redactor()
    if patterns is not None:
        redactor._use(_alone(_listed(patterns)))
    return redactor.redact(data)
