"""What adapters around other adapters have in common: what they are asked becomes a request once, here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from kairos_async._types import JSONValue
from kairos_async.adapters.model import ModelAdapter, ModelRequest, ModelResponse, ModelStream, Prompt, as_request
from kairos_async.contracts.contract import JSONSchema
from kairos_async.exceptions import ConfigError


class Wrapping(ABC):
    """An adapter that asks others. `models` are those that were given, in order.

    Raises:
        ConfigError: one of them is no adapter.
    """

    provider: str

    def __init__(self, subject: str, models: tuple[ModelAdapter, ...]) -> None:
        for model in models:
            if not (hasattr(model, "call") and hasattr(model, "stream")):
                raise ConfigError(f"{subject}() takes adapters, such as OpenAIAdapter(...); it got {model!r}.")
        self.models: Final = models

    @property
    def model(self) -> str:
        """The names of all."""
        return ", ".join(model.model for model in self.models)

    def shape(self, schema: JSONSchema | None) -> None:
        """Raise ConfigError if one of the models cannot be asked for answers of this schema."""
        for model in self.models:
            if (shape := getattr(model, "shape", None)) is not None:
                shape(schema)

    def check_options(self, options: Mapping[str, JSONValue]) -> None:
        """Raise ConfigError if one of the models does not take these options."""
        for model in self.models:
            if (check := getattr(model, "check_options", None)) is not None:
                check(options)

    async def call(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> ModelResponse:
        """See `ModelAdapter.call`."""
        return await self._ask(as_request(prompt, contract=contract, max_tokens=max_tokens, options=options))

    def stream(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> AbstractAsyncContextManager[ModelStream]:
        """See `ModelAdapter.stream`."""
        return self._begin(as_request(prompt, contract=contract, max_tokens=max_tokens, options=options))

    @abstractmethod
    async def _ask(self, request: ModelRequest) -> ModelResponse:
        """The whole answer."""

    @abstractmethod
    def _begin(self, request: ModelRequest) -> AbstractAsyncContextManager[ModelStream]:
        """The answer as it comes."""
