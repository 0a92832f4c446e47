"""What the other tests stand on: the clocks, and the guard against blocking calls."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from blockbuster import BlockingError

import kairos_async
from kairos_async.testing import VirtualClockLoop
from tests.clocks import BACKENDS, run_virtual


async def test_an_hour_of_sleep_takes_no_time() -> None:
    """Async tests are on a virtual clock unless they say otherwise."""
    begun = time.perf_counter()
    await anyio.sleep(3600)
    assert anyio.current_time() == 3600
    assert time.perf_counter() - begun < 600  # a machine may be busy, but not for an hour


async def test_each_test_has_a_clock_of_its_own() -> None:
    """Whatever ran before, the clock shows zero."""
    assert anyio.current_time() == 0


@pytest.mark.real_time
async def test_real_time_is_real() -> None:
    """With the marker, a timeout does not jump over the work of a thread."""
    begun = anyio.current_time()
    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(time.sleep, 0.05)
    assert anyio.current_time() - begun >= 0.04


async def test_a_deadline_and_the_work_inside_it_race_in_virtual_time() -> None:
    """A deadline cancels what is longer, lets pass what is shorter, and the clock shows the sum."""
    with anyio.move_on_after(10) as scope:
        await anyio.sleep(20)
    assert scope.cancelled_caught
    with anyio.fail_after(10):
        await anyio.sleep(5)
    assert anyio.current_time() == 15


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    """A thousand sleepers that start in one order wake in the order of their delays."""
    delays = [(index * 7919 % 1000) / 8 for index in range(1000)]
    woken: list[float] = []

    async def sleeper(delay: float) -> None:
        await anyio.sleep(delay)
        assert anyio.current_time() == delay
        woken.append(delay)

    async with anyio.create_task_group() as group:
        for delay in delays:
            group.start_soon(sleeper, delay)
    assert woken == sorted(delays)


def test_timers_fire_exactly_at_their_times() -> None:
    """On asyncio also those a float apart, and those that are years away."""
    times = [0.1, math.nextafter(0.1, 1), 0.3, 0.3 + 1e-12, 1e9, math.nextafter(1e9, 1e10), 1e12]
    fired: list[tuple[float, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def fire(when: float) -> None:
            fired.append((when, loop.time()))

        for when in reversed(times):
            loop.call_at(when, fire, when)
        await asyncio.sleep(2e12)

    run_virtual(main)
    assert fired == [(when, when) for when in times]


class CountingLoop(VirtualClockLoop):
    """Counts the turns of the loop."""

    turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc]


@pytest.mark.parametrize("delay", [None, math.inf])
def test_a_task_that_waits_for_a_thread_does_not_spin(delay: float | None) -> None:
    """With no timer, or one that never fires, the loop sleeps until the thread calls and the clock stands still."""

    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        done = asyncio.Event()
        if delay is not None:
            loop.call_later(delay, done.set)
        threading.Timer(0.1, loop.call_soon_threadsafe, [done.set]).start()
        before = loop.turns
        await done.wait()
        return loop.turns - before, loop.time()

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        turns, now = runner.run(main())
    assert turns < 10
    assert now == 0


def test_input_that_is_there_comes_before_a_jump() -> None:
    """Bytes that wait in a socket are read at once, although a timer is pending."""

    async def main() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            async with asyncio.timeout(5):
                await loop.sock_sendall(left, b"here")
                return await loop.sock_recv(right, 10), loop.time()

    assert run_virtual(main) == (b"here", 0)


def test_cancelled_timers_do_not_move_the_clock() -> None:
    """The clock jumps to the next timer that is still wanted."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        handles = [loop.call_later(delay, print) for delay in range(1, 500)]
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(1000)
        return loop.time()

    assert run_virtual(main) == 1000


@pytest.mark.parametrize("name", BACKENDS)
def test_run_virtual_runs_on_both_backends(name: str) -> None:
    """The helper for tests that are not async gives virtual time too."""

    async def main(delay: float) -> float:
        await anyio.sleep(delay)
        return anyio.current_time()

    assert run_virtual(main, 86_400, on=name) == 86_400


def test_a_blocking_call_of_the_package_is_seen() -> None:
    """On asyncio's thread, from a file of the package; the same call from anywhere else, or in a thread, is let be."""

    def sleeper(filename: str) -> Callable[[], None]:
        namespace: dict[str, Callable[[], None]] = {}
        exec(compile("import time\ndef f(): time.sleep(0)", filename, "exec"), namespace)
        return namespace["f"]

    ours = sleeper(str(Path(kairos_async.__file__).with_name("step.py")))

    async def main() -> None:
        sleeper(__file__)()
        await anyio.to_thread.run_sync(ours)
        with pytest.raises(BlockingError):
            ours()

    run_virtual(main)
