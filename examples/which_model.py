"""Which model the examples ask: a provider's when its key is set, else a small one on this machine."""

from __future__ import annotations

import os
from typing import Any

from kairos_async.adapters import ModelAdapter
from kairos_async.adapters.claude import ClaudeAdapter
from kairos_async.adapters.gemini import GeminiAdapter
from kairos_async.adapters.local import shared_server
from kairos_async.adapters.openai_adapter import OpenAIAdapter

PROVIDERS: dict[str, Any] = {"anthropic": ClaudeAdapter, "openai": OpenAIAdapter, "gemini": GeminiAdapter}


def model_of(*providers: str) -> ModelAdapter:
    """Return the adapter of the first of these providers whose key is in the environment, else the local model's."""
    for name in providers or PROVIDERS:
        adapter = PROVIDERS[name]
        if any(os.environ.get(variable) for variable in adapter.key_variables):
            chosen: ModelAdapter = adapter()
            return chosen
    return shared_server().adapter(max_tokens=160)
