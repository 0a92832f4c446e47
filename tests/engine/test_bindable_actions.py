"""Actions that say what they read and are told their step's contract, as prompts for models do."""

from __future__ import annotations

import string
from typing import Any

import pytest

from kairos_async import Action, ConfigError, Contract, PlanError, Schema, Step, StepContext, Workflow
from tests.engine.tools import NO_RETRY, SKIPPING, output_of, raises, returns, run


class Template:
    """A small template: `{name}` is replaced by the value of the key."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.contract: Contract | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The names between braces."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.text) if name)

    def bind(self, contract: Contract | None) -> Action:
        """The same template, which knows the contract."""
        if contract is not None and contract.fields is None:
            raise ConfigError("the output contract must be one of an object.")
        twin = Template(self.text)
        twin.contract = contract
        return twin

    async def __call__(self, ctx: StepContext) -> Any:
        text = self.text.format(**{key: ctx.inputs[key] for key in self.reads})
        return {"text": text} if self.contract else text


async def test_a_placeholder_is_an_edge() -> None:
    """The step runs after the one that it names, wherever it is declared, and sees nothing else."""
    result = await run(
        Step("review", Template("Review: {research}, {topic}")),
        Step("research", returns("facts", after=1)),
        inputs={"topic": "ants", "api_key": "sk-not-for-everyone"},
    )
    assert output_of(result, "review") == "Review: facts, ants"
    step = Step("review", Template("{research}"), foreach="list", input_contract=Schema({"limit": int}))
    assert step.read_keys == frozenset({"research", "list", "limit"})
    assert Step("x", Template("{a}"), read_keys=["a", "b"]).read_keys == frozenset({"a", "b"})


async def test_a_key_that_a_step_writes_is_an_edge_too() -> None:
    """As with read_keys."""

    async def write(ctx: StepContext) -> None:
        ctx.state.set("note", "written")

    result = await run(Step("use", Template("{note}")), Step("make", write, write_keys=["note"]))
    assert output_of(result, "use") == "written"


def test_read_keys_must_have_the_placeholders() -> None:
    """A template that reads more than its step may is a mistake of the plan."""
    with pytest.raises(PlanError, match=r"step 'a' has the placeholder \{topic\}, which its read_keys leave out"):
        Workflow("w", [Step("a", Template("{topic}"), read_keys=[])])


async def test_a_placeholder_that_nothing_provides_is_refused_before_the_run() -> None:
    """With the name that was meant; a key that a step upstream may write by itself is not refused."""
    workflow = Workflow("w", [Step("a", Template("{topik}"))])
    with pytest.raises(PlanError, match=r"step 'a' has the placeholder \{topik\}.*Did you mean 'topic'"):
        await workflow.run({"topic": "ants"})

    async def write(ctx: StepContext) -> None:
        ctx.state.set("topic", "ants")

    result = await run(Step("first", write), Step("a", Template("{topic}"), depends_on=["first"]))
    assert result.output == "ants"


async def test_a_step_is_skipped_when_its_template_lacks_a_step_output() -> None:
    """It needs it, unlike a step that only runs after."""
    result = await run(
        Step("research", raises(ValueError), failure_policy=SKIPPING),
        Step("review", Template("{research}")),
        Step("after", returns(1), depends_on=["research"]),
        failure_policy=NO_RETRY,
    )
    assert result.step_results["review"].reason == "needs the output of step 'research', which has none"
    assert output_of(result, "after") == 1


async def test_the_action_knows_the_contract_of_its_step() -> None:
    """The template itself stays as it was, for another step."""
    template = Template("{topic}")
    result = await run(
        Step("a", template, output_contract=Schema({"text": str})), Step("b", template), inputs={"topic": "ants"}
    )
    assert (output_of(result, "a"), output_of(result, "b")) == ({"text": "ants"}, "ants")


def test_an_action_that_refuses_the_contract_is_a_config_error_of_the_step() -> None:
    """When the step is made."""
    with pytest.raises(ConfigError, match="Step 'a': the output contract must be one of an object"):
        Step("a", Template("x"), output_contract=list[str])
