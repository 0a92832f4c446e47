"""A run, logged in every way: all sinks, each verbosity, redaction, and what can be read off a log afterwards.

    python examples/run_logger.py

No network and no model: the steps stand in for them. Files go into a temporary directory.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from kairos_async import (
    CallbackSink,
    ConsoleSink,
    Event,
    FailurePolicy,
    FileSink,
    ForeachPolicy,
    JSONLinesSink,
    LogLevel,
    RunLog,
    RunLogger,
    Step,
    StepContext,
    Workflow,
)
from kairos_async.observe import StructlogSink, read_log


async def fetch(ctx: StepContext) -> dict[str, object]:
    """Fail once, as networks do; then return something that has a secret in it."""
    if ctx.attempt == 1:
        raise ConnectionError(f"reset by https://user:{ctx.inputs['api_key']}@example.org")
    return {"pages": ["one", "two", ""], "session_token": "s3ss10n-t0k3n-value", "customer_number": "C-1001"}


def pages(ctx: StepContext) -> list[str]:
    """Return the list that the next step goes over."""
    found: list[str] = ctx.inputs["fetch"]["pages"]
    return found


async def summarise(ctx: StepContext) -> str:
    """Summarise a page; one of them is empty."""
    if not ctx.item:
        raise ValueError("an empty page")
    return f"a summary of page {ctx.item}"


def workflow(*hooks: RunLogger) -> Workflow:
    """Return the workflow with these loggers."""
    return Workflow(
        "summaries",
        [
            Step("fetch", fetch, failure_policy=FailurePolicy(retry_delay=0.01)),
            Step("pages", pages, depends_on=["fetch"], output_contract=list[str]),
            Step(
                "summarise",
                summarise,
                foreach="pages",
                foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
                failure_policy=FailurePolicy(max_retries=0),
            ),
        ],
        hooks=hooks,
    )


async def log_at_every_level(inputs: dict[str, object]) -> None:
    """Show the same run at each verbosity."""
    for level in LogLevel:
        logger = RunLogger(level)
        await workflow(logger).run(inputs)
        log = logger.get_log()
        print(f"{level}: {len(log.events)} events: {', '.join(Counter(event.event_type for event in log.events))}")


async def log_to_every_sink(inputs: dict[str, object], directory: Path) -> RunLog:
    """Log one run everywhere at once; return its log."""
    counts: Counter[str] = Counter()

    def count(event: Event) -> None:
        counts[event.event_type] += 1

    def disk_full(event: Event) -> None:
        raise OSError(28, "No space left on device")

    logger = RunLogger(
        LogLevel.VERBOSE,
        sinks=[
            ConsoleSink(),  # standard error; colours if it is a terminal
            JSONLinesSink(directory / "{run_id}.jsonl"),
            FileSink(directory / "{run_id}.json"),
            CallbackSink(count),
            StructlogSink(structlog.wrap_logger(structlog.ReturnLogger())),
            disk_full,  # any callable is a sink; this one is broken
        ],
        sensitive_keys=["*customer*"],
    )
    result = await workflow(logger).run(inputs)
    print(f"\nstatus: {result.status}; summaries: {result.output}")
    print(f"the callback counted {counts.total()} events")
    for warning in result.warnings:
        print(f"warning: {warning}")
    return logger.get_log()


def inspect(log: RunLog, directory: Path, secrets: list[str]) -> None:
    """Read off what happened: from memory, and from the files."""
    summary = log.summary
    print(f"\n{log.workflow_name}: {summary.steps_completed} steps, {summary.total_retries} retry")
    print(f"items: {summary.items_completed} completed, {summary.items_failed} failed")
    slowest = max(summary.step_durations_ms, key=lambda step: summary.step_durations_ms[step])
    print(f"slowest step: {slowest}")
    for event in log.of("fetch"):
        print(f"  {event.event_type}: {event.data.get('error_message') or event.data.get('output') or ''}")
    for ending in ("jsonl", "json"):
        path = directory / f"{log.run_id}.{ending}"
        written = path.read_text("utf-8")
        print(f"{ending}: equal to the log in memory: {read_log(path) == log}; mode {path.stat().st_mode & 0o777:o}")
        print(f"{ending}: secrets in it: {sum(secret in written for secret in secrets)}")


async def main() -> None:
    """Log, and look."""
    inputs: dict[str, object] = {"api_key": "sk-live-4242424242424242"}
    await log_at_every_level(inputs)
    with tempfile.TemporaryDirectory() as directory:
        log = await log_to_every_sink(inputs, Path(directory))
        secrets = [str(inputs["api_key"]), "s3ss10n-t0k3n-value", "C-1001"]
        await anyio.to_thread.run_sync(inspect, log, Path(directory), secrets)


if __name__ == "__main__":
    anyio.run(main)
