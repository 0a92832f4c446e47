"""What a killed process and a full disk leave behind: a log that can be read, and a run that does not know of it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from kairos_async import WorkflowStatus
from kairos_async.observe import read_log
from kairos_async.observe.lines import decode

ENDLESS = """
import sys
import anyio
from kairos_async import Step, Workflow
from kairos_async.observe import FileSink, JSONLinesSink, RunLogger

async def act(ctx):
    await anyio.sleep(0.0005)
    return "x" * 200

logger = RunLogger("verbose", sinks=[JSONLinesSink(sys.argv[1]), FileSink(sys.argv[2])])
chain = [Step(f"s{i}", act, depends_on=[f"s{i - 1}"] if i else []) for i in range(5_000)]
Workflow("endless", chain, hooks=[logger]).run_sync()
"""


def test_kill_9_leaves_a_log_that_is_read_as_interrupted(tmp_path: Path) -> None:
    """Every line but the last is whole, no event is missing between them, and the run has no end."""
    lines, whole = tmp_path / "run.jsonl", tmp_path / "run.json"
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(lines), str(whole)])
    try:
        until = time.monotonic() + 60
        while not lines.exists() or lines.stat().st_size < 50_000:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    *complete, last = lines.read_bytes().split(b"\n")
    assert None not in map(decode, complete)
    log = read_log(lines)
    assert log.interrupted
    assert (log.status, log.workflow_name, log.ended_at) == (WorkflowStatus.RUNNING, "endless", None)
    assert log.unread == (1 if last else 0)
    assert [event.sequence for event in log.events] == list(range(1, len(log.events) + 1))
    assert log.summary.steps_completed > 10


FULL_DISK = """
import json, resource, sys
from kairos_async import Step, Workflow
from kairos_async.observe import JSONLinesSink, RunLogger
import structlog

structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=lambda *a: structlog.PrintLogger(sys.stderr))
seen = []
logger = RunLogger("verbose", sinks=[JSONLinesSink(sys.argv[1], required=sys.argv[2] == "required"), seen.append])

def fill(ctx):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, -1))
    return "x" * 5_000

def free(ctx):
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))

async def wait(ctx):
    import anyio
    await anyio.sleep(0.3)

result = Workflow("full", [
    Step("fill", fill), Step("wait", wait, depends_on=["fill"]), Step("free", free, depends_on=["wait"]),
    Step("after", lambda ctx: 7, depends_on=["free"]),
], hooks=[logger]).run_sync()
print(json.dumps([result.status, result.output, result.warnings, [event.event_type for event in seen]]))
"""  # noqa: E501 - a program


def full_disk(path: Path, required: str) -> tuple[str, object, list[str], list[str], str]:
    """Run a workflow whose log file may not grow for a while; return its result and its error output."""
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path), required]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, output, warnings, seen = json.loads(done.stdout)
    return status, output, warnings, seen, done.stderr


def test_a_full_disk_changes_nothing_of_the_run(tmp_path: Path) -> None:
    """It is reported once, with the number of events that are missing; the rest is logged when there is room again."""
    status, output, warnings, seen, errors = full_disk(tmp_path / "run.jsonl", "optional")
    assert (status, output) == ("complete", 7)
    assert seen[0] == "workflow_start"
    assert seen[-1] == "workflow_complete"
    assert len(warnings) == 1
    assert "JSONLinesSink('run.jsonl') raised LogWriteError: [Errno 27] File too large" in warnings[0]
    assert str(tmp_path) not in warnings[0]
    assert errors.count("hook_failed") == 1
    log = read_log(tmp_path / "run.jsonl")
    assert (log.status, log.interrupted) == ("complete", False)
    assert 1 <= log.dropped == len(seen) - len(log.events)
    assert f"{log.dropped} events are missing" in warnings[0]
    assert log.unread <= 1


def test_a_full_disk_fails_a_run_that_has_to_be_logged(tmp_path: Path) -> None:
    """With its outputs in the result all the same."""
    status, output, warnings, _, _ = full_disk(tmp_path / "run.jsonl", "required")
    assert (status, output, len(warnings)) == ("failed", 7, 1)
