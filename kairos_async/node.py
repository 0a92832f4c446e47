"""A step in its graph: what the step declares and where it stands, with all that a run asks of it worked out."""

from __future__ import annotations

import bisect
from typing import Any, Final, Protocol

from kairos_async.failure import FailurePolicy
from kairos_async.flow import Gate
from kairos_async.step import NO_KEYS, Step, is_async

_NO_STEPS: Final[tuple[str, ...]] = ()


class Graph(Protocol):
    """What a node asks of its graph: each step's position, who writes each key, and what actions have read."""

    nodes: list[Node]
    index: dict[str, int]
    writers: dict[str, tuple[str, ...]]
    observed: dict[str, set[str]]

    def reaches(self, start: int, end: int) -> bool:
        """Whether a path leads from one position to the other."""


class Node:
    """A step in its graph, with all that a run asks of it worked out. What a run notes in it
    (has_run, start, shown, leaves, vetted) is the same for all runs; all else is fixed once its graph is built.

    Attributes:
        index: position in the order of declaration.
        leaves: keys of the output, if its contract lets no other pass, and no value that is a container; and once
            `vetted`, only if no key is sensitive.
        needs: indices of the steps that must have ended before, sorted.
        bounded: whether the step as a whole has a limit of time or a budget.
        successors: indices of the steps that need this one, in the order of declaration.
        is_plain: whether an attempt is nothing but a call of an async action and at most a check of its output.
        has_run: whether the action has been called, in any run.
        required: keys without which the step cannot run: of its input contract, its template, and its foreach.
        checks_at_once: whether the output has a contract for which nothing has to be awaited.
        remaining: expected seconds of the longest path from the start of this step to an end of the graph.
        start: what its start is told with; None until a hook wants to know.
        shown: how events name it: by its name, noted when a hook first wanted to know. None: not noted.
    """

    __slots__ = (
        "action",
        "bounded",
        "checks_at_once",
        "foreach",
        "graph",
        "has_run",
        "index",
        "input_contract",
        "is_async",
        "is_plain",
        "labels",
        "leaves",
        "name",
        "needs",
        "output_contract",
        "output_subject",
        "parallel",
        "policy",
        "reads",
        "remaining",
        "required",
        "shown",
        "start",
        "step",
        "successors",
        "timeout",
        "vetted",
        "writes",
    )

    def __init__(self, index: int, step: Step, graph: Graph, policy: FailurePolicy) -> None:
        self.index = index
        self.step = step
        self.graph = graph
        self.name = step.name
        self.action = step.action
        self.is_async = is_async(step.action)
        self.reads = step.read_keys
        self.writes = step.write_keys
        self.foreach = step.foreach
        self.timeout = step.timeout
        self.parallel = step.parallel
        self.policy = step.failure_policy or policy
        self.input_contract = step.input_contract
        self.output_contract = step.output_contract
        self.leaves = step.output_contract.leaves if step.output_contract else None
        self.checks_at_once = step.output_contract is not None and not step.output_contract.is_async
        self.output_subject = f"The output of step {step.name!r}"
        self.bounded = step.total_timeout is not None or step.budget is not None
        self.is_plain = (
            self.is_async
            and step.timeout is None
            and not self.bounded
            and step.item_budget is None
            and step.input_contract is None
            and not (step.output_contract is not None and step.output_contract.is_async)
        )
        contract_keys = step.input_contract.required if step.input_contract else NO_KEYS
        self.required = contract_keys.union(step.placeholders, (step.foreach,) if step.foreach else ()) or NO_KEYS
        self.labels = step.labels
        self.has_run = False
        self.needs: tuple[int, ...] = ()
        self.successors: tuple[int, ...] = ()
        self.remaining = 0.0
        self.start: dict[str, Any] | None = None
        self.shown: str | None = None
        self.vetted = False

    def __repr__(self) -> str:
        return f"<Node {self.index} {self.name!r}>"

    @property
    def node(self) -> Node:
        """The node itself: a step that is ready is one kind of unit that waits for a slot."""
        return self

    @property
    def input_subject(self) -> str:
        """How messages name what the step receives."""
        return f"The input of step {self.name!r}"

    @property
    def gate(self) -> Gate | None:
        """Why what the step returns and writes counts as checked."""
        return self.step.gate

    @property
    def is_gate(self) -> bool:
        """Whether labels of data end at this step's output."""
        if self.step.gate is not None or self.output_contract is None:
            return self.step.gate is not None
        from kairos_async.contracts.proof import is_closed  # a tenth of the package's import, for graphs with labels

        return is_closed(self.output_contract)

    def observe(self, key: str) -> None:
        """Note that the action has read a key, in whatever thread."""
        self.graph.observed.setdefault(self.name, set()).add(key)

    def upstream(self, step: str) -> bool:
        """Whether the step of this name is upstream of this one."""
        other = self.graph.index.get(step)
        if other is None:
            return False
        position = bisect.bisect_left(self.needs, other)
        if position < len(self.needs) and self.needs[position] == other:
            return True
        return self.graph.reaches(other, self.index)

    def downstream(self, step: str) -> bool:
        """Whether the step of this name is downstream of this one."""
        return self.graph.reaches(self.index, self.graph.index[step])

    def providers(self, key: str) -> tuple[str, ...]:
        """The steps that declare that they produce the key: as their name, or in write_keys."""
        return (key,) if key in self.graph.index else self.graph.writers.get(key, _NO_STEPS)

    def is_step(self, key: str) -> bool:
        """Whether the key is the name of a step of the graph."""
        return key in self.graph.index

    def writes_later(self, key: str) -> bool:
        """Whether this step, or one downstream of it, declares to write the key."""
        writers = (self.graph.index[name] for name in self.graph.writers.get(key, _NO_STEPS))
        return any(writer == self.index or self.graph.reaches(self.index, writer) for writer in writers)
