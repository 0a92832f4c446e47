"""What redaction costs a run that writes its events as JSON lines: against the same run with redaction left out.

    python -m benchmarks.redaction [--rounds N] [--steps N] [--json FILE] [--save]

Every step returns about 1 KB, of one of seven kinds, which goes into the event of its completion and, by a `RunLogger`
that shows everything, into a `JSONLinesSink`. Both sides alternate in one process, and the ratio of a round is that of
two CPU times taken one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pydoc_data.topics import topics
from typing import Any, Final

from benchmarks.report import Spread, add_outputs, environment, keep, table
from kairos_async import JSONLinesSink, RunLogger, Step, StepContext, Workflow
from kairos_async._types import JSONValue
from kairos_async.security import Redactor, json_line

TARGET: Final = 1.15
"""The most that a run with redaction may take, in times of the same run without."""
SENTENCE: Final = (
    "The third competitor raised its prices in spring and lost a few of its smaller customers to the first. "
)
PAGES: Final = "\n".join(topics.values())
"""Python's own documentation: of each step's text something that no other step has said."""

PAYLOADS: Final[dict[str, Callable[[int], JSONValue]]] = {
    "prose": lambda number: {"summary": (SENTENCE * 10)[:1000], "score": number / 7},
    "a record": lambda number: {f"field_{place}": f"value {place} of record {number}" for place in range(28)},
    "a list of numbers": lambda number: {"rows": [number * place % 991 for place in range(250)]},
    "a list of records": lambda number: [{"name": f"item {place}", "rank": place, "ok": True} for place in range(20)],
    "prose with ids and URLs": lambda number: {
        "summary": (SENTENCE * 8)[:800],
        "id": str(uuid.UUID(int=number)),
        "source": f"https://example.com/articles/2024/05/{number}?ref=feed",
        "at": "2024-05-01T12:00:00.000000+00:00",
    },
    "a piece of documentation": lambda number: {"text": PAGES[number * 1000 : number * 1000 + 1000], "number": number},
    "JSON in a string": lambda number: {"body": json.dumps({f"field_{n}": f"value {n}" for n in range(40)})},
}


def workflow(payload: Callable[[int], JSONValue], steps: int, directory: str) -> Workflow:
    """Return steps that each return a payload, eight chains of them side by side, logged to files of their own."""

    def action(number: int) -> Callable[[StepContext], Any]:
        value = payload(number)

        async def act(_: StepContext) -> JSONValue:
            await asyncio.sleep(0)
            return value

        return act

    return Workflow(
        "redaction",
        [Step(f"s{n}", action(n), depends_on=[f"s{n - 8}"] if n >= 8 else []) for n in range(steps)],
        hooks=[RunLogger("verbose", [JSONLinesSink(f"{directory}/{{run_id}}.jsonl")])],
    )


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """Have everything that looks for secrets return what it is given, for the other side of the comparison."""
    kept = {name: getattr(Redactor, name) for name in IDENTITIES}
    for name, identity in IDENTITIES.items():
        setattr(Redactor, name, identity)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(Redactor, name, method)


IDENTITIES: Final[dict[str, Callable[..., Any]]] = {
    "redact": lambda _, data: data,
    "name": lambda _, name: name,
    "take_in": lambda _, value, key, *, shows, data=None: (False, value),
    "holds_secret": lambda _, value: False,
    "register_sensitive_parts": lambda _, value, key: None,
}


async def cpu_seconds(flow: Workflow, inputs: dict[str, Any]) -> float:
    """CPU time of one run. The garbage of the one before is not this one's."""
    gc.collect()
    started = time.process_time()
    (await flow.run(inputs)).raise_for_status()
    return time.process_time() - started


async def measure(name: str, payload: Callable[[int], JSONValue], steps: int, rounds: int) -> dict[str, Any]:
    """Run both sides in alternating order; the first round warms up and does not count."""
    inputs = {"topic": "prices", "api_key": "benchmark-" + uuid.uuid4().hex}
    ratios, times = [], []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds + 1):
            took = {}
            for redacted in (True, False) if number % 2 else (False, True):
                flow = workflow(payload, steps, directory)
                with contextlib.nullcontext() if redacted else left_out():
                    took[redacted] = await cpu_seconds(flow, inputs)
            if number:
                ratios.append(took[True] / took[False])
                times.append(took)
    ratio = Spread.of(ratios)
    bare = Spread.of([took[False] for took in times]).median / steps * 1e6
    cost = Spread.of([took[True] - took[False] for took in times]).median / steps * 1e6
    return {
        "payload": name,
        "bytes": len(json_line(payload(1))),
        "us_a_step": bare,
        "redaction_us_a_step": cost,
        "ratio": ratio._asdict(),
        "target": TARGET,
        "met": ratio.median <= TARGET,
    }


def main() -> None:
    """Measure each payload and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count, for each payload")
    parser.add_argument("--steps", type=int, default=400, help="steps of a run")
    add_outputs(parser)
    options = parser.parse_args()
    results = [asyncio.run(measure(name, make, options.steps, options.rounds)) for name, make in PAYLOADS.items()]
    rows = []
    for found in results:
        ratio = Spread(**found["ratio"])
        rows.append(
            [
                found["payload"],
                str(found["bytes"]),
                f"{found['us_a_step']:.0f}",
                f"{found['redaction_us_a_step']:.1f}",
                ratio.show(),
                f"{TARGET:.2f}",
                "ok" if found["met"] else "MISSED",
            ]
        )
    columns = ("payload", "bytes", "us a step", "redaction", "ratio (least - most)", "at most", "")
    print(table("Redaction in a run with a JSON-lines sink", columns, rows))
    print("\n" + ", ".join(f"{name} {value}" for name, value in environment().items()))
    keep(options, "redaction", results)


if __name__ == "__main__":
    main()
