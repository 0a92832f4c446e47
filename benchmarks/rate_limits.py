"""The governor against a server on loopback that counts requests and tokens, and answers 429 beyond its limits.

    python -m benchmarks.rate_limits [--calls N] [--seconds S]

The server speaks OpenAI's format. It counts what came in the last `--seconds`, which stand for a minute, and refuses
what is beyond, with a Retry-After or without. Reported: how many requests it refused, what share of the permitted
throughput was used, and how many requests were sent after the client had read a Retry-After that was not over yet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from collections import deque
from typing import Any

import httpx

from kairos_async import FailurePolicy, Step, Workflow
from kairos_async.adapters.governor import Governor, RateLimit
from kairos_async.adapters.openai_adapter import OpenAIAdapter
from kairos_async.adapters.prompt import ask


class Watch:
    """Looks at what a client sends and gets."""

    def __init__(self) -> None:
        self.paused_until = 0.0
        self.violations = 0

    async def sending(self, request: httpx.Request) -> None:
        """A request goes out."""
        self.violations += time.monotonic() < self.paused_until

    async def received(self, response: httpx.Response) -> None:
        """An answer is there."""
        if response.status_code == 429 and "retry-after-ms" in response.headers:
            pause = float(response.headers["retry-after-ms"]) / 1000
            self.paused_until = max(self.paused_until, time.monotonic() + pause)


class Server:
    """Counts and refuses."""

    def __init__(self, requests: int, tokens: int, period: float, *, says_when: bool) -> None:
        self.says_when = says_when
        self.limits = {"requests": requests, "tokens": tokens}
        self.period = period
        self.seen: deque[tuple[float, int]] = deque()
        self.came = self.refused = 0
        self.random = random.Random(1)
        self.used = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                await reader.readexactly(length)
                status, headers, body = self.judge()
                if status == 200:
                    await asyncio.sleep(self.random.uniform(0.05, 0.3))
                text = json.dumps(body).encode()
                lines = [f"HTTP/1.1 {status} X", f"content-length: {len(text)}", *headers, "", ""]
                writer.write("\r\n".join(lines).encode() + text)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def judge(self) -> tuple[int, list[str], dict[str, object]]:
        """Take a request, or refuse it."""
        now = time.monotonic()
        self.came += 1
        while self.seen and self.seen[0][0] <= now - self.period:
            self.seen.popleft()
        read, written = self.random.randint(20, 60), self.random.randint(10, 190)
        spent = sum(tokens for _, tokens in self.seen)
        if len(self.seen) >= self.limits["requests"] or spent + read + written > self.limits["tokens"]:
            self.refused += 1
            wait = self.seen[0][0] + self.period - now
            pause = [f"retry-after-ms: {math.ceil(wait * 1000)}"] if self.says_when else []
            return 429, pause, {"error": {"code": "rate_limit_exceeded"}}
        self.seen.append((now, read + written))
        self.used += read + written
        message = {"role": "assistant", "content": "fine"}
        usage = {"prompt_tokens": read, "completion_tokens": written}
        return 200, [], {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


async def measure(
    name: str,
    calls: int,
    requests: int,
    tokens: int,
    period: float,
    governor: Governor,
    *,
    says_when: bool = True,
) -> str:
    """Make the calls as the items of a foreach; return a line that says how it went."""
    server, watch = Server(requests, tokens, period, says_when=says_when), Watch()
    hooks: dict[str, Any] = {"request": [watch.sending], "response": [watch.received]}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        client = httpx.AsyncClient(event_hooks=hooks, limits=limits)
        model = OpenAIAdapter("m", base_url=url, allow_localhost=True, max_tokens=200, client=client)
        workflow = Workflow("w", [Step("fan", ask("Say {item}", model), foreach="items")], failure_policy=PATIENT)
        async with governor, client:
            started = time.monotonic()
            result = await workflow.run({"items": list(range(calls))})
            took = time.monotonic() - started
        assert result.raise_for_status().llm_calls == server.came
    shares = (calls / took / (requests / period), server.used / took / (tokens / period))
    return (
        f"{name:41} {took:6.1f} s  {server.refused:3} of {server.came} refused ({server.refused / server.came:.1%})  "
        f"{max(shares):4.0%} of what is permitted  {watch.violations} within a pause"
    )


PATIENT = FailurePolicy(max_retries=9, retry_delay=0.1)


async def main() -> None:
    """Measure with the limits known, with one of them too high, and with none known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    period: float = given.seconds
    calls: int = given.calls
    by_requests, by_tokens = (100, 1_000_000), (10_000, 14_000)
    known = {"requests": by_requests, "tokens": by_tokens, "both": (100, 14_500)}
    for name, (requests, tokens) in known.items():
        limit = RateLimit(requests=requests, tokens=tokens, period=period)
        print(await measure(f"limited by {name}", calls, requests, tokens, period, Governor({"openai": limit})))
    limit = RateLimit(requests=150, period=period)
    print(await measure("told a limit 1.5 times as high", calls, *by_requests, period, Governor({"openai": limit})))
    for name, (requests, tokens) in known.items():
        for says_when in (True, False):
            # What a minute is, is all that is known; here it is shorter.
            governor = Governor({"openai": RateLimit(period=period)})
            told = f"told nothing, {name}" + ("" if says_when else ", no pause named")
            print(await measure(told, calls, requests, tokens, period, governor, says_when=says_when))


if __name__ == "__main__":
    asyncio.run(main())
