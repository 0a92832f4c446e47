"""`validate` raises ValidationError and nothing else, whatever the data."""

from __future__ import annotations

import datetime as dt
import sys
from collections import UserDict
from typing import Any, Literal, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel
from typing_extensions import TypedDict

from kairos_async import validators as v
from kairos_async.contracts import Contract, Schema, compile_contract
from kairos_async.exceptions import ValidationError
from tests.contracts.strategies import Colour, Level


def fail(*_: object, **__: object) -> NoReturn:
    """Raise what an object of the data might raise."""
    raise RuntimeError("hostile")


def leave(*_: object, **__: object) -> NoReturn:
    """Raise what ends a program."""
    raise SystemExit(3)


def hostile(base: type[Any], action: Any, *args: object) -> object:
    """An instance of a subclass whose special methods all raise."""
    names = (
        "__eq__",
        "__repr__",
        "__str__",
        "__len__",
        "__iter__",
        "__getitem__",
        "__bool__",
        "__float__",
        "__index__",
    )
    body: dict[str, Any] = dict.fromkeys(names, action)
    body["__hash__"] = lambda self: hash("name")
    body["__class__"] = property(action)
    body["__getattr__"] = action
    return type("Hostile", (base,), body)(*args)


class Node(BaseModel):
    """A model that contains itself."""

    child: Node | None = None
    name: str = ""


class Movie(TypedDict):
    """A typed dict."""

    name: str


CONTRACTS: list[Contract] = [
    compile_contract(spec)
    for spec in (
        int, str, float, bool, dict, list, Any, dict[str, int], list[str], set[int], tuple[int, str], dt.date, Colour,
        Level, Literal[1, "a"], int | str, Node, Movie, dict[int, str], list[Node], bytes,
        Schema({"name": str, "score": float | None}),
        Schema({"name": str}, {"name": [v.length(max=3), v.custom(lambda s: s.islower())]}, extra="allow"),
        {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a"}}, "uniqueItems": True},
    )
]  # fmt: skip


def deep(levels: int, wrap: Any) -> Any:
    """A value of so many levels."""
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
LOOP: dict[str, Any] = {}
LOOP["child"] = LOOP
NODE = Node()
NODE.child = NODE
WIDE: Any = deep(60, lambda inner: [inner, inner])

DATA: dict[str, Any] = {
    "a deep list": deep(50_000, lambda inner: [inner]),
    "a deep dict": deep(50_000, lambda inner: {"child": inner}),
    "101 levels": deep(101, lambda inner: {"child": inner}),
    "a cycle": CYCLE,
    "a cycle of dicts": LOOP,
    "a cycle of models": NODE,
    "a huge int": 10**5_000,
    "a huger int": -(10**100_000),
    "a huge int in a list": [10**5_000],
    "a lone surrogate": "\ud800",
    "a lone surrogate as a key": {"\ud800": 1, "name": "\udfff"},
    "bytes": b"\xff\xfe",
    "keys of all types": {1: 2, None: 3, (1, 2): 4},
    "a user's mapping": UserDict(name="x"),
    "a class": Node,
    "an exception": ValueError("x"),
    "a hostile object": hostile(object, fail),
    "a hostile str": hostile(str, fail, "name"),
    "a hostile int": hostile(int, fail, 4),
    "a hostile float": hostile(float, fail, 4.5),
    "a hostile list": hostile(list, fail, [1, 2]),
    "a hostile dict": hostile(dict, fail, {"name": "x"}),
    "a hostile key": {hostile(str, fail, "name"): "x"},
    "a hostile key beside": {hostile(object, fail): "x", "other": "x"},
    "a hostile value": {"name": hostile(object, fail)},
    "a hostile model": Node.model_construct(name=hostile(str, fail, "x"), child=hostile(object, fail)),
    "a key that exits": {hostile(object, leave): "x"},
    "a value that exits": [hostile(object, leave)],
}


def refusal(contract: Contract, value: object) -> ValidationError | None:
    """The error, None if the value passes."""
    try:
        contract.validate(value)
    except ValidationError as error:
        return error
    return None


def nasty(index: int) -> object:
    """One of the values above; by its number, since nobody can show it."""
    return list(DATA.values())[index]


@pytest.fixture(autouse=True)
def unraisable_errors_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Pydantic report what it swallowed by itself, such as a `__class__` that raises, to nobody."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


@pytest.mark.parametrize("what", DATA)
def test_nothing_but_a_validation_error_comes_out(what: str) -> None:
    """For each of many contracts, the value passes or is refused, with errors that can be shown."""
    for contract in CONTRACTS:
        refused = refusal(contract, DATA[what])
        assert refused is None or (refused.errors and str(refused))
        assert refused is None or refused.__cause__ is refused.__context__ is None


def test_shared_parts_that_multiply_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that holds the same list twice, sixty levels deep, has more values than can be counted."""
    monkeypatch.setattr("kairos_async.contracts.plain.MAX_NODES", 10_000)
    with pytest.raises(ValidationError) as caught:
        compile_contract(Any).validate(WIDE)
    assert caught.value.errors[0].rule == "max_size"


class Json(RootModel["list[Json] | int"]):
    """Lists of lists of ints, without end."""


def test_a_contract_that_contains_itself_is_not_led_astray() -> None:
    """A value whose parts are shared has an end for us, though there are more ways through it than atoms."""
    with pytest.raises(ValidationError) as caught:
        compile_contract(Json).validate(WIDE)
    assert caught.value.errors[0].rule == "max_size"
    assert compile_contract(Json).validate([[1], []]) == [[1], []]
    assert refusal(compile_contract(int), WIDE)


@pytest.mark.parametrize("spec", [int, list[int], dict[str, int], Schema({"a": int}), Any, int | str])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: [n], lambda n: {"a": n}])
def test_an_int_that_nobody_can_print_does_not_pass(spec: Any, wrap: Any) -> None:
    """Python refuses to write or read more than 4,300 digits."""
    assert refusal(compile_contract(spec), wrap(10**5_000))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.dates()
        | st.integers(5, len(DATA) - 1).map(nasty),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.sets(st.integers())
        | st.dictionaries(st.sampled_from(["name", "child", "score", "x"]) | st.integers(), inner),
        max_leaves=8,
    )
)  # fmt: skip
def test_random_objects_raise_nothing_else(value: object) -> None:
    """Objects of all kinds, in all places."""
    for contract in CONTRACTS:
        refusal(contract, value)


def test_an_interrupt_comes_through() -> None:
    """The user's Ctrl-C is no property of the data."""

    def interrupt(_: object) -> NoReturn:
        raise KeyboardInterrupt

    contract = compile_contract(Schema({"a": int}, {"a": [v.custom(interrupt)]}))
    with pytest.raises(KeyboardInterrupt):
        contract.validate({"a": 1})
