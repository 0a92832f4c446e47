"""What passes a contract, what does not, and what comes out."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import gc
import math
import uuid
import weakref
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field, create_model, field_validator
from typing_extensions import TypedDict

from kairos_async import validators as v
from kairos_async._types import JSONValue
from kairos_async.contracts import compile_contract
from kairos_async.exceptions import ValidationError
from tests.contracts.strategies import Colour, Level


class Report(BaseModel):
    """A model of simple fields."""

    name: str
    score: float | None = Field(default=None, ge=0, le=1)
    tags: list[str] = []


class Dated(BaseModel):
    """A model of fields whose JSON form is another type."""

    when: dt.date
    who: uuid.UUID
    colour: Colour
    level: Level
    kinds: set[int]
    pair: tuple[int, str]
    whole: Any = None
    report: Report | None = None


DATED: dict[str, Any] = {
    "when": "2024-02-29",
    "who": "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
    "colour": "red",
    "level": 2,
    "kinds": [1, 2],
    "pair": [1, "x"],
}


def valid(annotation: Any, value: object) -> JSONValue:
    """What the contract of the annotation makes of the value."""
    return compile_contract(annotation).validate(value)


def rules(annotation: Any, value: object) -> list[tuple[str, str]]:
    """The places and rules that the value breaks."""
    with pytest.raises(ValidationError) as caught:
        valid(annotation, value)
    return [(error.field, error.rule) for error in caught.value.errors]


PRIMITIVES: dict[Any, Any] = {str: "1", int: 1, float: 1.5, bool: True, type(None): None, list: [1], dict: {"a": 1}}


@pytest.mark.parametrize("declared", PRIMITIVES)
@pytest.mark.parametrize("given_type", PRIMITIVES)
def test_no_primitive_passes_for_another_but_int_for_float(declared: Any, given_type: Any) -> None:
    """Every pair of types: strictly the same, and an int for a float."""
    value = PRIMITIVES[given_type]
    if declared is given_type:
        assert valid(declared, value) == value
    elif (declared, given_type) == (float, int):
        assert valid(float, 1) == 1.0
        assert type(valid(float, 1)) is float
    else:
        assert [rule for _, rule in rules(declared, value)] == ["type"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("annotation", "wrap"),
    [
        (float, lambda n: n),
        (Any, lambda n: n),
        (list, lambda n: [n]),
        (dict[str, Any], lambda n: {"a": [n]}),
        (Report, lambda n: {"name": "a", "score": n}),
        (Report, lambda n: Report.model_construct(name="a", score=n, tags=[])),
        (Dated, lambda n: {**DATED, "whole": {"deep": [n]}}),
        (Dated, lambda n: {**DATED, "report": {"name": "a", "score": n}}),
        (list[Report], lambda n: [Report.model_construct(name="a", score=n, tags=[])]),
    ],
)
def test_nan_and_infinities_never_pass(number: float, annotation: Any, wrap: Any) -> None:
    """Not at a float, not at an Any, not in a user's model, and not in an instance made without validation."""
    assert [rule for _, rule in rules(annotation, wrap(number))] == ["finite"]


def test_an_instance_is_validated_again() -> None:
    """A model that was made without validation, or changed since, does not pass on trust."""
    assert rules(Report, Report.model_construct(name=5, tags=[])) == [("name", "type")]
    changed = Report(name="a")
    changed.score = 7
    assert rules(Report, changed) == [("score", "less_than_equal")]
    assert rules(dict[str, Report], {"x": changed}) == [("x.score", "less_than_equal")]
    assert valid(Report, Report(name="a", score=1)) == {"name": "a", "score": 1.0, "tags": []}


def test_an_instance_of_a_dataclass_is_validated_again() -> None:
    """Standard dataclasses check nothing themselves."""

    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 0

    assert valid(Point, Point(1)) == {"x": 1, "y": 0}
    assert valid(Point, {"x": 1}) == {"x": 1, "y": 0}
    assert rules(Point, Point("1")) == [("x", "type")]  # type: ignore[arg-type]  # that is the point


