"""Attempts to read, write or change what a step was not granted, each refused or without effect.

Every attempt of the three tables is made by a step that may read `public` and `before` and write `own`, on the event
loop and in a worker thread. `ledger` is what it must not reach, `before` is what an earlier step returned.

Out of scope, because nothing in one Python process can refuse it, is introspection of the interpreter: the private
table `kairos_async.context._open`, closures (`__closure__`), `__globals__`, frames, `gc`, `ctypes`, and replacing
functions of the package. An action that does this on purpose can run any Python.
"""

from __future__ import annotations

import collections
import copy
import enum
import operator
import pickle
import string
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from kairos_async import Inputs, ScopeError, State, StateError, Step, StepContext, Workflow

Attempt: TypeAlias = Callable[[Any], object]
MARKER = "FORBIDDEN-7731"
PUBLIC = {"list": [1, {"deep": [2]}], "text": "t"}
BEFORE = {"rows": [1, [2]]}
GRANTED = {"before": BEFORE, "public": PUBLIC}


class Liar(str):
    """A key that claims to equal every other key, with the hash of one that may be read."""

    def __hash__(self) -> int:
        return hash("public")

    def __eq__(self, other: object) -> bool:
        return True


class Turncoat(str):
    """A key that has another hash each time it is asked, for a check first and for the use then."""

    asked = 0

    def __hash__(self) -> int:
        self.asked += 1
        return hash("public" if self.asked % 2 else "ledger")

    def __eq__(self, other: object) -> bool:
        return other in ("public", "ledger")


class Name(enum.StrEnum):
    """A key that is a str, but no plain one."""

    LEDGER = "ledger"


def matched(ctx: StepContext) -> object:
    """Take the key out by a pattern."""
    match ctx.inputs:
        case {"ledger": found}:
            return found
    return None


def renamed(ctx: StepContext) -> object:
    """Claim to be the step that may read everything."""
    ctx.step_id = "after"
    return ctx.inputs["ledger"]


def written_first(ctx: StepContext) -> object:
    """Write what may not be read, to make it one's own."""
    with pytest.raises(ScopeError):
        ctx.state.set("ledger", 1)
    return ctx.state.get("ledger")


def redirected(ctx: StepContext) -> object:
    """Let a view belong to a context of another step's name."""
    view = ctx.inputs
    view._context = StepContext("after", ctx.run_id, 1)
    return view["ledger"]


