"""Secrets in text: by value, by what they are assigned to, by published format, by key words near random text.

All rules look at the same text and report places; overlapping places are replaced once. Most texts have no secret and
get no further than the first look (`suspicion.py`).
"""

from __future__ import annotations

import base64
import binascii
import bisect
import re
from typing import Final

from kairos_async.security.assignments import assigned_spans
from kairos_async.security.engine import encodable
from kairos_async.security.keys import KeyMatcher
from kairos_async.security.known import REDACTED, KnownSecrets
from kairos_async.security.late import Late
from kairos_async.security.randomness import random_spans
from kairos_async.security.runs import Span, long_runs
from kairos_async.security.shapes import format_spans

SHORTEST_TEXT: Final = 8
"""Characters. Shorter texts are searched for known values only."""
_MOST_PASSES: Final = 4
_MARK: Final = Late(re.escape(REDACTED))
_PEM_BEGIN: Final = Late(rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = b"-----END "
_PEM_BODY: Final = Late(rb"(?:[A-Za-z0-9+/=\s:,.-]|\\[nr])*+")
_USERINFO: Final = Late(rb"://([^\s/?#@\"'<>:]{0,256}+):([^\s/?#\"'<>]{1,512}+)")
_USER_TOKEN: Final = Late(rb"://([A-Za-z0-9_-]{16,256}+)@")
_BEARER: Final = Late(rb"\b(?:bearer|token)[ \t]{1,4}+([A-Za-z0-9._~+/-]{12,4096}+=*+)", re.IGNORECASE)
_BASIC: Final = Late(rb"\bbasic[ \t]{1,4}+([A-Za-z0-9+/]{6,4096}+={0,2})", re.IGNORECASE)


def scrub(text: str, keys: KeyMatcher, known: KnownSecrets | None) -> str:
    """Return the text with each secret, and each lone surrogate, replaced; the same object if there are none."""
    text = encodable(text)  # the automata of the first look find nothing in a text with a lone surrogate
    for _ in range(_MOST_PASSES):  # with a long value gone, a key word may stand nearer to the next one
        spans = _spans(text, keys, known)
        if not spans:
            break
        cleaned = _replace(text, spans)
        if cleaned == text:
            break
        text = cleaned
    return text


def without_known(text: str, known: KnownSecrets) -> str:
    """Return the text with each known value replaced, and nothing else; the same object if there are none."""
    spans = known.spans(text)
    return _replace(text, spans) if spans else text


def _spans(text: str, keys: KeyMatcher, known: KnownSecrets | None) -> list[Span]:
    found = known.spans(text) if known else []
    if len(text) < SHORTEST_TEXT or not keys.may_hold_secret(text):
        return found
    data = text.encode("ascii", "replace")  # one byte a character, so that places are the same
    found += assigned_spans(data, keys)
    if 64 in data and b"://" in data:  # @
        found += url_spans(data)
    runs = long_runs(data)
    found += header_spans(data)
    if runs:
        found += format_spans(data, runs)
        found += random_spans(data, runs)
        if b"-----BEGIN " in data:
            found += pem_spans(data)
    return found


def _replace(text: str, spans: list[Span]) -> str:
    if REDACTED in text:
        spans = _outside_marks(text, spans)
    parts: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start > end or not parts:
            parts += (text[end:start], REDACTED)
        end = max(end, stop)
    parts.append(text[end:])
    return "".join(parts)


def _outside_marks(text: str, spans: list[Span]) -> list[Span]:
    """Return the places without those of earlier replacements; one that has part of a mark gets all of it."""
    starts = [match.start() for match in _MARK.pattern.finditer(text)]
    kept = []
    for start, end in spans:
        first = bisect.bisect_right(starts, start - len(REDACTED))
        last = bisect.bisect_left(starts, end)
        low, high = start, end
        if first < last:
            low, high = min(start, starts[first]), max(end, starts[last - 1] + len(REDACTED))
        if high - low > (last - first) * len(REDACTED):
            kept.append((low, high))
    return kept


def url_spans(data: bytes) -> list[Span]:
    """Return the passwords in URLs, and user names that are tokens: `https://<token>@host`."""
    found: list[Span] = []
    for match in _USERINFO.pattern.finditer(data):
        at = match[2].rfind(b"@")
        if at > 0:
            found.append((match.start(2), match.start(2) + at))
    for match in _USER_TOKEN.pattern.finditer(data):
        if any(48 <= code <= 57 for code in match[1]):
            found.append(match.span(1))
    return found


def header_spans(data: bytes) -> list[Span]:
    """Return the credentials after "Bearer" and "Basic"."""
    found = [
        match.span(1)
        for match in _BEARER.pattern.finditer(data)
        if any(48 <= code <= 57 for code in match[1]) and not match[1].isdigit()
    ]
    found.extend(match.span(1) for match in _BASIC.pattern.finditer(data) if _is_user_and_password(match[1]))
    return found


def _is_user_and_password(coded: bytes) -> bool:
    try:
        return b":" in base64.b64decode(coded + b"=" * (-len(coded) % 4))
    except binascii.Error:
        return False


def pem_spans(data: bytes) -> list[Span]:
    """Return the bodies of private keys, up to their end line or as far as they go."""
    found: list[Span] = []
    for match in _PEM_BEGIN.pattern.finditer(data):
        if found and match.start() < found[-1][1]:
            continue
        body = _PEM_BODY.pattern.match(data, match.end())
        stop = body.end() if body else match.end()
        end = data.find(_PEM_END, match.end(), stop)
        found.append((match.end(), stop if end < 0 else end))
    return [(start, end) for start, end in found if end > start]