def test_json_data_passes_in_its_json_form() -> None:
    """A date's text, a list for a set or a tuple, an enum's value: what a model can write."""
    assert valid(Dated, DATED) == {**DATED, "whole": None, "report": None}


def test_python_data_passes_in_its_python_form() -> None:
    """The same contract takes the objects themselves."""
    value = Dated(
        when=dt.date(2024, 2, 29), who=uuid.UUID(DATED["who"]), colour=Colour.RED, level=Level.HIGH, kinds={1, 2},
        pair=(1, "x"), whole=dt.date(2024, 1, 1), report=Report(name="r"),
    )  # fmt: skip
    assert valid(Dated, value) == {
        **DATED,
        "whole": "2024-01-01",
        "report": {"name": "r", "score": None, "tags": []},
    }


def test_a_list_with_duplicates_is_no_set() -> None:
    """As the set's JSON Schema says."""
    assert rules(set[int], [1, 1]) == [("", "unique")]
    assert valid(set[int], []) == []
    assert valid(frozenset[int], frozenset({3})) == [3]


@pytest.mark.parametrize(
    ("declared", "wrong"), [(Literal[1], True), (Literal[1], 1.0), (Literal[True], 1), (Level, True)]
)
def test_literals_and_enums_tell_numbers_apart(declared: Any, wrong: object) -> None:
    """True is not 1, and 1.0 is not 1."""
    assert [rule for _, rule in rules(declared, wrong)] == ["one_of"]


@pytest.mark.parametrize("member", [Colour.RED, Level.LOW])
def test_a_literal_of_an_enums_member_takes_its_value(member: Any) -> None:
    """Which is all that JSON can hold, and of the right type."""
    annotation: Any = Literal[member]
    assert valid(annotation, member) == valid(annotation, member.value) == member.value
    for wrong in (True, 1.0, "blue", None, 2):
        assert rules(annotation, wrong) == [("", "one_of")]


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (dt.date, "2024-02-29", ["0", "86400", "2024-02-30", "2024-02-29T00:00:00", 0, "-1", "20240229", None]),
        (dt.datetime, "2024-02-29T12:30:00Z", ["0", "1700000000", "1.5", "2024-02-29", 1, "2024-02-29T", None]),
        (dt.time, "12:30:00", ["0", "3600", 3600]),
        (dt.timedelta, "P1D", ["0", "3600", 3600]),
    ],
)
def test_a_number_is_no_date(annotation: Any, right: str, wrong: list[Any]) -> None:
    """Nor is the text of one, which Pydantic takes for seconds since 1970."""
    assert valid(annotation, right) == right
    for value in wrong:
        assert rules(annotation, value) == [("", "format")]
        assert rules(dict[str, annotation], {"a": value}) == [("a", "format")]


@pytest.mark.parametrize("annotation", [Mapping[str, int], collections.defaultdict[str, int]])
def test_mappings_are_objects(annotation: Any) -> None:
    """Strictly, though Pydantic says of them that they are not strict."""
    assert valid(annotation, {"a": 1}) == {"a": 1}
    assert rules(annotation, {"a": "1"}) == [("a", "type")]


def test_ranges_of_decimals() -> None:
    """As of other numbers."""
    annotation: Any = Annotated[Decimal, v.range(min=1, max=2.5)]
    assert valid(annotation, "2.5") == "2.5"
    assert rules(annotation, "2.51") == [("", "less_than_equal")]


def test_an_enum_of_floats_takes_the_whole_number() -> None:
    """As a float field does."""

    class Ratio(enum.Enum):
        ONE = 1.0

    assert valid(Ratio, 1) == 1.0
    assert rules(Ratio, True) == [("", "one_of")]


