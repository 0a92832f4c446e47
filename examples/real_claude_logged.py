"""Every event of a run as a line of JSON, redacted before anyone sees it; and what the calls to the model consumed.

    ANTHROPIC_API_KEY=... python examples/real_claude_logged.py

Without the key a small model on this machine answers.
"""

from __future__ import annotations

import json
from typing import Any

from kairos_async import Event, LLMCall, Schema, Step, Workflow
from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.prompt import ask
from which_model import model_of


class Log:
    """A hook that prints events and adds up tokens."""

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, event: Event) -> None:
        print(json.dumps({"event": event.event_type, "step": event.step_id, **event.data}))
        if isinstance(event, LLMCall):
            usage: Any = event.data["usage"]
            self.tokens += usage["total_tokens"] or 0


def build(model: ModelAdapter, log: Log) -> Workflow:
    """Return the workflow. The prompt has a secret in it, which no line of the log shows."""
    contract = Schema({"polite": bool})
    step = Step("check", ask("Is this polite? {text} (session {session_token})", model), output_contract=contract)
    return Workflow("logged", [step], hooks=[log])


def main() -> None:
    """Check one text."""
    log = Log()
    inputs = {"text": "Would you please close the door?", "session_token": "s3ss10n-0f-ada-lovelace"}
    result = build(model_of("anthropic"), log).run_sync(inputs)
    result.raise_for_status()
    print(f"{result.output}, {log.tokens} tokens")


if __name__ == "__main__":
    main()
