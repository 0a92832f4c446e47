"""Proofs on edges."""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections import Counter
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from kairos_async import validators as v
from kairos_async.contracts import Contract, LLMJudge, Proven, Refuted, Schema, Unknown, all_of, compile_contract
from kairos_async.contracts.proof import prove
from kairos_async.exceptions import ValidationError
from tests.contracts.strategies import PAIRS, SCHEMAS, schemas


class Scored(BaseModel):
    """A producer's model."""

    name: str
    score: float = Field(ge=0, le=1)
    tags: list[str] = []


class Named(BaseModel):
    """A consumer's model that asks for less."""

    name: str
    score: float


class Tree(BaseModel):
    """A model that contains itself."""

    kids: list[Tree] = []


SHORT = Annotated[str, v.length(max=3)]
LETTERS = Annotated[str, v.pattern("^[a-z]+$")]

PROVEN: list[tuple[Any, Any]] = [
    (Scored, Named),
    (Scored, Scored),
    (list[Scored], list[Named]),
    (bool, bool | str),
    (int, int | None),
    (Annotated[int, v.range(min=0, max=9)], float),
    (Annotated[int, v.range(min=0, max=9)], Annotated[float, v.range(min=0)]),
    (SHORT, str),
    (LETTERS, LETTERS),
    (Annotated[LETTERS, v.length(max=3)], SHORT),
    (Literal["a", "b"], str),
    (Literal["a"], Literal["a", "b"]),
    (Literal["ab"], LETTERS),
    (dt.date, dt.date),
    (dt.date, str),
    (set[int], list[int]),
    (tuple[int, str], list[int | str]),
    (dict[str, bool], dict[str, Any]),
    (Scored, dict[str, Any]),
    (Any, Any),
    (Annotated[list[int], v.length(min=2, max=3)], Annotated[list[int], v.length(max=5)]),
    (Schema({"a": int | None}), Schema({"a": int | None, "b": str | None})),
    (Schema({"a": int, "b": int}), Schema({"a": int}, extra="ignore")),
    (Schema({"a": int}, {"a": [v.custom(lambda n: n > 3)]}), Schema({"a": int})),
    (Annotated[int, Field(multiple_of=4)], Annotated[int, Field(multiple_of=2)]),
    ({"type": "integer"}, {"type": "number"}),
    ({"type": "number", "multipleOf": 0.01}, {"type": "number", "multipleOf": 0.01}),
    ({"type": "string", "pattern": r"^\d+$"}, {"type": "string", "pattern": r"^\d+$"}),
    (Annotated[int, Field(gt=0)], Annotated[int, Field(ge=1)]),
    (Scored, {"type": "object", "required": ["name", "tags"]}),
    ({"type": "string", "pattern": "^a+$"}, Annotated[str, v.pattern("^a+$")]),
    (Annotated[str, v.one_of("a", "b")], Annotated[str, v.one_of("a", "b", "c")]),
]

REFUTED: list[tuple[Any, Any]] = [
    (Named, Scored),
    (str, int),
    (str, SHORT),
    (float, int),
    (int, float),
    (str, LETTERS),
    (LETTERS, SHORT),
    (LETTERS, Annotated[str, v.pattern("^[a-z]{3,}$")]),
    (Literal["a", "b"], Literal["a"]),
    (str, dt.date),
    (list[int], set[int]),
    (list[int], Annotated[list[int], v.length(min=1)]),
    (Any, int),
    (dict[str, int], dict[str, str]),
    (int | None, int),
    (Schema({"a": int}), Schema({"a": int, "b": str})),
    (Schema({"a": int, "b": int}), Schema({"a": int})),
    (Schema({"a": int | None}), Schema({"a": int})),
    (Schema({"a": int}, extra="allow"), Schema({"a": int})),
    (int, Annotated[int, v.custom(lambda n: n < 100)]),
    (int, Annotated[int, Field(multiple_of=2)]),
    ({"type": "integer"}, int),
    (dict[str, Any], Named),
    (Annotated[float, v.range(min=0)], Annotated[float, Field(gt=0)]),
    (Annotated[int, v.range(max=10)], Annotated[int, v.range(max=9)]),
    (tuple[int, str], list[int]),
]

