"""The secret values that a run has seen: found again wherever they turn up, as they are or encoded once."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote

from kairos_async.security.engine import encodable, matcher
from kairos_async.security.late import Late
from kairos_async.security.runs import Span

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

_BASE64: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-")
_BASE64_MARKS: Final = bytes(120 if code in _BASE64 else 32 for code in range(256))
_MARK: Final = b"x"
_MARKED: Final = Late(rb"x++")
_SCHEME: Final = Late(r"(?:bearer|basic|token|digest|apikey|bot)\s++(\S++)\s*+", re.IGNORECASE)
_URL_PASSWORD: Final = Late(r"://[^\s/?#:@]{0,256}+:([^\s@]{1,256}+)@")
_COOKIE_VALUE: Final = Late(r"(?<![^\s=;,])[^\s=;,]{1,128}+=([^\s;,]{16,4096}+)")
_LONG_LINE: Final = 16
_LONGEST_FORM: Final = 4096
"""Characters. Longer values are remembered in pieces of this length, of which any copy is made too."""
_SHARE_OF_LATE: Final = 4
_FEW: Final = 16
"""Forms up to which all are searched for one by one at first."""
_PAYS: Final = 64
"""Searches for single forms, for each form that is known, after which they are compiled: 4 forms are searched for in
1 KB in 0.8 us one by one, in 0.2 us together, and compiled in 50 us."""
_FEW_FORMS: Final = 200
"""Up to here, a search for each form is faster than a look at each place of the text."""
_SAME_EVERYWHERE: Final = Late(r"[A-Za-z0-9_.~-]+")
"""What nobody has to escape, as most tokens are."""
_LEFT_IN_URLS: Final = ("", "/", "!~*'()", ";,/?:@&=+$!~*'()#", "!#$%&'()*+,/:;=?@[]~", "!$%&()*+,/:;=?@[\\]^`{|}")
"""Characters that are not encoded in a URL: by Python, by JavaScript for a part and for the whole, by HTTP clients, by
browsers."""
_IN_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_IN_ATTRIBUTES: Final = str.maketrans({'"': "&quot;", "'": "&#x27;"})
_FEW_LENGTHS: Final = 8
"""Forms that begin alike, in more lengths than these, are searched for one by one."""
_NONE: Final[frozenset[str]] = frozenset()
"""One for all: each empty set takes 200 bytes, of 10,000 for a small run under way."""
_OPENING: Final = 32
"""Characters of a form that the common expression looks for."""


class KnownSecrets:
    """Secret values, registered while a run goes on. Registering is cheap; forms are worked out at the next search.

    Once there are more than a few forms, a text is looked at by one regular expression for all forms that were known
    when it was compiled, and by one search for each form that came later; compiling again waits until those are a
    quarter of all, so that a run that registers a value at every step does not compile at every step. Few forms are
    compiled once they have been searched for often.

    Attributes:
        count: of registered values; it grows.
    """

    __slots__ = ("_compiled", "_encoded", "_index", "_late", "_lock", "_new", "_plain", "_searches", "_values", "count")

    def __init__(self) -> None:
        self.count = 0
        self._values: set[str] | None = None
        self._new: list[str] = []
        self._lock = threading.Lock()
        # What follows is replaced, never changed in place: a search in another thread goes on with what it began with.
        self._plain = self._encoded = _NONE
        self._late: tuple[bytes, ...] = ()
        self._compiled: Callable[[bytes], bool] | None = None
        self._searches = 0
        self._index: dict[str, dict[int, set[str]]] = {}  # by opening and length; read and written under the lock

    def __bool__(self) -> bool:
        return self.count > 0

    def __repr__(self) -> str:
        return f"<KnownSecrets: {self.count} values>"

    def add(self, value: str) -> None:
        """Remember a value of at least 6 characters, and the credential inside an Authorization header, URL or cookie.

        Shorter values, masks and common words such as "required" are passed over.
        """
        for part in (value, *_credentials_inside(value)):
            text = encodable(part.strip())
            if len(text) < SHORTEST_SECRET or text.lower() in _COMMON_WORDS or not text.strip("*•.-_ "):
                continue
            for start in range(0, len(text), _LONGEST_FORM):
                piece = text[start : start + _LONGEST_FORM]
                if len(piece) >= SHORTEST_SECRET and piece not in (self._values or ()):
                    self._values = self._values or set()
                    self._values.add(piece)
                    self._new.append(piece)
                    self.count += 1

    def found_in(self, text: str) -> bool:
        """Whether a known value, or an encoding of it, is part of the text. Lone surrogates count as `?`."""
        return len(text) >= SHORTEST_SECRET and self.found_in_utf8(text.encode("utf-8", "replace"))

    def found_in_utf8(self, data: bytes) -> bool:
        """The same of encoded text; of JSON, it says so of all texts in it."""
        if self._new:
            with self._lock:
                self._prepare()
        if late := self._late:
            for form in late:
                if form in data:
                    return True
            self._searches += len(late)
            if self._searches > _PAYS * (len(self._plain) + len(self._encoded)):
                with self._lock:
                    self._compile()
        return self._compiled is not None and self._compiled(data)

    def spans(self, text: str) -> list[Span]:
        """Return where known values are in the text, as (start, end); encoded ones with the base64 text around them."""
        if not self.found_in(text):
            return []
        # Marked in place: values that begin alike, or repeat themselves, can be at each place of the text many times.
        as_it_is, encoded = bytearray(len(text)), bytearray(len(text))
        words = text.encode("ascii", "replace").translate(_BASE64_MARKS)
        for start, form in self._places(text):
            if form in self._plain:
                as_it_is[start : start + len(form)] = _MARK * len(form)
            elif not encoded[start]:
                first, end = words.rfind(b" ", 0, start) + 1, words.find(b" ", start)
                end = len(text) if end < 0 else end
                encoded[first:end] = _MARK * (end - first)
        return [found.span() for marks in (as_it_is, encoded) for found in _MARKED.pattern.finditer(marks)]

    def _places(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield where forms begin in the text, and which."""
        if len(self._plain) + len(self._encoded) <= _FEW_FORMS:
            forms = [*self._plain, *self._encoded]
        else:
            crowded = set()
            with self._lock:
                for start in range(len(text) - SHORTEST_SECRET + 1):
                    # All forms at once, by how they begin; then by their lengths, of which there are few.
                    opening = text[start : start + SHORTEST_SECRET]
                    if (lengths := self._index.get(opening)) is None:
                        continue
                    if len(lengths) > _FEW_LENGTHS:
                        crowded.add(opening)
                        continue
                    for length, some in lengths.items():
                        if (form := text[start : start + length]) in some:
                            yield start, form
                forms = [form for opening in crowded for some in self._index[opening].values() for form in some]
        for form in forms:
            start = text.find(form)
            while start >= 0:
                yield start, form
                start = text.find(form, start + len(form))

    def _prepare(self) -> None:
        new = self._new[:]
        plain = {form for value in new for form in _plain_forms(value)}
        encoded = {form for value in new for form in _base64_forms(value)} - plain
        self._plain, self._encoded = self._plain | plain, self._encoded | encoded
        for form in (*plain, *encoded):
            self._index.setdefault(form[:SHORTEST_SECRET], {}).setdefault(len(form), set()).add(form)
        self._late = (*self._late, *(form.encode() for form in (*plain, *encoded)))
        if len(self._late) * _SHARE_OF_LATE >= len(self._plain) + len(self._encoded) > _FEW:
            self._compile()
        del self._new[: len(new)]  # last, so that other threads wait for the lock until all of it is searched for

    def _compile(self) -> None:
        openings = {form[:_OPENING] for form in (*self._plain, *self._encoded)}
        self._compiled = matcher("|".join(re.escape(opening) for opening in sorted(openings)))
        self._late, self._searches = (), 0  # after that: a search in between finds them twice, and never not at all


