"""A server of OpenAI's chat completions on loopback, in a process of its own: as slow, full and broken as it is told.

    python -m benchmarks.llm_server            prints its URL in a line; ends when its input does

How long a prompt takes, and whether it is refused or fails at first, is drawn beforehand from a seed, so that every
client finds the same. Only the standard library is needed.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import random
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

ANSWER: Final = {"label": "complaint", "score": 0.75, "words": 42}
"""What the model says, as JSON text."""

TEXT: Final = "the parcel came two days late, the box was open, and nobody answers the telephone. " * 4

_NUMBER: Final = re.compile(rb"Text (\d+) of go (\d+):")
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_QUICK: Final = 0.01
"""Seconds that a refusal takes, or a failure."""


def prompt(number: int, go: int) -> str:
    """The prompt of this number in this go, of some 400 characters."""
    return f"Classify this text. Text {number} of go {go}: {TEXT}"


class Fate(NamedTuple):
    """What becomes of a prompt: the status of its first request, and the seconds of the one that is answered."""

    status: int
    seconds: float


@dataclass(frozen=True)
class Behaviour:
    """How the server treats `prompts` prompts.

    Answers take log-normal times with this `median` in seconds and this `sigma`. Of the prompts, `refused` and `failed`
    are the shares whose first request is answered by a 429 with `retry_after` (whole seconds), or by a 500. Prompts of
    another `go`, whose clients did not end with it, are not answered.
    """

    prompts: int
    go: int = 0
    median: float = 0.2
    sigma: float = 0.4
    refused: float = 0.01
    failed: float = 0.01
    retry_after: int = 1
    seed: int = 1

    @cached_property
    def fates(self) -> Sequence[Fate]:
        """What becomes of each."""
        chance = random.Random(self.seed)
        return [Fate(self._status(chance.random()), self._seconds(chance)) for _ in range(self.prompts)]

    def _status(self, drawn: float) -> int:
        return 429 if drawn < self.refused else 500 if drawn < self.refused + self.failed else 200

    def _seconds(self, chance: random.Random) -> float:
        return self.median * chance.lognormvariate(0, self.sigma)

    def ideal(self, limit: int) -> float:
        """Seconds for all prompts, `limit` at once, if nothing but the server took time and its pauses were kept."""
        slots = [0.0] * limit
        again: list[tuple[float, float]] = []
        for fate in self.fates:
            start = heapq.heappop(slots)
            if again and again[0][0] <= start:
                heapq.heappush(slots, start + heapq.heappop(again)[1])
                start = heapq.heappop(slots)
            if fate.status != 200:
                pause = self.retry_after if fate.status == 429 else 0.0
                heapq.heappush(again, (start + _QUICK + pause, fate.seconds))
            heapq.heappush(slots, start + (fate.seconds if fate.status == 200 else _QUICK))
        for ready, seconds in sorted(again):
            heapq.heappush(slots, max(ready, heapq.heappop(slots)) + seconds)
        return max(slots)


@dataclass
class Seen:
    """What came to the server since it was told how to behave.

    `too_soon` counts requests that came within the pause that a 429 had asked for.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    answered: int = 0
    twice: int = 0
    most: int = 0
    too_soon: int = 0
    connections: int = 0


class Server:
    """What all connections share."""

    def __init__(self) -> None:
        self.behaviour = Behaviour(0)
        self.begin({"prompts": 0})

    def begin(self, told: dict[str, Any]) -> None:
        """Behave like this from now on."""
        self.behaviour = Behaviour(**told)
        self.seen = Seen()
        self.active = 0
        self.refused_until: dict[int, float] = {}
        self.done: set[int] = set()

    def judge(self, body: bytes) -> tuple[int, float, int]:
        """The number of the prompt, what its request takes, and the status of the answer."""
        found = _NUMBER.search(body)
        if found is None or int(found[2]) != self.behaviour.go:
            return -1, 0.0, 400
        number = int(found[1])
        fate = self.behaviour.fates[number]
        now = time.monotonic()
        self.active += 1
        self.seen.most = max(self.seen.most, self.active)
        until = self.refused_until.get(number)
        if fate.status != 200 and until is None:
            self.refused_until[number] = now + (self.behaviour.retry_after if fate.status == 429 else 0)
            return number, _QUICK, fate.status
        self.seen.too_soon += until is not None and now < until
        return number, fate.seconds, 200

    def answer(self, number: int, status: int) -> bytes:
        """The whole answer."""
        if status == 400:
            return _http(400, b"{}")
        self.active -= 1
        statuses = self.seen.statuses
        statuses[status] = statuses.get(status, 0) + 1
        if status == 200:
            self.seen.twice += number in self.done
            self.done.add(number)
            self.seen.answered = len(self.done)
            return _http(200, _completion(number))
        body = json.dumps({"error": {"message": "no", "type": "server_error", "code": None}}).encode()
        return _http(status, body, f"retry-after: {self.behaviour.retry_after}\r\n" if status == 429 else "")


def _completion(number: int) -> bytes:
    message = {"role": "assistant", "content": json.dumps(ANSWER), "refusal": None}
    whole = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 110},
    }
    return json.dumps(whole).encode()


def _http(status: int, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.seen.connections += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        body, self.buffer = rest[:size], rest[size:]
        if head.startswith(b"POST /begin "):
            told = json.dumps(asdict(self.server.seen)).encode()
            self.server.begin(json.loads(body))
            self.transport.write(_http(200, told))
            return
        number, seconds, status = self.server.judge(body)
        self.timer = asyncio.get_running_loop().call_later(seconds, self.answer, number, status)

    def answer(self, number: int, status: int) -> None:
        """The time of the request is over."""
        self.timer = None
        self.transport.write(self.server.answer(number, status))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.server.active -= 1


async def serve() -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = Server()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", flush=True)
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    await ended.wait()


@contextmanager
def running() -> Iterator[str]:
    """Have a server in a process of its own; gives its URL."""
    command = [sys.executable, "-m", "benchmarks.llm_server"]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def begin(url: str, behaviour: Behaviour) -> Seen:
    """Tell the server how to behave from now on; returns what it has seen before. Blocks for a moment."""
    told = json.dumps({name: value for name, value in asdict(behaviour).items()}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/begin", told, method="POST"), timeout=10) as answer:
        return Seen(**json.load(answer))


if __name__ == "__main__":
    asyncio.run(serve())
