"""Random contracts and random data for them."""

from __future__ import annotations

import datetime as dt
import enum
import string
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from hypothesis import strategies as st
from pydantic import ConfigDict, Discriminator, Field, Tag, create_model

from kairos_async import validators as v
from kairos_async.contracts import Schema


class Colour(enum.Enum):
    """An enum of strings."""

    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    """An enum of integers."""

    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Spec:
    """An annotation, and a strategy of data that mostly fits it."""

    annotation: Any
    data: st.SearchStrategy[Any]


NAMES = st.sampled_from(["a", "b", "from", "model_config", "_private", "1st", "ä ö", "schema", "x.y"])
TEXT = st.text(string.ascii_letters + string.digits + " -_é", max_size=6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)

JSON_DATA: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def numbers(draw: st.DrawFn) -> Spec:
    """An int or a float, perhaps within bounds."""
    low = draw(st.integers(-5, 5))
    high = draw(st.integers(low, 10))
    kind = draw(st.sampled_from([int, float]))
    bounded: Any = Annotated[kind, v.range(min=low, max=high)]
    near = st.integers(low - 1, high + 1)
    if kind is int:
        return draw(st.sampled_from([Spec(int, st.integers(-20, 20)), Spec(bounded, near)]))
    return draw(st.sampled_from([Spec(float, FLOATS), Spec(bounded, near | near.map(float))]))


@st.composite
def texts(draw: st.DrawFn) -> Spec:
    """A str, perhaps of limited length or with a pattern."""
    low = draw(st.integers(0, 3))
    limited: Any = Annotated[str, v.length(min=low, max=low + draw(st.integers(0, 3)))]
    matching: Any = Annotated[str, v.pattern(draw(st.sampled_from(["^[a-z]+$", "[0-9]", "^.{2,4}$"])))]
    return draw(st.sampled_from([Spec(str, TEXT), Spec(limited, TEXT), Spec(matching, TEXT)]))


@st.composite
def choices(draw: st.DrawFn) -> Spec:
    """A literal, an enum or a one_of."""
    return draw(
        st.sampled_from(
            [
                Spec(Literal["x", 1, True], st.sampled_from(["x", 1, True, 1.0, "y"])),
                Spec(Colour, st.sampled_from(["red", "green", "blue"])),
                Spec(Level, st.sampled_from([1, 2, 3, True])),
                Spec(Annotated[str, v.one_of("p", "q")], st.sampled_from(["p", "q", "r"])),
                Spec(Annotated[float, v.one_of(1, 2.5)], st.sampled_from([1, 1.0, 2.5, 3])),
            ]
        )
    )


LEAVES: st.SearchStrategy[Spec] = (
    numbers() | texts() | choices() | st.just(Spec(bool, st.booleans())) | st.just(Spec(Any, JSON_DATA))
)


def _listed(spec: Spec) -> Spec:
    annotation: Any = spec.annotation
    return Spec(list[annotation], st.lists(spec.data, max_size=3))


def _short_list(spec: Spec) -> Spec:
    annotation: Any = Annotated[_listed(spec).annotation, v.length(max=2)]
    return Spec(annotation, st.lists(spec.data, max_size=3))


def _named(spec: Spec) -> Spec:
    annotation: Any = spec.annotation
    return Spec(dict[str, annotation], st.dictionaries(TEXT, spec.data, max_size=3))


def _optional(spec: Spec) -> Spec:
    return spec if spec.annotation is Any else Spec(spec.annotation | None, st.none() | spec.data)


