"""One prompt for each competitor, concurrently, and a table of those that could be assessed.

    python examples/competitive_analysis.py

It asks whichever provider has its key in the environment, and a small model on this machine if there is none.
"""

from __future__ import annotations

from typing import Any, Literal

from kairos_async import FailureAction, FailurePolicy, ForeachPolicy, Schema, Step, StepContext, Workflow
from kairos_async import validators as v
from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.prompt import ask
from which_model import model_of

PROFILE = Schema(
    {"strength": str, "price": Literal["low", "middle", "high"], "threat": int},
    validators={"strength": v.length(min=3, max=50), "threat": v.range(min=1, max=5)},
)
RETRY = FailurePolicy(on_validation_fail=FailureAction.RETRY, on_execution_fail=FailureAction.RETRY, max_retries=2)


def rank(ctx: StepContext) -> list[dict[str, Any]]:
    """Put the most threatening first. An item that failed for good is None."""
    profiles = zip(ctx.inputs["competitors"], ctx.inputs["profile"], strict=True)
    known = [{"name": name, **profile} for name, profile in profiles if profile is not None]
    return sorted(known, key=lambda entry: -entry["threat"])


def build(model: ModelAdapter) -> Workflow:
    """Return the workflow."""
    return Workflow(
        "competitive-analysis",
        [
            Step(
                "profile",
                ask("We sell {product}. Describe this competitor: {item}", model),
                foreach="competitors",
                foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
                max_concurrency=2,
                output_contract=PROFILE,
                failure_policy=RETRY,
            ),
            Step("rank", rank, depends_on=["profile"]),
        ],
    )


def main() -> None:
    """Compare three bakeries."""
    inputs = {"product": "bread", "competitors": ["a supermarket", "a bakery in the same street", "an online shop"]}
    result = build(model_of()).run_sync(inputs)
    result.raise_for_status()
    ranked: Any = result.output
    for entry in ranked:
        print(f"{entry['threat']}  {entry['name']:28} {entry['price']:7} {entry['strength']}")


if __name__ == "__main__":
    main()
