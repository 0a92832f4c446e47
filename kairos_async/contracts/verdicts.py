"""What a proof about two contracts comes to. The proof itself is in `proof.py`, which takes a tenth of the package's
import time and is imported by the first that asks for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kairos_async._types import FieldError, JSONValue


@dataclass(frozen=True, slots=True)
class Proven:
    """Whatever the producer's contract returns, the consumer's contract accepts."""


@dataclass(frozen=True, slots=True)
class Refuted:
    """The producer's contract returns `counter_example`, and the consumer's refuses it, with these `errors`."""

    counter_example: JSONValue
    errors: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Neither could be shown. `reason` says where, and why."""

    reason: str


Proof: TypeAlias = Proven | Refuted | Unknown
