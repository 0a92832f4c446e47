"""What can be known of a graph before it runs: each edge is proven, refuted by an example, or unknown.

The first version of this workflow has two mistakes that no type checker sees: a score in percent where a fraction is
wanted, and an optional field that the next step needs. The check shows a value that would break the run, and when that
is mended, the next one.
"""

from __future__ import annotations

import json
from typing import Any

from kairos_async import Proven, Refuted, Schema, Step, StepContext, Workflow
from kairos_async import validators as v


async def step(ctx: StepContext) -> Any:
    """Nothing of this runs here."""
    return dict(ctx.inputs)


FOUND = Schema({"title": str, "score": float, "url": str | None}, {"score": [v.range(min=0, max=100)]})
RANKED: Any = Schema({"title": str, "score": float, "url": str}, {"score": [v.range(min=0, max=1)]})
HALF_MENDED = Schema({"title": str, "score": float, "url": str | None}, {"score": [v.range(min=0, max=1)]})
MENDED = HALF_MENDED.extend({"url": str})


def graph(found: Schema) -> Workflow:
    """A search that feeds a ranking and a summary; the summary's contract has a rule that no proof can see into."""
    polite = Schema(
        {"search": found}, rules=[v.rule(lambda inputs: "!" not in inputs["search"]["title"], "no shouting")]
    )
    return Workflow(
        name="search",
        steps=[
            Step("search", step, output_contract=found),
            Step(
                "rank",
                step,
                input_contract=Schema({"search": RANKED}),
                depends_on=["search"],
                output_contract=list[RANKED],
            ),
            Step("show", step, input_contract=Schema({"rank": list[RANKED]}), depends_on=["rank"]),
            Step("summary", step, input_contract=polite, depends_on=["search"]),
        ],
    )


def show(workflow: Workflow) -> None:
    """One line for each edge."""
    for edge in workflow.check():
        proof = edge.proof
        if isinstance(proof, Proven):
            verdict = "proven"
        elif isinstance(proof, Refuted):
            verdict = f"refuted by {json.dumps(proof.counter_example)}: {proof.errors[0].message}"
        else:
            verdict = f"unknown: {proof.reason}"
        print(f"  {edge.producer} -> {edge.consumer}: {verdict}")


def main() -> None:
    """The graph as it was written first, with one mistake mended, and with both."""
    for title, found in {"as written": FOUND, "score mended": HALF_MENDED, "url mended, too": MENDED}.items():
        print(f"{title}:")
        show(graph(found))


if __name__ == "__main__":
    main()
