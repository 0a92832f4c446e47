"""Types that every layer shares. Nothing here imports another module of the package but the standard library."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Final, TypeAlias

from typing_extensions import TypeAliasType

JSONScalar: TypeAlias = str | int | float | bool | None
"""A JSON value without parts. Floats are finite; strings can be encoded as UTF-8 (no lone surrogates)."""

JSONValue = TypeAliasType("JSONValue", "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None")
"""What state holds and what crosses a boundary: built-in types only, so that a copy is complete and a dump is exact."""


class _Missing(enum.Enum):
    """The type of `MISSING`: an enum member, so that type checkers narrow on `is`."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


Missing: TypeAlias = _Missing
MISSING: Final = _Missing.MISSING
"""No value was given, where None is a value."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule of a contract. It never holds the offending value.

    `field` is the path of the value in the data that was checked, as `a.b[0].c`, "" for the whole; it may contain keys
    that the data invented, so it is for people and logs, after redaction. `declared` is the same path in the
    contract's own words: indices are `[]`, keys that the contract does not declare are `*`, and a part that contains
    itself is there once only; with `rule` and `expected`, which also come from the contract alone, it is all that retry
    feedback may use.

    `rule` is a name from a closed vocabulary such as "type", "required", "less_than_equal"; `expected` says what the
    contract allows, such as "a number <= 1.0"; `actual` is the JSON type of the value (null, boolean, integer, number,
    string, array, object) or "absent" or "other"; `message` is a sentence made of the parts above, or what a custom
    rule said, which may speak of the value: it is redacted before it leaves a run.
    """

    field: str
    declared: str
    rule: str
    expected: str
    actual: str
    message: str


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one call to a model consumed, as its provider says; None where it says nothing.

    `input_tokens` are all that the model read, those from or into a cache included; `output_tokens` all that it wrote,
    its reasoning included. `estimated_cost_usd` is by list prices, None while nobody has worked it out.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated_cost_usd: float | None = None

    @property
    def total_tokens(self) -> int | None:
        """Input and output together; None if neither is known."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def known(self) -> bool:
        """Whether the provider said how much was read and written."""
        return self.input_tokens is not None and self.output_tokens is not None

    def __add__(self, other: TokenUsage) -> TokenUsage:
        """Both together; what one of them does not know counts as the other's."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        both = (a if b is None else b if a is None else a + b for a, b in zip(mine, theirs, strict=True))
        return TokenUsage(*both)

    def to_dict(self) -> dict[str, JSONValue]:
        """As JSON data, with the total."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "estimated_cost_usd": self.estimated_cost_usd,
        }
