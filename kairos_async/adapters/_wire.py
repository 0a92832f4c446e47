"""What the adapters' formats have in common: parts of an answer, an answer in our words, a stream event by event."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from kairos_async._types import TokenUsage
from kairos_async.adapters._sse import Event
from kairos_async.adapters.model import StopReason, ToolCall


class Wire(BaseModel):
    """A part of a provider's answer. What is not declared is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


@dataclass(slots=True)
class Answer:
    """What a provider's answer says, in our words; filled piece by piece from a stream."""

    text: list[str] = field(default_factory=list)
    stop: StopReason | None = None
    stop_word: str | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    model: str | None = None
    id: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)


class Collector(ABC):
    """A stream of a provider, event by event. `failed` holds the body of an error that came as an event."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.complete = False
        self.failed: bytes | None = None

    @abstractmethod
    def take(self, event: Event) -> str:
        """The text that the event adds. Raises pydantic's ValidationError for what is not in the format."""

    def close(self) -> None:  # noqa: B027 - most formats have nothing to do here
        """Called once the stream has ended, before the answer is used."""


def known(usage: TokenUsage) -> TokenUsage | None:
    """The usage, None if the provider said nothing of it."""
    return None if usage.total_tokens is None else usage