READS: dict[str, tuple[Attempt, object]] = {
    "inputs": (lambda ctx: ctx.inputs["ledger"], ScopeError),
    "inputs, nested": (lambda ctx: ctx.inputs["ledger"]["code"], ScopeError),
    "inputs.get": (lambda ctx: ctx.inputs.get("ledger"), ScopeError),
    "inputs.get, default": (lambda ctx: ctx.inputs.get("ledger", {}), ScopeError),
    "in inputs": (lambda ctx: "ledger" in ctx.inputs, False),
    "len(inputs)": (lambda ctx: len(ctx.inputs), 2),
    "iter(inputs)": (lambda ctx: [*ctx.inputs], ["before", "public"]),
    "inputs.keys": (lambda ctx: [*ctx.inputs.keys()], ["before", "public"]),
    "in inputs.keys": (lambda ctx: "ledger" in ctx.inputs.keys(), False),  # noqa: SIM118 - the view is another object
    "inputs.values": (lambda ctx: [*ctx.inputs.values()], [BEFORE, PUBLIC]),
    "inputs.items": (lambda ctx: dict(ctx.inputs.items()), GRANTED),
    "in inputs.items": (lambda ctx: ("ledger", {"code": MARKER}) in ctx.inputs.items(), ScopeError),
    "dict": (lambda ctx: dict(ctx.inputs), GRANTED),
    "**": (lambda ctx: {**ctx.inputs}, GRANTED),
    "keyword arguments": (lambda ctx: (lambda **given: given)(**ctx.inputs), GRANTED),
    "|": (lambda ctx: {} | ctx.inputs, TypeError),
    "reversed": (lambda ctx: [*reversed(ctx.inputs)], TypeError),
    "==": (lambda ctx: ctx.inputs == {**GRANTED, "ledger": {"code": MARKER}}, False),
    "copied inputs": (lambda ctx: copy.copy(ctx.inputs)["ledger"], ScopeError),
    "copied inputs, whole": (lambda ctx: dict(copy.copy(ctx.inputs)), GRANTED),
    "deep copy of inputs": (lambda ctx: dict(copy.deepcopy(ctx.inputs)), StateError),
    "pickled inputs": (lambda ctx: dict(pickle.loads(pickle.dumps(ctx.inputs))), StateError),
    "pickle holds no value": (lambda ctx: MARKER.encode() in pickle.dumps([ctx, ctx.inputs, ctx.state]), False),
    "state.get": (lambda ctx: ctx.state.get("ledger"), ScopeError),
    "state.get, default": (lambda ctx: ctx.state.get("ledger", None), ScopeError),
    "state.has": (lambda ctx: ctx.state.has("ledger"), False),
    "in state": (lambda ctx: "ledger" in ctx.state, False),
    "state.keys": (lambda ctx: ctx.state.keys(), ["before", "public"]),
    "iter(state)": (lambda ctx: [*ctx.state], TypeError),
    "state, written first": (written_first, ScopeError),
    "deep copy of state": (lambda ctx: copy.deepcopy(ctx.state).get("public"), StateError),
    "pickled state": (lambda ctx: pickle.loads(pickle.dumps(ctx.state)).keys(), StateError),
    "copied context": (lambda ctx: copy.copy(ctx).inputs["public"], StateError),
    "deep copy of the context": (lambda ctx: copy.deepcopy(ctx).state.get("public"), StateError),
    "pickled context": (lambda ctx: pickle.loads(pickle.dumps(ctx)).inputs["public"], StateError),
    "a context of one's own": (lambda ctx: StepContext("after", ctx.run_id, 1).inputs["ledger"], StateError),
    "a view of one's own": (lambda ctx: Inputs(ctx)["ledger"], ScopeError),
    "a state of one's own": (lambda ctx: State(ctx).get("ledger"), ScopeError),
    "another step's name": (renamed, ScopeError),
    "another step's context": (redirected, StateError),
    "unbound method": (lambda ctx: Inputs.__getitem__(ctx.inputs, "ledger"), ScopeError),
    "itemgetter": (lambda ctx: operator.itemgetter("ledger")(ctx.inputs), ScopeError),
    "ChainMap": (lambda ctx: collections.ChainMap({}, ctx.inputs)["ledger"], ScopeError),
    "match": (matched, ScopeError),
    "format, item": (lambda ctx: f"{ctx.inputs['ledger']}", ScopeError),
    "format, attribute": (lambda ctx: f"{ctx.inputs['ledger']}", ScopeError),
    "format_map": (lambda ctx: "{ledger}".format_map(ctx.inputs), ScopeError),
    "template": (lambda ctx: string.Template("$ledger").substitute(ctx.inputs), ScopeError),
    "key of a lying subclass": (lambda ctx: ctx.inputs[Liar("ledger")], ScopeError),
    "key of a lying subclass, state": (lambda ctx: ctx.state.get(Liar("ledger"), None), ScopeError),
    "key of a lying subclass, in": (lambda ctx: Liar("ledger") in ctx.inputs, False),
    "key of changing hash": (lambda ctx: ctx.inputs[Turncoat("ledger")], ScopeError),
    "key of changing hash, has": (lambda ctx: ctx.state.has(Turncoat("ledger")), False),
    "key of an enum": (lambda ctx: ctx.inputs[Name.LEDGER], ScopeError),
    "key of bytes": (lambda ctx: ctx.inputs[b"ledger"], ScopeError),
    "key of bytes, state": (lambda ctx: ctx.state.get(b"ledger", None), ScopeError),
    "key of a number": (lambda ctx: ctx.inputs[0], ScopeError),
    "key of None": (lambda ctx: ctx.state.get(None), ScopeError),
    "key of a tuple": (lambda ctx: ctx.inputs["ledger",], ScopeError),
    "key of a list": (lambda ctx: ctx.state.has(["ledger"]), False),
    "key of another spelling": (lambda ctx: ctx.inputs["LEDGER"], ScopeError),
    "path as key": (lambda ctx: ctx.inputs["ledger.code"], ScopeError),
    "repr of inputs": (lambda ctx: repr(ctx.inputs), "<Inputs of step 'thief': before, public>"),
    "repr of state": (lambda ctx: repr(ctx.state), "<State of step 'thief': before, public>"),
}