def _containers(inner: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
    return (
        inner.map(_listed) | inner.map(_named) | inner.map(_optional) | inner.map(_short_list)
        | schemas(inner).map(lambda pair: Spec(*pair))
    )  # fmt: skip


@st.composite
def schemas(draw: st.DrawFn, inner: st.SearchStrategy[Spec] = LEAVES) -> tuple[Schema, st.SearchStrategy[Any]]:
    """A Schema of up to four fields, and data that mostly fits it."""
    specs = draw(st.dictionaries(NAMES, inner, max_size=4))
    fields: dict[str, Any] = {}
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, spec in specs.items():
        presence = draw(st.sampled_from(["plain", "plain", "not required", "default"]))
        fields[name] = spec.annotation
        if presence == "not required":
            fields[name] = NotRequired[spec.annotation]
        (required if presence == "plain" else optional)[name] = spec.data
    extra: Any = draw(st.sampled_from(["forbid", "forbid", "ignore", "allow"]))
    data = st.fixed_dictionaries(required, optional=optional)
    return Schema(fields, extra=extra), data | data | st.fixed_dictionaries({}, optional={**required, **optional})


SCHEMAS: st.SearchStrategy[tuple[Schema, st.SearchStrategy[Any]]] = schemas(
    st.recursive(LEAVES, _containers, max_leaves=4)
)


@st.composite
def schemas_with_data(draw: st.DrawFn) -> tuple[Schema, Any]:
    """A Schema, and one value: of its kind, slightly wrong, or any JSON."""
    schema, data = draw(SCHEMAS)
    value = draw(data | data | data | JSON_DATA)
    if isinstance(value, dict) and draw(st.integers(0, 4)) == 0:
        value = {**value, draw(NAMES): draw(JSON_DATA)}
    return schema, value


FIELDS: list[Spec] = [
    Spec(str, TEXT), Spec(Annotated[str, Field(pattern="^[a-z]+$")], st.from_regex(r"\A[a-z]+\Z")),
    Spec(int, st.integers(0, 2)),
    Spec(Annotated[list[int], Field(min_length=1)], st.lists(st.integers(0, 3), max_size=2)),
    Spec(list[int], st.lists(st.integers(0, 3), max_size=2)), Spec(dt.date, st.dates().map(str)),
]  # fmt: skip
OPTIONS: list[dict[str, Any]] = [{}, {}, {"alias": "x"}, {"validation_alias": "x"}, {"serialization_alias": "x"}]
OPTIONS_OF: dict[Any, list[dict[str, Any]]] = {
    int: [{"default": 0, "exclude_if": lambda n: n == 0}, {"default": 0, "exclude": True}],
    FIELDS[3].annotation: [{"default_factory": list}],
    list[int]: [{"default_factory": list}],
}
SETTINGS: list[ConfigDict] = [
    {}, {}, {"str_max_length": 3}, {"str_to_upper": True}, {"str_strip_whitespace": True}, {"extra": "forbid"},
    {"extra": "allow"}, {"validate_by_alias": False, "validate_by_name": True},
]  # fmt: skip


@st.composite
def model_pairs(draw: st.DrawFn) -> tuple[Spec, Spec]:
    """Two models of the same fields, each with its own aliases, defaults, settings, and keys left out."""
    shared = draw(st.dictionaries(st.sampled_from("ab"), st.sampled_from(FIELDS), min_size=1))
    return _model(draw, shared), _model(draw, shared)


def _model(draw: st.DrawFn, specs: dict[str, Spec]) -> Spec:
    fields: dict[str, Any] = {}
    data: dict[str, st.SearchStrategy[Any]] = {}
    for name, spec in specs.items():
        options = draw(st.sampled_from([*OPTIONS, *OPTIONS_OF.get(spec.annotation, ())]))
        options = {key: f"x{name}" if "alias" in key else option for key, option in options.items()}
        fields[name] = (spec.annotation, Field(**options))
        for key in (name, options.get("alias") or options.get("validation_alias") or name):
            data[key] = spec.data
    model = create_model("Made", __config__=draw(st.sampled_from(SETTINGS)), **fields)
    return Spec(model, st.fixed_dictionaries(data) | st.fixed_dictionaries({}, optional=data))


@st.composite
def union_pairs(draw: st.DrawFn) -> tuple[Spec, Spec]:
    """Two of: one model, another one, their union, told apart by a tag that may have a default, or by a function."""
    value = draw(st.sampled_from(FIELDS))
    tags: list[Any] = [draw(st.sampled_from([(Literal["p"], ...), (Literal["p"], "p")])), (Literal["q"], "q")]
    first, second = (create_model(f"Made{i}", kind=tag, v=(value.annotation, ...)) for i, tag in enumerate(tags))
    alone = create_model("Alone", v=(value.annotation, ...))
    by_function: Any = Annotated[
        Annotated[first, Tag("p")] | Annotated[second, Tag("q")],
        Discriminator(lambda data: data.get("v") if isinstance(data, dict) else "p"),
    ]
    tagged: Any = Annotated[first | second, Field(discriminator="kind")]
    sides = st.sampled_from([tagged, tagged, by_function, first, alone, first | second])
    data = st.fixed_dictionaries({"v": value.data}, optional={"kind": st.sampled_from("pq")})
    return Spec(draw(sides), data), Spec(draw(sides), data)


@st.composite
def scalar_pairs(draw: st.DrawFn) -> tuple[Spec, Spec]:
    """Two of one family of scalars: text with patterns, large numbers with bounds and steps, sets of them, choices."""
    family = draw(st.sampled_from(["text", "numbers", "sets", "choices"]))
    if family == "text":
        regex = draw(st.sampled_from([r"^\d$", r"^\w$", "^.$", "^[a&&b]$", "^[a-z]$", r"^\S$"]))
        sides: list[Any] = [Annotated[str, v.pattern(regex)], str, Literal["a", "٣"]]
        data: st.SearchStrategy[Any] = st.sampled_from(["a", "b", "&", "é", "٣", "\r", "5", "\ufeff", "_"])
    elif family == "choices":
        sides = [Literal[2**60, "a"], Bits, Literal[1, 2], int, Level]
        data = st.sampled_from([2**60, float(2**60), "a", 1, 2, 1.0, Bits.ONE | Bits.TWO])
    else:
        low, high = draw(st.integers(2**53 - 5, 2**53 + 5)), draw(st.integers(2**54 - 5, 2**54 + 5))
        limits: list[Any] = [
            Field(ge=low, le=high),
            Field(gt=low - 1, lt=high + 1),
            Field(gt=float(low), lt=float(high)),
        ]
        limit, step = draw(st.sampled_from(limits)), Field(multiple_of=draw(st.sampled_from([1, 3])))
        sides = [
            Annotated[int, limit],
            Annotated[int, limits[0], step],
            Annotated[float, limit],
            Annotated[float, step],
        ]
        data = st.integers(low - 2, low + 5) | st.integers(high - 5, high + 2)
        if family == "sets":
            sides = [set[side] for side in sides]  # type: ignore[valid-type]  # they are made
            data = st.lists(data, unique=True, max_size=3)
    return Spec(draw(st.sampled_from(sides)), data), Spec(draw(st.sampled_from(sides)), data)


class Bits(enum.Flag):
    """Flags, whose sums are no members."""

    ONE = 1
    TWO = 2


OTHERS: st.SearchStrategy[Spec] = (
    LEAVES | LEAVES.map(_listed) | LEAVES.map(_named) | LEAVES.map(_optional)
    | st.sampled_from([
        *FIELDS, Spec(set[int], st.sets(st.integers(0, 9)).map(list)), Spec(set[float], st.sets(FLOATS).map(list)),
        Spec(tuple[int, str], st.tuples(st.integers(), TEXT).map(list)), Spec(uuid.UUID, st.uuids().map(str)),
        Spec(dt.datetime, st.datetimes().map(dt.datetime.isoformat)),
    ])
)  # fmt: skip
PAIRS: st.SearchStrategy[tuple[Spec, Spec]] = (
    model_pairs() | model_pairs() | union_pairs() | scalar_pairs() | scalar_pairs() | st.tuples(OTHERS, OTHERS)
)
"""Two contracts that are alike, or not at all, of all kinds."""