class Text(str):
    """A subclass of str."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, Text("x")),
        (Any, Text("x")),
        (int, Level.LOW),
        (Any, Level.LOW),
        (Any, [(1, 2)]),
        (dict[str, int], {Text("k"): 1}),
        (dict[str, Any], {Text("k"): Text("x")}),
        (list[Any], [Decimal("1.5"), dt.timedelta(1), Report(name="x")]),
        (Report, {"name": Text("x"), "tags": [Text("y")]}),
    ],
)
def test_results_are_plain_built_ins(annotation: Any, value: object) -> None:
    """Exactly str, int, float, bool, None, list and dict, whatever came in."""

    def check(part: object) -> None:
        assert type(part) in (str, int, float, bool, type(None), list, dict)
        if type(part) is dict:
            for key, item in part.items():
                check(key)
                check(item)
        elif type(part) is list:
            for item in part:
                check(item)

    check(valid(annotation, value))


def test_results_share_nothing_that_can_change_with_the_value() -> None:
    """What the caller does with its data later is not seen."""
    inner: list[Any] = [1]
    for annotation in (Any, list[Any], dict[str, list[int]], dict, Report):
        value: Any = {"name": "x", "tags": ["a"]} if annotation is Report else {"a": inner}
        if annotation == list[Any]:
            value = [inner]
        result: Any = valid(annotation, value)
        parts = result.values() if isinstance(result, dict) else result
        assert not any(part is inner or part is value for part in parts)
        assert result is not value


def test_defaults_are_fresh_each_time() -> None:
    """A default list belongs to one result alone."""
    contract = compile_contract(Report)
    first: Any = contract.validate({"name": "a"})
    first["tags"].append("x")
    assert contract.validate({"name": "a"}) == {"name": "a", "score": None, "tags": []}


@pytest.mark.parametrize("value", [b"x", {1, 2}, iter([1]), object(), lambda: 1, {1: "a"}, {None: 1}, print])
def test_what_is_no_json_does_not_pass_an_any(value: object) -> None:
    """Sets, bytes, iterators, functions and keys that are no strings."""
    assert rules(Any, value)[0][1] in ("json", "key_type")


def test_aliases_are_what_is_read_and_what_is_written() -> None:
    """State holds what the contract's JSON Schema describes."""

    class Aliased(BaseModel):
        full_name: str = Field(alias="fullName")

    contract = compile_contract(Aliased)
    assert contract.fields == frozenset({"fullName"})
    assert contract.validate({"fullName": "x"}) == {"fullName": "x"}
    assert contract.validate(Aliased(fullName="x")) == {"fullName": "x"}


