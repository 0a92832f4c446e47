"""Labels on data flow: where untrusted or secret data comes in, and which steps it must not reach unchecked.

Sources are inputs and steps labelled `untrusted` or `secret`; sinks are steps labelled `irreversible` or `external`.
Labels go along with whatever a step may read. They end at a gate: a step with a closed output contract, or one that is
declared as an approval or a declassifier. Untrusted data at an irreversible step, and secret data at an external one,
is a problem of the plan, found when the workflow is built; so is a step that brings in what it must not act on.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from kairos_async.exceptions import ConfigError


class Label(enum.StrEnum):
    """What is known of the data that a step or an input brings in, or of what a step does with data."""

    UNTRUSTED = "untrusted"
    """Source: text from outside, such as a mail, a page, or a model's answer to one."""
    SECRET = "secret"
    """Source: data that must not leave the service."""
    IRREVERSIBLE = "irreversible"
    """Sink: does what cannot be taken back, such as paying or deleting."""
    EXTERNAL = "external"
    """Sink: sends data out of the service."""


class Gate(enum.StrEnum):
    """Why data that has passed a step counts as checked."""

    APPROVAL = "approval"
    """A person has looked at it."""
    DECLASSIFIER = "declassifier"
    """The step removes what must not go on."""


class SecretOutput(enum.StrEnum):
    """What happens to an output or a write that carries a known secret outside of a sensitive key."""

    FAIL = "fail"
    """The step fails with a SecurityError, and nothing is stored."""
    REDACT = "redact"
    """The secret is replaced by `[REDACTED]` before the value is stored; what is under a sensitive key of it stays."""
    ALLOW = "allow"
    """The value is stored as it is; what leaves the run is still redacted."""


SOURCES: Final = frozenset({Label.UNTRUSTED, Label.SECRET})
FORBIDDEN: Final = {Label.IRREVERSIBLE: Label.UNTRUSTED, Label.EXTERNAL: Label.SECRET}
"""For each sink the source whose data must not reach it."""


_NO_LABELS: Final[frozenset[Label]] = frozenset()


def as_labels(subject: str, given: Iterable[str], allowed: Iterable[Label] = tuple(Label)) -> frozenset[Label]:
    """The labels that were given by name.

    Raises:
        ConfigError: one is unknown, or not allowed here.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{subject}: labels={given!r} must be a list, such as labels=[{given!r}].")
    labels = list(given)
    if not labels:
        return _NO_LABELS
    choices = sorted(label.value for label in allowed)
    for label in labels:
        if label not in choices:
            raise ConfigError(f"{subject}: label {label!r} is not one of {choices}.")
    return frozenset(Label(label) for label in labels)


def as_gate(subject: str, given: str | None) -> Gate | None:
    """The gate that was given by name.

    Raises:
        ConfigError: it is unknown.
    """
    if given is None or given in Gate.__members__.values():
        return None if given is None else Gate(given)
    raise ConfigError(f"{subject}: gate={given!r} is not one of {[gate.value for gate in Gate]}.")


class FlowNode(Protocol):
    """What the labels ask of a step in its graph."""

    name: str
    needs: tuple[int, ...]
    reads: frozenset[str] | None
    writes: frozenset[str] | None
    labels: frozenset[Label]

    @property
    def gate(self) -> Gate | None:
        """Why what the step returns and writes counts as checked."""

    @property
    def is_gate(self) -> bool:
        """Whether labels of data end at this step's output."""


class FlowGraph(Protocol):
    """What the labels ask of a graph without cycles."""

    @property
    def nodes(self) -> Sequence[FlowNode]: ...
    @property
    def index(self) -> Mapping[str, int]: ...
    @property
    def writers(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def order(self) -> Sequence[int]: ...


_Flow = dict[Label, tuple[str, ...]]
"""For each source label, one way that its data took: names of inputs and steps."""


def flow_problems(graph: FlowGraph, inputs: Mapping[str, frozenset[Label]]) -> list[str]:
    """Each sink that the data of a forbidden source can reach, a sentence with the way it takes; a step that is both
    is its own way. So are labels of inputs that are no inputs.

    Linear in steps, edges and read keys.
    """
    if misplaced := sorted(key for key in inputs if key in graph.index):
        return [f"input_labels has {key!r}, which is a step; label it with Step(labels=...)." for key in misplaced]
    if not any(node.labels for node in graph.nodes) or not (inputs or any(n.labels & SOURCES for n in graph.nodes)):
        return []
    given: _Flow = {}
    for key, labels in sorted(inputs.items()):
        for label in labels:
            given.setdefault(label, (f"input {key!r}",))
    produced: dict[int, _Flow] = {}  # in the step's output
    written: dict[int, _Flow] = {}  # in what it writes beside, of which a contract says nothing
    upstream: dict[int, _Flow] = {}
    loose: dict[int, _Flow] = {}  # what steps before may have written to keys that they do not declare
    problems: list[str] = []
    for index in graph.order:
        node = graph.nodes[index]
        upstream[index], loose[index] = {}, {}
        for need in node.needs:
            writes_nothing = graph.nodes[need].writes == frozenset()
            upstream[index] |= {**upstream[need], **produced[need], **({} if writes_nothing else written[need])}
            loose[index] |= {**loose[need], **(written[need] if graph.nodes[need].writes is None else {})}
        if node.reads is None:
            received = {**given, **upstream[index]}
        else:
            received = {}
            for key in sorted(node.reads):
                if key in graph.index:
                    received |= produced[graph.index[key]]
                else:
                    received |= _of_key(key, graph, inputs, written, loose[index])
        own: _Flow = {label: (f"step {node.name!r}",) for label in node.labels & SOURCES}
        passed: _Flow = {label: (*way, f"step {node.name!r}") for label, way in received.items()}
        produced[index] = own if node.is_gate else {**passed, **own}
        written[index] = own if node.gate is not None else {**passed, **own}
        problems += _forbidden(node, {**passed, **own})
    return problems


def _of_key(
    key: str, graph: FlowGraph, inputs: Mapping[str, frozenset[Label]], written: Mapping[int, _Flow], loose: _Flow
) -> _Flow:
    """The labels of what a step finds under a key that it declares to read and that is no step."""
    found: _Flow = {label: (f"input {key!r}",) for label in inputs.get(key, ())}
    for writer in graph.writers.get(key, ()):
        found |= written.get(graph.index[writer], {})
    return {**loose, **found}


def _forbidden(node: FlowNode, ways: _Flow) -> list[str]:
    """The sinks that the step is for data that has come to it, or that it brings in itself."""
    problems = []
    for sink, source in FORBIDDEN.items():
        if sink in node.labels and source in ways:
            alone = len(ways[source]) == 1
            problems.append(
                f"{source.value} data reaches the {sink.value} step {node.name!r} unchecked: "
                f"{' -> '.join(ways[source])}. Put a gate between (a closed output contract, gate='approval' or "
                f"gate='declassifier') and name what is read with read_keys{', in two steps' if alone else ''}."
            )
    return problems
