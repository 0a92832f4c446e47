"""How many secrets are found, and how many harmless strings are touched: both, on the same rules."""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from collections.abc import Callable

import pytest

from kairos_async.exceptions import ConfigError
from kairos_async.security import Redactor
from kairos_async.security.secret_formats import SECRET_FORMATS
from kairos_async.security.shapes import CHARACTER_CLASSES, compile_template
from tests.security.corpora import benign_strings
from tests.security.fake_secrets import CARRIERS, FORMATS, NEAR, UNKNOWN, hidden_part

TOUCHED: list[str] = []
"""The strings of the benign corpus that are changed. At most 2 % may stand here."""
_VISIBLE = 10
"""Characters of a secret's hidden part in a row that count as seen."""


def is_seen(hidden: str, shown: str) -> bool:
    """Whether 10 characters in a row of what should be hidden are shown."""
    return any(hidden[start : start + _VISIBLE] in shown for start in range(max(1, len(hidden) - _VISIBLE + 1)))


def missed_share(makers: dict[str, Callable[[random.Random], str]], carry: Callable[[str], str], rounds: int) -> float:
    """Return the share of generated secrets that are seen in what a carrier shows."""
    rng = random.Random(20240501)
    missed: Counter[str] = Counter()
    for name, make in makers.items():
        for _ in range(rounds):
            secret = make(rng)
            missed[name] += is_seen(hidden_part(name, secret), carry(secret))
    return sum(missed.values()) / (len(makers) * rounds)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_documented_formats_are_found_in_every_carrier(carrier: str) -> None:
    """At least 95 % of fake secrets in at least 75 formats, for each place in which they travel."""
    assert len(FORMATS) >= 75
    assert missed_share(FORMATS, CARRIERS[carrier], rounds=2) <= 0.05


@pytest.mark.parametrize("carrier", NEAR)
def test_unknown_formats_are_found_next_to_a_key_word(carrier: str) -> None:
    """At least 87 % of random strings in formats that no rule names."""
    assert missed_share(UNKNOWN, NEAR[carrier], rounds=15) <= 0.13


def test_benign_strings_stay() -> None:
    """Of more than 500 strings without a secret, those that are touched are listed and at most 2 %."""
    redactor = Redactor()
    corpus = benign_strings(random.Random(20240501))
    assert len(corpus) >= 500
    assert [text for text in corpus if redactor.text(text) is not text] == TOUCHED
    assert len(TOUCHED) <= len(corpus) * 0.02


def filled(template: str, rng: random.Random) -> str:
    """Return a template with its parts filled by random characters, at their least length."""

    def fill(part: re.Match[str]) -> str:
        inside = CHARACTER_CLASSES[part[1]]
        alphabet = [char for char in string.printable if re.fullmatch(f"[{inside}]", char)]
        return "".join(rng.choices(alphabet, k=int(part[2])))

    return re.sub(r"\{(\w+):(\d+)(?:-\d*)?\}", fill, template.removeprefix("^"))


@pytest.mark.parametrize("name", [secret_format.name for secret_format in SECRET_FORMATS])
def test_each_format_is_found_by_its_own_template(name: str) -> None:
    """The template is the test vector: filled at random it is found alone, in a sentence, in a URL and escaped."""
    found = next(secret_format for secret_format in SECRET_FORMATS if secret_format.name == name)
    assert found.source
    assert found.templates
    rng = random.Random(7)
    for template in found.templates:
        secret = filled(template, rng)
        for text in (secret, f"got {secret} today", f"https://example.com/?x=1&y={secret}", f'{{"a": "b\\n{secret}"}}'):
            shown = Redactor().text(text)
            assert not is_seen(secret[len(template.split("{")[0]) :], shown), template


def test_formats_have_names_of_their_own() -> None:
    """More than 75 of them, each once."""
    names = [secret_format.name for secret_format in SECRET_FORMATS]
    assert len(set(names)) == len(names) >= 75


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("acme_{letters:8}", "no class of characters"),
        ("acme_{alnum}", "brace that belongs to no part"),
        ("acme_{alnum:8", "brace that belongs to no part"),
        ("{alnum:20}", "no literal text"),
        ("acme_{alnum:8-}-{hex:4}", "needs an upper bound"),
        ("acme_{alnum:8-4}", "ends before it begins"),
    ],
)
def test_a_rule_that_does_not_compile_is_a_config_error(template: str, problem: str) -> None:
    """The error names the template, the part and the rule."""
    with pytest.raises(ConfigError, match=problem):
        compile_template(template)
