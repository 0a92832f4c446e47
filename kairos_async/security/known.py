"""The secret values that a run has seen: found again wherever they turn up, as they are or encoded once."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote

from kairos_async.security.runs import Span, has_run

REDACTED: Final = "[REDACTED]"
SHORTEST_SECRET: Final = 6
"""Characters. Shorter strings turn up by chance too often to be searched for."""

_COMMON_WORDS: Final = frozenset(
    {
        *("bearer", "default", "disabled", "enabled", "example", "expired", "external", "inactive", "internal"),
        *("invalid", "missing", "optional", "password", "public", "private", "required", "secret", "string", "unknown"),
        *("unset", "redacted", "anonymous", "********", "**********", REDACTED.lower()),
    }
)
"""Settings and placeholders that stand under sensitive keys (`auth: "required"`) and are no secrets."""

_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_=-]*+")
_SCHEME: Final = re.compile(r"(?:bearer|basic|token|digest|apikey|bot)\s++(\S++)\s*+", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"://[^\s/?#:@]{0,256}+:([^\s@]{1,256}+)@")
_COOKIE_VALUE: Final = re.compile(r"(?<![^\s=;,])[^\s=;,]{1,128}+=([^\s;,]{16,4096}+)")
_LONG_LINE: Final = 16
_GRAM: Final = SHORTEST_SECRET
_LONGEST_FORM: Final = 4096
"""Characters. Longer values are remembered in pieces of this length, of which any copy is made too."""
_FEW_FORMS: Final = 96
"""Up to this many forms are searched one by one (about 0.6 us each in 1 KB of text); beyond, by windows of 6 characters
(about 60 us in 1 KB, whatever their number)."""


class KnownSecrets:
    """Secret values, registered while a run goes on. Registering is cheap; forms are worked out at the next search."""

    __slots__ = ("_encoded", "_index", "_new", "_plain", "_shortest_encoded", "_values")

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._new: list[str] = []
        # Replaced as a whole and never changed in place: a search in another thread goes on with what it began with.
        self._plain: tuple[str, ...] = ()
        self._encoded: tuple[str, ...] = ()
        self._shortest_encoded = 0
        self._index: dict[str, list[str]] | None = None

    def __bool__(self) -> bool:
        return bool(self._values)

    def __repr__(self) -> str:
        return f"<KnownSecrets: {len(self._values)} values>"

    def add(self, value: str) -> None:
        """Remember a value of at least 6 characters, and the credential inside an Authorization header, URL or cookie.

        Shorter values, masks and common words such as "required" are passed over.
        """
        for part in (value, *_credentials_inside(value)):
            text = part.strip()
            if len(text) < SHORTEST_SECRET or text.lower() in _COMMON_WORDS or not text.strip("*•.-_ "):
                continue
            for start in range(0, len(text), _LONGEST_FORM):
                piece = text[start : start + _LONGEST_FORM]
                if len(piece) >= SHORTEST_SECRET and piece not in self._values:
                    self._values.add(piece)
                    self._new.append(piece)

    def found_in(self, text: str) -> bool:
        """Whether a known value, or an encoding of it, is part of the text."""
        if len(text) < SHORTEST_SECRET:
            return False
        if self._new:
            self._prepare()
        if self._index is not None:
            return next(_indexed(text, self._index), None) is not None
        # A loop and not any(...): the generator would cost more than most searches.
        for form in self._plain:
            if form in text:
                return True
        return self._may_be_encoded(text) and any(form in text for form in self._encoded)

    def _may_be_encoded(self, text: str) -> bool:
        if not self._encoded or len(text) < self._shortest_encoded:
            return False
        return has_run(text.encode("ascii", "replace"), self._shortest_encoded)

    def spans(self, text: str) -> list[Span]:
        """Return where known values are in the text, as (start, end); encoded ones with the base64 text around them."""
        if not self.found_in(text):
            return []
        if self._index is not None:
            encoded = frozenset(self._encoded)
            places = ((start, form, form in encoded) for start, form in _indexed(text, self._index))
        else:
            places = (
                (start, form, is_encoded)
                for forms, is_encoded in ((self._plain, False), (self._encoded, True))
                for form in forms
                for start in _places(text, form)
            )
        found: list[Span] = []
        run = (0, 0)
        for start, form, is_encoded in places:
            if not is_encoded:
                found.append((start, start + len(form)))
            elif not run[0] <= start < run[1]:
                run = _whole_run(text, start)
                found.append(run)
        return found

    def _prepare(self) -> None:
        new, self._new = self._new, []
        plain = {*self._plain}
        encoded = {*self._encoded}
        for value in new:
            plain.update(_plain_forms(value))
            encoded.update(_base64_forms(value))
        self._plain = tuple(sorted(plain, key=len, reverse=True))
        self._encoded = tuple(sorted(encoded - plain, key=len, reverse=True))
        self._shortest_encoded = min(map(len, self._encoded), default=0)
        if len(plain) > _FEW_FORMS:
            index: dict[str, list[str]] = {}
            for form in (*self._plain, *self._encoded):
                index.setdefault(form[:_GRAM], []).append(form)
            self._index = index


def _places(text: str, form: str) -> Iterator[int]:
    start = text.find(form)
    while start >= 0:
        yield start
        start = text.find(form, start + len(form))


def _indexed(text: str, index: dict[str, list[str]]) -> Iterator[tuple[int, str]]:
    """Yield (place, form) for the forms in a text, found by their first six characters."""
    for start in range(len(text) - _GRAM + 1):
        for form in index.get(text[start : start + _GRAM], ()):
            if text.startswith(form, start):
                yield start, form


def _credentials_inside(value: str) -> list[str]:
    """Return the parts of a header, URL, cookie or key file that are secret by themselves."""
    parts = []
    if scheme := _SCHEME.fullmatch(value):
        parts.append(scheme[1])
    if "://" in value and "@" in value:
        parts.extend(password for found in _URL_PASSWORD.finditer(value) for password in (found[1], unquote(found[1])))
    if "=" in value:
        parts.extend(found[1] for found in _COOKIE_VALUE.finditer(value))
    if "\n" in value:
        parts.extend(line for line in value.splitlines() if len(line.strip()) >= _LONG_LINE and "-----" not in line)
    return parts


def _plain_forms(value: str) -> set[str]:
    """Return the value as it is and as it stands in a JSON string, in a Python literal and in a URL."""
    data = value.encode("utf-8", "replace")
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(data, safe=""),
        quote(data),
        quote_plus(data),
    }
    return forms | {_lower_escapes(form) for form in forms if "%" in form}


def _lower_escapes(text: str) -> str:
    """Return a URL-encoded text with its escapes in lower case: `%2f` for `%2F`."""
    head, *rest = text.split("%")
    return "%".join((head, *(part[:2].lower() + part[2:] for part in rest)))


def _base64_forms(value: str) -> set[str]:
    """Return what all base64 texts with the value inside have in common, for the three places at which it can begin.

    Characters of the base64 text that also depend on the bytes before or after the value are left out.
    """
    data = value.encode("utf-8", "replace")
    forms = set()
    for before in range(3):
        coded = base64.b64encode(bytes(before) + data).decode("ascii")
        first = (0, 2, 3)[before]
        last = (before + len(data)) * 8 // 6
        core = coded[first:last]
        if len(core) >= _GRAM:
            forms.add(core)
            forms.add(core.translate({ord("+"): "-", ord("/"): "_"}))
    return forms


def _whole_run(text: str, inside: int) -> Span:
    """Return the run of base64 characters around a place."""
    end = _BASE64_RUN.match(text, inside)
    start = inside
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in "+/_-="):
        start -= 1
    return start, end.end() if end else inside