def test_a_models_own_validators_and_computed_fields_run() -> None:
    """What a model's author wrote holds."""

    class Doubled(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def positive(cls, n: int) -> int:
            if n < 1:
                raise ValueError(f"secret {n}")
            return n * 2

        @computed_field  # type: ignore[prop-decorator]  # as Pydantic's documentation has it
        @property
        def twice(self) -> int:
            return self.n * 2

    assert valid(Doubled, {"n": 2}) == {"n": 4, "twice": 8}
    with pytest.raises(ValidationError) as caught:
        valid(Doubled, {"n": -4321})
    assert caught.value.errors[0].rule == "custom"
    assert "4321" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_validator_that_gives_nonsense_fails() -> None:
    """What Pydantic cannot dump, or only with a warning, is no result."""
    assert rules(Annotated[int, BeforeValidator(lambda _: object())], 1) == [("", "type")]

    class Odd(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def odd(cls, n: int) -> int:
            return {n}  # type: ignore[return-value]  # that is the point

    assert rules(Odd, {"n": 1}) == [("", "invalid")]


def test_a_typed_dict_and_unknown_keys() -> None:
    """A model ignores unknown keys, as it says of itself; one that forbids them refuses them."""

    class Movie(TypedDict):
        name: str

    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str

    assert valid(Movie, {"name": "x"}) == {"name": "x"}
    assert valid(Report, {"name": "x", "zz": 1}) == {"name": "x", "score": None, "tags": []}
    assert rules(Closed, {"name": "x", "zz": 1}) == [("zz", "unknown_key")]


def test_extra_keys_that_are_allowed_are_json() -> None:
    """They are kept, as plain values, and NaN is refused there, too."""

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        name: str

    assert valid(Open, {"name": "x", "more": [Text("y")]}) == {"name": "x", "more": ["y"]}
    assert rules(Open, {"name": "x", "more": [math.nan]}) == [("more[0]", "finite")]


def test_discriminated_unions_and_their_paths() -> None:
    """Paths name keys of the data, never the branch of a union."""

    class Cat(BaseModel):
        kind: Literal["cat"]
        lives: int

    class Dog(BaseModel):
        kind: Literal["dog"]
        name: str

    pet = Annotated[Cat | Dog, Field(discriminator="kind")]
    contract = compile_contract(list[pet])
    assert contract.validate([{"kind": "dog", "name": "x"}]) == [{"kind": "dog", "name": "x"}]
    assert rules(list[pet], [{"kind": "cat", "lives": "9"}]) == [("[0].lives", "type")]
    assert rules(pet, {"kind": "cow"}) == [("", "one_of")]
    assert rules(pet, {}) == [("", "required")]


def test_classes_are_compiled_once_and_let_go() -> None:
    """A service that makes a model for each request does not keep them all."""
    kept: list[weakref.ref[type]] = []
    for _ in range(150):
        model = create_model("Answer", text=(str, ...))
        assert compile_contract(model) is compile_contract(model)
        kept.append(weakref.ref(model))
    gc.collect()
    assert sum(model() is not None for model in kept) < 150


def test_names_fields_and_required_keys() -> None:
    """What the engine and the messages ask a contract for."""
    contract = compile_contract(Report)
    assert contract.name == "Report"
    assert contract.fields == frozenset({"name", "score", "tags"})
    assert contract.required == frozenset({"name"})
    assert not contract.is_async
    assert compile_contract(contract) is contract
    assert compile_contract(list[int]).name == "list[int]"
    assert compile_contract(list[int]).fields is None
    assert compile_contract(str | None).name == "str | None"


def test_the_json_schemas_are_fresh_copies() -> None:
    """Changing one changes nothing; the output's says that defaults are there."""
    contract = compile_contract(Report)
    contract.json_schema()["properties"] = {}
    assert contract.json_schema()["required"] == ["name"]
    assert sorted(contract.output_schema()["required"]) == ["name", "score", "tags"]  # type: ignore[arg-type, type-var]


@settings(max_examples=100)
@given(st.integers(-(2**70), 2**70), st.booleans())
def test_ints_widen_to_float_and_bools_never(number: int, flag: bool) -> None:
    """Over a wide range."""
    assert valid(float, number) == float(number)
    assert rules(int, flag) == rules(float, flag) == [("", "type")]


@pytest.mark.parametrize("annotation", [str, Any, list[str], dict[str, str], dict, Report, Dated, Literal["a"]])
def test_lone_surrogates_are_no_text(annotation: Any) -> None:
    """JSON can spell half of a character; no file, and no other program, can hold it."""
    half = "\ud800"
    values = {
        list[str]: [half],
        dict[str, str]: {half: "x"},
        dict: {half: 1},
        Report: {"name": half},
        Dated: {**DATED, "whole": half},
    }
    with pytest.raises(ValidationError):
        valid(annotation, values.get(annotation, half))


class Flat(BaseModel):
    """Nothing but leaves."""

    name: str
    label: Literal["a", "b"] = "a"
    share: float | None = None


class Open(BaseModel):
    """Other keys may come with it."""

    model_config = ConfigDict(extra="allow")
    name: str


class Deep(BaseModel):
    """One value is a container, by its default."""

    name: Any = []


@pytest.mark.parametrize(
    ("annotation", "leaves"),
    [(Flat, {"name", "label", "share"}), (Open, None), (Deep, None), (Report, None), (list[Flat], None), (str, None)],
)
def test_leaves_are_told_only_where_there_is_nothing_else(annotation: Any, leaves: set[str] | None) -> None:
    """Redaction passes over the rest of such an output: what is told has to be sure."""
    assert compile_contract(annotation).leaves == leaves
