"""The adapters against fakellm, another mock that others wrote: OpenAI's and Anthropic's formats."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from kairos_async import ModelRateLimitError, ModelRequestError, ModelUnavailableError
from kairos_async.adapters import StopReason
from tests.adapters.providers import ANTHROPIC, OPENAI, Provider

pytestmark = [pytest.mark.real_time, pytest.mark.anyio, pytest.mark.usefixtures("keys")]

RULES = """
rules:
  - {name: ok, when: {messages_contain: greet}, respond: {content: "Hello to you."}}
  - {name: form, when: {messages_contain: form}, respond: {content: '{"n": 3}'}}
  - {name: bad, when: {messages_contain: bad}, respond: {status: 400, error: wrong}}
  - {name: many, when: {messages_contain: many}, respond: {status: 429, error: slow}}
  - {name: busy, when: {messages_contain: busy}, respond: {status: 529, error: busy}}
  - name: tool
    when: {messages_contain: tool}
    respond: {tool_calls: [{name: weather, arguments: {city: Paris}}]}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the mock on loopback."""
    rules = Path(tmp_path_factory.mktemp("fakellm")) / "rules.yaml"
    rules.write_text(RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKELLM_CONFIG", str(rules))
        app = import_module("fakellm.server").app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC], ids=lambda p: p.name)
async def test_fakellm(url: str, provider: Provider) -> None:
    """Text, usage, streaming, structured output, tools and errors."""
    adapter = provider.at(f"{url}/v1" if provider is OPENAI else url)
    whole = await adapter.call("Please greet me.")
    assert (whole.text, whole.stop, whole.usage.known) == ("Hello to you.", StopReason.END, True)
    async with adapter.stream("Please greet me.") as stream:
        assert "".join([piece async for piece in stream]) == "Hello to you."
    assert stream.response.stop is StopReason.END
    form: Any = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert (await adapter.call("Fill the form.", contract=form)).parsed == {"n": 3}
    called = await adapter.call("Use the tool.")
    assert called.stop is StopReason.TOOL_CALLS
    assert [(call.name, call.arguments) for call in called.tool_calls] == [("weather", {"city": "Paris"})]
    for word, kind in (("bad", ModelRequestError), ("many", ModelRateLimitError), ("busy", ModelUnavailableError)):
        with pytest.raises(kind):
            await adapter.call(f"Something {word}.")
