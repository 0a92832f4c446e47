"""Redaction of data: what is replaced, what stays, and what becomes of objects that are no JSON data."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos_async.security import Redactor, redact_sensitive

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=12), parts, max_size=4),
    max_leaves=20,
)
SENSITIVE = st.sampled_from(["password", "api_key", "X-Api-Key", "clientSecret", "token", "Set-Cookie", "dbPassword"])
SECRET_LIKE = st.sampled_from(
    ["password=", "Bearer ", "token: ", "sk-", "://a:", "@b", "-----BEGIN PRIVATE KEY-----", '"', "\\"]
)
TEXT = st.lists(SECRET_LIKE | st.text(max_size=12), max_size=8).map("".join)


class Hostile:
    """An object that raises whatever it is asked."""

    def __getattr__(self, name: str) -> NoReturn:
        raise SystemExit(name)

    def __repr__(self) -> NoReturn:
        raise ValueError("no")

    __str__ = __repr__


class BrokenMapping(Mapping[str, int]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> int:
        raise OSError(key)

    def __iter__(self) -> Iterator[str]:
        raise OSError("password=hunter22")

    def __len__(self) -> int:
        return 1


class Colour(enum.Enum):
    """An enum of strings."""

    RED = "red"


class Model(pydantic.BaseModel):
    """A Pydantic model with a wrapped secret."""

    name: str = "acme"
    value: pydantic.SecretStr = pydantic.SecretStr("wrapped-value")
    password: str = "hunter22"


@dataclasses.dataclass
class Data:
    """A dataclass with a secret."""

    token: str = "hunter22"
    count: int = 2


class Text(str):
    """A string that lies about itself."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = str.__hash__

    def __str__(self) -> str:
        return "nothing to see"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"password": "hunter2"}, {"password": "[REDACTED]"}),
        ({"a": [{"api_key": {"nested": ["x"]}}]}, {"a": [{"api_key": "[REDACTED]"}]}),
        ([["X-Api-Key", "abc"], ["Accept", "*/*"]], [["X-Api-Key", "[REDACTED]"], ["Accept", "*/*"]]),
        ([(b"authorization", b"Bearer abc")], [["authorization", "[REDACTED]"]]),
        ({"name": "X-Api-Key", "value": "abc"}, {"name": "X-Api-Key", "value": "[REDACTED]"}),
        ([{"Key": "DB_PASSWORD", "Value": 5}], [{"Key": "DB_PASSWORD", "Value": "[REDACTED]"}]),
        ({"name": "city", "value": "Rome"}, {"name": "city", "value": "Rome"}),
        ("postgres://me:hunter2@db/x", "postgres://me:[REDACTED]@db/x"),
        ("https://api.example.com/?api_key=hunter2&page=1", "https://api.example.com/?api_key=[REDACTED]&page=1"),
        ("Set-Cookie: sid=abc; Path=/\nHost: x", "Set-Cookie: [REDACTED]\nHost: x"),
        ("Authorization: Basic dXNlcjpodW50ZXIy", "Authorization: Basic [REDACTED]"),
        ("<password>hunter2</password>", "<password>[REDACTED]</password>"),
        ("mysql --password hunter2 -h db", "mysql --password [REDACTED] -h db"),
        ('{"password": "hun\\"ter2", "n": 1}', '{"password": "[REDACTED]", "n": 1}'),
        ("Server=db;Password=hunter2;Timeout=5", "Server=db;Password=[REDACTED];Timeout=5"),
        ({"x password=hunter2": None}, {"x password=[REDACTED]": None}),
        ("\ud800 password=hunter2", "? password=[REDACTED]"),
        ({"a": "\udfff AKIAIOSFODNN7ABCDEFG", "b": "x"}, {"a": "? [REDACTED]", "b": "x"}),
        ({"\ud800 password=hunter2": None}, {"? password=[REDACTED]": None}),
    ],
)  # fmt: skip
def test_secrets_are_replaced_wherever_they_stand(data: object, expected: object) -> None:
    """Under sensitive keys, in pairs, in name/value objects, in URLs, headers, markup, options and JSON in text."""
    assert redact_sensitive(data) == expected


