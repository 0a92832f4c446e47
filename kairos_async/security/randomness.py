"""Secrets of no published format: random-looking words with a key word near them."""

from __future__ import annotations

import re
from typing import Final

from kairos_async.security.late import Late
from kairos_async.security.runs import Span

_LONGEST_TOKEN: Final = 512
_SHORTEST_TOKEN: Final = 16
_LONGEST_PIECE: Final = 12
"""A token has at least one piece this long without separators; names made of words and numbers have not."""
_CONTEXT: Final = 40
KEY_WORDS: Final = (
    r"key|token|secret|passw|passphrase|credential|auth|bearer|\bpat\b|\bjwt\b|signature|private|login|\bapi\b|\bpwd\b"
)
"""What stands near secrets, as a pattern without regard to case."""
_NEAR: Final = Late(KEY_WORDS.encode(), re.IGNORECASE)
_DIRECTLY_BEFORE: Final = Late(
    rb"(?:" + KEY_WORDS.encode() + rb")\w{0,12}[\"'`)\]]{0,3}"
    rb"(?:[ \t](?:provided|given|used|value|received|supplied|sent))?"
    rb"[ \t]{0,3}(?:is|was|of|=>|->|[:=,])?[ \t\"'`(\[\\]{0,4}\Z",
    re.IGNORECASE,
)
TELLING_HEADS: Final = frozenset(
    {
        *("sk", "pk", "rk", "live", "test", "prod", "key", "apikey", "api", "pat", "token", "tok", "secret", "sec"),
        *("auth", "access", "refresh", "cred", "bot", "oauth", "svc", "pass"),
    }
)
"""Parts of a token before its random part that say what it is: `acme_live_...`."""
_HEADS: Final = Late(rb"((?:[A-Za-z0-9]{1,8}[_+~-]){1,4})[A-Za-z0-9]{12}")
"""The short parts before the first long one."""
_UUID: Final = Late(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_HEX: Final = Late(rb"[0-9a-f]{16,128}|[0-9A-F]{16,128}")
_PIECES: Final = Late(rb"[A-Za-z0-9]+")
_TOKENS: Final = Late(rb"[A-Za-z0-9_+~-]{16,}+(?:={1,2}(?![A-Za-z0-9]))?")
_BASE64: Final = Late(rb"[A-Za-z0-9+/]{40,512}+={0,2}")
_MOST_SLASHES: Final = 0.08
"""The share of `/` up to which base64 is not taken for a path; in base64 one character in 64 is one."""
_COMMON_PAIRS: Final = frozenset(
    re.findall(
        r"\w\w",
        "th he in er an re nd at on nt ha es st en ed to it ou ea hi is or ti as te et ng of al de se le sa si ar "
        "ve ra ld ur ro co ic ll me ne ma ce ch io la el ta us om be li pe di tr pr ec em ac ge no ol ct im il mo po "
        "un ut su",
    )
)
_FEWEST_CHANGES: Final = 0.15
"""The share of places at which small letters, capitals and digits change; random text has 0.4 to 0.6."""
_FEWEST_CHANGES_WITHOUT_DIGITS: Final = 0.38
"""`NamesInCamelCase` have up to a third."""
_MOST_COMMON_PAIRS: Final = 0.34
"""The share of common English letter pairs above which a token is taken for words; random letters have about 0.13."""


def random_spans(data: bytes, runs: list[Span]) -> list[Span]:
    """Return where random-looking tokens stand, with a key word up to 40 characters before them or in their prefix."""
    found: list[Span] = []
    for start, end in runs:
        if end - start <= _LONGEST_TOKEN:
            found.extend(_tokens_of_run(data, start, end))
    return found


def _tokens_of_run(data: bytes, start: int, end: int) -> list[Span]:
    tokens = [match.span() for match in _TOKENS.pattern.finditer(data, start, end)]
    coded = _BASE64.pattern.search(data, start, end)
    if coded and 0 < coded[0].count(b"/") <= len(coded[0]) * _MOST_SLASHES:
        tokens.append(coded.span())
    return [(low, high) for low, high in tokens if _is_secret(data, low, high)]


def _is_secret(data: bytes, start: int, end: int) -> bool:
    token = data[start:end]
    pieces = _PIECES.pattern.findall(token)
    if max(map(len, pieces), default=0) < _LONGEST_PIECE:
        return False
    before = data[max(0, start - _CONTEXT) : start].rpartition(b"\n")[2]
    if _HEX.pattern.fullmatch(token) or _UUID.pattern.fullmatch(token):
        # Hashes and ids stand near key words too; only what is introduced by one is a secret.
        return bool(_DIRECTLY_BEFORE.pattern.search(before))
    return bool(_NEAR.pattern.search(before) or _has_telling_head(token)) and looks_random(token)


def _has_telling_head(token: bytes) -> bool:
    heads = _HEADS.pattern.match(token)
    return bool(heads and any(part in TELLING_HEADS for part in re.split(r"[_+~-]", heads[1].decode("ascii").lower())))


def looks_random(token: bytes) -> bool:
    """Whether a token of at least 16 characters looks like the output of a random generator, and not like words."""
    text = token.decode("ascii", "replace")
    digits = sum(map(str.isdigit, text))
    letters = sum(map(str.isalpha, text))
    if len(text) < _SHORTEST_TOKEN or letters < 4 or len(set(text)) < 8:
        return False
    capitals = sum(map(str.isupper, text))
    if digits < 2 and (capitals < 3 or letters - capitals < 3):
        return False
    kinds = ["d" if char.isdigit() else "u" if char.isupper() else "l" for char in text if char.isalnum()]
    changes = sum(kinds[place] != kinds[place - 1] for place in range(1, len(kinds)))
    if changes < len(kinds) * (_FEWEST_CHANGES if digits >= 2 else _FEWEST_CHANGES_WITHOUT_DIGITS):
        return False
    lower = text.lower()
    pairs = [lower[place : place + 2] for place in range(len(lower) - 1)]
    words = [pair for pair in pairs if pair.isalpha()]
    return sum(pair in _COMMON_PAIRS for pair in words) <= max(2, len(words) * _MOST_COMMON_PAIRS)