def ior(inputs: Any) -> None:
    """Update in place."""
    inputs |= {"public": 1}


WRITES: dict[str, tuple[Attempt, object]] = {
    "a key outside": (lambda ctx: ctx.state.set("other", 1), ScopeError),
    "an input": (lambda ctx: ctx.state.set("public", 1), ScopeError),
    "an input that may not be read": (lambda ctx: ctx.state.set("ledger", 1), ScopeError),
    "an earlier result": (lambda ctx: ctx.state.set("before", 1), ScopeError),
    "the own result": (lambda ctx: ctx.state.set("thief", 1), ScopeError),
    "a later result": (lambda ctx: ctx.state.set("after", 1), ScopeError),
    "unbound method": (lambda ctx: State.set(ctx.state, "other", 1), ScopeError),
    "a state of one's own": (lambda ctx: State(ctx).set("other", 1), ScopeError),
    "copied state": (lambda ctx: copy.copy(ctx.state).set("other", 1), ScopeError),
    "copied context": (lambda ctx: copy.copy(ctx).state.set("own", 1), StateError),
    "key of a lying subclass": (lambda ctx: ctx.state.set(Liar("public"), 1), ScopeError),
    "key of changing hash": (lambda ctx: ctx.state.set(Turncoat("ledger"), 1), ScopeError),
    "key of bytes": (lambda ctx: ctx.state.set(b"own", 1), ScopeError),
    "key of a number": (lambda ctx: ctx.state.set(1, 1), ScopeError),
    "key of None": (lambda ctx: ctx.state.set(None, 1), ScopeError),
    "no key": (lambda ctx: ctx.state.set("", 1), ScopeError),
    "state, item": (lambda ctx: operator.setitem(ctx.state, "own", 1), TypeError),
    "inputs, item": (lambda ctx: operator.setitem(ctx.inputs, "own", 1), TypeError),
    "inputs, existing item": (lambda ctx: operator.setitem(ctx.inputs, "public", 1), TypeError),
    "inputs, delete": (lambda ctx: operator.delitem(ctx.inputs, "public"), TypeError),
    "inputs, |=": (lambda ctx: ior(ctx.inputs), TypeError),
    "inputs.update": (lambda ctx: ctx.inputs.update(public=1), AttributeError),
    "inputs.setdefault": (lambda ctx: ctx.inputs.setdefault("own", 1), AttributeError),
    "inputs.pop": (lambda ctx: ctx.inputs.pop("public"), AttributeError),
    "inputs.clear": (lambda ctx: ctx.inputs.clear(), AttributeError),
    "attribute inputs": (lambda ctx: setattr(ctx, "inputs", {}), AttributeError),
    "attribute state": (lambda ctx: setattr(ctx, "state", {}), AttributeError),
    "attribute log": (lambda ctx: setattr(ctx, "log", None), AttributeError),
    "a new attribute": (lambda ctx: setattr(ctx, "extra", 1), AttributeError),
    "a new attribute of inputs": (lambda ctx: setattr(ctx.inputs, "extra", 1), AttributeError),
    "an object": (lambda ctx: ctx.state.set("own", object()), StateError),
    "a context": (lambda ctx: ctx.state.set("own", ctx), StateError),
    "a function": (lambda ctx: ctx.state.set("own", len), StateError),
    "a set": (lambda ctx: ctx.state.set("own", {1}), StateError),
}


def grown(ctx: StepContext) -> None:
    """Let a list grow after it was written."""
    value: list[object] = [1]
    ctx.state.set("own", value)
    value.extend([object()] * 10)


def grown_inside(ctx: StepContext) -> None:
    """Change a part of what was written."""
    part: dict[str, object] = {}
    ctx.state.set("own", [part, (part,)])
    part["forged"] = part


def grown_read(ctx: StepContext) -> None:
    """Change what the own write gives back."""
    ctx.state.set("own", {"a": [1]})
    ctx.state.get("own")["a"].append(2)
    ctx.inputs["public"]["list"].append(ctx.state.get("own"))


def grown_iterated(ctx: StepContext) -> None:
    """Change every value that a listing gives."""
    for value in (*ctx.inputs.values(), *dict(ctx.inputs).values(), *(v for _, v in ctx.inputs.items())):
        value.clear()


