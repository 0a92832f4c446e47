"""What the rate-limit headers of providers say. A header that says nothing readable is passed over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

_NAMES: Final = {
    "requests": (
        ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
        ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"),
    ),
    "tokens": (
        ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"),
        ("anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining"),
    ),
}
"""The headers with the limit a minute and with what is left of it, by what they count."""


def told_limits(headers: Mapping[str, str]) -> dict[str, tuple[float | None, float | None]]:
    """The limit a minute and what is left of it, for "requests" and "tokens", as far as they are told.

    `headers` have lower-case names. The time of the reset is not used: providers mean different things by it, the end
    of a window or the time until all is filled up again, and a wrong guess would stop everything.
    """
    told = {}
    for kind, pairs in _NAMES.items():
        for limit_name, left_name in pairs:
            limit, left = _number(headers.get(limit_name)), _number(headers.get(left_name))
            if limit is not None or left is not None:
                told[kind] = (limit or None, left)
    return told


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
