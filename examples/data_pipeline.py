"""A pipeline with a contract on every boundary: dirty rows are left out, and what is left can be trusted.

Rows of an export are parsed one by one. Some are broken; `ALLOW_PARTIAL` lets the rest go on. The report step says what
it must be given and what it returns, and `workflow.check()` shows, before anything runs, which edges are proven.
The key of the mail service is an input that only one step may read, and it is redacted wherever the run is shown.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from typing import Any

from pydantic import BaseModel, Field

from kairos_async import FailureAction, FailurePolicy, ForeachPolicy, Proven, Schema, Step, StepContext, Workflow
from kairos_async import validators as v

EXPORT = """\
id,customer,amount,day
1,Ada,19.99,2026-01-03
2,Bob,-5.00,2026-01-03
3,,12.50,2026-01-04
4,Cleo,7.25,2026-02-31
5,Dan,100.00,2026-01-05
"""


class Order(BaseModel):
    """A row that can be trusted."""

    id: int = Field(ge=1)
    customer: str = Field(min_length=1)
    amount: float = Field(gt=0)
    day: dt.date


REPORT = Schema(
    {"orders": int, "total": float, "best_customer": str, "first_day": str, "last_day": str},
    validators={"orders": [v.range(min=0)], "total": [v.range(min=0)]},
    rules=[v.rule(lambda report: report["first_day"] <= report["last_day"], "first_day must not be after last_day")],
)


async def read(ctx: StepContext) -> list[dict[str, str]]:
    """The rows of the export, as text."""
    return list(csv.DictReader(io.StringIO(ctx.inputs["export"])))


async def parse(ctx: StepContext) -> dict[str, Any]:
    """One row with its numbers as numbers. Whether it makes sense is for the contract to say."""
    row: Any = ctx.item
    return {**row, "id": int(row["id"]), "amount": float(row["amount"])}


async def keep(ctx: StepContext) -> list[Any]:
    """The rows that passed: what failed left None in its place."""
    return [row for row in ctx.inputs["parse"] if row is not None]


async def report(ctx: StepContext) -> dict[str, Any]:
    """A few figures."""
    orders: Any = ctx.inputs["keep"]
    days = sorted(order["day"] for order in orders)
    return {
        "orders": len(orders),
        "total": sum(order["amount"] for order in orders),
        "best_customer": max(orders, key=lambda order: order["amount"])["customer"],
        "first_day": days[0],
        "last_day": days[-1],
    }


async def send(ctx: StepContext) -> str:
    """Pretend to send it. Only this step may read the key."""
    assert ctx.inputs["mail_api_key"]
    return f"sent: {ctx.inputs['report']['orders']} orders"


workflow = Workflow(
    name="orders",
    steps=[
        Step("read", read, output_contract=list[dict[str, str]], read_keys=["export"]),
        Step(
            "parse",
            parse,
            foreach="read",
            foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
            output_contract=Order,
            failure_policy=FailurePolicy(on_validation_fail=FailureAction.ABORT),
        ),
        Step(
            "keep",
            keep,
            input_contract=Schema({"parse": list[Order | None]}),
            output_contract=list[Order],
            depends_on=["parse"],
        ),
        Step(
            "report", report, input_contract=Schema({"keep": list[Order]}), output_contract=REPORT, depends_on=["keep"]
        ),
        Step("send", send, read_keys=["report", "mail_api_key"]),
    ],
)


def main() -> None:
    """Show what is proven of the edges, then run it."""
    for edge in workflow.check():
        known = "proven" if isinstance(edge.proof, Proven) else edge.proof
        print(f"{edge.producer} -> {edge.consumer}: {known}")
    result = workflow.run_sync({"export": EXPORT, "mail_api_key": "key-0123456789abcdef"}).raise_for_status()
    parsed: Any = result.step_results["parse"].output
    for number, row in enumerate(parsed, start=1):
        print(f"row {number}: {'kept' if row else 'left out'}")
    print(result.step_results["report"].output)
    print(result.output, "- the key is shown as", result.final_state["mail_api_key"])


if __name__ == "__main__":
    main()
