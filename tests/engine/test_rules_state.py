"""State holds JSON values, within limits; what an attempt writes counts only if the attempt does."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import pathlib
import uuid
from collections import Counter, OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import anyio
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos_async import SKIP, JSONValue, StateError, StateLimits, Step, StepContext
from tests.clocks import run_virtual
from tests.engine.tools import NO_RETRY, flaky, output_of, raises, retrying, returns, run, statuses


class Model(pydantic.BaseModel):
    """A model."""

    when: datetime.date
    parts: tuple[int, ...]


@dataclass
class Data:
    """A dataclass."""

    name: str
    model: Model


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


class Text(str):
    """A subclass of a built-in type."""


Point = namedtuple("Point", "x y")

MODEL = Model(when=datetime.date(2024, 2, 29), parts=(1, 2))
STORED: list[tuple[object, JSONValue]] = [
    (MODEL, {"when": "2024-02-29", "parts": [1, 2]}),
    (Data("n", MODEL), {"name": "n", "model": {"when": "2024-02-29", "parts": [1, 2]}}),
    ([MODEL], [{"when": "2024-02-29", "parts": [1, 2]}]),
    (Colour.RED, "red"),
    (datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), "2024-01-02T03:04:05Z"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.Path("a"), "a"),
    (decimal.Decimal("1.50"), "1.50"),
    ((1, "two", None), [1, "two", None]),
    (Point(1, 2), [1, 2]),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (Text("sub"), "sub"),
    (True, True),
    (-0.0, -0.0),
    (10**400, 10**400),
    ("\U0001f600\x00", "\U0001f600\x00"),
    ({"": {"": []}}, {"": {"": []}}),
]


@pytest.mark.parametrize(("value", "stored"), STORED, ids=lambda value: repr(value)[:30])
async def test_values_are_converted_when_they_are_stored(value: object, stored: JSONValue) -> None:
    """As an output, as a write, and as an input; into exact built-in types."""

    async def act(ctx: StepContext) -> object:
        ctx.state.set("written", value)
        return value

    result = await run(Step("a", act), inputs={"given": value})
    for key in ("a", "written", "given"):
        assert result.final_state[key] == stored
        assert type(result.final_state[key]) is type(stored)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=5), parts, max_size=4),
    max_leaves=15,
)


@settings(max_examples=100)
@given(JSON)
def test_json_values_come_out_as_they_went_in(value: Any) -> None:
    """Through inputs, state, outputs and items, with their types."""

    async def act(ctx: StepContext) -> list[object]:
        ctx.state.set("k", ctx.inputs["given"])
        return [ctx.state.get("k"), ctx.state.get("given")]

    async def item(ctx: StepContext) -> object:
        return ctx.item

    async def main() -> list[object]:
        result = await run(Step("a", act), Step("each", item, foreach="a"), inputs={"given": value})
        return [result.step_results[name].output for name in ("a", "each")]

    assert repr(run_virtual(main)) == repr([[value, value], [value, value]])


def nested(levels: int, core: Any = "core") -> Any:
    """Return a list in a dict in a list, so many levels around the core."""
    for level in range(levels):
        core = [core] if level % 2 else {"k": core}
    return core


async def test_nesting_is_limited_to_a_hundred_levels() -> None:
    """A hundred are fine and can be read, printed and exported; one more is an error with the path."""
    result = await run(Step("a", returns(nested(100))))
    assert result.output == nested(100)
    assert result.to_dict()["status"] == "complete"
    for over in (nested(101), nested(100, {}), nested(100, [])):
        failed = await run(Step("a", returns(over), failure_policy=NO_RETRY))
        assert "nested over 100 levels" in str(failed.error_message)
    deep: object = 1
    for _ in range(101):
        deep = {"a key of some length": deep}
    failed = await run(Step("a", returns(deep), failure_policy=NO_RETRY))  # a path that long would leave no room
    assert "nested over 100 levels" in str(failed.error_message)


@pytest.mark.parametrize("value", [nested(5000), [[]] * 3 + [nested(200)]])
async def test_deep_values_do_not_exhaust_the_stack(value: object) -> None:
    """They are refused like any other."""
    failed = await run(Step("a", returns(value), failure_policy=NO_RETRY))
    assert failed.error_type == "StateError"


LIMITS = StateLimits(value_bytes=1000, total_bytes=2500)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("x" * 1000, True),
        ("x" * 1001, False),
        ("é" * 500, True),
        ("é" * 501, False),
        (["x" * 992], True),
        (["x" * 993], False),
        ({"k" * 492: "x" * 500}, True),
        ({"k" * 493: "x" * 500}, False),
        ([0] * 62, True),
        ([0] * 63, False),
    ],
    ids=lambda value: f"{type(value).__name__}{len(value)}" if hasattr(value, "__len__") else str(value),
)
async def test_a_value_has_a_hard_limit_in_bytes_keys_included(value: Any, fits: bool) -> None:
    """As an output, as a write, and as an input."""

    async def writes(ctx: StepContext) -> None:
        ctx.state.set("", value)

    for action in (returns(value), writes):
        result = await run(Step("a", action, failure_policy=NO_RETRY), state_limits=LIMITS)
        assert (result.error_type is None) is fits, result.error_message
    if fits:
        await run(Step("a", returns(0)), inputs={"given": value}, state_limits=LIMITS)
    else:
        with pytest.raises(StateError, match=r"limit of 1000 bytes|larger than the limit"):
            await run(Step("a", returns(0)), inputs={"given": value}, state_limits=LIMITS)


async def test_the_total_of_a_run_has_a_hard_limit() -> None:
    """The step that would exceed it fails, and what is stored stays."""
    result = await run(
        *(Step(f"s{i}", returns("x" * 900), depends_on=[f"s{i - 1}"] if i else []) for i in range(4)),
        state_limits=LIMITS,
        failure_policy=NO_RETRY,
    )
    assert statuses(result) == {"s0": "completed", "s1": "completed", "s2": "failed_final", "s3": "skipped"}
    assert "the limit is 2500" in str(result.error_message)
    assert sorted(result.final_state) == ["s0", "s1"]
    with pytest.raises(StateError):
        await run(Step("a", returns(0)), inputs={f"i{n}": "x" * 900 for n in range(3)}, state_limits=LIMITS)


async def test_the_writes_of_one_attempt_have_the_limit_of_a_run() -> None:
    """At the write, before memory is full; writing a key again counts once, and a refused write not at all."""

    async def act(ctx: StepContext) -> str:
        for _ in range(50):
            ctx.state.set("same", "x" * 900)
        ctx.state.set("second", "x" * 900)
        with pytest.raises(StateError, match="2500 bytes"):
            ctx.state.set("third", "x" * 900)
        return "done"

    assert (await run(Step("a", act), state_limits=LIMITS)).output == "done"


async def test_a_key_that_is_written_is_text_and_counts_in_bytes() -> None:
    """A lone surrogate is refused, and other letters have their UTF-8 length."""

    async def act(ctx: StepContext) -> str:
        with pytest.raises(StateError, match="surrogate"):
            ctx.state.set("\udc00", 1)
        ctx.state.set("é" * 1200, 1)
        with pytest.raises(StateError, match="2500 bytes"):
            ctx.state.set("è" * 1200, 1)
        return "done"

    assert (await run(Step("a", act), state_limits=LIMITS)).output == "done"


async def test_the_output_of_a_foreach_has_the_limit_of_one_value() -> None:
    """All items together."""
    each = Step("each", returns("x" * 90), foreach="items", failure_policy=NO_RETRY)
    fits = await run(each, inputs={"items": [0] * 10}, state_limits=LIMITS)
    assert fits.error_type is None
    result = await run(each, inputs={"items": [0] * 11}, state_limits=LIMITS)
    assert result.error_type == "StateError"
    assert "step 'each'" in str(result.error_message)


async def test_the_writes_of_a_failed_attempt_are_dropped() -> None:
    """The next attempt starts from the state before the step."""
    seen: list[object] = []

    async def act(ctx: StepContext) -> str:
        seen.append([ctx.state.get("k"), ctx.state.has(f"try{ctx.attempt - 1}")])
        ctx.state.set("k", f"changed by {ctx.attempt}")
        ctx.state.set(f"try{ctx.attempt}", True)
        if ctx.attempt < 3:
            raise ValueError
        return "done"

    result = await run(Step("a", act, failure_policy=retrying(3)), inputs={"k": "original"})
    assert seen == [["original", False]] * 3
    assert result.final_state == {"k": "changed by 3", "try3": True, "a": "done"}


@pytest.mark.parametrize("how", ["raises", "contract", "timeout", "not json", "skip"])
async def test_nothing_is_committed_by_an_attempt_that_did_not_succeed(how: str) -> None:
    """Its output did not pass, its deadline did not hold, or it returned SKIP."""

    async def act(ctx: StepContext) -> object:
        ctx.state.set("k", "written")
        if how == "raises":
            raise ValueError
        if how == "timeout":
            await anyio.sleep(5)
        return {"skip": SKIP, "not json": {1}, "contract": "text"}.get(how, 1)

    result = await run(
        Step("a", act, output_contract=None if how in ("skip", "not json") else int, timeout=1, failure_policy=NO_RETRY)
    )
    assert result.step_results["a"].status in ("failed_final", "skipped")
    assert result.final_state == {}


async def test_a_step_sees_its_own_writes_at_once_and_others_when_it_is_done() -> None:
    """Buffered until the commit."""

    async def writer(ctx: StepContext) -> object:
        ctx.state.set("k", 1)
        await anyio.sleep(2)
        return [ctx.state.get("k"), ctx.state.has("k"), ctx.state.keys(), "k" in ctx.inputs]

    async def later(ctx: StepContext) -> object:
        return ctx.state.get("k")

    result = await run(Step("w", writer), Step("r", later, depends_on=["w"]))
    assert output_of(result, "w") == [1, True, ["k"], False]
    assert output_of(result, "r") == 1


@pytest.mark.real_time
async def test_threads_and_tasks_read_and_write_without_losing_anything() -> None:
    """A hundred sync and async steps at once, each with keys of its own."""

    def sync(ctx: StepContext) -> int:
        for n in range(20):
            ctx.state.set(f"{ctx.step_id}_{n}", [ctx.inputs["given"]["n"], n])
        return len(ctx.state.keys())

    async def asynchronous(ctx: StepContext) -> int:
        return sync(ctx)

    steps = [Step(f"s{i}", sync if i % 2 else asynchronous) for i in range(100)]
    result = await run(*steps, inputs={"given": {"n": 7}}, max_concurrency=8)
    assert len(result.final_state) == 1 + 100 * 21
    assert {done.output for done in result.step_results.values()} == {21}
    assert result.final_state["s99_19"] == [7, 19]


async def test_a_skipped_step_stores_nothing() -> None:
    """Not under its name either."""
    result = await run(
        Step("a", returns(SKIP)), Step("b", raises(ValueError), failure_policy=NO_RETRY, depends_on=["a"])
    )
    assert result.final_state == {}
    assert (await run(Step("a", flaky(0, value=None)))).final_state == {"a": None}


def test_nan_and_infinities_are_no_json() -> None:
    """Wherever they hide."""

    async def main(value: object) -> object:
        return (await run(Step("a", returns(value), failure_policy=NO_RETRY))).error_type

    for value in (math.nan, [math.inf], {"k": -math.inf}, Data("n", MODEL), (float("nan"),)):
        expected = None if isinstance(value, Data) else "StateError"
        assert run_virtual(main, value) == expected
