"""What users say that model calls may use, and what they have used."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Final

from kairos_async.exceptions import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What model calls may use. None: not limited.

    Args:
        llm_calls: how many may be made. A call counts when it is sent, whether it is answered or not.
        tokens: that they may read and write together.
        cost_usd: what they may cost, in US dollars by list prices. Every call then needs a model with a known price.
        seconds: from the start of the run, the step or the item that the budget is of, until it has to be done.

    Raises:
        ConfigError: a limit is not positive, or there is none.
    """

    llm_calls: int | None = None
    tokens: int | None = None
    cost_usd: float | Decimal | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("llm_calls", "tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"Budget: {name}={value!r} must be a whole number >= 1, or None for no limit.")
        for name in ("cost_usd", "seconds"):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float, Decimal) and math.isfinite(value) and value > 0):
                raise ConfigError(f"Budget: {name}={value!r} must be a finite number > 0, or None for no limit.")
        if all(getattr(self, field.name) is None for field in fields(self)):
            raise ConfigError("Budget() limits nothing: give it llm_calls, tokens, cost_usd or seconds.")

    @property
    def limits(self) -> tuple[tuple[int, int | Decimal], ...]:
        """The limits on what is reserved, by position in an amount."""
        cost = None if self.cost_usd is None else dollars(self.cost_usd)
        return tuple((i, v) for i, v in enumerate((self.llm_calls, self.tokens, cost)) if v is not None)


def checked_budget(subject: str, argument: str, budget: object) -> Budget | None:
    """The budget that an argument gives.

    Raises:
        ConfigError: it is none.
    """
    if budget is None or isinstance(budget, Budget):
        return budget
    raise ConfigError(f"{subject}: {argument}={budget!r} must be a Budget, such as Budget(llm_calls=50), or None.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the model calls of a run used.

    Attributes:
        llm_calls: how many were made.
        tokens: read and written by all of them, with what `uncertain_calls` had reserved.
        cost_usd: by list prices, with what `uncertain_calls` had reserved.
        input_tokens, output_tokens: of the calls of which it is known.
        uncertain_calls: calls of which nobody said what they used, such as those that were cut off.
        unpriced_calls: calls that `cost_usd` leaves out, because the price of their model is not known.
    """

    llm_calls: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    uncertain_calls: int = 0
    unpriced_calls: int = 0


NO_USAGE: Final = Usage()


def count(name: str, value: int | None) -> int:
    """What a call says of its tokens; 0 for what is not known. Raises ConfigError."""
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise ConfigError(f"A model call: {name}={value!r} must be a whole number >= 0, or None if it is not known.")
    return value


def dollars(value: float | Decimal) -> Decimal:
    """The amount as a decimal number: 0.1 is a tenth, not the float next to it."""
    try:
        amount = value if type(value) is Decimal else Decimal(str(value))
        if amount.is_finite() and amount >= 0:
            return amount
    except InvalidOperation:
        pass
    raise ConfigError(f"A model call: cost_usd={value!r} must be a number >= 0, or None if it is not known.")
