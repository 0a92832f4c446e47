"""Each step says which keys it may read and write; everything else is refused.

Two runs of the same three steps. In the first, the step that writes a summary declares what it needs, and gets it. In
the second, it also asks for the API key, which it did not declare: the run stops there with the reason, and the key is
in nothing that the run shows.
"""

from __future__ import annotations

from pydantic import SecretStr

from kairos_async import Step, StepContext, Workflow, WorkflowResult


async def fetch(ctx: StepContext) -> list[str]:
    """The one step that needs the key."""
    key = ctx.inputs["api_key"].get_secret_value()
    ctx.state.set("requests_made", 1)
    return [f"{ctx.inputs['topic']}: a report", f"{ctx.inputs['topic']}: a study"] if key else []


async def summarize(ctx: StepContext) -> str:
    """It sees the documents and nothing else."""
    print(f"summarize can read: {', '.join(ctx.inputs)}")
    return f"{len(ctx.inputs['fetch'])} documents"


async def curious(ctx: StepContext) -> str:
    """The same, but for one line."""
    return f"{len(ctx.inputs['fetch'])} documents, by courtesy of {ctx.inputs['api_key']}"


def pipeline(last: Step) -> Workflow:
    """The workflow with one of the two last steps."""
    return Workflow(
        name="scoped",
        steps=[Step("fetch", fetch, read_keys=["topic", "api_key"], write_keys=["requests_made"]), last],
    )


def show(result: WorkflowResult) -> None:
    """What a service would log."""
    for step in result.step_results.values():
        print(
            f"{step.name}: {step.status}" + (f" ({step.error_type}: {step.error_message})" if step.error_type else "")
        )
    print(f"final state: {result.final_state}")


def main() -> None:
    """Run both."""
    inputs = {"topic": "Bees", "api_key": SecretStr("no-real-key-0815")}

    print("-- properly scoped")
    workflow = pipeline(Step("summarize", summarize, read_keys=["fetch"], write_keys=[]))
    show(workflow.run_sync(inputs))

    print("-- unauthorized read")
    show(pipeline(Step("summarize", curious, read_keys=["fetch"], write_keys=[])).run_sync(inputs))


if __name__ == "__main__":
    main()
