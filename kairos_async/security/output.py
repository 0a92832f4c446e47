"""Data on its way out: terminals, JSON lines and CSV files do not take it for commands, lines or formulas."""

from __future__ import annotations

import json
import re
from typing import Final

from kairos_async._types import JSONValue
from kairos_async.security.vocabulary import INVISIBLE

_CONTROL: Final = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f{INVISIBLE}]")
_KEPT_IN_LINES: Final = frozenset("\n\t")
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000))}
"""Line breaks that only some readers know, other control characters, and lone surrogates, which no file takes."""
_FORMULA: Final = re.compile(f"\\A[\\s\\x00-\\x1f\\x7f-\\x9f{INVISIBLE}]*[=+\\-@＝＋－＠−\\t\\r|%]")
"""What begins a formula, also behind characters that a reader may drop, such as a byte order mark."""
_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?")


def terminal_text(text: str, *, lines: bool = False) -> str:
    r"""Return the text with control, invisible and bidi characters shown as escapes (`\x1b`), so that none acts.

    A terminal then neither moves, colours, titles nor answers because of what data says.

    Args:
        text: from anywhere.
        lines: keep line feeds and tabs; otherwise the result is one line.
    """
    return _CONTROL.sub(lambda found: found[0] if lines and found[0] in _KEPT_IN_LINES else _escaped(found[0]), text)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def json_line(data: JSONValue) -> str:
    """Return the data as JSON on one line, without the line feed that ends it.

    Nothing in the data can begin another line: also the line breaks that only some readers know (U+2028, U+2029)
    and the control characters beyond ASCII are escaped, and so are lone surrogates.

    Raises:
        ValueError: a float is NaN or infinite, which JSON does not know.
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)


def csv_cell(value: JSONValue) -> str:
    """Return the text of a CSV cell that no spreadsheet runs: one that begins like a formula gets a `'` in front.

    Numbers stay, also negative ones. Containers are given as JSON. Quoting separators and line feeds is the part of the
    CSV writer. The rule and the characters are those of OWASP's page on CSV injection.
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