UNKNOWN: list[tuple[Any, Any]] = [
    (Tree, Tree),
    (Annotated[str, v.pattern("^a{3}$")], Annotated[str, v.pattern("^aaa$")]),
    (Annotated[int, v.range(min=1)], Annotated[int, v.custom(lambda n: n > 0)]),
    ({"type": "integer"}, {"not": {"type": "string"}}),
]


@pytest.mark.parametrize(("producer", "consumer"), PROVEN)
def test_what_always_fits_is_proven(producer: Any, consumer: Any) -> None:
    """Types, keys, ranges, lengths, steps, literals, formats and equal patterns."""
    assert prove(compile_contract(producer), compile_contract(consumer)) == Proven()


@pytest.mark.parametrize(("producer", "consumer"), REFUTED)
def test_what_can_break_is_refuted_by_a_value(producer: Any, consumer: Any) -> None:
    """The value passes the one contract and not the other."""
    made, wanted = compile_contract(producer), compile_contract(consumer)
    proof = prove(made, wanted)
    assert isinstance(proof, Refuted)
    assert made.validate(proof.counter_example) == proof.counter_example
    with pytest.raises(ValidationError):
        wanted.validate(proof.counter_example)
    assert proof.errors


@pytest.mark.parametrize(("producer", "consumer"), UNKNOWN)
def test_what_cannot_be_decided_is_unknown(producer: Any, consumer: Any) -> None:
    """Never proven in silence; the reason says where and why."""
    proof = prove(compile_contract(producer), compile_contract(consumer))
    assert isinstance(proof, Unknown)
    assert proof.reason


def test_a_judge_is_not_decidable() -> None:
    """As a consumer's rule it may refuse anything; a producer's is not asked."""

    async def model(_: object) -> object:
        raise AssertionError("asked")

    judged = all_of(Named, LLMJudge("is true", model))
    assert isinstance(prove(compile_contract(Scored), judged), Unknown)
    assert isinstance(prove(compile_contract(str), judged), Refuted)
    assert prove(judged, compile_contract(Named)) == Proven()
    assert isinstance(prove(judged, compile_contract(Scored)), Unknown)


def test_an_edge_into_a_key_of_the_inputs() -> None:
    """The consumer's contract is on all its inputs; the edge is about one of them."""
    inputs = compile_contract(Schema({"a": Named, "other": int}))
    assert prove(compile_contract(Scored), inputs, key="a") == Proven()
    proof = prove(compile_contract(dict[str, int]), inputs, key="a")
    assert isinstance(proof, Refuted)
    assert all(e.declared.startswith("a") for e in proof.errors)
    assert prove(compile_contract(str), inputs, key="not_declared") == Proven()
    assert isinstance(prove(compile_contract(str), compile_contract(Schema({"a": int})), key="a"), Refuted)
    ruled = Schema({"a": Named}, rules=[v.rule(lambda d: True)])
    assert isinstance(prove(compile_contract(Scored), compile_contract(ruled), key="a"), Unknown)


def test_an_edge_out_of_a_foreach() -> None:
    """It carries a list of outputs, with None for what failed where that is allowed."""
    items = compile_contract(Schema({"each": list[Named]}))
    scored = compile_contract(Scored)
    assert prove(scored, items, key="each", many=True) == Proven()
    assert isinstance(prove(scored, items, key="each"), Refuted)
    holes = prove(scored, items, key="each", many=True, holes=True)
    assert isinstance(holes, Refuted)
    assert None in holes.counter_example  # type: ignore[operator]  # it is a list
    assert prove(scored, compile_contract(list[Named | None]), many=True, holes=True) == Proven()


