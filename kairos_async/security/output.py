"""Data on its way out: terminals, JSON lines and CSV files do not take it for commands, lines or formulas."""

from __future__ import annotations

import json
from typing import Final

from kairos_async._types import JSONValue
from kairos_async.security.late import Late
from kairos_async.security.vocabulary import INVISIBLE

_CONTROL: Final = Late(f"[\\x00-\\x1f\\x7f-\\x9f{INVISIBLE}]")
_KEPT_IN_LINES: Final = frozenset("\n\t")
_NOT_IN_LINES: Final = Late("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Line breaks that only some readers know, other control characters, and lone surrogates, which no file takes."""
_FORMULA: Final = Late(f"\\A[\\s\\x00-\\x1f\\x7f-\\x9f{INVISIBLE}]*[=+\\-@＝＋－＠−\\t\\r|%]")
"""What begins a formula, also behind characters that a reader may drop, such as a byte order mark."""
_NUMBER: Final = Late(r"[+-]?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?")


def terminal_text(text: str, *, lines: bool = False) -> str:
    r"""Return the text with control, invisible and bidi characters shown as escapes (`\x1b`), so that none acts.

    A terminal then neither moves, colours, titles nor answers because of what data says.

    Args:
        text: from anywhere.
        lines: keep line feeds and tabs; otherwise the result is one line.
    """
    return _CONTROL.pattern.sub(
        lambda found: found[0] if lines and found[0] in _KEPT_IN_LINES else _escaped(found[0]), text
    )


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
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _NOT_IN_LINES.pattern.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def csv_cell(value: JSONValue) -> str:
    """Return the text of a CSV cell that no spreadsheet runs: one that begins like a formula gets a `'` in front.

    Numbers stay, also negative ones. Containers are given as JSON. Quoting separators and line feeds is the part of the
    CSV writer. The rule and the characters are those of OWASP's page on CSV injection.
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if _FORMULA.pattern.match(text) and not _NUMBER.pattern.fullmatch(text):
        return f"'{text}"
    return text
