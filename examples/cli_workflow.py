"""A workflow for the command line: what `kairos` checks, draws, runs and shows of it.

    kairos graph examples/cli_workflow.py
    kairos validate examples/cli_workflow.py
    kairos run examples/cli_workflow.py --set 'texts=["one two", "three"]' --log-file run.jsonl
    kairos inspect run.jsonl --html run.html

The command takes the module's `workflow`, and its inputs as JSON. Run as a script, this file calls the command itself,
in processes of its own, as a shell would.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from kairos_async import FailurePolicy, Schema, Step, StepContext, Workflow
from kairos_async import validators as v

COUNT = Schema({"text": str, "words": int}, validators={"words": [v.range(min=1)]})
REPORT = Schema({"longest": str, "words": int})


async def count(ctx: StepContext) -> dict[str, object]:
    """Count the words of one text; an empty one breaks the contract."""
    return {"text": ctx.item, "words": len(str(ctx.item).split())}


async def look_up(ctx: StepContext) -> int:
    """Ask a service that is not there at first."""
    if ctx.attempt == 1:
        raise ConnectionError("the service is starting")
    return 10


async def report(ctx: StepContext) -> dict[str, object]:
    """Join the branches."""
    longest = max(ctx.inputs["count"], key=lambda counted: int(counted["words"]))
    total = sum(int(counted["words"]) for counted in ctx.inputs["count"])
    return {"longest": longest["text"], "words": min(total, ctx.inputs["limit"])}


workflow = Workflow(
    name="word-count",
    steps=[
        Step("count", count, foreach="texts", output_contract=COUNT, failure_policy=FailurePolicy(max_retries=0)),
        Step("limit", look_up, read_keys=[], failure_policy=FailurePolicy(max_retries=2, retry_delay=0.05)),
        Step("report", report, read_keys=["count", "limit"], output_contract=REPORT),
    ],
)


def kairos(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command on this file, and show what it was and which exit code it had."""
    here = Path(__file__)
    command = [sys.executable, "-m", "kairos_async", arguments[0], here.name, *arguments[1:]]
    done = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, encoding="utf-8", check=False)
    print(f"$ kairos {arguments[0]} examples/{here.name} {' '.join(arguments[1:])}".rstrip())
    return done


def main() -> None:
    """Draw and run; and run with an input that fails, and with one that is refused."""
    done = kairos("graph")
    if done.returncode:
        sys.exit(done.stderr.strip())  # without the extra `cli` there is no command
    print(done.stdout)
    done = kairos("run", "--quiet", "--set", 'texts=["one two", "three"]')
    print(f"{json.loads(done.stdout)['output']}\nexit code {done.returncode}\n")
    done = kairos("run", "--quiet", "--set", 'texts=["one two", ""]')
    print(f"{json.loads(done.stdout)['error_message']}\nexit code {done.returncode}\n")
    done = kairos("run", "--input", '{"texts": [], "texts": ["twice"]}')
    print(f"{done.stderr}exit code {done.returncode}")


if __name__ == "__main__":
    main()
