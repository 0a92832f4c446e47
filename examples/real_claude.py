"""One prompt for Claude, its answer shown as it comes.

    ANTHROPIC_API_KEY=... python examples/real_claude.py "why is the sky blue?"

Without the key a small model on this machine answers.
"""

from __future__ import annotations

import sys

from kairos_async import Event, LLMDelta, Step, Workflow
from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.prompt import ask
from which_model import model_of


def show(event: Event) -> None:
    """Print each piece of the answer. A hook gets every event of the run."""
    if isinstance(event, LLMDelta):
        print(event.data["text"], end="", flush=True)


def build(model: ModelAdapter) -> Workflow:
    """Return the workflow of one step."""
    step = Step("answer", ask("Answer in one sentence: {question}", model, stream=True))
    return Workflow("one-prompt", [step], hooks=[show])


def main() -> None:
    """Ask what the command line says."""
    question = " ".join(sys.argv[1:]) or "why is the sky blue?"
    result = build(model_of("anthropic")).run_sync({"question": question})
    result.raise_for_status()
    answer = result.output
    assert isinstance(answer, dict)
    print(f"\n\n{answer['model']}: {answer['usage']}")


if __name__ == "__main__":
    main()
