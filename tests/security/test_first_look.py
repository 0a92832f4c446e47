"""The first look at texts and data: it clears only what the rules themselves would leave alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kairos_async._types import JSONValue
from kairos_async.security import DEFAULT_SENSITIVE_PATTERNS, Redactor
from kairos_async.security.assignments import assigned_spans
from kairos_async.security.engine import as_json
from kairos_async.security.keys import KeyMatcher, _readings
from kairos_async.security.plain import is_secret_pair, named_value
from kairos_async.security.quick import DEEPEST, is_plain
from kairos_async.security.randomness import random_spans
from kairos_async.security.runs import Span, long_runs
from kairos_async.security.secrets import header_spans, pem_spans, url_spans
from kairos_async.security.shapes import format_spans
from tests.security.corpora import benign_strings, lines
from tests.security.fake_secrets import FORMATS, UNKNOWN

PIECES = st.sampled_from(
    [
        *(
            "password",
            "api_key",
            "apiKey",
            "x-api-key",
            "t0ken",
            "p4ssw0rd",
            "author",
            "max_tokens",
            "SECRET",
            "Cookie",
        ),
        *(
            "=",
            ":",
            "=>",
            ":=",
            "==",
            "%3D",
            " = ",
            ": ",
            '": "',
            "'",
            '"',
            "`",
            "]",
            "\\",
            "\\n",
            "\n",
            " ",
            "\t",
            "--",
        ),
        *("<", ">", "</", "://", "@", ":", "/", "?", "&", "-----BEGIN PRIVATE KEY-----", "Bearer ", "basic ", "token "),
        *(
            "hunter2",
            "aB3dE5gH7jK9mN1pQ3",
            "ghp_",
            "sk-",
            "AKIA",
            "eyJhbGciOi",
            ".",
            "_",
            "-",
            "+",
            "live",
            "1234567:AA",
        ),
        *("0123456789abcdef" * 2, "dXNlcjpodW50ZXIy", "is", "key", "é", "漢", "\x00", "tëxt"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=6), max_size=14).map("".join)
MATCHERS = [KeyMatcher(DEFAULT_SENSITIVE_PATTERNS), KeyMatcher(["customer_number", "*in?ernal*", "[xyz]1"])]


def rules_find(text: str, keys: KeyMatcher) -> list[Span]:
    """Return what the rules find in a text without the first look."""
    data = text.encode("ascii", "replace")
    runs = long_runs(data)
    found = assigned_spans(data, keys) + url_spans(data) + header_spans(data) + pem_spans(data)
    return found + format_spans(data, runs) + random_spans(data, runs)


@given(TEXTS)
@settings(max_examples=500)
@example("customer number: 4711x")
@example("my_internal_id=4711x")
@example("x1=abc123")
def test_no_rule_finds_anything_in_a_text_that_the_first_look_clears(text: str) -> None:
    """For the default patterns and for a user's own words and globs."""
    for keys in MATCHERS:
        if rules_find(text, keys):
            assert keys.may_hold_secret(text)


@given(TEXTS.map(lambda text: text[:15]) | st.from_regex(r"[A-Za-z0-9]{8,15}", fullmatch=True))
@settings(max_examples=300)
@example("pw=x")
@example("AKIAIOSFODNN7EX")
def test_what_passes_without_a_search_is_what_a_search_passes(text: str) -> None:
    """Short words: no rule for texts finds anything in them."""
    for patterns in ([], ["customer_number", "[xyz]1"]):
        redactor = Redactor(patterns)
        value: JSONValue = {"a": text, "n": 1}
        leaves = frozenset(("a", "n"))
        assert redactor.are_plain("step", leaves)
        if redactor.passes(value, leaves, shows=True):
            assert redactor.take_in(value, "step", shows=True)[1] is value
        else:
            assert not (text.isalnum() and text.isascii())


KEYS = st.sampled_from(["name", "Name", "key", "field", "value", "Value", "val", "a", ""]) | TEXTS
DATA = st.recursive(
    st.none() | st.integers() | KEYS,
    lambda part: (
        st.lists(part, max_size=3)
        | st.dictionaries(KEYS, part, max_size=3)
        | st.tuples(KEYS, KEYS).map(list)
        | st.fixed_dictionaries({"value": part, "name": KEYS})
    ),
    max_leaves=6,
)


def needs_look(data: Any, keys: KeyMatcher) -> bool:
    """Whether a rule for keys, pairs, name/value objects or texts finds something in the data."""
    if isinstance(data, str):
        return bool(rules_find(data, keys))
    if isinstance(data, list):
        return is_secret_pair(data, keys) or any(needs_look(part, keys) for part in data)
    if not isinstance(data, dict):
        return False
    return named_value(data, keys) is not None or any(
        keys[key] > 0 or needs_look(key, keys) or needs_look(part, keys) for key, part in data.items()
    )