def _credentials_inside(value: str) -> list[str]:
    """Return the parts of a header, URL, cookie or key file that are secret by themselves."""
    parts = []
    if scheme := _SCHEME.pattern.fullmatch(value):
        parts.append(scheme[1])
    if "://" in value and "@" in value:
        parts.extend(
            password for found in _URL_PASSWORD.pattern.finditer(value) for password in (found[1], unquote(found[1]))
        )
    if "=" in value:
        parts.extend(found[1] for found in _COOKIE_VALUE.pattern.finditer(value))
    if "\n" in value:
        parts.extend(line for line in value.splitlines() if len(line.strip()) >= _LONG_LINE and "-----" not in line)
    return parts


def _plain_forms(value: str) -> set[str]:
    """Return the value as it is and as it stands in a JSON string, in a Python literal, in HTML and in a URL.

    Each also as it stands in JSON, so that the JSON of some data can be searched in place of all texts in it.
    """
    if _SAME_EVERYWHERE.pattern.fullmatch(value):
        return {value}
    data = value.encode()
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        ascii(value)[1:-1],
        repr(data)[2:-1],
        value.translate(_IN_HTML),
        value.translate(_IN_HTML | _IN_ATTRIBUTES),
        quote_plus(data),
        *(quote(data, safe=left) for left in _LEFT_IN_URLS),
    }
    forms |= {_lower_escapes(form) for form in forms if "%" in form}
    forms |= {form.replace("/", "\\/") for form in forms if "/" in form}  # as some encoders of JSON do
    return forms | {json.dumps(form, ensure_ascii=False)[1:-1] for form in forms}


def _lower_escapes(text: str) -> str:
    """Return a URL-encoded text with its escapes in lower case: `%2f` for `%2F`."""
    head, *rest = text.split("%")
    return "%".join((head, *(part[:2].lower() + part[2:] for part in rest)))


def _base64_forms(value: str) -> set[str]:
    """Return what all base64 texts with the value inside have in common, for the three places at which it can begin.

    Characters of the base64 text that also depend on the bytes before or after the value are left out.
    """
    data = value.encode()
    forms = set()
    for before in range(3):
        coded = base64.b64encode(bytes(before) + data).decode("ascii")
        first = (0, 2, 3)[before]
        last = (before + len(data)) * 8 // 6
        core = coded[first:last]
        if len(core) >= SHORTEST_SECRET:
            forms.add(core)
            forms.add(core.translate({ord("+"): "-", ord("/"): "_"}))
    return forms
