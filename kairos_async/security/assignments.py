"""Secrets in text after a sensitive key: `password=...`, `"api_key": "..."`, `X-Api-Key: ...`, `--token ...`."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from kairos_async.security.keys import SENSITIVE_NUMBER_TOO, KeyMatcher
from kairos_async.security.late import Late
from kairos_async.security.runs import Span

_MARK: Final = Late(rb"[:=%]")
_OPERATOR: Final = Late(rb"(=>|:=|==?|:(?![:/])|%3[Dd])([ \t]{0,8}+)")
_KEY_CHARACTERS: Final = bytes(
    code if (chr(code).isalnum() and code < 128) or code in b"_.$-" else 32 for code in range(256)
)
_LONGEST_KEY: Final = 80
_ELEMENT: Final = Late(rb"<([A-Za-z0-9_.-]{2,80}+)>([^<>]{1,4096}+)</")
_OPTION: Final = Late(rb"(?<![A-Za-z0-9-])--?([A-Za-z][A-Za-z0-9-]{2,60}+)[ \t]{1,4}+(?![-&|;<>])([^\s\"'`]{3,512}+)")
_QUOTE: Final = Late(rb"[bBrRuUfF]?(\\{0,3}+[\"'`])")
_UNQUOTED: Final = Late(rb"[^\s\"'`&;<>\\]{1,4096}+")
_SCHEME: Final = Late(
    rb"(?:basic|bearer|digest|token|apikey|negotiate|hmac|aws4-hmac-sha256)[ \t]{1,4}+", re.IGNORECASE
)
_NEXT_ASSIGNMENT: Final = Late(rb",[ \t]{0,4}+[\w.-]{1,64}+[=:]")
_LINE_REST: Final = Late(rb"[^\r\n\"'`<>]{1,8192}+")
_FREE_TEXT: Final = frozenset(
    b"none null nil true false undefined yes no n/a tbd todo unset empty default required optional missing invalid "
    b"incorrect wrong expired failed failure denied rejected revoked ok valid present absent enabled disabled unknown "
    b"unauthorized forbidden accepted changed updated set not str string bytes int bool any object text secretstr must "
    b"should is was has cannot can't may the a an your my this that to for from in of and or with please enter see use "
    b"hidden redacted masked removed omitted secret password token bearer basic example changeme".split()
)
"""What stands there in prose, in lower case."""
_TYPE: Final = Late(rb"(?:optional|union|list|dict|sequence|literal)\[.*", re.IGNORECASE)
_ENDS: Final = b".,;:!?)"
_PUNCTUATION: Final = rb"[.,;:!?)]*"
_MASK: Final = Late(
    rb"(?:[*xX\xb7.?_#-]{2,}+|<[^>]{0,80}>?|\$\{{0,2}[\w. ]{0,80}\}{0,2}|\{\{?[^}]{0,80}\}{0,2}|%[sdr(].*|your[-_ ].*"
    rb"|\[(?:redacted|hidden|masked|removed|filtered).*)" + _PUNCTUATION,
    re.IGNORECASE,
)
"""What stands for a secret that is not shown: `****`, `<your key>`, `${KEY}`, `{{ key }}`, `%s`, `[REDACTED]`."""
_CODE: Final = Late(
    rb"[A-Za-z_][\w.]{0,120}+[(\[{].*|(?:self|os|settings|config|env|args|ctx|request|process|this)\.[\w.]+"
)
_WORD: Final = rb"(?:[A-Za-z_]?[a-z_]+(?:[A-Z][a-z]+)*|(?:[A-Z][a-z]+)+|[A-Z_]{1,24})"
_WORDS_ONLY: Final = Late(_WORD + rb"(?:\." + _WORD + rb")*" + _PUNCTUATION)
_NUMBER: Final = Late(rb"[-+]?[\d.,_]{1,15}[.,;:!?)%]*")
_LETTERS_AND_DIGITS: Final = frozenset(code for code in range(256) if chr(code).isalnum() or code in b"?!@#%^&*")
_SHORTEST_VALUE: Final = 3
_LONGEST_PLACEHOLDER: Final = 200
_LONGEST_COOKIE_NAME: Final = 128


def assigned_spans(data: bytes, keys: KeyMatcher) -> list[Span]:
    """Return where values of sensitive keys are in a text, quotes not included."""
    found: list[Span] = []
    if 58 in data or 61 in data or 37 in data:  # : = %
        _after_operators(data, keys, found)
    if 60 in data and b"</" in data:
        found.extend(
            match.span(2) for match in _ELEMENT.pattern.finditer(data) if _level(match[1], keys) and _is_value(match[2])
        )
    if 45 in data and (b"--" in data or b" -" in data):
        found.extend(
            match.span(2)
            for match in _OPTION.pattern.finditer(data)
            if _level(match[1], keys) and _is_telling(match[2])
        )
    return found


class _Key(NamedTuple):
    """A sensitive key before an operator; `opened_by` is the character before its name."""

    name: bytes
    level: int
    is_quoted: bool
    opened_by: bytes


def _after_operators(data: bytes, keys: KeyMatcher, found: list[Span]) -> None:
    done = 0
    # From the operators backwards: there are far fewer of them than of words that could be keys.
    for mark in _MARK.pattern.finditer(data):
        place = mark.start()
        if place < done:
            continue
        before = data[max(0, place - _LONGEST_KEY - 8) : place].rstrip(b" \t")
        bare = before.rstrip(b"\"'`]\\")
        name = bare.translate(_KEY_CHARACTERS).rpartition(b" ")[2]
        if len(name) < 2:
            continue
        level = _level(name, keys)
        operator = _OPERATOR.pattern.match(data, place) if level else None
        if operator:
            opened_by = bare[-len(name) - 1 : -len(name)]
            span = _value(data, operator, _Key(name, level, len(bare) < len(before), opened_by))
            if span:
                found.append(span)
                done = span[1]


def _level(name: bytes, keys: KeyMatcher) -> int:
    """Return what the matcher says of a key."""
    return keys.of_bytes[name]


def _value(data: bytes, operator: re.Match[bytes], key: _Key) -> Span | None:
    start = operator.end()
    quote = _QUOTE.pattern.match(data, start)
    if quote:
        if quote[0] == key.opened_by and not key.is_quoted and not operator[2]:
            return None  # it closes the text that ends in the key, as in "Password:"
        end = _closing(data, quote.end(), quote[1])
        return (quote.end(), end) if _is_value(data[quote.end() : end]) else None
    if operator[1] == b":" and b"cookie" in key.name.lower():
        return _line_rest(data, start)
    scheme = _SCHEME.pattern.match(data, start)
    if scheme:
        start = scheme.end()
    found = _UNQUOTED.pattern.match(data, start)
    if not found:
        return None
    end = _trimmed(data, start, found.end())
    is_tight = operator[1] != b":" and not operator[2] and data[operator.start() - 1 : operator.start()] not in b" \t"
    if is_tight or scheme or key.is_quoted:
        is_secret = _is_unquoted_value(data[start:end], key)
    else:
        is_secret = _stands_alone(data, data[start:end], end, key)
    return (start, end) if is_secret and operator[1] != b"==" else None


def _closing(data: bytes, start: int, quote: bytes) -> int:
    """Return where a quoted value ends: before the next equal quote that is not escaped, or with the text."""
    end = data.find(quote, start)
    while end > start and len(quote) == 1 and data[end - 1 : end] == b"\\" and data[end - 2 : end - 1] != b"\\":
        end = data.find(quote, end + 1)
    return len(data) if end < 0 else end


def _line_rest(data: bytes, start: int) -> Span | None:
    rest = _LINE_REST.pattern.match(data, start) if data.find(b"=", start, start + _LONGEST_COOKIE_NAME) > 0 else None
    return rest.span() if rest and b"=" in rest[0] else None


def _trimmed(data: bytes, start: int, end: int) -> int:
    """Return where an unquoted value ends: without the punctuation after it, and before `, key=`."""
    following = _NEXT_ASSIGNMENT.pattern.search(data, start, end)
    if following:
        end = following.start()
    while end > start and data[end - 1 : end] in b",.)]}:":
        end -= 1
    return end


def _is_value(value: bytes) -> bool:
    """Whether what is assigned, in quotes or by a tight `=`, can be a secret: no mask, placeholder, or code."""
    if len(value) > _LONGEST_PLACEHOLDER:
        return True
    value = value.strip()
    if not any(char in _LETTERS_AND_DIGITS for char in value):
        return False
    if value.rstrip(_ENDS).lower() in _FREE_TEXT or _TYPE.pattern.fullmatch(value):
        return False
    return not (_MASK.pattern.fullmatch(value) or _CODE.pattern.fullmatch(value))


def _is_unquoted_value(value: bytes, key: _Key) -> bool:
    """Whether a value without quotes can be a secret: no number that counts, no name that repeats the key's."""
    if _NUMBER.pattern.fullmatch(value) and key.level != SENSITIVE_NUMBER_TOO:
        return False
    # `token=token` and `token = self.user.token` are code.
    repeated = value.rpartition(b".")[2].strip(b"_").lower() == key.name.rpartition(b".")[2].strip(b"_").lower()
    return not repeated and _is_value(value)


def _is_telling(value: bytes) -> bool:
    """Whether a value is one although it stands in prose: it has a digit, a symbol or odd capitals."""
    if len(value) < _SHORTEST_VALUE or not _is_value(value):
        return False
    return not _WORDS_ONLY.pattern.fullmatch(value)


def _stands_alone(data: bytes, value: bytes, end: int, key: _Key) -> bool:
    """Whether a value after a colon or a spaced `=` is a secret: it looks like one, or the line ends with it."""
    is_code = key.level == SENSITIVE_NUMBER_TOO
    if _NUMBER.pattern.fullmatch(value):
        return is_code and len(value) >= _SHORTEST_VALUE
    if _is_telling(value):
        return True
    at_end = end == len(data) or data[end : end + 1] in b"\r\n"
    return at_end and is_code and len(value) >= _SHORTEST_VALUE * 2 and _is_unquoted_value(value, key)
