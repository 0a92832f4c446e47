"""Structured output with OpenAI: the step's contract is the form of the answer, and is checked again here.

    OPENAI_API_KEY=... python examples/real_openai.py

Without the key a small model on this machine answers. What it gets wrong is stopped; the retry is told the rule.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from kairos_async import FailureAction, FailurePolicy, Step, Workflow
from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.prompt import ask
from which_model import model_of


class Ticket(BaseModel):
    """What is asked for."""

    subject: str = Field(min_length=3, max_length=60)
    kind: Literal["bug", "question", "praise"]
    urgency: int = Field(ge=1, le=5)


def build(model: ModelAdapter) -> Workflow:
    """Return the workflow of one step."""
    return Workflow(
        "ticket",
        [
            Step(
                "ticket",
                ask("Make a ticket of this mail.\n{mail}", model, fence=["mail"]),
                output_contract=Ticket,
                failure_policy=FailurePolicy(on_validation_fail=FailureAction.RETRY, max_retries=3),
            )
        ],
    )


def main() -> None:
    """Read one mail."""
    mail = "Hello, since this morning the export button does nothing. We need the figures by noon!"
    result = build(model_of("openai")).run_sync({"mail": mail})
    result.raise_for_status()
    attempts = result.step_results["ticket"].attempts
    print(f"{result.output} after {len(attempts)} attempt(s)")


if __name__ == "__main__":
    main()
