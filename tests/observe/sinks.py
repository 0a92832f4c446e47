"""Sinks that misbehave in one way each, or keep what they are given."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import anyio

from kairos_async import Event


class Keeping:
    """A sink that keeps events, and notes its other calls; and how many calls it saw at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.most = 0
        self._inside = 0

    def types(self) -> list[str]:
        """Return the types of the events."""
        return [event.event_type for event in self.events]

    def emit(self, event: Event) -> None:
        """Keep an event."""
        self._inside += 1
        self.most = max(self.most, self._inside)
        self.threads.add(threading.get_ident())
        self.events.append(event)
        self._inside -= 1

    def flush(self) -> None:
        """Note it."""
        self.calls.append("flush")

    def close(self) -> None:
        """Note it."""
        self.calls.append("close")


class AsyncKeeping:
    """The same, with async methods that take a moment."""

    def __init__(self, takes: float = 0.0) -> None:
        self.events: list[Event] = []
        self.calls: list[str] = []
        self.takes = takes

    async def emit(self, event: Event) -> None:
        """Keep an event."""
        await anyio.sleep(self.takes)
        self.events.append(event)

    async def flush(self) -> None:
        """Note it."""
        self.calls.append("flush")

    async def close(self) -> None:
        """Note it."""
        self.calls.append("close")


class Raising:
    """A sink that raises from the event of this type on, or whenever one of its other methods is called."""

    def __init__(self, error: BaseException, when: str = "step_start", required: bool = False) -> None:
        self.error = error
        self.when = when
        self.required = required

    def begin(self, run_id: str, workflow: str) -> None:
        """Raise if it is time."""
        self._at("begin")

    def emit(self, event: Event) -> None:
        """Raise if it is time."""
        self._at(event.event_type)

    def flush(self) -> None:
        """Raise if it is time."""
        self._at("flush")

    def close(self) -> None:
        """Raise if it is time."""
        self._at("close")

    def _at(self, point: str) -> None:
        if point == self.when:
            raise self.error


class Hanging:
    """A sink that never comes back from a call, until the test lets it go."""

    def __init__(self, when: str = "step_start") -> None:
        self.when = when
        self.released = threading.Event()

    def begin(self, run_id: str, workflow: str) -> None:
        """Hang if it is time."""
        self._at("begin")

    def emit(self, event: Event) -> None:
        """Hang if it is time."""
        self._at(event.event_type)

    def flush(self) -> None:
        """Hang if it is time."""
        self._at("flush")

    def close(self) -> None:
        """Hang if it is time."""
        self._at("close")

    def _at(self, point: str) -> None:
        if point == self.when:
            self.released.wait(60)


class AsyncHanging:
    """The same, on the event loop."""

    def __init__(self, when: str = "step_start") -> None:
        self.when = when

    async def emit(self, event: Event) -> None:
        """Hang if it is time."""
        if event.event_type == self.when:
            await anyio.sleep_forever()

    async def flush(self) -> None:
        """Hang if it is time."""
        if self.when == "flush":
            await anyio.sleep_forever()

    async def close(self) -> None:
        """Do nothing."""


def collecting(events: list[Event], *, is_async: bool) -> Callable[[Event], object]:
    """Return a plain function that keeps events: sync, or one that returns something to be awaited."""

    async def keep(event: Event) -> None:
        events.append(event)

    def start(event: Event) -> Awaitable[None]:
        return keep(event)

    return start if is_async else events.append