def test_what_the_contracts_do_beyond_their_json_schema_is_seen() -> None:
    """Extra words in a JSON Schema prove nothing, and code that may change values is not trusted."""

    class Boastful(BaseModel):
        n: int = Field(json_schema_extra={"minimum": 5})

    class Changing(BaseModel):
        n: Annotated[int, Field(ge=0)]

        def model_post_init(self, _: object) -> None:
            self.n = -1

    positive = compile_contract(Schema({"n": Annotated[int, v.range(min=0)]}))
    assert isinstance(prove(compile_contract(Boastful), positive), Refuted)
    assert isinstance(prove(compile_contract(Changing), positive), Refuted)


class Short(BaseModel):
    """A model whose setting bounds its text."""

    model_config = ConfigDict(str_max_length=3)
    name: str


class Loud(BaseModel):
    """A model whose setting changes its text."""

    model_config = ConfigDict(str_to_upper=True)
    name: Annotated[str, Field(pattern="^[a-z]+$")]


class Listed(BaseModel):
    """A model whose default breaks its own rule, which nobody asked."""

    tags: Annotated[list[int], Field(min_length=1)] = Field(default_factory=list)


class Sparse(BaseModel):
    """A model that leaves a key out."""

    n: int = Field(default=0, exclude_if=lambda n: n == 0)


class Renamed(BaseModel):
    """A model of which a key that it keeps can hide a field."""

    model_config = ConfigDict(extra="allow")
    n: int = Field(validation_alias="m")


class Cat(BaseModel):
    """One alternative; the kind has a default."""

    kind: Literal["cat"] = "cat"
    n: int


class Dog(BaseModel):
    """Another one."""

    kind: Literal["dog"] = "dog"
    n: int


BY_FUNCTION = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(lambda data: "cow")]
STEPS_OF_3 = Annotated[float, Field(multiple_of=3)]

OVERLOOKED: list[tuple[Any, Any, Any]] = [
    (Schema({"name": str}), Short, {"name": "four"}),
    (Loud, Schema({"name": LETTERS}), {"name": "a"}),
    (Listed, Schema({"tags": Annotated[list[int], v.not_empty()]}), {}),
    (Sparse, Schema({"n": int}), {"n": 0}),
    (Renamed, Schema({"n": int}), {"m": 1, "n": "x"}),
    (Schema({"n": int}), Annotated[Cat | Dog, Field(discriminator="kind")], {"n": 1}),
    (Cat, BY_FUNCTION, {"n": 1}),
    ({"const": 2**60}, Literal[2**60], float(2**60)),
    (set[Annotated[int, v.range(min=0, max=2**60)]], set[float], [2**53, 2**53 + 1]),
    (Annotated[int, v.range(min=0, max=2**54 + 3)], Annotated[float, Field(lt=2.0**54 + 4)], 2**54 + 3),
    (STEPS_OF_3, {"type": "number", "multipleOf": 3}, float(2**60)),
    (Annotated[str, v.pattern(r"^\d$")], {"type": "string", "pattern": r"^\d$"}, "٣"),
    (Literal["٣"], {"type": "string", "pattern": r"^\d$"}, "٣"),
    (
        {"type": "object", "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": False},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"x": "a"},
    ),
    (
        {"type": "integer"},
        {"anyOf": [{"$id": "http://x/", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}],
         "$defs": {"a": {"type": "integer"}}},
        2,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("producer", "consumer", "sample"), OVERLOOKED)
def test_what_is_easily_overlooked_is_not_proven(producer: Any, consumer: Any, sample: Any) -> None:
    """Settings, defaults, names and tags of models, large numbers, and patterns that JSON Schema reads otherwise."""
    made, wanted = compile_contract(producer), compile_contract(consumer)
    valid = made.validate(sample)
    with pytest.raises(ValidationError):
        wanted.validate(valid)
    assert prove(made, wanted) != Proven()


