"""A state machine over the store and its scoped views: what they show is what a simple model says."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kairos_async import ScopeError, StateError, StateStore, Step, StepContext, TaskGraph
from kairos_async.account import Account
from kairos_async.context import OPEN, Scope
from kairos_async.node import Node
from kairos_async.security import Redactor
from kairos_async.state import read_copy, store_copy
from tests.engine.tools import returns

KEYS = ("x", "y", "z")
INPUTS = {"x": {"list": ["input"]}, "y": ["input"]}
VALUES = st.recursive(st.integers(0, 9), lambda inner: st.lists(inner, max_size=2), max_leaves=3)
SOME_KEYS = st.none() | st.none() | st.frozensets(st.sampled_from(KEYS))


@dataclass
class Opened:
    """An attempt under way: its context, and what the model says that it has written."""

    node: Node
    scope: Scope
    context: StepContext
    written: dict[str, Any] = field(default_factory=dict)


class Scopes(RuleBasedStateMachine):
    """Steps of a small random graph open, read, write, commit or fail in any order that the graph allows."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: dict[str, Opened] = {}
        self.ended: set[str] = set()
        self.dead: list[StepContext] = []
        self.versions: dict[str, list[tuple[str, Any]]] = {k: [("", copy.deepcopy(v))] for k, v in INPUTS.items()}
        self.given: list[Any] = []
        self.attempts = 0

    @initialize(
        edges=st.lists(st.frozensets(st.integers(0, 4)), min_size=5, max_size=5),
        reads=st.lists(SOME_KEYS, min_size=5, max_size=5),
        writes=st.lists(SOME_KEYS, min_size=5, max_size=5),
    )
    def build(
        self, edges: list[frozenset[int]], reads: list[frozenset[str] | None], writes: list[frozenset[str] | None]
    ) -> None:
        """Make a graph of five steps, each depending on some of those before it."""
        writes = [None if keys is None else keys - set().union(*(w or () for w in writes[:i])) for i, keys in
                  enumerate(writes)]  # fmt: skip
        steps = [
            Step(
                f"s{i}",
                returns(None),
                depends_on=[f"s{j}" for j in sorted(edges[i]) if j < i],
                # A declared read makes the writer a need; it must be an earlier step, or the graph has a cycle.
                read_keys=None if reads[i] is None else {k for k in reads[i] or () if not self.later(k, i, writes)},
                write_keys=writes[i],
            )
            for i in range(5)
        ]
        self.graph = TaskGraph(steps)
        self.store = StateStore(INPUTS)
        self.services = SimpleNamespace(store=self.store, account=Account("run", "w"), redactor=Redactor())

    @staticmethod
    def later(key: str, position: int, writes: list[frozenset[str] | None]) -> bool:
        """Whether a step from this position on declares to write the key."""
        return any(key in (keys or ()) for keys in writes[position:])

    def above(self, node: Node) -> set[str]:
        """Return the names of all steps upstream, by a walk of the model's own."""
        found: set[str] = set()
        waiting = [*node.needs]
        while waiting:
            other = self.graph.nodes[waiting.pop()]
            if other.name not in found:
                found.add(other.name)
                waiting.extend(other.needs)
        return found

    def visible(self, opened: Opened, key: str) -> list[Any]:
        """Return the value that the step should see, in a list; an empty list if there is none."""
        if key in opened.written:
            return [opened.written[key]]
        sources = {"", *self.above(opened.node)}
        return [value for writer, value in self.versions.get(key, ()) if writer in sources][-1:]

    @rule(number=st.integers(0, 4))
    def begin(self, number: int) -> None:
        """Open an attempt of a step whose needs have ended."""
        node = self.graph.nodes[number]
        needs = {self.graph.nodes[need].name for need in node.needs}
        if node.name in self.opened or node.name in self.ended or not needs <= self.ended:
            return
        self.attempts += 1
        context = StepContext(node.name, "run", self.attempts)
        scope = Scope(self.services, node)
        OPEN[context] = scope
        self.opened[node.name] = Opened(node, scope, context)

    @rule(number=st.integers(0, 4), values=st.dictionaries(st.sampled_from(KEYS), VALUES), output=VALUES)
    def run_whole(self, number: int, values: dict[str, Any], output: Any) -> None:
        """Run a step in one go: read everything, write, commit."""
        self.begin(number)
        opened = self.opened.get(f"s{number}")
        if opened is not None:
            for key in KEYS:
                self.check_read(opened, key)
            for key, value in values.items():
                self.check_write(opened, key, value)
            self.end(opened, output)

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), key=st.sampled_from((*KEYS, "s0", "nothing")))
    def read(self, data: st.DataObject, key: str) -> None:
        """Every way to read agrees with the model; what is read may be changed."""
        self.check_read(data.draw(st.sampled_from([*self.opened.values()])), key)

    def check_read(self, opened: Opened, key: str) -> None:
        """Compare what the step reads under a key with the model."""
        ctx, node = opened.context, opened.node
        allowed = node.reads is None or key in node.reads
        expected = self.visible(opened, key) if allowed or key in opened.written else []
        assert ctx.state.has(key) == bool(expected)
        assert (key in ctx.state) == bool(expected)
        assert {*ctx.state.keys()} >= ({key} if expected else set())
        if expected:
            value = ctx.state.get(key)
            assert value == expected[0]
            self.given.append(value)
            return
        try:
            assert ctx.state.get(key, "default") == "default"
        except ScopeError:
            declared = any(key in (n.writes or ()) for n in self.graph.nodes) or key in self.graph.index
            assert not allowed or declared
        else:
            assert allowed

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), key=st.sampled_from((*KEYS, "s0")), value=VALUES)
    def write(self, data: st.DataObject, key: str, value: Any) -> None:
        """Only declared keys can be written; what was written may be changed afterwards."""
        self.check_write(data.draw(st.sampled_from([*self.opened.values()])), key, value)

    def check_write(self, opened: Opened, key: str, value: Any) -> None:
        """Write, and tell the model if it was allowed."""
        allowed = key != "s0" and (opened.node.writes is None or key in opened.node.writes)
        try:
            opened.context.state.set(key, value)
        except ScopeError:
            assert not allowed
            return
        assert allowed
        opened.written[key] = copy.deepcopy(value)
        self.given.append(value)

    @rule()
    def change_what_was_given(self) -> None:
        """Change every list and dict that the views gave or took; the model knows of no effect."""
        for value in self.given:
            if isinstance(value, list):
                value.append("forged")
            elif isinstance(value, dict):
                value["list"].append("forged")
                value["forged"] = True
        self.given.clear()

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), output=VALUES)
    def commit(self, data: st.DataObject, output: Any) -> None:
        """End an attempt with success: all it wrote is there, or nothing if an unordered step wrote the same key."""
        self.end(self.opened[data.draw(st.sampled_from([*self.opened]))], output)

    def end(self, opened: Opened, output: Any) -> None:
        """Commit an attempt, in the store and in the model."""
        self.close(opened)
        name, above = opened.node.name, self.above(opened.node)
        copied, size = store_copy(output, 10_000, name)
        written = opened.scope.written or {}
        assert written == opened.written
        clash = [key for key in written if self.versions.get(key, [("", 0)])[-1][0] not in {"", name, *above}]
        try:
            self.store.commit(name, {**written, name: copied}, size, opened.node.upstream)
        except ScopeError:
            assert clash
            return
        assert not clash
        self.ended.add(name)
        for key, value in {**opened.written, name: copy.deepcopy(output)}.items():
            self.versions.setdefault(key, []).append((name, value))
        self.given.append(output)

    @precondition(lambda self: self.opened)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """End an attempt without success: nothing of it is left, and the step may be opened again."""
        self.close(self.opened[data.draw(st.sampled_from([*self.opened]))])

    def close(self, opened: Opened) -> None:
        """Close an attempt."""
        del self.opened[opened.node.name]
        del OPEN[opened.context]
        self.dead.append(opened.context)

    @invariant()
    def the_dead_are_dead(self) -> None:
        """A closed context reads and writes nothing."""
        for context in self.dead[-2:]:
            for use in (lambda c: c.state.get("x", 0), lambda c: c.state.set("x", 0), lambda c: [*c.inputs]):
                try:
                    use(context)
                except StateError:
                    continue
                raise AssertionError("a dead context was used")

    @invariant()
    def the_store_is_the_model(self) -> None:
        """The newest version of every key is the model's."""
        if hasattr(self, "store"):
            newest = {key: versions[-1][1] for key, versions in self.versions.items()}
            assert {key: read_copy(value) for key, value in self.store.snapshot().items()} == newest

    def teardown(self) -> None:
        for opened in self.opened.values():
            del OPEN[opened.context]


TestScopes = Scopes.TestCase
TestScopes.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
