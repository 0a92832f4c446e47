"""Four tracks of an assessment side by side, and a decision that needs all four.

    OPENAI_API_KEY=... python examples/real_openai_concurrent.py

Without the key a small model on this machine answers.
"""

from __future__ import annotations

from kairos_async import Schema, Step, StepContext, Workflow
from kairos_async import validators as v
from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.prompt import ask
from which_model import model_of

TRACKS = ("market", "technology", "law", "money")
TRACK = Schema({"risk": int, "why": str}, validators={"risk": v.range(min=1, max=5), "why": v.length(min=3, max=60)})


def decide(ctx: StepContext) -> dict[str, object]:
    """Decide by rule and not by model: what can be computed is computed."""
    risks = {track: ctx.inputs[track]["risk"] for track in TRACKS}
    worst = max(risks, key=lambda track: risks[track])
    return {"go": max(risks.values()) < 5 and sum(risks.values()) <= 12, "risks": risks, "worst": worst}


def build(model: ModelAdapter) -> Workflow:
    """Return the workflow."""
    tracks = [
        Step(track, ask(f"Rate the {track} risk of this idea from 1 to 5: {{idea}}", model), output_contract=TRACK)
        for track in TRACKS
    ]
    return Workflow("go-or-not", [*tracks, Step("decision", decide, read_keys=list(TRACKS))])


def main() -> None:
    """Assess one idea."""
    result = build(model_of("openai")).run_sync({"idea": "a subscription for umbrellas"})
    result.raise_for_status()
    for track in TRACKS:
        print(f"{track}: {result.step_results[track].output}")
    print(result.output)


if __name__ == "__main__":
    main()
