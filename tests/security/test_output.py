"""Terminals, JSON lines and CSV cells do nothing because of what data says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async.security import csv_cell, json_line, terminal_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\r\nb\tc", "a\\x0d\\x0ab\\x09c"),
        ("\x9b31m\u202e\u200b\U000e0041", "\\x9b31m\\u202e\\u200b\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("a\u180eb\u115fc\ufff9d\u00ade", "a\\u180eb\\u115fc\\ufff9d\\xade"),
        ("\u3164\ufe00\U0001d173 ok ❤\ufe0f", "\\u3164\\ufe00\\U0001d173 ok ❤\ufe0f"),
    ],
)
def test_control_characters_are_shown_and_do_not_act(text: str, shown: str) -> None:
    """ANSI and OSC sequences, C1 controls, bidi overrides, tags."""
    assert terminal_text(text) == shown


def test_lines_are_kept_when_asked_for() -> None:
    """Line feeds and tabs only: a carriage return could overwrite the line."""
    assert terminal_text("a\n\tb\rc", lines=True) == "a\n\tb\\x0dc"


@given(st.text())
def test_no_text_moves_a_terminal(text: str) -> None:
    """What is shown has no control character and can be encoded."""
    shown = terminal_text(text)
    assert all(ord(char) >= 32 and not 127 <= ord(char) < 160 for char in shown)
    shown.encode("utf-8")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_is_one_line_and_says_the_same(data: Any) -> None:
    """No reader finds a line break in it, whatever it takes for one."""
    line = json_line(data)
    assert len(line.splitlines()) == 1
    assert json.loads(line) == data


def test_a_lone_surrogate_can_be_written() -> None:
    """As an escape: no encoding takes it as it is."""
    assert json_line({"a": "\ud800"}).encode("utf-8") == b'{"a":"\\ud800"}'


def test_nan_is_no_json() -> None:
    """A line with it would not be read back."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line({"a": float("nan")})


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" \t=1", "' \t=1"),
        ("\r=1", "'\r=1"),
        ("＝1+1", "'＝1+1"),
        ("−1+1", "'−1+1"),
        ("\ufeff=1", "'\ufeff=1"),
        ("\u200b\x1b=1", "'\u200b\x1b=1"),
        ("\xad-1+2", "'\xad-1+2"),
        ("\ufeffplain", "\ufeffplain"),
        ("-1+2", "'-1+2"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        (-5, "-5"),
        (True, "true"),
        (None, ""),
        ("plain", "plain"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_a_cell_begins_no_formula(value: Any, cell: str) -> None:
    """Numbers stay numbers."""
    assert csv_cell(value) == cell
