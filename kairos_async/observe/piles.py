"""Many events, kept in little."""

from __future__ import annotations

import dataclasses
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

from kairos_async.events import Event, Facts, WorkflowComplete, set_facts

_new: Final[Callable[[type[Any]], Event]] = object.__new__
_facts: Final[Callable[[Event], Facts]] = attrgetter("facts")


class Portion:
    """Some events, as they are or packed into one string of bytes.

    Python's garbage collector looks at every object that is kept, again and again, and an event is three of them: in a
    run of 10,000 steps it took 10 us a step, and packing takes 1.5. A few events are not worth it.
    """

    __slots__ = ("_events", "_packed", "count")

    def __init__(self, events: Sequence[Event], *, pack: bool) -> None:
        self.count = len(events)
        self._events: Sequence[Event] = events
        self._packed = b""
        if pack:
            try:
                self._packed = pickle.dumps((list(map(type, events)), list(map(_facts, events))), 5)
            except Exception:  # data of somebody who calls the logger with events of their own: then not packed
                return
            self._events = ()

    def open(self) -> Sequence[Event]:
        """The events."""
        if not self._packed:
            return self._events
        events = []
        for kind, facts in zip(*pickle.loads(self._packed), strict=True):
            event = _new(kind)
            set_facts(event, facts)
            events.append(event)
        return events


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """What a sink makes of so many events of one run, before it is written. `final`: the run's last event is there."""

    run_id: str
    content: str
    count: int
    final: bool

    @classmethod
    def of(cls, events: Sequence[Event], content: str) -> Rendered:
        """The content, made of these events."""
        return cls(events[0].run_id, content, len(events), type(events[-1]) is WorkflowComplete)


Piece: TypeAlias = Portion | Rendered
"""Events on their way to a sink."""


class Pile:
    """Portions of events in order; `count` is the number of the events."""

    __slots__ = ("_portions", "count")

    def __init__(self) -> None:
        self._portions: deque[Piece] = deque()
        self.count = 0

    def add(self, portion: Piece) -> None:
        """Put a portion on the end."""
        if portion.count:
            self._portions.append(portion)
            self.count += portion.count

    def take(self, most: int) -> list[Piece]:
        """Take out the oldest portions, with so many events together, or those of the last one beyond."""
        taken: list[Piece] = []
        room = most
        while self._portions and room > 0:
            taken.append(self._portions.popleft())
            room -= taken[-1].count
        self.count -= most - room
        return taken

    def forget(self, keep: int) -> None:
        """Take out the oldest portions, as far as so many events remain."""
        while self._portions and self.count - self._portions[0].count >= keep:
            self.count -= self._portions.popleft().count

    def portions(self) -> list[Piece]:
        """All portions, which stay there."""
        return list(self._portions)


def opened(pieces: Iterable[Piece]) -> list[Event]:
    """All the events that are not rendered."""
    return [event for piece in pieces if isinstance(piece, Portion) for event in piece.open()]
