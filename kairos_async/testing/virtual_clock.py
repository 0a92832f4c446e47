"""An asyncio event loop with a virtual clock: when every task waits, time jumps to the next timer.

Trio has this built in (`trio.testing.MockClock(autojump_threshold=0)`); this is the same for asyncio, so that a test or
a simulation with an hour of back-off in it runs in milliseconds, and gives the same times on every run and machine.
"""

from __future__ import annotations

import asyncio
import math
import selectors


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose `time()` starts at 0.0 seconds and moves only while every task waits.

        anyio.run(main, backend="asyncio", backend_options={"loop_factory": VirtualClockLoop})
        asyncio.Runner(loop_factory=VirtualClockLoop).run(main())

    Timers fire in the order of their times, at exactly their times. With no timer left the loop waits for input and
    output, or for a callback from a thread, as any loop does: nothing spins. Only the loop's own clock is virtual.
    A worker thread runs in real time, and the clock jumps over the thread's work to the next timer as if the thread
    took no time at all, so a timeout around a thread fires at once: test that in real time.
    """

    # The two attributes of asyncio's base loop that a clock has to know. Both have been there unchanged since 3.4.
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._now

    def _jump(self) -> bool:
        """Move the clock to the next timer. False when there is none that can ever fire."""
        # Called from select(), when asyncio has just dropped cancelled timers from the head of its heap.
        if not self._scheduled or math.isinf(self._scheduled[0].when()):
            return False
        self._now = self._scheduled[0].when()
        # asyncio fires what is due before now + resolution. A resolution of one float keeps timers that are less than
        # a nanosecond apart in order, and does not vanish in the sum when the clock shows years.
        self._clock_resolution = math.ulp(self._now)
        return True


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that makes the clock jump wherever it would have waited for a timer."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer: wait for real, for input or for a thread
            return super().select(None)
        ready = super().select(0)
        if ready or timeout <= 0 or self._loop._jump():
            return ready
        return super().select(None)
