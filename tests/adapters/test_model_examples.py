"""The examples that ask models: all of them against a mock that keeps schemas, one against the real local model."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

from kairos_async import WorkflowStatus
from kairos_async.adapters.claude import ClaudeAdapter
from kairos_async.adapters.local import LocalAdapter, shared_server
from tests.adapters.providers import OPENAI

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

INPUTS: dict[str, dict[str, Any]] = {
    "llm_workflow": {"topic": "bees"},
    "real_claude": {"question": "why?"},
    "real_openai": {"mail": "It is broken."},
    "real_gemini": {},
    "real_claude_concurrent": {"plan": "a shop"},
    "real_openai_concurrent": {"idea": "umbrellas"},
    "real_claude_logged": {"text": "Please.", "session_token": "s3ss10n-0f-ada"},
    "competitive_analysis": {"product": "bread", "competitors": ["a", "b", "c"]},
}


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize("name", INPUTS)
async def test_examples_with_a_mock(name: str, llmock: LLMock, capsys: pytest.CaptureFixture[str]) -> None:
    """Each workflow is complete, and its calls were right by the mock's verdict."""
    module = import_module(name)
    model = OPENAI.at(llmock.base_url("openai"))
    workflow = module.build(model, module.Log()) if hasattr(module, "Log") else module.build(model)
    result = await workflow.run(INPUTS[name])
    assert result.status is WorkflowStatus.COMPLETE, result.to_dict()
    assert result.llm_calls == len(llmock.requests)
    llmock.assert_resilient(strict=True)
    assert "s3ss10n-0f-ada" not in capsys.readouterr().out
    if name == "real_claude_concurrent":
        assert module.speed_up(result) > 0


def test_which_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider whose key is set, else the local one."""
    which_model = import_module("which_model")
    for variable in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    assert type(which_model.model_of()) is ClaudeAdapter
    assert type(which_model.model_of("openai", "gemini")) is LocalAdapter


def test_triage_with_the_real_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Two tickets: the report has both, and what the contracts stopped adds up with the attempts that were made."""
    triage = import_module("ticket_triage")
    lines = triage.TICKETS.read_text("utf-8").splitlines()
    tickets = [ticket for ticket in map(json.loads, lines) if ticket["id"] in ("56_6", "59_2")]
    count = triage.Count(quiet=True)
    result = triage.Triage(shared_server(context=512)).workflow(count).run_sync({"tickets": tickets})
    triage.show(result, count)
    shown = capsys.readouterr().out
    assert "2 tickets: " in shown
    items = [item for step in result.step_results.values() for item in step.items or ()]
    failed = sum(len(item.attempts) - (item.status == "completed") for item in items)
    assert sum(count.stopped.values()) <= failed
    assert f"{sum(count.stopped.values())} answers stopped by contracts" in shown
    assert count.calls == sum(len(item.attempts) for item in items) - shown.count("(for a person to read)")


def test_tickets_have_a_licence() -> None:
    """At least forty texts, each with its place in the source, and a file beside them that says whose they are."""
    tickets = [json.loads(line) for line in (EXAMPLES / "data" / "customer_feedback.jsonl").read_text().splitlines()]
    assert len({ticket["id"] for ticket in tickets}) == len(tickets) >= 40
    assert "The MIT License" in (EXAMPLES / "data" / "customer_feedback.md").read_text()
