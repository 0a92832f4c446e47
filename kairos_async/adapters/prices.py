"""What calls cost: list prices of the library genai-prices, offline, and those that users set themselves.

The library works a price out in a quarter of a millisecond, which is a good part of what a whole call costs here.
Within one tier of a model's prices the cost is so much for each token of four kinds. These four are asked from the
library once, and every price after that is a sum of four products in decimal numbers: the same to the last digit.
"""

from __future__ import annotations

import bisect
import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, TypeAlias

from kairos_async._types import TokenUsage
from kairos_async.exceptions import ConfigError

_PROVIDERS: Final = {"gemini": "google"}
"""Names of providers in the library, where they are others than ours."""

_MILLION: Final = Decimal(1_000_000)

_Rates: TypeAlias = tuple[Decimal, Decimal, Decimal, Decimal]
"""For a token that was read, read from a cache, written to a cache, and written."""

_set_by_user: Final[dict[tuple[str, str], _Rates]] = {}


def set_price(provider: str, model: str, *, input_mtok: float | Decimal, output_mtok: float | Decimal) -> None:
    """Say what a model costs, for all runs of this process: before or instead of the price library.

    Args:
        provider, model: as its adapter names them; "openai" for every server that speaks OpenAI's format.
        input_mtok, output_mtok: US dollars for a million tokens read and written; 0 for a model of your own.

    Raises:
        ConfigError: a price is negative or no number.
    """
    read, written = _dollars("input_mtok", input_mtok), _dollars("output_mtok", output_mtok)
    _set_by_user[provider, model] = (read, read, read, written)


_library: Any = None
_ready = False


def ready() -> bool:
    """Whether `prepare` was called. Before that no price but those of users is known."""
    return _ready


def prepare() -> None:
    """Load the price library, if it is installed: once, for half a second.

    The first call to a model does it in a worker thread; a program that cannot wait then calls this when it starts.
    """
    global _library, _ready
    if not _ready and importlib.util.find_spec("genai_prices"):
        _library = importlib.import_module("genai_prices")
        _tariff("openai", "gpt-4o")
    _ready = True


def cost(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    """What a call cost; None if its usage is not known, or the price of the model."""
    if not usage.known:
        return None
    return cost_of(
        provider,
        model,
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cached_input_tokens or 0,
        usage.cache_write_tokens or 0,
    )


def cost_of(provider: str, model: str, read: int, written: int, cached: int = 0, to_cache: int = 0) -> Decimal | None:
    """What so many tokens cost; None if the price of the model is not known. `read` includes the cached ones."""
    rates = _set_by_user.get((provider, model))
    if rates is None:
        tariff = None if _library is None else _tariff(provider, model)
        if tariff is None:
            return None
        rates = tariff.at(read)
        if rates is None:
            return tariff.price(read, written, cached, to_cache)
    plain = max(0, read - cached - to_cache)
    return plain * rates[0] + cached * rates[1] + to_cache * rates[2] + written * rates[3]


def priced(provider: str, model: str, usage: TokenUsage) -> TokenUsage:
    """The usage with what it cost, as far as that is known."""
    dollars = cost(provider, model, usage)
    return usage if dollars is None else replace(usage, estimated_cost_usd=float(dollars))


def why_unknown(provider: str, model: str) -> str:
    """What to do when the price of a model is not known."""
    if _library is None:
        way = "install the extra `prices` (pip install 'kairos-async[prices]')"
    else:
        way = (
            f"the price library does not know it; say what it costs with prices.set_price({provider!r}, {model!r}, ...)"
        )
    return f"The price of model {model!r} of {provider} is not known, and a budget limits cost_usd: {way}."


@dataclass(frozen=True, slots=True)
class _Tariff:
    """A model's prices. `tiers`: the numbers of tokens read above which other rates hold; None: they change with the
    time of day, so that the library is asked each time."""

    price: Callable[..., Decimal]
    tiers: list[int] | None
    rates: dict[int, _Rates]

    def at(self, read: int) -> _Rates | None:
        """The rates for a call that reads so many tokens."""
        if self.tiers is None:
            return None
        tier = bisect.bisect_left(self.tiers, read)
        if tier not in self.rates:
            floor = self.tiers[tier - 1] + 1 if tier else 0
            nothing = self.price(floor, 0, 0, 0)
            self.rates[tier] = (
                self.price(floor + 1, 0, 0, 0) - nothing,
                self.price(floor + 1, 0, 1, 0) - nothing,
                self.price(floor + 1, 0, 0, 1) - nothing,
                self.price(floor, 1, 0, 0) - nothing,
            )
        return self.rates[tier]


@functools.cache
def _tariff(provider: str, model: str) -> _Tariff | None:
    library = _library

    def price(read: int, written: int, cached: int, to_cache: int) -> Decimal:
        usage = library.Usage(
            input_tokens=read, output_tokens=written, cache_read_tokens=cached, cache_write_tokens=to_cache
        )
        total: Decimal = library.calc_price(usage, model, provider_id=_PROVIDERS.get(provider, provider)).total_price
        return total

    usage = library.Usage(input_tokens=1, output_tokens=1)
    try:
        found = library.calc_price(usage, model, provider_id=_PROVIDERS.get(provider, provider))
    except LookupError:
        return None
    if not hasattr(found.model.prices, "calc_price"):
        return _Tariff(price, None, {})
    tiered = [entry.tiers for entry in vars(found.model_price).values() if hasattr(entry, "tiers")]
    return _Tariff(price, sorted({tier.start for tiers in tiered for tier in tiers}), {})


def _dollars(name: str, value: object) -> Decimal:
    amount = Decimal(str(value)) if type(value) in (int, float, Decimal) else Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise ConfigError(f"set_price: {name}={value!r} must be a number of dollars >= 0.")
    return amount / _MILLION
