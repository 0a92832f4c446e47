"""A FastAPI application under uvicorn with 200 concurrent clients, over loopback, each part in a process of its own.

    python -m benchmarks.web_app [--clients N]

A third of the clients waits for an answer, a third reads a stream of events, a third goes away in the middle. Reported:
the longest callback of the application's event loop (in the time that its thread computed, in which other processes do
not count), how long after a client had gone its call to the model was ended, and what tasks and
sockets were left after the shutdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import socket
import time
from statistics import median
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from kairos_async import Step, StepContext, Workflow
from kairos_async.adapters.governor import Governor, RateLimit
from kairos_async.adapters.openai_adapter import OpenAIAdapter
from kairos_async.adapters.prompt import ask
from kairos_async.web import EventStream, lifespan, respond

ANSWER_AFTER = 2.0


def made_app(model_url: str) -> FastAPI:
    """Return the application."""
    model = OpenAIAdapter("m", base_url=model_url, allow_localhost=True, max_tokens=50)

    async def shout(ctx: StepContext) -> str:
        return str(ctx.inputs["say"]["text"]).upper()

    workflow = Workflow("w", [Step("say", ask("{name}", model)), Step("shout", shout, depends_on=["say"])])
    app = FastAPI(lifespan=lifespan(Governor({"openai": RateLimit(concurrency=1000)})))

    @app.post("/run")
    async def run(body: dict[str, str], request: Request) -> Response:
        return await respond(request, workflow, body)

    @app.post("/events")
    async def events(body: dict[str, str]) -> Response:
        return EventStream(workflow, body)

    return app


def watch(seconds: list[float]) -> None:
    """Note how long each callback of event loops computes from now on."""
    plain = asyncio.events.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        plain(handle)
        seconds.append(time.thread_time() - started)

    setattr(asyncio.events.Handle, "_run", timed)  # noqa: B010 - an assignment is what type checkers refuse here


def sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(
        os.path.islink(f"/proc/self/fd/{fd}") and "socket:" in os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
    )


def serve(model_url: str, listening: socket.socket, pipe: multiprocessing.connection.Connection) -> None:
    """Run uvicorn until it is told to stop; then tell what it saw and what is left."""
    seconds: list[float] = []

    async def main() -> None:
        app = made_app(model_url)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", backlog=1024))
        before = sockets()
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        watch(seconds)
        pipe.send("ready")
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        server.should_exit = True
        await running
        left = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        tasks = [repr(task) for task in left]
        pipe.send({"seconds": sorted(seconds), "tasks": tasks, "sockets": sockets() - before + 1})

    asyncio.run(main())


class Model:
    """A server that speaks OpenAI's format, answers after a while, and notes when a call is given up."""

    def __init__(self) -> None:
        self.given_up: dict[str, float] = {}
        self.asked: dict[str, asyncio.Event] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                body = await reader.readexactly(length)
                name = re.search(rb"client-\d+", body)
                assert name is not None
                self.asked[name[0].decode()].set()
                try:
                    await asyncio.wait_for(reader.read(1), ANSWER_AFTER)
                except TimeoutError:
                    message = {"role": "assistant", "content": f"hello {name[0].decode()}"}
                    usage = {"prompt_tokens": 3, "completion_tokens": 3}
                    choice = {"index": 0, "message": message, "finish_reason": "stop"}
                    text = json.dumps({"choices": [choice], "usage": usage}).encode()
                    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
                    await writer.drain()
                else:
                    self.given_up[name[0].decode()] = time.monotonic()
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Clients:
    """Ask the application, each in its way."""

    def __init__(self, port: int, model: Model) -> None:
        self.port = port
        self.model = model
        self.answers: list[str] = []
        self.gone: dict[str, float] = {}

    async def one(self, number: int) -> None:
        """Send a request and read the answer, or go away."""
        path = "/events" if number % 3 == 1 or number % 6 == 5 else "/run"
        name = f"client-{number}"
        asked = self.model.asked[name] = asyncio.Event()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps({"name": name})
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        if number % 3 == 2:
            await asked.wait()
            await asyncio.sleep(0.1 + number / 200)  # not all in the same moment
            writer.close()
            self.gone[name] = time.monotonic()
            return
        text = (await reader.read()).decode()
        assert f"HELLO CLIENT-{number}" in text, text
        self.answers.append(text)
        writer.close()


async def measure(clients: int) -> dict[str, Any]:
    """Start everything, ask, stop; return what was seen."""
    model = Model()
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    async with await asyncio.start_server(model.serve, "127.0.0.1", 0, backlog=1024) as upstream:
        url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1"
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(url, listening, there))
        process.start()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, here.recv)
        asking = Clients(listening.getsockname()[1], model)
        started = time.monotonic()
        await asyncio.gather(*(asking.one(number) for number in range(clients)))
        took = time.monotonic() - started
        await asyncio.sleep(0.5)
        here.send("stop")
        seen: dict[str, Any] = await loop.run_in_executor(None, here.recv)
        await loop.run_in_executor(None, process.join)
    given_up = [model.given_up[name] - at for name, at in asking.gone.items() if name in model.given_up]
    return {
        "took": took,
        "answers": len(asking.answers),
        "gone": len(asking.gone),
        "given_up": sorted(given_up),
        **seen,
    }


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    seen = await measure(parser.parse_args().clients)
    print(f"{seen['answers']} answers and {seen['gone']} clients that went away in {seen['took']:.2f} s")
    longest = ", ".join(f"{seconds * 1000:.1f}" for seconds in seen["seconds"][:-6:-1])
    print(f"{len(seen['seconds'])} callbacks of the event loop, the longest of them {longest} ms")
    ended = seen["given_up"]
    print(
        f"{len(ended)} calls given up, {median(ended) * 1000:.1f} ms (median) and {max(ended) * 1000:.1f} ms (most) "
        "after their client was gone"
    )
    print(f"left after the shutdown: tasks {seen['tasks']}, sockets {seen['sockets']}")


if __name__ == "__main__":
    asyncio.run(main())