def shared_write(ctx: StepContext) -> None:
    """Write what was read, and change both."""
    value = ctx.inputs["before"]
    ctx.state.set("own", value)
    value["rows"].clear()
    ctx.state.get("own")["rows"].clear()


ALIASES: dict[str, tuple[Attempt, object]] = {
    "a value read": (lambda ctx: ctx.inputs["public"].clear(), None),
    "a nested list": (lambda ctx: ctx.inputs["public"]["list"].append("forged"), None),
    "a deeply nested list": (lambda ctx: ctx.inputs["public"]["list"][1]["deep"].clear(), None),
    "a nested dict": (lambda ctx: ctx.inputs["public"]["list"][1].update(forged=1), None),
    "an earlier result": (lambda ctx: ctx.inputs["before"]["rows"][1].append("forged"), None),
    "inputs.get": (lambda ctx: ctx.inputs.get("before").update(rows="forged"), None),
    "state.get": (lambda ctx: ctx.state.get("public").pop("text"), None),
    "state.get, result": (lambda ctx: ctx.state.get("before")["rows"].reverse(), None),
    "a default": (lambda ctx: ctx.state.get("own", []).append("forged"), None),
    "every value": (grown_iterated, None),
    "a list grown after set": (grown, [1]),
    "a part changed after set": (grown_inside, [{}, [{}]]),
    "the own write": (grown_read, {"a": [1]}),
    "a value read and written": (shared_write, BEFORE),
}


def world(thief: Any) -> Workflow:
    """Return a workflow in which a step with few rights stands between two others."""

    async def before(ctx: StepContext) -> object:
        return copy.deepcopy(BEFORE)

    async def after(ctx: StepContext) -> object:
        return [ctx.inputs["public"], ctx.inputs["ledger"], ctx.inputs["before"]]

    return Workflow(
        "world",
        [
            Step("before", before),
            Step("thief", thief, read_keys=["public", "before"], write_keys=["own"]),
            Step("after", after, depends_on=["thief", "before"]),
        ],
    )


async def outcome(attempt: Attempt, own: object, *, in_thread: bool) -> object:
    """Return what the attempt gave, or the type that it raised; check that nothing else of the run has changed."""
    found: list[object] = []
    said: list[str] = []

    def thief(ctx: StepContext) -> None:
        try:
            found.append(attempt(ctx))
        except (StateError, TypeError, AttributeError) as error:
            found.append(type(error))
            said.append(str(error))

    async def async_thief(ctx: StepContext) -> None:
        thief(ctx)

    given = {"public": copy.deepcopy(PUBLIC), "ledger": {"code": MARKER}}
    result = (await world(thief if in_thread else async_thief).run(given)).raise_for_status()
    left = {**given, "before": BEFORE, "thief": None, "after": [PUBLIC, {"code": MARKER}, BEFORE]}
    assert result.final_state == (left if own is None else {**left, "own": own})
    assert given == {"public": PUBLIC, "ledger": {"code": MARKER}}
    assert MARKER not in repr(said)
    return found[0]


@pytest.mark.parametrize("name", READS)
async def test_a_read_is_refused_or_shows_nothing(name: str) -> None:
    """Of what read_keys leave out there is no value, on any way to ask."""
    attempt, expected = READS[name]
    assert await outcome(attempt, None, in_thread=False) == expected


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_is_refused(name: str) -> None:
    """Outside of write_keys, to steps, by other ways than `set`, of what is no JSON."""
    attempt, expected = WRITES[name]
    assert await outcome(attempt, None, in_thread=False) is expected


@pytest.mark.parametrize("name", ALIASES)
async def test_changing_what_was_read_or_written_has_no_effect(name: str) -> None:
    """State holds copies and gives copies."""
    attempt, own = ALIASES[name]
    await outcome(attempt, own, in_thread=False)


@pytest.mark.real_time
async def test_every_attempt_from_a_worker_thread() -> None:
    """Sync steps get the same answers."""
    for table in (READS, WRITES):
        for name, (attempt, expected) in table.items():
            assert await outcome(attempt, None, in_thread=True) == expected, name
    for attempt, own in ALIASES.values():
        await outcome(attempt, own, in_thread=True)


def test_there_are_enough_attempts() -> None:
    """More than 60, each with a function of its own."""
    attempts = [attempt for table in (READS, WRITES, ALIASES) for attempt, _ in table.values()]
    assert len(set(attempts)) == len(attempts) >= 60
