"""Sets of JSON values, as far as one can reason about them: the ground of proofs on edges.

A shape is a union of atoms. It tells int from float, as contracts do and JSON Schema does not. An atom that is `vague`
stands for an unknown part of itself: what a contract really accepts there is at most this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

from kairos_async._types import JSONScalar


@dataclass(frozen=True, slots=True)
class Anything:
    """Every JSON value."""

    vague: bool = False


@dataclass(frozen=True, slots=True)
class Values:
    """Finitely many scalars, each with its own type: True is not 1, nor is 1.0."""

    values: tuple[JSONScalar, ...]
    vague: bool = False


@dataclass(frozen=True, slots=True)
class Numbers:
    """Ints, or floats, within bounds (None: none). `open_low` and `open_high` leave the bound itself out.

    `step` is a number that each is a multiple of; None: any. `tolerant` says that the multiples of it are those of
    Pydantic, which for floats allows for rounding.
    """

    whole: bool
    low: float | int | None = None
    high: float | int | None = None
    open_low: bool = False
    open_high: bool = False
    step: float | int | None = None
    tolerant: bool = False
    vague: bool = False


class Pattern(NamedTuple):
    """A regex. `ecma` says that it is read as JSON Schema reads it, whose digits, for example, are those of ASCII."""

    text: str
    ecma: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """Strings by length in characters, with all of the patterns found in them, of a format such as "date"."""

    min_length: int = 0
    max_length: int | None = None
    patterns: tuple[Pattern, ...] = ()
    format: str | None = None
    vague: bool = False


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists: the first items by place, all others of one shape."""

    items: Shape
    first: tuple[Shape, ...] = ()
    min_length: int = 0
    max_length: int | None = None
    unique: bool = False
    vague: bool = False


@dataclass(frozen=True, slots=True)
class Property:
    """A declared key of an object."""

    shape: Shape
    required: bool


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects by their declared keys; `extra` is the shape of all other keys' values, None if there may be none."""

    properties: Mapping[str, Property] = field(hash=False)
    extra: Shape | None
    min_length: int = 0
    max_length: int | None = None
    vague: bool = False


Atom: TypeAlias = Anything | Values | Numbers | Text | Lists | Objects
Shape: TypeAlias = tuple[Atom, ...]

ANYTHING: Final[Shape] = (Anything(),)
UNKNOWN: Final[Shape] = (Anything(vague=True),)
NULL: Final[Shape] = (Values((None,)),)
BOOLEANS: Final[Shape] = (Values((True, False)),)


def vague(shape: Shape) -> Shape:
    """The shape of which only an unknown part is meant."""
    return tuple(replace(atom, vague=True) for atom in shape)


def scalar_of(value: JSONScalar) -> tuple[type, JSONScalar]:
    """What tells a scalar from others: 1, 1.0 and True are three."""
    return type(value), value
