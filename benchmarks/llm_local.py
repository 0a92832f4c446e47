"""A real small model on this machine, asked as often at once as its server answers in parallel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import httpx
from pydantic import BaseModel

from benchmarks.report import Spread
from kairos_async import ConfigError, Step, Workflow
from kairos_async.adapters.local import LocalServer
from kairos_async.adapters.prompt import ask

PARALLEL: Final = (1, 2, 4)
PROMPTS: Final = 6
ROUNDS: Final = 2

Ask: TypeAlias = Callable[[LocalServer, Sequence[str], int], Awaitable[None]]


class Verdict(BaseModel):
    """What the server holds the model to, so that each answer has about as many tokens."""

    kind: Literal["praise", "complaint", "question"]
    urgent: bool


async def by_hand(server: LocalServer, prompts: Sequence[str], parallel: int) -> None:
    """Ask with httpx and a semaphore."""
    semaphore = asyncio.Semaphore(parallel)
    headers = {"authorization": f"Bearer {server.key.reveal()}"}
    form = {"name": "Verdict", "schema": Verdict.model_json_schema(), "strict": True}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as client:

        async def one(text: str) -> None:
            body = {
                "messages": [{"role": "user", "content": text}],
                "max_tokens": 100,
                "temperature": 0,
                "response_format": {"type": "json_schema", "json_schema": form},
            }
            async with semaphore:
                response = (await client.post(f"{server.url}/v1/chat/completions", json=body)).raise_for_status()
            Verdict.model_validate_json(response.json()["choices"][0]["message"]["content"])

        await asyncio.gather(*map(one, prompts))


async def ours(server: LocalServer, prompts: Sequence[str], parallel: int) -> None:
    """Ask with a foreach."""
    action = ask("{item}", server.adapter(max_tokens=100), options={"temperature": 0})
    step = Step("verdict", action, foreach="prompts", max_concurrency=parallel, output_contract=Verdict)
    (await Workflow("local", [step]).run({"prompts": list(prompts)})).raise_for_status()


async def turns(parallel: int, prompts: int, rounds: int) -> dict[str, Any]:
    """Prompts a second of both sides, in turn, with one server that answers so many in parallel."""
    found: dict[str, list[float]] = {"ours": [], "by_hand": []}
    sides: dict[str, Ask] = {"ours": ours, "by_hand": by_hand}
    numbers = iter(range(10**6))
    async with LocalServer(parallel=parallel) as server:
        for number in range(rounds + 1):
            for name in sides if number % 2 else reversed(sides):
                # No prompt comes twice: the server keeps what it has read.
                count = prompts if number else 1  # the first one warms up
                texts = [f"{next(numbers)} times: my parcel is late. Is it a complaint?" for _ in range(count)]
                started = time.perf_counter()
                await sides[name](server, texts, parallel)
                if number:
                    found[name].append(prompts / (time.perf_counter() - started))
    share = Spread.of([a / b for a, b in zip(found["ours"], found["by_hand"], strict=True)])
    medians = {name: Spread.of(values).median for name, values in found.items()}
    return {"parallel": parallel, "prompts": prompts, "rounds": rounds, **medians, "share": share._asdict()}


def measured(*, quick: bool) -> list[dict[str, Any]]:
    """Measure with each number of parallel answers; nothing without the extra `local` or the weights."""
    try:
        LocalServer()
    except ConfigError as missing:
        print(f"local model: not run. {missing}")
        return []
    small = (4, 1) if quick else (PROMPTS, ROUNDS)
    return [asyncio.run(turns(parallel, *small)) for parallel in PARALLEL]
