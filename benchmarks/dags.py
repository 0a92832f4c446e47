"""Graphs of tasks with durations: read from files, judged by bounds, and run as workflows in virtual time.

All times are whole microseconds, and one of them is one second of the virtual clock. So every time in a run is a whole
number that a float holds exactly, and makespans can be compared for equality.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import anyio
import trio.testing

from kairos_async import Step, StepContext, Workflow
from kairos_async.testing import VirtualClockLoop

BACKENDS: Final = ("asyncio", "trio")
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class Dag:
    """Tasks 0 to n-1 with the tasks that each needs and how long each takes, in microseconds."""

    name: str
    needs: tuple[tuple[int, ...], ...]
    runtimes: tuple[int, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Dag:
        """The graph of `{"name", "tasks": [{"id", "deps", "runtime" in seconds}]}`."""
        tasks = data["tasks"]
        position = {task["id"]: index for index, task in enumerate(tasks)}
        return cls(
            data["name"],
            tuple(tuple(position[need] for need in task["deps"]) for task in tasks),
            tuple(round(task["runtime"] * MICROSECONDS) for task in tasks),
        )

    def __len__(self) -> int:
        return len(self.runtimes)

    @property
    def work(self) -> int:
        """All runtimes together: what one worker takes."""
        return sum(self.runtimes)

    @cached_property
    def critical_path(self) -> int:
        """The longest path: what any number of workers takes at least."""
        ends: dict[int, int] = {}
        for task in self._sorted():
            ends[task] = self.runtimes[task] + max((ends[need] for need in self.needs[task]), default=0)
        return max(ends.values(), default=0)

    def graham_bound(self, limit: int | None) -> float:
        """What a schedule that leaves no slot idle while a task is ready takes at most (Graham, 1969)."""
        if limit is None:
            return float(self.critical_path)
        return self.work / limit + (1 - 1 / limit) * self.critical_path

    def _sorted(self) -> Iterator[int]:
        """The tasks, each after those that it needs."""
        done: set[int] = set()
        for start in range(len(self)):
            pending = [start]
            while pending:
                task = pending[-1]
                missing = [need for need in self.needs[task] if need not in done]
                if missing:
                    pending.extend(missing)
                    continue
                pending.pop()
                if task not in done:
                    done.add(task)
                    yield task

    def workflow(self, limit: int | None, *, hints: bool = False) -> Workflow:
        """The graph as a workflow whose steps sleep; with hints, it knows for how long."""
        steps = [
            Step(
                f"t{task}",
                _sleeper(runtime),
                depends_on=[f"t{need}" for need in self.needs[task]],
                expected_seconds=float(runtime) if hints else None,
            )
            for task, runtime in enumerate(self.runtimes)
        ]
        return Workflow("dag", steps, max_concurrency=limit)


def _sleeper(runtime: int) -> Callable[[StepContext], Awaitable[None]]:
    async def sleep(_: StepContext) -> None:
        await anyio.sleep(runtime)

    return sleep


def load(path: Path) -> Dag:
    """The graph in a file."""
    return Dag.from_json(json.loads(path.read_text(encoding="utf-8")))


def dags_directory() -> Path | None:
    """Where the real graphs are: in `KAIROS_DAGS`, else in `../shared/dags` beside the checkout; None: nowhere."""
    checkout = Path(__file__).resolve().parent.parent
    found = Path(os.environ.get("KAIROS_DAGS") or checkout.parent / "shared" / "dags")
    return found if (found / "expected.json").is_file() else None


def run_virtual(main: Callable[[], Awaitable[int]], backend: str) -> int:
    """Run an async function on a virtual clock, on `asyncio` or `trio`."""
    options: dict[str, Any] = {"loop_factory": VirtualClockLoop}
    if backend == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return anyio.run(main, backend=backend, backend_options=options)


def makespan(workflow: Workflow, backend: str) -> int:
    """Microseconds from the start of the workflow's run to its end, in virtual time.

    Raises:
        ExecutionError: the run failed.
    """

    async def main() -> int:
        started = anyio.current_time()
        result = await workflow.run()
        took = anyio.current_time() - started
        result.raise_for_status()
        assert took == int(took)
        return int(took)

    return run_virtual(main, backend)