OBJECTS: list[tuple[object, object]] = [
    (Model(), {"name": "acme", "value": "[REDACTED]", "password": "[REDACTED]"}),
    (pydantic.SecretStr("wrapped-value"), "[REDACTED]"),
    (Data(), {"token": "[REDACTED]", "count": 2}),
    (Colour.RED, "red"),
    (datetime.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
    (decimal.Decimal("1.50"), "1.50"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (pathlib.PurePosixPath("a/b"), "a/b"),
    ({"x"}, ["x"]),
    (("a", ("b",)), ["a", ["b"]]),
    (b"password=hunter2", "password=[REDACTED]"),
    (b"\xff\x00", "\\xff\x00"),
    (float("nan"), "NaN"),
    ([float("-inf")], ["-Infinity"]),
    (10**5000, "int"),
    (Text("password=hunter2"), "password=[REDACTED]"),
    ({Text("password"): "x"}, {"password": "[REDACTED]"}),
    ({1: "a", None: "b", 2.5: "c", b"password": "d"}, {"1": "a", "null": "b", "2.5": "c", "password": "[REDACTED]"}),
    (ValueError("password=hunter2"), "ValueError: password=[REDACTED]"),
    (Hostile(), "Hostile"),
    (BrokenMapping(), "BrokenMapping"),
    (object(), "object"),
    (len, "builtin_function_or_method"),
    (Hostile, "type"),
    ("\ud800 x", "? x"),
    ({"\ud800": 1}, {"?": 1}),
]


@pytest.mark.parametrize(("value", "expected"), OBJECTS, ids=[str(number) for number in range(len(OBJECTS))])
def test_objects_become_json_data_or_the_name_of_their_type(value: object, expected: object) -> None:
    """What cannot be looked into shows nothing but its type, and nothing raises."""
    redacted = redact_sensitive(value)
    assert redacted == expected
    json.dumps(redacted, allow_nan=False).encode()


def test_keys_that_become_equal_are_numbered() -> None:
    """No entry is lost because its key was a secret."""
    redactor = Redactor()
    redactor.register(["first-secret", "second-secret"])
    assert redactor.redact({"first-secret": 1, "second-secret": 2, "x": 3}) == {
        "[REDACTED]": 1,
        "[REDACTED] (2)": 2,
        "x": 3,
    }


def test_cycles_shared_parts_and_depth_are_bounded() -> None:
    """A cycle and what is too deep become type names; a part that is shared 2**100 times over is visited once."""
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert redact_sensitive(cycle) == [1, "list"]
    deep: Any = "end"
    for _ in range(5000):
        deep = {"a": deep}
    assert json.dumps(redact_sensitive(deep)).count("{") == 128
    shared: list[Any] = ["password=hunter2"]
    for _ in range(100):
        shared = [shared, shared]
    redacted: Any = redact_sensitive(shared)
    while isinstance(redacted[0], list):
        assert redacted[0] is redacted[1]
        redacted = redacted[0]
    assert redacted == ["password=[REDACTED]"]


def test_near_the_end_of_the_stack_nothing_raises() -> None:
    """A caller with few frames left gets a type name."""

    def dig(levels: int) -> object:
        try:
            return dig(levels + 1)
        except RecursionError:
            return redact_sensitive({"a": [{"b": [{"c": ["password=hunter2"]}]}]}) if levels % 7 else None

    assert "hunter2" not in str(dig(0))


@given(JSON)
def test_json_data_without_a_secret_comes_back_as_the_same_object(data: Any) -> None:
    """Identity, and not equality alone: nothing is copied and nothing is changed."""
    redacted = redact_sensitive(data)
    if redacted == data and type(redacted) is type(data):
        assert redacted is data
    assert redact_sensitive(redacted) is redacted


@given(TEXT)
@settings(max_examples=300)
def test_redacting_text_twice_changes_nothing_more(text: str) -> None:
    """What one pass leaves, another one leaves too."""
    redactor = Redactor()
    once = redactor.text(text)
    assert redactor.text(once) is once


@given(JSON, SENSITIVE, st.text(min_size=1, max_size=30))
def test_a_value_under_a_sensitive_key_never_stays(data: Any, key: str, secret: str) -> None:
    """Whatever stands around it."""
    redacted: Any = redact_sensitive({"around": data, "inner": [{key: secret}]})
    assert redacted["inner"] == [{key: "[REDACTED]"}]


FOREIGN = (
    st.binary() | st.complex_numbers() | st.datetimes() | st.uuids() | st.decimals(allow_nan=False) | st.timedeltas()
)


@given(
    st.recursive(FOREIGN | JSON, lambda parts: st.tuples(parts, parts) | st.frozensets(st.text()) | st.sets(st.uuids()))
)
def test_any_object_becomes_json_data(value: object) -> None:
    """Redaction is total: it returns strict JSON data for whatever it is given."""
    json.dumps(redact_sensitive({"value": value}), allow_nan=False).encode()
