"""Three questions at once and one answer from all three, with the speed-up that was measured.

    ANTHROPIC_API_KEY=... python examples/real_claude_concurrent.py

Without the key a small model on this machine answers; it works on two requests at once.
"""

from __future__ import annotations

from kairos_async import Schema, Step, Workflow, WorkflowResult
from kairos_async import validators as v
from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.prompt import ask
from which_model import model_of

VIEWS = ("engineer", "lawyer", "customer")
SENTENCE = Schema({"view": str}, validators={"view": v.length(min=3, max=70)})


def build(model: ModelAdapter) -> Workflow:
    """Return the workflow: nothing says that the three run together; nothing says that they wait."""
    asked = [
        Step(
            who,
            ask(f"As a {who}, say in one short sentence what you think of: {{plan}}", model),
            output_contract=SENTENCE,
        )
        for who in VIEWS
    ]
    views = "\n".join(f"{who}: {{{who}}}" for who in VIEWS)
    summary = Step("summary", ask(f"Sum up in one sentence.\n{views}", model), output_contract=SENTENCE)
    return Workflow("three-views", [*asked, summary])


def speed_up(result: WorkflowResult) -> float:
    """Return how much longer the three would have taken one after the other."""
    steps = [result.step_results[who] for who in VIEWS]
    begun = min(step.started_ms or 0.0 for step in steps)
    ended = max((step.started_ms or 0.0) + (step.duration_ms or 0.0) for step in steps)
    return sum(step.duration_ms or 0.0 for step in steps) / max(ended - begun, 1e-6)


def main() -> None:
    """Ask about one plan."""
    result = build(model_of("anthropic")).run_sync({"plan": "a shop that is open at night"})
    result.raise_for_status()
    for name, step in result.step_results.items():
        print(f"{name}: {step.output}")
    print(f"measured speed-up of the three: {speed_up(result):.2f}")


if __name__ == "__main__":
    main()
