"""Prompt templates: plain names and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async.exceptions import ConfigError
from kairos_async.security import Template


def test_names_are_replaced_by_text_or_json() -> None:
    """Strings as they are, everything else as JSON; doubled braces are braces."""
    template = Template('{a} and {b-c}, {a}: {{"n": {n}}}')
    assert template.names == ("a", "b-c", "n")
    assert template.render({"a": "x", "b-c": ["ü", None], "n": 1.5, "other": 1}) == 'x and ["ü", null], x: {"n": 1.5}'


@pytest.mark.parametrize(
    "text",
    [
        "{a.b}",
        "{a[0]}",
        "{a!r}",
        "{a:>10}",
        "{}",
        "{ a }",
        "{a",
        "a}",
        "{a.__class__}",
        "{{a}",
        '{"json": 1}',
        "{a{b}}",
    ],
)
def test_anything_but_a_plain_name_is_refused_when_the_template_is_made(text: str) -> None:
    """No attribute, index, conversion, format or expression."""
    with pytest.raises(ConfigError, match="line 2"):
        Template(f"first line\n{text}")


def test_a_missing_name_is_found_when_the_workflow_is_built() -> None:
    """The error names what is missing and what there is."""
    template = Template("{a} {b}")
    template.check(["a", "b", "c"])
    with pytest.raises(ConfigError, match=r"The prompt of step 's' uses \['b'\].*Known names: \['a'\]"):
        template.check(["a"], "The prompt of step 's'")
    with pytest.raises(ConfigError, match="'b'"):
        template.render({"a": 1})


@given(st.text())
def test_values_are_never_parsed(value: str) -> None:
    """Whatever a value says, it stands in the text once and unchanged."""
    assert Template("<{a}>").render({"a": value}) == f"<{value}>"


@given(st.lists(st.sampled_from(["{{", "}}", "x", "\n", "{a}", "{b}"])))
def test_rendering_is_replacing(pieces: list[str]) -> None:
    """As by hand, piece by piece."""
    values: dict[str, Any] = {"a": "{b}", "b": {"k": 1}}
    by_hand = {"{{": "{", "}}": "}", "{a}": "{b}", "{b}": json.dumps({"k": 1})}
    assert Template("".join(pieces)).render(values) == "".join(by_hand.get(piece, piece) for piece in pieces)
