"""Three steps in a row with a contract on the middle one: the smallest pipeline that shows what the library is for.

The "model" is a local function that answers badly at first, as models do. Its answer breaks the contract, so it never
reaches the next step; the second attempt gets feedback made from the contract and answers well.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kairos_async import Step, StepContext, Workflow


class Triage(BaseModel):
    """What the model has to return."""

    model_config = ConfigDict(extra="forbid")

    topic: Literal["billing", "bug", "other"]
    urgency: int = Field(ge=1, le=5)


def receive(ctx: StepContext) -> str:
    """A sync action: it runs in a worker thread."""
    return str(ctx.inputs["ticket"]).strip()


async def triage(ctx: StepContext) -> dict[str, object]:
    """An async action: it runs on the event loop. It stands for a call of a model."""
    if ctx.retry_context is None:
        return {"topic": "invoices", "urgency": 11}
    return {"topic": "billing", "urgency": 4}


async def route(ctx: StepContext) -> str:
    """It sees validated data alone."""
    answer = ctx.inputs["triage"]
    return f"to the {answer['topic']} desk, urgency {answer['urgency']}: {ctx.inputs['receive']}"


workflow = Workflow(
    name="simple-chain",
    steps=[
        Step("receive", receive),
        Step("triage", triage, depends_on=["receive"], output_contract=Triage),
        Step("route", route, depends_on=["triage"]),
    ],
)


def main() -> None:
    """Run the chain and show how each attempt went."""
    result = workflow.run_sync({"ticket": "  I was charged twice. "}).raise_for_status()
    for attempt in result.step_results["triage"].attempts:
        print(f"triage, attempt {attempt.attempt_number}: {attempt.status}; {attempt.error_message or 'contract kept'}")
    print(result.output)


if __name__ == "__main__":
    main()
