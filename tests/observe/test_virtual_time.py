"""In virtual time, which jumps over the work of threads, logs are as complete as in real time."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread

from kairos_async import JSONLinesSink, RunLogger, Step
from kairos_async.observe import read_log
from tests.engine.tools import flaky, retrying, returns, run
from tests.observe.sinks import AsyncHanging, AsyncKeeping, Keeping


async def test_no_sink_is_given_up_because_the_clock_jumps(tmp_path: Path) -> None:
    """Neither while the run sleeps for an hour, nor at its end."""
    keeping, later = Keeping(), AsyncKeeping(takes=1)
    logger = RunLogger("verbose", [JSONLinesSink(tmp_path / "run.jsonl"), keeping, later], sink_timeout=60)
    chain = [Step(f"s{i}", returns(i, after=60), depends_on=[f"s{i - 1}"] if i else []) for i in range(20)]
    retried = Step("r", flaky(2), failure_policy=retrying(2, delay=600))
    result = await run(*chain, retried, hooks=[logger])
    assert (result.status, result.warnings) == ("complete", ())
    log = logger.get_log()
    assert keeping.events == later.events == list(log.events)
    assert await anyio.to_thread.run_sync(read_log, tmp_path / "run.jsonl") == log


async def test_a_sink_that_hangs_on_the_loop_is_given_up_in_virtual_time() -> None:
    """Without a second of real time."""
    started = anyio.current_time()
    result = await run(Step("a", returns(1)), hooks=[RunLogger(sinks=[AsyncHanging()], sink_timeout=1000)])
    assert len(result.warnings) == 1
    assert 1000 <= anyio.current_time() - started <= 1010
