"""The tasks of runs: started here and nowhere else, cancelled as one, and outlived by nobody.

anyio's `start_soon` costs 45 us on asyncio (anyio 4.16, Python 3.11), where a task of the event loop's own with one
cancel scope in it costs 19, and a whole step of a graph written by hand 12. So on asyncio workers are such tasks; on
trio they are tasks of a nursery, through anyio. Both behave alike, and that is what `Workers` is for.
"""

from __future__ import annotations

import contextvars
import functools
import math
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

from kairos_async.exceptions import ExecutionError

_T = TypeVar("_T")

_MOST_RESTING: Final = 32
"""Workers that wait for what becomes ready next: waking one costs 3 us, where a new one costs 10. A graph of layers
needs as many as it is wide; where thousands end together, most have nothing to wait for."""

Work: TypeAlias = Callable[..., Coroutine[Any, Any, None]]
"""What a worker does. Its first argument is a scope, which it enters at once; only that scope cancels it."""


class Workers:
    """The worker tasks of one run; on any backend, as tasks of one anyio group.

    The scopes of the workers are shielded: what ends the run (its deadline, a failure, the caller's cancellation) comes
    to the task that awaits `run`, and reaches the workers through `cancel`, in one way and never halfway.

    Attributes:
        current_task: gives the task of its caller. `cancelling()` of it tells how many requests to cancel it, and not a
            scope around it, are not settled.
    """

    _stop: Callable[[], None]
    current_task: Callable[[], Any]

    def __init__(self) -> None:
        self._scopes: dict[object, anyio.CancelScope] = {}
        self._held = self._awake = False
        self._errors: list[BaseException] = []
        self._resting: list[tuple[Any, object]] = []
        self._tasks: set[int] = set()
        self.current_task = _current_task
        self._group = anyio.create_task_group()
        self._ended = anyio.Event()

    async def run(self, pump: Callable[[], None], stop: Callable[[], None]) -> None:
        """Call `pump`, which starts workers, and return when all have ended, and those that they started.

        `pump` is called again after each `wake`. `stop` is called before the workers are cancelled, be it that one
        raised or that the caller is cancelled.

        Raises:
            BaseException: the cancellation of the caller, or what a worker raised, once every worker has ended.
        """
        try:
            async with self._group:
                await self._run(pump, stop)
        except BaseExceptionGroup as group:
            if len(group.exceptions) == len(self._errors) == 1:
                raise self._errors[0] from None  # as it is on asyncio's own tasks
            raise
        if self._scopes:  # of a worker that was cancelled before it began
            raise _foreign_request()

    async def _run(self, pump: Callable[[], None], stop: Callable[[], None]) -> None:
        self._stop = stop
        try:
            pump()
            while len(self._scopes) > len(self._resting) or self._held or self._awake:
                if not self._awake:
                    await self._wait()
                if self._awake:
                    await anyio.lowlevel.checkpoint()
                    self._awake = False
                    pump()
            await self._dismiss()
        except BaseException:
            await self._end()
            raise
        if self._errors:
            raise self._errors[0]

    async def _dismiss(self) -> None:
        """Let the workers end that rest: there is no more work."""
        for future, _ in self._resting:
            if not future.done():
                future.set_result(None)
        self._resting.clear()
        while self._scopes:
            await self._wait()

    async def _end(self) -> None:
        self.cancel()  # and the group waits for all of them, also those that were cancelled before they began

    def start(self, work: Work, *arguments: object, name: str, context: contextvars.Context) -> None:
        """Start a worker with these context variables."""
        scope = anyio.CancelScope(shield=True)
        self._scopes[scope] = scope
        context.run(self._start_soon, name, work, scope, arguments)

    def _start_soon(self, name: str, work: Work, scope: anyio.CancelScope, arguments: tuple[object, ...]) -> None:
        self._group.start_soon(self._work, work, scope, arguments, name=name)

    async def _work(self, work: Work, scope: anyio.CancelScope, arguments: tuple[object, ...]) -> None:
        self._tasks.add(anyio.get_current_task().id)
        try:
            await work(scope, *arguments)
        except BaseException as error:
            if not issubclass(type(error), anyio.get_cancelled_exc_class()):
                self._fail(error)
            elif not scope.cancel_called:
                self._fail(_foreign_request())
        finally:
            self._tasks.discard(anyio.get_current_task().id)
            del self._scopes[scope]
            self._note_end()

    def leave(self) -> None:
        """The calling worker has come to its end by itself, and does nothing more."""

    def rest(self, slot: object) -> Any:
        """A future for what the calling worker, of this slot, goes on with. None if it should rather end."""
        return None

    def resting(self) -> Any:
        """A worker that rests, as its future and its slot; None if there is none. It rests no longer."""
        while self._resting:
            future, slot = self._resting.pop()
            if not future.done():
                return future, slot
        return None

    def run_current_task(self) -> bool:
        """Whether the task that runs now is a worker."""
        try:
            return self._is_worker(anyio.get_current_task().id)
        except RuntimeError:  # there is no event loop any more
            return False

    def _is_worker(self, task: int) -> bool:
        return task in self._tasks

    def cancel(self) -> None:
        """Cancel every worker, and wait for no others."""
        self._held = False
        self._resting.clear()
        self._stop()
        for scope in tuple(self._scopes.values()):
            scope.cancel()
        self._note_end()

    def hold(self) -> None:
        """Let `run` wait on without a worker, because others may still be started, until `release` or `cancel`."""
        self._held = True

    def release(self) -> None:
        """Let `run` wait for no more than the workers that there are."""
        self._held = False
        self._note_end()

    def wake(self) -> None:
        """Have `pump` called again, once all that is ready to run in the event loop has had its turn."""
        self._awake = True
        self._note_end()

    def _fail(self, error: BaseException) -> None:
        """A worker raised. What a step raises never comes here: this is an interrupt, or an error of the engine."""
        self._errors.append(error)
        self.cancel()

    def _note_end(self) -> None:
        if self._awake or (len(self._scopes) <= len(self._resting) and not self._held):
            self._ended.set()

    def _wait(self) -> Awaitable[object]:
        self._ended = anyio.Event()
        return self._ended.wait()


