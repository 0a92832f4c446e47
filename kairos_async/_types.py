"""Types that every layer shares. Nothing here imports another module of the package but the standard library."""

from __future__ import annotations

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
