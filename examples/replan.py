"""When a step fails for good, a planner is asked for other steps in place of the part that has not run.

The archive is down. The planner looks at what failed and what is finished already, and answers with a way around:
two smaller sources instead of one, and the same last step. What had finished is kept, not run again.
"""

from __future__ import annotations

from kairos_async import FailureAction, FailurePolicy, ReplanRequest, Step, StepContext, Workflow


async def question(ctx: StepContext) -> str:
    """It finishes before anything fails."""
    return str(ctx.inputs["topic"]).title()


async def archive(ctx: StepContext) -> str:
    """The source that is down today."""
    raise ConnectionError("archive.example: connection refused")


async def library(ctx: StepContext) -> str:
    """One of the two ways around."""
    return f"the library's books on {ctx.inputs['question']}"


async def interviews(ctx: StepContext) -> str:
    """The other."""
    return f"three people who know {ctx.inputs['question']}"


async def essay(ctx: StepContext) -> str:
    """It takes whatever sources its plan has."""
    found = [str(ctx.inputs[name]) for name in ("archive", "library", "interviews") if name in ctx.inputs]
    return f"{ctx.inputs['question']}: an essay from {' and '.join(found)}"


def planner(request: ReplanRequest) -> list[Step]:
    """Answer a failure with new steps. The request has names and the reason, no outputs."""
    print(f"re-plan {request.number}: {request.failure.step} failed with {request.failure.error_type}")
    print(f"  finished: {', '.join(request.finished)}; to be replaced: {', '.join(s.name for s in request.unfinished)}")
    return [
        Step("library", library, depends_on=["question"]),
        Step("interviews", interviews, depends_on=["question"]),
        Step("essay", essay, depends_on=["question", "library", "interviews"]),
    ]


workflow = Workflow(
    name="replan",
    steps=[
        Step("question", question),
        Step(
            "archive",
            archive,
            depends_on=["question"],
            failure_policy=FailurePolicy(on_execution_fail=FailureAction.REPLAN, max_replans=1),
        ),
        Step("essay", essay, depends_on=["question", "archive"]),
    ],
    planner=planner,
)


def main() -> None:
    """Run it and show which steps the final plan had."""
    result = workflow.run_sync({"topic": "bees"}).raise_for_status()
    for outcome in result.step_results.values():
        print(f"{outcome.name}: {outcome.status}")
    print(result.output)


if __name__ == "__main__":
    main()
