"""A pipeline of prompts: placeholders are its edges, contracts are what its answers have to be.

    python examples/llm_workflow.py

It asks whichever provider has its key in the environment, and a small model on this machine if there is none.
"""

from __future__ import annotations

from kairos_async import FailureAction, FailurePolicy, Schema, Step, Workflow
from kairos_async import validators as v
from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.prompt import ask
from which_model import model_of

RETRY = FailurePolicy(
    on_validation_fail=FailureAction.RETRY, on_execution_fail=FailureAction.RETRY, max_retries=3, retry_delay=0.5
)
FACTS = Schema({"facts": list[str]}, validators={"facts": v.length(min=1, max=2)})
SHORT = {"text": v.length(min=3, max=80)}


def build(model: ModelAdapter) -> Workflow:
    """Return the workflow: `praise` and `doubts` run side by side once `facts` is there, `verdict` after both."""
    return Workflow(
        "llm-workflow",
        [
            Step("facts", ask("Name two facts about {topic}.", model), output_contract=FACTS),
            Step(
                "praise",
                ask("Say in one sentence what is good about {topic}. Facts: {facts}", model),
                output_contract=Schema({"text": str}, validators=SHORT),
            ),
            Step(
                "doubts",
                ask("Say in one sentence what is hard about {topic}. Facts: {facts}", model),
                output_contract=Schema({"text": str}, validators=SHORT),
            ),
            Step(
                "verdict",
                ask("For: {praise}\nAgainst: {doubts}\nIs {topic} a good idea?", model),
                output_contract=Schema({"good_idea": bool}),
            ),
        ],
        failure_policy=RETRY,
    )


def main() -> None:
    """Run it."""
    model = model_of()
    result = build(model).run_sync({"topic": "keeping bees in a city"})
    result.raise_for_status()
    print(f"asked {model.provider}, {result.llm_calls} calls, {result.duration_ms / 1000:.1f} s")
    for name, step in result.step_results.items():
        print(f"{name}: {step.output}")


if __name__ == "__main__":
    main()
