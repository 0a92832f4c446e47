"""LangGraph: a node for each prompt by `Send`, which asks LangChain's client."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.llm_clients import MODEL, RETRIES, AskAll, Times

NOTE = "a `Send` for each prompt, `max_concurrency` of the run, `ChatOpenAI` with its own retries"


class State(TypedDict):
    """The prompts, and the answers with their numbers."""

    prompts: Sequence[str]
    answers: Annotated[list[tuple[int, str]], operator.add]


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts."""
    model = ChatOpenAI(model=MODEL, base_url=f"{url}/v1", api_key="none", max_retries=RETRIES)

    async def ask(task: tuple[int, str]) -> dict[str, Any]:
        number, prompt = task
        with times.of(prompt):
            message = await model.ainvoke(prompt)
        return {"answers": [(number, str(message.content))]}

    def spread(state: State) -> list[Send]:
        return [Send("ask", task) for task in enumerate(state["prompts"])]

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_conditional_edges(START, spread, ["ask"])
    builder.add_edge("ask", END)
    graph = builder.compile()

    async def ask_all(prompts: Sequence[str]) -> Sequence[str]:
        state = await graph.ainvoke({"prompts": prompts, "answers": []}, {"max_concurrency": limit})
        return [text for _, text in sorted(state["answers"])]

    yield ask_all
