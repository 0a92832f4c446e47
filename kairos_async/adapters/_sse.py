"""Server-sent events, as the HTML standard defines them, from pieces of bytes that end anywhere."""

from __future__ import annotations

from typing import Final, NamedTuple

from kairos_async.adapters import _errors
from kairos_async.adapters._http import Reply

_LINE_END: Final = b"\n"
_BOM: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its name ("" if it has none) and its data."""

    name: str
    data: bytes


class Events:
    """The events of a reply, one at a time. No line, and no event, may be longer than `longest` bytes."""

    __slots__ = ("_buffer", "_longest", "_looked", "_reply", "_skip_newline")

    def __init__(self, reply: Reply, longest: int) -> None:
        self._reply = reply
        self._longest = longest
        self._buffer = bytearray()
        self._looked = 0
        self._skip_newline = False

    async def next(self) -> Event | None:
        """The next event, None when the stream has ended (an event without its empty line is dropped, as it should).

        Raises:
            ModelError: the stream broke, or is too long.
        """
        data: list[bytes] = []
        name, size = "", 0
        while (line := await self._line()) is not None:
            size += len(line)
            if size > self._longest:
                raise _errors.too_large(self._reply.origin, self._longest)
            if not line:
                if data:
                    return Event(name, b"\n".join(data))
                name, size = "", 0
                continue
            field, _, value = line.removeprefix(_BOM).partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif line.lstrip()[:1] in (b"{", b"[") and not data:
                # Gemini reports some errors as bare JSON in the middle of a stream.
                return Event("bare", line)
        return None

    async def _line(self) -> bytes | None:
        """The next line without its end; None after the last one. Lines end in CR, LF or both."""
        while True:
            end = self._end_of_line()
            if end is not None:
                return end
            if len(self._buffer) > self._longest:
                raise _errors.too_large(self._reply.origin, self._longest)
            piece = await self._reply.chunk()
            if piece is None:
                return None
            self._buffer += piece

    def _end_of_line(self) -> bytes | None:
        buffer = self._buffer
        if self._skip_newline and buffer:
            self._skip_newline = False
            if buffer.startswith(_LINE_END):
                del buffer[:1]
        feed = buffer.find(b"\n", self._looked)
        carriage = buffer.find(b"\r", self._looked, feed if feed >= 0 else len(buffer))
        end = feed if carriage < 0 else carriage
        if end < 0:
            self._looked = len(buffer)
            return None
        line = bytes(buffer[:end])
        self._skip_newline = buffer[end] == ord("\r")
        del buffer[: end + 1]
        self._looked = 0
        return line
