"""Many events, kept in little."""

from __future__ import annotations

import dataclasses
import pickle
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, AnyStr, Generic, TypeAlias

from kairos_async.events import Facts, WorkflowComplete


class Portion:
    """The facts of some events, as they are or packed into one string of bytes.

    Python's garbage collector looks at every object that is kept, again and again, and these are two or three an event:
    in a run of 10,000 steps it took 10 us a step, and packing takes 1.5. A few events are not worth it.
    """

    __slots__ = ("_facts", "_packed", "count")

    def __init__(self, found: Sequence[Facts], *, pack: bool) -> None:
        self.count = len(found)
        self._facts: Sequence[Facts] = found
        self._packed = b""
        if pack:
            try:
                self._packed = pickle.dumps(found, 5)
            except Exception:  # data of somebody who calls the logger with events of their own: then not packed
                return
            self._facts = ()

    def open(self) -> Sequence[Facts]:
        """The facts."""
        if not self._packed:
            return self._facts
        found: list[Facts] = pickle.loads(self._packed)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered(Generic[AnyStr]):
    """What a sink makes of so many events of one run, before it is written. `final`: the run's last event is there."""

    run_id: str
    content: AnyStr
    count: int
    final: bool

    @classmethod
    def of(cls, found: Sequence[Facts], content: AnyStr) -> Rendered[AnyStr]:
        """The content, made of the events with these facts."""
        return cls(found[0][1], content, len(found), found[-1][0] is WorkflowComplete)


Piece: TypeAlias = Portion | Rendered[Any]
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


def facts_in(pieces: Iterable[Piece]) -> list[Facts]:
    """Those of all the events that are not rendered."""
    return [facts for piece in pieces if isinstance(piece, Portion) for facts in piece.open()]
