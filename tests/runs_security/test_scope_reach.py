"""There is no way from what a step holds to the store, but for introspection of the interpreter."""

from __future__ import annotations

import types
from collections.abc import Iterator
from decimal import Decimal

import anyio
import pytest
import structlog

from kairos_async import StateError, StateStore, Step, StepContext, Workflow
from kairos_async.context import Scope
from kairos_async.security import Redactor
from tests.engine.tools import open_contexts, output_of, run

MARKER = "FORBIDDEN-7731"


async def test_the_hash_of_a_context_opens_nothing() -> None:
    """An object that equals every context is none."""
    hashes: list[int] = []

    class Twin(StepContext):
        __slots__ = ("known",)
        known: int

        def __hash__(self) -> int:
            return self.known

        def __eq__(self, other: object) -> bool:
            return True

    async def victim(ctx: StepContext) -> None:
        hashes.append(hash(ctx))
        await anyio.sleep(10)

    async def thief(ctx: StepContext) -> str:
        await anyio.sleep(1)
        twin = Twin("victim", ctx.run_id, 1)
        twin.known = hashes[0]
        for use in (lambda: twin.inputs["ledger"], lambda: twin.state.get("ledger"), lambda: twin.state.set("k", 1)):
            with pytest.raises(StateError):
                use()
        return "refused"

    steps = Step("victim", victim, read_keys=["ledger"]), Step("thief", thief, read_keys=[], write_keys=[])
    assert output_of(await run(*steps, inputs={"ledger": MARKER}), "thief") == "refused"


LEAVES = (str, bytes, int, float, Decimal, types.BuiltinFunctionType, types.MethodWrapperType)
"""What leads nowhere, but to ever new methods and numbers of its own."""


def reached(root: object) -> Iterator[object]:
    """Yield all that attributes and elements lead to from an object, but for what is introspection (`__...__`)."""
    waiting, seen = [root], set[int]()
    kept = []
    while waiting:
        assert len(seen) < 5_000
        part = waiting.pop()
        if id(part) in seen or isinstance(part, type):
            continue
        seen.add(id(part))
        kept.append(part)
        yield part
        if isinstance(part, LEAVES):
            continue
        if isinstance(part, dict):
            waiting.extend([*part, *part.values()])
        elif isinstance(part, list | tuple | set | frozenset):
            waiting.extend(part)
        for name in {*dir(part), *getattr(part, "__slots__", ()), *getattr(part, "__dict__", ())}:
            if not name.startswith("__"):
                try:
                    waiting.append(getattr(part, name))
                except Exception:
                    continue


async def test_no_attribute_leads_to_the_store() -> None:
    """From ctx, its views, its log and its model calls there is a way to neither the store, nor the scope, nor a value
    not granted."""

    async def act(ctx: StepContext) -> int:
        ctx.state.set("own", 1)
        count = 0
        for root in (ctx, ctx.inputs, ctx.state, ctx.log, ctx.llm_call()):
            for part in reached(root):
                count += 1
                assert not isinstance(part, StateStore | Scope | Redactor | Workflow)
                assert type(part) is not str or MARKER not in part
        return count

    with structlog.testing.capture_logs():
        result = await run(Step("a", act, read_keys=["x"]), inputs={"x": 1, "ledger": MARKER})
    assert output_of(result, "a") > 20
    assert open_contexts() == 0
