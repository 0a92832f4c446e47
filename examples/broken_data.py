"""Broken data stops at the step that made it, and never reaches the steps behind it.

A model was asked for contact records. Once it answers well, once with a broken address, once with a score of 95 instead
of 0.95, once without a name. Without a contract the second average would be 47.975 and nobody would notice. With one,
the step that cleans the records fails, and the step that sums them up never runs.
"""

from __future__ import annotations

from typing import Any

from kairos_async import FailureAction, FailurePolicy, Schema, Step, StepContext, Workflow
from kairos_async import validators as v

RECORD = Schema(
    {"name": str, "email": str, "score": float},
    validators={
        "name": [v.not_empty()],
        "email": [v.pattern(r"^[\w.+-]+@[\w-]+\.[\w.]+$")],
        "score": [v.range(min=0.0, max=1.0)],
    },
)

ADA = {"name": "Ada", "email": "ada@example.com", "score": 0.95}

CASES: dict[str, dict[str, Any]] = {
    "good data": {"name": "Bob", "email": "bob@example.com", "score": 0.45},
    "bad email": {"name": "Bob", "email": "not an address", "score": 0.45},
    "score 95 instead of 0.95": {"name": "Bob", "email": "bob@example.com", "score": 95},
    "empty name": {"name": "", "email": "bob@example.com", "score": 0.45},
}


async def clean(ctx: StepContext) -> Any:
    """What the model said of one record, as it is: the contract is what decides."""
    return ctx.item


async def aggregate(ctx: StepContext) -> float:
    """The average, which one wrong score would spoil."""
    records: Any = ctx.inputs["clean"]
    average: float = round(sum(record["score"] for record in records) / len(records), 3)
    return average


workflow = Workflow(
    name="broken data",
    steps=[
        Step(
            "clean",
            clean,
            foreach="raw_records",
            output_contract=RECORD,
            failure_policy=FailurePolicy(on_validation_fail=FailureAction.ABORT),
        ),
        Step("aggregate", aggregate, depends_on=["clean"]),
    ],
)


def main() -> None:
    """Run the four cases and show for each what became of it."""
    for number, (title, record) in enumerate(CASES.items(), start=1):
        result = workflow.run_sync({"raw_records": [ADA, record]})
        average = result.step_results["aggregate"]
        shown = f"average {average.output}" if average.output is not None else f"aggregate: {average.status}"
        print(f"TEST {number}: {title:26} -> {result.status}; {shown}")
        for error in RECORD.validate(record).errors:
            print(f"        {error.message}")


if __name__ == "__main__":
    main()
