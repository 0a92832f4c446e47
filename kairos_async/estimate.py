"""What a run may use of models at most, worked out before it starts: from actions, policies, sizes and prices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from kairos_async.budget import Budget
from kairos_async.exceptions import ConfigError
from kairos_async.failure import FailureAction
from kairos_async.node import Node
from kairos_async.plan import TaskGraph

_BYTES_A_TOKEN: Final = 2
"""Natural languages and code take more of them for a token, in all tokenizers in use: a text is never taken for shorter
than it is, and for about twice as long as English is."""


def text_tokens(text: str) -> int:
    """How many tokens a text has at most, if it is of a language or code, and not random letters."""
    return -(-len(text.encode()) // _BYTES_A_TOKEN)


@dataclass(frozen=True, slots=True)
class CallBound:
    """What one call of an action uses of models at most. None: not known, and `unknown` says why."""

    llm_calls: int
    tokens: int | None
    cost_usd: Decimal | None
    output_tokens: int | None
    unknown: tuple[str, ...] = ()


TokensOf: TypeAlias = Callable[[str], int | None]
"""How many tokens the value of a key has at most, "item" for the item of a foreach; None: not known."""


@runtime_checkable
class Bounded(Protocol):
    """An action that knows what it may use."""

    def bound(self, tokens_of: TokensOf) -> CallBound:
        """What one call of it uses at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEstimate:
    """What a step may use at most: `items` (1 without a foreach) times `attempts` times what one attempt may use."""

    items: int | None
    attempts: int
    llm_calls: int | None
    tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run may use at most, if everything that can be retried is.

    `steps` has those that ask models, as far as their actions say so: made of prompts, or with contracts that ask. A
    number is None where something is not known; `unknown` has a sentence for each such thing. Budgets are left out.
    """

    steps: Mapping[str, StepEstimate]
    llm_calls: int | None
    tokens: int | None
    cost_usd: float | None
    unknown: tuple[str, ...] = ()

    def exceeds(self, budget: Budget) -> tuple[str, ...]:
        """The names of what the run might use more of than the budget allows, or nobody knows how much."""
        limits = {name: getattr(budget, name) for name in ("llm_calls", "tokens", "cost_usd")}
        worst = {name: getattr(self, name) for name in limits}
        return tuple(
            name for name, limit in limits.items() if limit is not None and (worst[name] is None or worst[name] > limit)
        )


def estimate(
    graph: TaskGraph, inputs: Mapping[str, object], items: Mapping[str, int], *, planner: bool, subject: str
) -> Estimate:
    """The estimate for a run of the graph; `items` has the sizes of foreach steps that are known beforehand.

    Raises:
        ConfigError: `items` names no foreach step, or has no whole number.
    """
    for name, size in items.items():
        if name not in graph.index or graph.nodes[graph.index[name]].foreach is None:
            raise ConfigError(f"{subject}: items names {name!r}, which is no step with a foreach.")
        if type(size) is not int or size < 0:
            raise ConfigError(f"{subject}: items has {size!r} for step {name!r}; it must be a whole number >= 0.")
    worst = _Worst(graph, inputs, items)
    for index in graph.order:
        worst.add(graph.nodes[index])
    return worst.total(planner)


class _Worst:
    """The sums, step by step in the order of the graph."""

    def __init__(self, graph: TaskGraph, inputs: Mapping[str, object], items: Mapping[str, int]) -> None:
        self.graph = graph
        self.inputs = inputs
        self.items = items
        self.steps: dict[str, StepEstimate] = {}
        self.unknown: list[str] = []
        self._outputs: dict[str, int | None] = {}
        self._sizes: dict[str, int | None] = {}

    def add(self, node: Node) -> None:
        """Work out one step; those before it are worked out."""
        size = 1 if node.foreach is None else self._size(node)
        self._sizes[node.name] = size
        bound = self._bound(node)
        if bound is None:
            return
        self._outputs[node.name] = _times(bound.output_tokens, size)
        self.unknown += [f"step {node.name!r}: {why}" for why in bound.unknown]
        if size is None:
            self.unknown.append(
                f"step {node.name!r}: how many items foreach={node.foreach!r} has; say it with items={{...}}"
            )
        attempts = _attempts(node)
        cost = None if bound.cost_usd is None or size is None else bound.cost_usd * attempts * size
        self.steps[node.name] = StepEstimate(
            items=size,
            attempts=attempts,
            llm_calls=_times(bound.llm_calls * attempts, size),
            tokens=_times(bound.tokens, size, attempts),
            cost_usd=None if cost is None else float(cost),
        )

    def _bound(self, node: Node) -> CallBound | None:
        bound = node.action.bound(lambda key: self._tokens(node, key)) if isinstance(node.action, Bounded) else None
        judges = 0 if node.output_contract is None else node.output_contract.judges
        if not judges:
            return bound
        why = "what the model that its contract asks uses"
        if bound is None:
            return CallBound(judges, None, None, None, (why,))
        return CallBound(bound.llm_calls + judges, None, None, bound.output_tokens, (*bound.unknown, why))

    def _size(self, node: Node) -> int | None:
        """How many items the foreach has at most."""
        if node.name in self.items:
            return self.items[node.name]
        key = node.foreach or ""
        given = self.inputs.get(key)
        if isinstance(given, list | tuple):
            return len(given)
        if key not in self.graph.index:
            return None
        producer = self.graph.nodes[self.graph.index[key]]
        if producer.foreach is not None:
            return self._sizes[key]
        contract = producer.output_contract
        most = None if contract is None else contract.output_schema().get("maxItems")
        return most if isinstance(most, int) else None

    def _tokens(self, node: Node, key: str) -> int | None:
        """How many tokens the value has at most that the step reads under the key."""
        if key != "item":
            return text_tokens(_as_text(self.inputs[key])) if key in self.inputs else self._outputs.get(key)
        given = self.inputs.get(node.foreach or "")
        if isinstance(given, list | tuple):
            return max((text_tokens(_as_text(item)) for item in given), default=0)
        whole, size = self._outputs.get(node.foreach or ""), self._sizes.get(node.foreach or "")
        several = (node.foreach or "") in self.graph.index and self._of(node.foreach or "").foreach is not None
        return whole // size if whole is not None and several and size else whole

    def _of(self, name: str) -> Node:
        return self.graph.nodes[self.graph.index[name]]

    def total(self, planner: bool) -> Estimate:
        """The whole run, with the plans that may replace parts of it."""
        replans = [node.policy.max_replans for node in self.graph.nodes if FailureAction.REPLAN in node.policy.actions]
        plans = 1 + max(replans, default=0) if planner else 1
        if plans > 1:
            self.unknown.append("what planners put in: counted as if each plan were as large as this one")
        done = self.steps.values()
        calls, tokens = (_sum([getattr(step, name) for step in done], plans) for name in ("llm_calls", "tokens"))
        costs = [None if step.cost_usd is None else Decimal(str(step.cost_usd)) for step in done]
        cost = _sum(costs, plans)
        return Estimate(
            steps=self.steps,
            llm_calls=calls,
            tokens=tokens,
            cost_usd=None if cost is None else float(cost),
            unknown=tuple(self.unknown),
        )


def _attempts(node: Node) -> int:
    policy = node.policy
    again = {FailureAction.RETRY, FailureAction.CUSTOM} & {policy.on_validation_fail, policy.on_execution_fail}
    return 1 + policy.max_retries if again else 1


def _times(amount: int | None, size: int | None, attempts: int = 1) -> int | None:
    return None if amount is None or size is None else amount * size * attempts


def _sum(parts: list[Any], plans: int) -> Any:
    return None if any(part is None for part in parts) else sum(parts) * plans


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