def sampled_refutation(producer: Contract, consumer: Contract, samples: list[Any]) -> bool:
    """Whether one of the samples is a value that the one returns and the other refuses."""
    for sample in samples:
        try:
            made = producer.validate(sample)
        except ValidationError:
            continue
        try:
            consumer.validate(made)
        except ValidationError:
            return True
    return False


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema, list[Any]]:
    """A producer, a consumer that is often like it, and samples of the producer's data."""
    producer, data = draw(SCHEMAS)
    other, _ = draw(schemas())
    kind = draw(st.sampled_from(["same", "extended", "extended", "narrowed", "other", "other"]))
    fields = {"same": producer._fields, "extended": producer._fields | other._fields, "other": other._fields}.get(kind)
    if fields is None:
        fields = {name: producer._fields[name] for name in producer.field_names[:-1]}
    extra: Any = draw(st.sampled_from([producer._extra, producer._extra, "forbid", "ignore"]))
    return producer, Schema(fields, extra=extra), draw(st.lists(data, min_size=10, max_size=10))


@st.composite
def mixed_pairs(draw: st.DrawFn) -> tuple[Contract, Contract, list[Any]]:
    """Contracts of all kinds, or the JSON Schema of one, and samples of both."""
    producer, consumer = draw(PAIRS)
    made, wanted = compile_contract(producer.annotation), compile_contract(consumer.annotation)
    kind = draw(st.sampled_from(["plain", "plain", "json producer", "json consumer"]))
    if kind == "json producer":
        made = compile_contract(made.json_schema())
    elif kind == "json consumer":
        wanted = compile_contract(wanted.json_schema())
    return made, wanted, draw(st.lists(producer.data | consumer.data, min_size=8, max_size=8))


class Found:
    """What was found of many pairs."""

    def __init__(self) -> None:
        self.tally: Counter[str] = Counter()
        self.times: list[float] = []

    def compare(self, producer: Contract, consumer: Contract, samples: list[Any]) -> None:
        """The proof, beside what sampling finds: nothing that sampling refutes is proven, and counter-examples hold."""
        started = time.thread_time()
        proof = prove(producer, consumer)
        self.times.append(time.thread_time() - started)
        sampled = sampled_refutation(producer, consumer, samples)
        self.tally["refutable"] += sampled or isinstance(proof, Refuted)
        self.tally[type(proof).__name__] += 1
        if isinstance(proof, Refuted):
            with pytest.raises(ValidationError):
                consumer.validate(proof.counter_example)
        if isinstance(proof, Proven):
            assert not sampled

    def check(self, refutable: int, proven: int, refuted: float) -> None:
        """There was enough of each, found fast enough."""
        assert self.tally["refutable"] >= refutable
        assert self.tally["Proven"] >= proven
        assert self.tally["Refuted"] >= refuted * self.tally["refutable"]
        assert statistics.median(self.times) < 0.010


RANDOM = settings(suppress_health_check=list(HealthCheck), phases=[Phase.generate], deadline=None)


def test_random_pairs_against_sampling() -> None:
    """Never proven for a pair that sampling refutes; a true counter-example for nearly all that can be refuted."""
    found = Found()

    @settings(RANDOM, max_examples=150)
    @given(pairs())
    def compare(pair: tuple[Schema, Schema, list[Any]]) -> None:
        found.compare(pair[0].contract, pair[1].contract, pair[2])

    compare()
    found.check(refutable=25, proven=20, refuted=0.9)


def test_random_pairs_of_all_kinds_against_sampling() -> None:
    """The same over models with all their settings, tagged unions, dates, sets, and JSON Schemas on either side."""
    found = Found()

    @settings(RANDOM, max_examples=330)
    @given(mixed_pairs())
    def compare(pair: tuple[Contract, Contract, list[Any]]) -> None:
        found.compare(*pair)

    compare()
    assert len(found.times) >= 300
    found.check(refutable=80, proven=60, refuted=0.9)