class LoopWorkers(Workers):
    """The same on an asyncio event loop, as tasks of the loop's own."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._scopes = {}
        self._held = self._awake = False
        self._errors = []
        self._resting = []
        self._waiting: Any = None
        self._new_scope, self.current_task = _of_backend()

    def run(self, pump: Callable[[], None], stop: Callable[[], None]) -> Coroutine[Any, Any, None]:
        return self._run(pump, stop)

    def start(self, work: Work, *arguments: object, name: str, context: contextvars.Context) -> None:
        scope = self._new_scope()
        task = self._loop.create_task(work(scope, *arguments), name=name, context=context)
        self._scopes[task] = scope
        task.add_done_callback(self._done, context=context)

    def leave(self) -> None:
        # The callback is for workers that end in any other way, or are cancelled before they begin: to have the loop
        # call it for each takes 2 us more.
        task = self.current_task()
        task.remove_done_callback(self._done)
        del self._scopes[task]
        self._note_end()

    async def _end(self) -> None:
        self.cancel()
        with anyio.CancelScope(shield=True):
            while self._scopes:
                try:
                    await self._wait()
                except anyio.get_cancelled_exc_class():
                    # asyncio's own Task.cancel() knows no shield. The first one is raised when the workers have ended.
                    continue

    def rest(self, slot: object) -> Any:
        # The last one that is busy ends the run, at once.
        if len(self._resting) >= _MOST_RESTING or len(self._scopes) - len(self._resting) <= 1:
            return None
        future = self._loop.create_future()
        self._resting.append((future, slot))
        return future

    def _is_worker(self, task: int) -> bool:
        return any(id(worker) == task for worker in self._scopes)

    def _done(self, task: Any) -> None:
        scope = self._scopes.pop(task)
        if task.cancelled():
            # A step may have asked for it too, in the same moment: then the scope lets the cancellation through.
            if not scope.cancel_called:
                self._fail(_foreign_request())
        elif (error := task.exception()) is not None:
            self._fail(error)
        self._note_end()

    def _note_end(self) -> None:
        ended = self._awake or (len(self._scopes) <= len(self._resting) and not self._held)
        if ended and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _wait(self) -> Awaitable[object]:
        self._waiting = self._loop.create_future()
        return self._waiting  # type: ignore[no-any-return]


@functools.cache
def _of_backend() -> tuple[Callable[[], anyio.CancelScope], Callable[[], Any]]:
    """The cancel scopes of the asyncio backend, and what tells the task that runs.

    First called on an asyncio event loop.

    anyio.CancelScope() asks for the backend each time, which costs as much as the scope; in a callback of the loop,
    where there is no task, anyio finds no backend.
    """
    asyncio: Any = sys.modules["asyncio"]
    return type(anyio.CancelScope()), asyncio.current_task


def _foreign_request() -> ExecutionError:
    """The error of a run whose worker was cancelled while it waited for its next attempt, or for work.

    Not a cancellation: nobody has cancelled the caller, and a task group around it would take one for the end of a task
    that all agreed on.
    """
    return ExecutionError(
        "A task of this run was cancelled by somebody who does not own it. Cancel the task that awaits run() instead."
    )


class _ScopesOnly:
    """A task that only scopes can cancel, as on trio."""

    cancelling = int  # which is 0


def _current_task() -> Any:
    """The calling task, if asyncio runs it."""
    asyncio: Any = sys.modules.get("asyncio")
    try:
        return asyncio.current_task() or _ScopesOnly
    except (AttributeError, RuntimeError):  # asyncio is not imported, or is not the one that runs
        return _ScopesOnly


async def shake_off_requests() -> None:
    """Settle the requests to cancel the calling task that come from no scope: what it ran has made them, or let them.

    A function of the user's may cancel the task in which it runs, `asyncio.current_task()`, and that is the engine's.
    The request would be delivered at the next await of whatever runs there afterwards.
    """
    task = _current_task()
    while task.cancelling() and not cancel_pending():
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            pass
        task.uncancel()


async def outlast_requests(function: Callable[..., Awaitable[_T]], *arguments: Any) -> _T:
    """Await the function, and call it again if such a request ends it: only a scope, or its own end, does.

    For what has to go on until a run has ended. A loop that is about to close, as that of `asyncio.run`, asks all tasks
    at once, whatever shields them.
    """
    while True:
        try:
            return await function(*arguments)
        except anyio.get_cancelled_exc_class():
            if cancel_pending():
                raise
            await shake_off_requests()


def cancel_pending() -> bool:
    """Whether a scope around the caller is cancelled."""
    return anyio.current_effective_deadline() == -math.inf


def cancel_requested() -> bool:
    """The same, or whether the calling task itself was cancelled: for code that runs in the caller's own task."""
    return cancel_pending() or _current_task().cancelling() > 0


