"""A real model on this machine: its server in the formats of two providers, with output that is really constrained."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from kairos_async import FailurePolicy, ModelLengthError, ModelRequestError, Schema, Step, Workflow
from kairos_async.adapters.claude import ClaudeAdapter
from kairos_async.adapters.local import LocalServer, local, shared_server
from kairos_async.adapters.openai_adapter import OpenAIAdapter
from kairos_async.adapters.prompt import ask

pytestmark = [pytest.mark.real_time, pytest.mark.anyio]

ONCE = FailurePolicy(max_retries=0)
SURE: dict[str, Any] = {"temperature": 0, "seed": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Run one server for all tests."""
    with shared_server(context=512) as made:
        yield made


@pytest.fixture
def own_key(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the server's key where other adapters find it."""
    monkeypatch.setenv("LOCAL_KEY", server.key.reveal())
    return "LOCAL_KEY"


FORM = Schema({"colour": Literal["red", "blue"], "sure": bool})


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_answers_streams_and_keeps_a_schema(server: LocalServer) -> None:
    """Text, usage, pieces, and JSON of exactly the form that was asked for."""
    adapter = server.adapter(max_tokens=64)
    async with adapter.stream("Say hello.", options=SURE) as stream:
        pieces = [piece async for piece in stream]
    assert len(pieces) > 1
    assert "".join(pieces) == stream.response.text
    assert stream.response.usage.known
    formed = await adapter.call("Which colour has the sky?", contract=FORM, options=SURE)
    assert set(formed.parsed) == {"colour", "sure"}  # type: ignore[arg-type]


async def test_both_formats_of_its_server(server: LocalServer, own_key: str) -> None:
    """The adapters for OpenAI and Anthropic get the same answer from it."""
    settings: Any = {"key_env": own_key, "allow_localhost": True, "max_tokens": 64}
    by_openai = await OpenAIAdapter("m", base_url=f"{server.url}/v1", **settings).call("Say hello.", options=SURE)
    by_claude = await ClaudeAdapter("m", base_url=server.url, **settings).call("Say hello.", options=SURE)
    assert by_openai.text == by_claude.text
    assert by_openai.usage.total_tokens == by_claude.usage.total_tokens


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_limits_and_wrong_requests(server: LocalServer) -> None:
    """Too short a limit, and a prompt that is longer than the context, are told as with any provider."""
    adapter = server.adapter()
    with pytest.raises(ModelLengthError):
        await adapter.call("Tell a long story.", max_tokens=2)
    with pytest.raises(ModelRequestError):
        await adapter.call("word " * 2_000)


async def test_nobody_else_can_use_it(server: LocalServer) -> None:
    """It wants the key that its own adapter has."""
    other = OpenAIAdapter("m", base_url=f"{server.url}/v1", allow_localhost=True)
    with pytest.raises(ModelRequestError, match="refuses the key"):
        await other.call("Hi")


def test_a_step_that_asks_it(server: LocalServer) -> None:
    """`local` needs nothing else: the server starts with the first call and is shared by all that ask for the same."""
    settings: Any = {"context": 512, "max_tokens": 64, "options": SURE}
    steps = [Step("a", local("Name a colour.", **settings), output_contract=FORM)]
    steps.append(Step("b", local("Is {a} a colour?", **settings), output_contract=Schema({"yes": bool})))
    result = Workflow("w", steps).run_sync({})
    result.raise_for_status()
    assert result.llm_calls == 2
    assert shared_server(context=512) is server


def test_what_is_no_model(tmp_path: Path) -> None:
    """A file that is no model is an error of the call, and leaves no process."""
    wrong = tmp_path / "wrong.gguf"
    wrong.write_text("nothing")
    server = LocalServer(wrong)
    result = Workflow("w", [Step("a", ask("Hi", server.adapter()), failure_policy=ONCE)]).run_sync({})
    assert result.step_results["a"].error_type == "ModelUnavailableError"
    assert "verbose=True" in str(result.step_results["a"].error_message)
    assert server._process is None


def running(pid: int) -> bool:
    """Whether there is such a process, that has not ended."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() not in ("", "Z", "Zl")


def test_the_server_ends_with_its_parent() -> None:
    """However the parent ends: the child's input ends with it."""
    script = "import os\nfrom kairos_async.adapters.local import LocalServer\ns = LocalServer(context=64)\n"
    script += "s.start()\nprint(s._process.pid, flush=True)\nos._exit(1)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 60
    while running(pid):
        assert time.monotonic() < deadline, "the server is still there"
