"""Declaring: `Step`, the decorator `@step`, and what a Workflow says of itself."""

from __future__ import annotations

import functools

import pytest

from kairos_async import ConfigError, Step, StepContext, Workflow, step
from tests.engine.tools import returns, run, statuses

OK = returns("fine")


@step
async def fetch(ctx: StepContext) -> list[int]:
    """Return a list."""
    return [1, 2, 3]


@step(foreach=fetch, max_concurrency=2)
def double(ctx: StepContext) -> int:
    """Return twice the item, in a thread."""
    item = ctx.item
    assert isinstance(item, int)
    return item * 2


@step(name="the-sum", depends_on=[double])
async def total(ctx: StepContext) -> int:
    """Return the sum."""
    return sum(ctx.inputs["double"])


async def test_a_function_becomes_a_step_with_the_decorator() -> None:
    """With or without keywords; its name is the function's unless another is given."""
    assert [made.name for made in (fetch, double, total)] == ["fetch", "double", "the-sum"]
    assert (double.foreach, double.max_concurrency, total.depends_on) == ("fetch", 2, ("double",))
    assert (await run(fetch, double, total)).output == 12
    assert callable(fetch.action)


def test_the_decorator_says_what_is_wrong() -> None:
    """As the class does, and where the name cannot be found out."""
    with pytest.raises(ConfigError, match="no __name__"):
        step(functools.partial(OK))
    with pytest.raises(ConfigError, match="Step 'f': timeout"):

        @step(timeout=-1)
        def f(ctx: StepContext) -> None: ...

    with pytest.raises(ConfigError, match="is not callable"):
        step(name="x")(3)  # type: ignore[arg-type]


async def test_positional_name_and_action() -> None:
    """The short form that users of kairos-ai know."""
    assert (await run(Step("a", OK), Step("b", OK, depends_on=["a"]))).output == "fine"


async def test_one_step_may_be_in_many_workflows() -> None:
    """Nothing of a workflow is stored in it."""
    first = Workflow("w", [fetch, double])
    second = Workflow("v", [fetch, Step("x", OK, depends_on=[fetch])])
    assert statuses(await first.run()) == {"fetch": "completed", "double": "completed"}
    assert statuses(await second.run()) == {"fetch": "completed", "x": "completed"}
    assert statuses(await first.run()) == {"fetch": "completed", "double": "completed"}


def test_steps_and_workflows_say_what_they_are() -> None:
    """In one line each."""
    workflow = Workflow("w", [fetch, double])
    assert (repr(fetch), repr(workflow)) == ("<Step 'fetch'>", "<Workflow 'w': 2 steps>")
    assert workflow.steps == (fetch, double)


def test_lists_given_to_a_step_can_be_changed_afterwards() -> None:
    """The step has its own copy, in which nothing is twice."""
    needs, keys = ["a", "a"], ["k"]
    made = Step("b", OK, depends_on=needs, read_keys=keys, write_keys=keys)
    needs.append("c")
    keys.append("api_key")
    assert (made.depends_on, made.read_keys, made.write_keys) == (("a",), frozenset("k"), frozenset("k"))


def test_a_generator_of_names_is_read_once() -> None:
    """Any iterable will do."""
    assert Step("b", OK, depends_on=(name for name in ["a", "c"])).depends_on == ("a", "c")


def test_a_hint_of_the_steps_own_is_kept() -> None:
    """`with_expected_seconds` gives a copy; the step itself does not change."""
    plain, hinted = Step("a", OK), Step("a", OK, expected_seconds=3)
    assert plain.with_expected_seconds(2).expected_seconds == 2
    assert plain.expected_seconds is None
    assert hinted.with_expected_seconds(2) is hinted
    assert plain.with_expected_seconds(None) is plain
