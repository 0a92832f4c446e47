"""What an action made of a prompt uses of models at most, before anything is known but its template and its models."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Final

from kairos_async.adapters import prices
from kairos_async.adapters._limits import TOKENS_A_MESSAGE
from kairos_async.adapters.model import ModelAdapter
from kairos_async.estimate import CallBound, TokensOf, text_tokens
from kairos_async.security import Template

_TOKENS_A_FENCE: Final = 100


def prompt_bound(
    model: ModelAdapter,
    templates: Collection[Template],
    more: int,
    fence: Collection[str],
    tokens_of: TokensOf,
) -> CallBound:
    """What a call with these templates uses at most, and so many tokens besides."""
    prices.prepare()
    read: int | None = more + TOKENS_A_MESSAGE * len(templates)
    unknown: dict[str, None] = {}
    for template in templates:
        literal = template.render(dict.fromkeys(template.names, ""))
        known = 0
        for name in template.uses:
            size = tokens_of(name)
            if size is None:
                unknown[f"how long {{{name}}} is"] = None
            known += (size or 0) + _TOKENS_A_FENCE * (name in fence)
        read = None if unknown or read is None else read + text_tokens(literal) + known
    return _models_bound(model, read, unknown)


def members(model: ModelAdapter) -> list[ModelAdapter]:
    """The models that a call may ask: those of a chain or behind a cache, or itself."""
    inner: Collection[ModelAdapter] = getattr(model, "models", ())
    return [member for each in inner for member in members(each)] if inner else [model]


def _models_bound(model: ModelAdapter, read: int | None, unknown: Iterable[str]) -> CallBound:
    problems = list(unknown)
    asked = members(model)
    tokens: list[int | None] = []
    costs: list[Decimal | None] = []
    longest: list[int | None] = []
    for member in asked:
        most: int | None = getattr(member, "max_tokens", None)
        price = None if read is None or most is None else prices.cost_of(member.provider, member.model, read, most)
        longest.append(most)
        tokens.append(None if read is None or most is None else read + most)
        costs.append(price)
        if most is None:
            problems.append(f"how long answers of model {member.model!r} are: it has no max_tokens")
        elif price is None and read is not None:
            problems.append(f"what model {member.model!r} of {member.provider} costs")
    return CallBound(
        len(asked),
        None if None in tokens else sum(filter(None, tokens)),
        None if None in costs else sum(filter(None, costs), Decimal(0)),
        None if None in longest else max(filter(None, longest)),
        tuple(dict.fromkeys(problems)),
    )
