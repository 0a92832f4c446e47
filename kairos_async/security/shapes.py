"""Finding published secret formats: templates become anchored patterns, found by a literal part first.

A template is literal text with parts `{class:n}`, `{class:n-m}` or `{class:n-}`; a leading `^` asks that no letter,
digit, `-` or `_` stands before it. It can say neither alternatives nor nested repetition, so every pattern takes
linear time: a literal part is found first, and what is tried there is bounded, or consumed for good.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from kairos_async.exceptions import ConfigError
from kairos_async.security.runs import Span
from kairos_async.security.secret_formats import SECRET_FORMATS

CHARACTER_CLASSES: Final[dict[str, str]] = {
    "alnum": "A-Za-z0-9",
    "b64": "A-Za-z0-9+/=",
    "b64url": "A-Za-z0-9_-",
    "base32": "A-Z2-7",
    "crypt": "A-Za-z0-9./",
    "digit": "0-9",
    "hex": "0-9a-f",
    "hexany": "0-9A-Fa-f",
    "lowdigit": "a-z0-9",
    "lower": "a-z",
    "path": "A-Za-z0-9/+_-",
    "percent": "A-Za-z0-9%",
    "teams": "A-Za-z0-9/@-",
    "tilde": "A-Za-z0-9_~.-",
    "updigit": "A-Z0-9",
    "uuid": "0-9a-f-",
    "word": "A-Za-z0-9_",
}
"""What the parts of a template may be made of, as the inside of a character set."""

_PART: Final = re.compile(r"\{(\w+):(\d+)(-?)(\d*)\}")
_START: Final = rb"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-F]{2}))"
"""A secret begins after something else than a letter or digit, or after `\\n` in escaped text or `%3D` in a URL."""
_STRICT_START: Final = rb"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt])|(?<=%[0-9A-F]{2}))"
_OPENING: Final = 20
_MOST_OF_REST: Final = 12
_SHORTEST_LITERAL: Final = 2
_LOOSEST_HEAD: Final = 16
"""How many places before an anchor a format may begin at, at most; each is tried."""
_WORDS: Final = re.compile(rb"[A-Za-z0-9]+")
_WORD_CHARACTERS: Final = bytes(code if _WORDS.match(bytes([code])) else 32 for code in range(256))


class Shape(NamedTuple):
    """A compiled template: found where `anchor` is, `head` being the least and the most characters before it.

    `clue` is how a word begins that must be there, so that a text is searched for the anchor only if one of its words
    begins so: 3 characters, or 2, or a whole word of up to 2; empty if no word must.
    """

    anchor: bytes
    head: tuple[int, int]
    clue: bytes
    pattern: re.Pattern[bytes]


def openings(templates: Iterable[str], before: str) -> str:
    """Return the pattern of how the templates begin, up to about 20 characters, after the pattern `before`.

    Of a template that begins with characters of a class, it begins at the first literal part, wherever that is: an
    automaton that counts such characters everywhere is too large. Those that go on alike are written together.
    """
    together: dict[tuple[str, str], set[str]] = {}
    for template in templates:
        literal, rest = _opening(template)
        start = "" if template.removeprefix("^").startswith("{") else before
        together.setdefault((start, rest), set()).add(literal)
    return "|".join(
        f"{start}(?:{'|'.join(sorted(literals))}){rest}" for (start, rest), literals in sorted(together.items())
    )


def _opening(template: str) -> tuple[str, str]:
    """Return the pattern of how one begins, and that of the characters from there on: the first 12 of them at most."""
    pattern, length = "", 0
    for literal, part, least, _ in re.findall(r"([^{]*)(?:\{(\w+):(\d+)-?(\d*)\})?", template.removeprefix("^")):
        if not pattern and len(literal) < _SHORTEST_LITERAL:
            continue
        pattern += re.escape(literal)
        length += len(literal)
        if not part or length >= _OPENING:
            break
        count = min(int(least), _OPENING - length, _MOST_OF_REST)
        return pattern, f"[{CHARACTER_CLASSES[part]}]{{{count}}}" if count > 0 else ""
    return pattern, ""


class _Table(NamedTuple):
    """The shapes of the table by their clues; `clueless` are searched for in every run."""

    by_clue: dict[bytes, list[Shape]]
    three: frozenset[bytes]
    two: frozenset[bytes]
    clueless: list[Shape]


def compile_template(template: str) -> Shape:
    """Return the pattern of a template.

    Raises:
        ConfigError: the template names an unknown class, has a `{` that begins no part, no literal of 2 characters to
            search for, or a part without an upper bound before its end.
    """
    strict = template.startswith("^")
    body = template.removeprefix("^")
    pattern = _STRICT_START if strict else _START
    low = high = end = 0
    anchor, head = b"", (0, 0)
    for part in [*_PART.finditer(body), None]:
        literal = body[end : part.start() if part else len(body)]
        if "{" in literal or "}" in literal:
            raise ConfigError(f"Secret format {template!r} has a brace that belongs to no part such as '{{alnum:36}}'.")
        if len(literal) > len(anchor) and high - low <= _LOOSEST_HEAD:
            anchor, head = literal.encode("ascii"), (low, high)
        pattern += re.escape(literal).encode("ascii")
        low, high = low + len(literal), high + len(literal)
        if part:
            end = part.end()
            least, most = _bounds(template, part, is_last=end == len(body))
            low, high = low + least, high + most
            pattern += _piece(template, part, least, most)
    if len(anchor) < 2:
        raise ConfigError(f"Secret format {template!r} has no literal text of 2 or more characters to search for.")
    return Shape(anchor, head, _clue(anchor, begins_template=head == (0, 0)), re.compile(pattern))


def _clue(anchor: bytes, *, begins_template: bool) -> bytes:
    for word in _WORDS.finditer(anchor):
        if word.start() > 0 or begins_template:
            # A word that reaches the end of the anchor goes on in the text; one that ends before is there as a whole.
            return word[0][:3] if len(word[0]) >= 3 or word.end() < len(anchor) else word[0][:2].ljust(2, b"?")
    return b""


_NO_BOUND: Final = 1 << 30


def _bounds(template: str, part: re.Match[str], *, is_last: bool) -> tuple[int, int]:
    least = int(part[2])
    if not part[3]:
        return least, least
    if part[4]:
        if int(part[4]) < least:
            raise ConfigError(f"Secret format {template!r}: {part[0]!r} ends before it begins.")
        return least, int(part[4])
    if not is_last:
        raise ConfigError(
            f"Secret format {template!r}: {part[0]!r} needs an upper bound, because it is not the last part."
        )
    return least, _NO_BOUND


def _piece(template: str, part: re.Match[str], least: int, most: int) -> bytes:
    if part[1] not in CHARACTER_CLASSES:
        raise ConfigError(
            f"Secret format {template!r}: {part[1]!r} is no class of characters; known are {sorted(CHARACTER_CLASSES)}."
        )
    characters = f"[{CHARACTER_CLASSES[part[1]]}]"
    if most == _NO_BOUND:
        return f"{characters}{{{least},}}+".encode("ascii")
    # The last part of a fixed length ends at the end of the word; parts before the last are followed by what follows.
    ending = "(?![A-Za-z0-9])" if part.end() == len(part.string) else ""
    return f"{characters}{{{least},{most}}}{ending}".encode("ascii")


@functools.cache
def _table() -> _Table:
    """Compile the table at its first use."""
    shapes = [compile_template(template) for secret_format in SECRET_FORMATS for template in secret_format.templates]
    by_clue: dict[bytes, list[Shape]] = {}
    two = set()
    for shape in shapes:
        by_clue.setdefault(shape.clue, []).append(shape)
        if len(shape.clue) == 2 and shape.anchor.endswith(shape.clue):
            two.add(shape.clue)
    clueless = by_clue.pop(b"", [])
    return _Table(by_clue, frozenset(by_clue) - two, frozenset(two), clueless)


def format_spans(data: bytes, runs: list[Span]) -> list[Span]:
    """Return where published formats are. Only those are looked for of which a word begins in or next to a run."""
    table = _table()
    near = b" ".join([data[max(0, start - 12) : end] for start, end in runs])
    words = near.translate(_WORD_CHARACTERS).split()
    if b"\\" in near or b"%" in near:  # in "\nAKIA" and "%3DAKIA" the word begins later
        words += [word[skipped:] for word in words for skipped in (1, 2)]
    clues = table.three.intersection([word[:3] for word in words])
    clues |= table.two.intersection([word[:2] for word in words])
    found: list[Span] = []
    for clue in clues:
        for shape in table.by_clue[clue]:
            match_shape(data, shape, found)
    for shape in table.clueless:
        if shape.anchor in near:
            match_shape(data, shape, found)
    return found


def match_shape(data: bytes, shape: Shape, found: list[Span]) -> None:
    """Add the places where a shape is: it is tried at each place of its anchor."""
    least, most = shape.head
    place = data.find(shape.anchor)
    while place >= 0:
        end = place + 1
        for start in range(max(0, place - most), place - least + 1):
            match = shape.pattern.match(data, start)
            if match:
                found.append(match.span())
                end = max(end, match.end())
                break
        place = data.find(shape.anchor, end)
