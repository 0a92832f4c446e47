"""Keys in the environment, and one provider after the other."""

from __future__ import annotations

import pytest

from tests.adapters.providers import KEY, PROVIDERS, VARIABLES, Provider


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the same key into the environment for all providers."""
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    for name in VARIABLES:
        monkeypatch.setenv(name, KEY)
    return KEY


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request: pytest.FixtureRequest) -> Provider:
    """Choose a provider."""
    chosen: Provider = request.param
    return chosen
