"""Which keys are sensitive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async.exceptions import ConfigError
from kairos_async.security import DEFAULT_SENSITIVE_PATTERNS, Redactor, redact_sensitive
from kairos_async.security.keys import KeyMatcher
from tests.security.corpora import lines

TOUCHED: list[str] = []
"""The keys of the benign corpus that are taken for sensitive. At most 2 % may stand here."""


def test_every_spelling_of_a_sensitive_key_is_found() -> None:
    """Camel case, dashes, dots, capitals, compounds, look-alike letters and digits for letters make no difference."""
    redactor = Redactor()
    assert [key for key in lines("sensitive_keys.txt") if not redactor.is_sensitive(key)] == []


def test_benign_keys_stay() -> None:
    """Of more than 300 key names without a secret, those that are touched are listed and at most 2 %."""
    redactor = Redactor()
    keys = lines("benign_keys.txt")
    assert len(set(keys)) >= 300
    assert [key for key in keys if redactor.is_sensitive(key)] == TOUCHED
    assert len(TOUCHED) <= len(keys) * 0.02


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("customer_number", "customerNumber"),
        ("customer_number", "old-customer-number"),
        ("*internal*", "notesInternalOnly"),
        ("x?z", "XYZ"),
        ("[ab]_key_*", "a_key_1"),
        ("*TOKEN*", "max_tokens"),
        ("*api_key*", "someApiKeyHere"),
    ],
)
def test_words_and_globs_of_a_user_are_honoured(pattern: str, key: str) -> None:
    """A word matches word-wise, a glob the whole key as it is or as words, whatever the default words say."""
    assert not Redactor().is_sensitive(key) or pattern == "*api_key*"
    assert Redactor([pattern]).is_sensitive(key)
    assert redact_sensitive({key: 5}, [pattern]) == {key: "[REDACTED]"}


@pytest.mark.parametrize("pattern", ["", "  ", "---", "a[b", "[!", 7, None])
def test_what_is_no_pattern_is_refused_when_the_redactor_is_made(pattern: object) -> None:
    """The error names the pattern and says what would be one."""
    with pytest.raises(ConfigError, match=r"Sensitive pattern"):
        Redactor([pattern])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match=r"Sensitive pattern"):
        redact_sensitive({}, [pattern])  # type: ignore[list-item]


def test_a_single_string_is_no_list_of_patterns() -> None:
    """Its letters would be taken for patterns."""
    with pytest.raises(ConfigError, match=r"write \['token'\]"):
        Redactor("token")


def test_patterns_given_to_redact_sensitive_take_the_place_of_the_default_ones() -> None:
    """None means the default ones, an empty list none, any other list these alone."""
    data = {"password": "abc", "city": "Rome"}
    assert redact_sensitive(data) == {"password": "[REDACTED]", "city": "Rome"}
    assert redact_sensitive(data, []) is data
    assert redact_sensitive(data, ["city"]) == {"password": "abc", "city": "[REDACTED]"}
    assert redact_sensitive(data, DEFAULT_SENSITIVE_PATTERNS) == redact_sensitive(data)


def test_numbers_stay_where_they_count_and_go_where_they_are_codes() -> None:
    """A number under "token" counts tokens, one under "pin" is the PIN; true, false and null are never secrets."""
    data = {"token": 7, "cookies": 3, "pin": 1234, "password": 12345678, "cvv": 123, "auth": True, "secret": None}
    assert redact_sensitive(data) == {
        **data,
        **dict.fromkeys(("pin", "password", "cvv"), "[REDACTED]"),
    }


@given(st.text(max_size=300))
def test_any_key_gets_the_same_verdict_twice(key: str) -> None:
    """Judging never raises, and the cache says what judging said."""
    matcher = KeyMatcher(["password", "*x*"])
    first = matcher[key]
    assert matcher[key] == first
    assert KeyMatcher(["password", "*x*"])[key] == first


def test_keys_that_data_invents_do_not_fill_the_memory() -> None:
    """The cache of verdicts begins anew when it is full and does not keep long keys."""
    matcher = KeyMatcher(["password"])
    for number in range(140_000):
        assert matcher[f"invented_{number}"] == 0
    assert len(matcher) <= 131_072
    size = len(matcher)
    assert matcher["a" * 1000 + "_password"] > 0
    assert matcher["password_" + "a" * 1000 + "_b"] > 0
    assert len(matcher) == size
