"""Events as lines of JSON, and back: the format of every file that a run writes.

A line is one event: `schema_version`, `event_type`, then the event's own fields. `dropped` is there only if events were
dropped before it, with their number.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, timedelta
from typing import Any, Final, Literal, NamedTuple, cast, get_args

from pydantic import AwareDatetime, TypeAdapter
from pydantic_core import SchemaSerializer, core_schema

from kairos_async._types import JSONValue
from kairos_async.events import EPOCH, Event, EventLevel, Facts

SCHEMA_VERSION: Final = 1
"""Of a line and of a whole log; grows when a reader of the old form would misread the new one."""

KINDS: Final[Mapping[str, type[Any]]] = {kind.event_type: kind for kind in get_args(Event)}
"""Every type of event by its tag."""

_UNSAFE: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Characters that some reader takes for the end of a line, or a terminal for a command, and that JSON lets through."""
_ANY_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028\u2029]")


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
    return with_dropped(lines_of([event.facts]).encode(), dropped)


def lines_of(found: Sequence[Facts]) -> str:
    """The events of one run with these facts as lines, each with its line feed."""
    # Put together by hand: serialising each event as a dict takes three times as long, and a busy run writes nothing
    # else. What the events share is worked out once, and the time once a millisecond.
    if not found:
        return ""
    lines: list[str] = []
    run_id, clock, start = _text(found[0][1]), "", -_MILLISECOND
    heads = {kind: f'{head}{run_id},"sequence":' for kind, head in _HEADS.items()}
    three, text_of, levels = _THREE_DIGITS, _text, _LEVELS
    for (kind, _, sequence, moment, step, level, _), said in zip(found, _data_of(found), strict=True):
        nanos = moment - start
        if not 0 <= nanos < _MILLISECOND:
            nanos = moment % _MILLISECOND
            start = moment - nanos
            clock = f',"timestamp":"{_milliseconds(start)}'
        name = "null" if step is None else text_of(step)
        lines.append(
            f'{heads[kind]}{sequence}{clock}{three[nanos // 1_000]}Z","step_id":{name}{levels[level]}{said}}}\n'
        )
    text = "".join(lines)
    # Translating takes ten times as long as looking whether there is something to translate.
    if (not text.isascii() or "\x7f" in text) and _ANY_UNSAFE.search(text):
        text = text.translate(_UNSAFE)
    return text


def _milliseconds(moment: int) -> str:
    """The time in UTC, without what is below a millisecond."""
    return (EPOCH + timedelta(microseconds=moment // 1_000)).isoformat(timespec="milliseconds")[:-6]


def with_dropped(lines: bytes, dropped: int) -> bytes:
    """The lines, of which the first says that so many other events came before it."""
    return lines.replace(b"}\n", b',"dropped":%d}\n' % dropped, 1) if dropped else lines


def _data_of(found: Sequence[Facts]) -> Iterable[str]:
    """The data of each event as JSON. Where many have theirs in common, as steps of a layer that need the same, each is
    encoded once: that makes the lines of layers of 20 in an eighth less time."""
    data = [facts[6] for facts in found]
    sample = data[::_SAMPLED]
    if len(set(map(id, sample))) > _MANY_DIFFERENT * len(sample):
        return _encoded(data)
    places = [*map(id, data)]
    different = dict(zip(places, data, strict=True))
    texts = dict(zip(different, _encoded([*different.values()]), strict=True))
    return map(texts.__getitem__, places)


def _encoded(data: Sequence[object]) -> list[str]:
    """Each as JSON, in one call of the encoder: half the time of a call for each."""
    mixed: list[object] = [_BETWEEN] * (2 * len(data) - 1)
    mixed[::2] = data
    parts = _json(mixed).decode()[1:-1].split(_SPLIT)
    if len(parts) == len(data):
        return parts
    return [_json(each).decode() for each in data]  # somebody's data has what stands between ours


_SAMPLED: Final = 8
_MANY_DIFFERENT: Final = 0.6
"""Each 8th event tells whether many have data of their own. Two of a chain's three events do, one of a layer's."""
_BETWEEN: Final = "\0"
_SPLIT: Final = ',"\\u0000",'
_MILLISECOND: Final = 1_000_000
_THREE_DIGITS: Final = [f"{number:03d}" for number in range(1_000)]
"""To take one of these out takes a third of the time of formatting a number."""
_json: Final = SchemaSerializer(core_schema.any_schema(), {"ser_json_inf_nan": "strings"}).to_json
"""JSON of anything that JSON has a form for. Faster than `pydantic_core.to_json` with the same option."""
_text: Final[Callable[[str], str]] = json.encoder.encode_basestring_ascii
"""JSON of a string."""

_HEADS: Final[dict[type[Any], str]] = {
    kind: f'{{"schema_version":{SCHEMA_VERSION},"event_type":"{tag}","run_id":' for tag, kind in KINDS.items()
}
_LEVELS: Final = {level: f',"level":"{level.value}","data":' for level in EventLevel}


class Read(NamedTuple):
    """An event that was read, and how many are missing before it."""

    event: Event
    dropped: int


def decode(line: bytes) -> Read | None:
    """The event of a line; None if the line is none of ours, or not whole."""
    try:
        read = _adapter().validate_json(line)
        moment = read.timestamp.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    kind = KINDS.get(read.event_type)
    if kind is None or moment.year in _NO_YEARS:
        return None
    event = kind(
        run_id=read.run_id,
        sequence=read.sequence,
        timestamp=moment,
        step_id=read.step_id,
        level=read.level,
        data=read.data,
    )
    return Read(event, read.dropped)


_NO_YEARS: Final = (MINYEAR, MAXYEAR)
"""Some of whose moments have no local time."""


@functools.cache
def _adapter() -> TypeAdapter[_Line]:
    """Made on first use."""
    return TypeAdapter(_Line)
