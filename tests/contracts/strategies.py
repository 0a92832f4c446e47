"""Random contracts and random data for them."""

from __future__ import annotations

import enum
import string
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from hypothesis import strategies as st

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