@given(DATA)
@settings(max_examples=600)
@example({"p-a.s__$s---word": 1})
@example([{"a\nb": 1}, ["api key", "x"]])
@example({"value": [{"x": "}"}], "name": "the token x"})
@example("\bAKIAIOSFODNN7ABCDEFG")
@example("\npin: 4711")
@example("\tpat aB3dE5gH7jK9mN1pQ3")
@example("token\t= hunter22")
@example("--token\thunter22")
@example("bearer\taB3dE5gH7jK9mN1pQ3")
@example('key "a" "b" "c" "d" "e" "f" "g" aB3dE5gH7jK9mN1pQ3')
@example({"x1": 5})
def test_no_rule_finds_anything_in_data_whose_json_the_first_look_clears(data: Any) -> None:
    """Escapes, and what stands between texts, hide nothing."""
    for keys in MATCHERS:
        if needs_look(data, keys):
            assert keys.may_need_look(as_json(data))


def test_the_first_look_clears_keys_with_a_sensitive_word_inside_of_another_one() -> None:
    """Each of these would cost the walk over all of the data."""
    looks = MATCHERS[0].may_need_look
    assert not looks(as_json(dict.fromkeys(["author", "shipping_address", "className", "max_tokens", "credits"], "x")))
    stopped = sum(looks(as_json({key: "x"})) for key in lines("benign_keys.txt"))
    assert stopped < len(lines("benign_keys.txt")) * 0.4


def test_the_first_look_stops_at_every_fake_secret_and_at_few_benign_texts() -> None:
    """Only what it stops at costs more than a few microseconds."""
    keys = MATCHERS[0]
    rng = random.Random(3)
    for name, make in FORMATS.items():
        assert keys.may_hold_secret(f"got {make(rng)} today"), name
    for name, make in UNKNOWN.items():
        assert keys.may_hold_secret(f"the api key is {make(rng)}"), name
    for key in lines("sensitive_keys.txt"):
        if key.isascii() and key not in ("p_a_s_s_w_o_r_d", "user[password]"):
            assert keys.may_hold_secret(f"{key}=abc"), key
    corpus = benign_strings(rng)
    assert sum(map(keys.may_hold_secret, corpus)) < len(corpus) * 0.2


def nested(levels: int) -> Any:
    """Return a list in a list, so many levels deep."""
    data: Any = []
    for _ in range(levels - 1):
        data = [data]
    return data


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"a": [1, 2.5, None, True, "x", {"b": "y"}]}, True),
        ({"a": list(range(100)), "b": ["x"] * 100}, True),
        (nested(DEEPEST), True),
        (nested(DEEPEST + 1), False),
        (CYCLE, False),
        ({"password": "x"}, False),
        ({1: "x"}, False),
        ({"name": "x", "value": "y"}, True),
        ({"name": "password", "value": "y"}, False),
        ([{"name": f"p{n}", "value": "y"} for n in range(20)], True),
        ([{"name": f"p{n}", "value": "y"} for n in range(20)] + [{"name": "password", "value": "y"}], False),
        ([{"a": n} for n in range(20)] + [{"password": "x"}], False),
        ([["a", "x"]] * 20, True),
        ([["a", "x"]] * 20 + [["password", "x"]], False),
        ([{"a": n, "b": None} for n in range(20)] + [{"a": b"x"}], False),
        (["password", "x"], False),
        ({"a": float("nan")}, False),
        ({"a": [float("inf")] * 20}, False),
        ({"a": 10**300, "b": [-(10**300)] * 20}, True),
        ({"a": [1] * 20 + [float("nan")]}, False),
        ({"a": [float("inf"), float("-inf")] * 20}, False),
        ({"a": ("x",)}, False),
        ({"a": b"x"}, False),
        ({"a": [...] * 20}, False),
    ],
    ids=str,
)  # fmt: skip
def test_only_plain_trees_pass_the_first_look_at_data(data: Any, expected: bool) -> None:
    """Everything else gets a closer one."""
    assert is_plain(data, Redactor()._facts, MATCHERS[0], []) is expected


@given(
    st.recursive(
        st.text(max_size=5) | st.integers() | st.none(),
        lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4),
        max_leaves=12,
    )
)
def test_the_first_look_sees_every_text(data: Any) -> None:
    """However deep it is."""
    texts: list[str] = []
    if isinstance(data, (dict, list)) and is_plain(data, Redactor()._facts, MATCHERS[0], texts):
        said = str(data)
        assert sorted(texts) == sorted(strings(data))
        assert said == str(Redactor().redact(data)) or texts


def strings(data: Any) -> list[str]:
    """Return the strings inside JSON data, keys not included."""
    if isinstance(data, str):
        return [data]
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else []
    return [text for part in parts for text in strings(part)]


NAMES = st.lists(
    st.sampled_from(
        ["pass", "word", "Pass", "WORD", "api", "Key", "t0", "ken", "p4ss", "_", "-", ".", "$", "@", "1", "a"]
    ),
    max_size=6,
).map("".join)


@given(NAMES | st.text(max_size=12))
@settings(max_examples=500)
def test_the_first_look_at_a_key_clears_no_sensitive_one(key: str) -> None:
    """What it clears, reading the key's words would clear too."""
    for matcher in MATCHERS:
        if any(matcher._judge_words(words) for words in _readings(key)):
            assert matcher._can_match(key)