def native_loop() -> Any:
    """The event loop in which the caller runs: asyncio's own object, or anyio's token for another one.

    What such a loop offers itself is asked directly, for a seventh of what anyio's dispatch costs.
    """
    token = anyio.lowlevel.current_token()
    return getattr(token, "native_token", token)


def clock_of(loop: Any) -> Callable[[], float]:
    """The clock of the event loop, in seconds. A step asks three times; what asyncio's own loops ask is asked directly,
    at half the cost."""
    clock = getattr(loop, "time", anyio.current_time)
    return time.monotonic if getattr(clock, "__module__", None) == "asyncio.base_events" else clock


def workers_of(loop: Any) -> Workers:
    """Workers for the event loop, an asyncio one or anything else.

    A loop with a task factory may start tasks eagerly, in the middle of the engine's own steps; anyio's groups do not.
    """
    factory = getattr(loop, "get_task_factory", None)
    return Workers() if factory is None or factory() is not None else LoopWorkers(loop)


def start_detached(function: Callable[[], Awaitable[None]]) -> None:
    """Start a task that belongs to no task group; the caller ends and awaits it in every way out. It must not raise.

    anyio has no call for that.
    """
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        trio.lowlevel.spawn_system_task(function, context=contextvars.copy_context())
        return
    asyncio: Any = sys.modules["asyncio"]
    begun = False

    async def begin() -> None:
        nonlocal begun
        begun = True
        await function()

    def done(task: object) -> None:
        _running.discard(task)
        if not begun:  # asyncio's own Task.cancel() came first, and whoever awaits the end would do so for ever
            start_detached(function)

    task = asyncio.get_running_loop().create_task(begin())
    _running.add(task)
    task.add_done_callback(done)


_running: Final[set[object]] = set()
"""asyncio keeps only weak references to its tasks."""
