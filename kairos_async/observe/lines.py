"""Events as lines of JSON, and back: the format of every file that a run writes.

A line is one event: `schema_version`, `event_type`, then the event's own fields. `dropped` is there only if events were
dropped before it, with their number.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, cast, get_args

from pydantic import AwareDatetime, TypeAdapter
from pydantic_core import SchemaSerializer, core_schema

from kairos_async._types import JSONValue
from kairos_async.events import Event, EventLevel

SCHEMA_VERSION: Final = 1
"""Of a line and of a whole log; grows when a reader of the old form would misread the new one."""

KINDS: Final[Mapping[str, type[Any]]] = {kind.event_type: kind for kind in get_args(Event)}
"""Every type of event by its tag."""

_UNSAFE: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Characters that some reader takes for the end of a line, or a terminal for a command, and that JSON lets through."""


@dataclass(slots=True)
class _Line:
    """What a line holds. A newer version may add to it."""

    schema_version: Literal[1]
    event_type: str
    run_id: str
    sequence: int
    timestamp: AwareDatetime
    step_id: str | None
    level: EventLevel
    data: dict[str, Any]
    dropped: int = 0


def event_to_dict(event: Event) -> dict[str, JSONValue]:
    """The event as JSON data, as it stands in a line."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event_type": event.event_type,
        "run_id": event.run_id,
        "sequence": event.sequence,
        "timestamp": event.timestamp.isoformat().replace("+00:00", "Z"),
        "step_id": event.step_id,
        "level": event.level.value,
        "data": cast(dict[str, JSONValue], event.data),
    }


def encode(event: Event, dropped: int = 0) -> bytes:
    """The event as a line, with the line feed that ends it.

    Nothing in the data can begin another line or reach a terminal as a command: the control characters that JSON lets
    through are escaped too.
    """
    return encode_all([event], dropped)


def encode_all(events: Sequence[Event], dropped: int = 0) -> bytes:
    """The events as lines. `dropped` others came before the first of them."""
    # Put together by hand: serialising each event as a dict takes three times as long, and a busy run writes nothing
    # else. What the events of a run share is worked out once.
    run_id, run = "", b'""'
    parts: list[bytes] = []
    for event in events:
        if event.run_id != run_id:
            run_id, run = event.run_id, _json(event.run_id)
        parts += (
            _HEADS[event.event_type],
            run,
            b',"sequence":%d,"timestamp":' % event.sequence,
            _json(event.timestamp),
            b',"step_id":',
            _json(event.step_id),
            _LEVELS[event.level],
            _json(event.data),
            b',"dropped":%d}\n' % dropped if dropped else b"}\n",
        )
        dropped = 0
    lines = b"".join(parts)
    if not lines.isascii() or b"\x7f" in lines:
        lines = lines.decode("utf-8").translate(_UNSAFE).encode("utf-8")
    return lines


_json: Final = SchemaSerializer(core_schema.any_schema(), {"ser_json_inf_nan": "strings"}).to_json
"""JSON of anything that JSON has a form for. Faster than `pydantic_core.to_json` with the same option."""

_HEADS: Final = {
    tag: b'{"schema_version":%d,"event_type":"%s","run_id":' % (SCHEMA_VERSION, tag.encode()) for tag in KINDS
}
_LEVELS: Final = {level: b',"level":"%s","data":' % level.value.encode() for level in EventLevel}


class Read(NamedTuple):
    """An event that was read, and how many are missing before it."""

    event: Event
    dropped: int


def decode(line: bytes) -> Read | None:
    """The event of a line; None if the line is none of ours, or not whole."""
    try:
        read = _adapter().validate_json(line)
    except ValueError:
        return None
    kind = KINDS.get(read.event_type)
    if kind is None:
        return None
    event = kind(
        run_id=read.run_id,
        sequence=read.sequence,
        timestamp=read.timestamp,
        step_id=read.step_id,
        level=read.level,
        data=read.data,
    )
    return Read(event, read.dropped)


@functools.cache
def _adapter() -> TypeAdapter[_Line]:
    """Made on first use."""
    return TypeAdapter(_Line)
