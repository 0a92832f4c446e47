"""The governor against a server on loopback that counts requests and tokens, and answers 429 beyond its limits.

    python -m benchmarks.rate_limits [--calls N] [--seconds S] [--only CASE]

The server speaks OpenAI's format. It counts what came in the last `--seconds`, and refuses what is beyond, with a
Retry-After or without. Reported: how many requests it refused, what share of the permitted throughput was used, and how
many requests were sent after the client had read a Retry-After that was not over yet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import time
from collections import deque
from typing import Final, NamedTuple

from kairos_async import FailurePolicy, ModelRateLimitError, Step, Workflow
from kairos_async.adapters import connections
from kairos_async.adapters._call import ModelCall
from kairos_async.adapters._http import Reply
from kairos_async.adapters.governor import Governor, RateLimit
from kairos_async.adapters.openai_adapter import OpenAIAdapter
from kairos_async.adapters.prompt import ask


class Watched(OpenAIAdapter):
    """Looks at what it sends and gets: `violations` are requests sent within a pause that it had been told of."""

    paused_until = 0.0
    violations = 0

    async def _send(self, call: ModelCall, content: bytes, *, streaming: bool) -> Reply:
        self.violations += time.monotonic() < self.paused_until
        try:
            return await super()._send(call, content, streaming=streaming)
        except ModelRateLimitError as error:
            self.paused_until = max(self.paused_until, time.monotonic() + (error.retry_after or 0))
            raise


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
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()  # also at the end of the loop, which cancels what is left

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


async def measure(name: str, case: Case, calls: int, period: float) -> str:
    """Make the calls as the items of a foreach; return a line that says how it went."""
    requests, tokens = BY[case.by]
    governor = Governor({"openai": case.told})
    server = Server(requests, tokens, period, says_when=case.says_when)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        model = Watched("m", base_url=url, allow_localhost=True, max_tokens=200)
        workflow = Workflow("w", [Step("fan", ask("Say {item}", model), foreach="items")], failure_policy=PATIENT)
        async with governor, connections():
            started = time.monotonic()
            result = await workflow.run({"items": list(range(calls))})
            took = time.monotonic() - started
        assert result.raise_for_status().llm_calls >= server.came  # each is counted, that which finds no connection too
    shares = (calls / took / (requests / period), server.used / took / (tokens / period))
    return (
        f"{name:41} {took:6.1f} s  {server.refused:3} of {server.came} refused ({server.refused / server.came:.1%})  "
        f"{max(shares):4.0%} of what is permitted  {model.violations} within a pause"
    )


PATIENT = FailurePolicy(max_retries=9, retry_delay=0.1)


BY: Final = {"requests": (200, 1_000_000), "tokens": (10_000, 28_000), "both": (200, 29_000)}
"""Requests and tokens that the server takes in a period."""
APART: Final = 4.0
"""Seconds between the starts of two cases, which need the processor most when they begin."""


class Case(NamedTuple):
    """What the server limits, what of that the governor is told, and whether refusals come with a Retry-After."""

    by: str
    told: RateLimit
    says_when: bool = True


def cases(period: float) -> dict[str, Case]:
    """Return what is measured, by name. If a minute is shorter, that is told."""
    nothing = RateLimit(period=period)
    told = {
        "requests": RateLimit(requests=200, period=period),
        "tokens": RateLimit(tokens=28_000, period=period),
        "both": RateLimit(requests=200, tokens=29_000, period=period),
    }
    return {
        **{f"told the limit of {by}": Case(by, told[by]) for by in BY},
        "told a limit 1.5 times as high": Case("requests", RateLimit(requests=300, period=period)),
        **{f"told nothing, {by}": Case(by, nothing) for by in BY},
        **{f"told nothing, {by}, no pause named": Case(by, nothing, says_when=False) for by in BY},
    }


async def main() -> None:
    """Measure one case, or all of them, each in a process of its own: they wait most of the time. Takes 4 minutes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", metavar="CASE")
    given = parser.parse_args()
    if given.only is not None:
        print(await measure(given.only, cases(given.seconds)[given.only], given.calls, given.seconds))
        return
    command = [sys.executable, "-m", "benchmarks.rate_limits", f"--calls={given.calls}", f"--seconds={given.seconds}"]
    async with asyncio.TaskGroup() as running:
        for name in cases(given.seconds):
            process = await asyncio.create_subprocess_exec(*command, "--only", name)
            running.create_task(process.wait())
            await asyncio.sleep(APART)


if __name__ == "__main__":
    asyncio.run(main())
