"""How much a logger shows: the one table behind `LogLevel`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

from kairos_async.events import (
    ItemComplete,
    ItemFail,
    LLMCall,
    LLMDelta,
    PlanReplaced,
    StepCancel,
    StepComplete,
    StepFail,
    StepRetry,
    StepSkip,
    StepStart,
    ValidationComplete,
    ValidationFail,
    ValidationStart,
    WorkflowComplete,
    WorkflowStart,
)


class LogLevel(enum.StrEnum):
    """How much a logger shows."""

    MINIMAL = "minimal"
    """That a run began and how it ended, and what failed."""
    NORMAL = "normal"
    """What happens to each step, and each call of a model."""
    VERBOSE = "verbose"
    """Everything: also each item, the steps' outputs, and what a model streams."""

    def up_to(self) -> list[LogLevel]:
        """The levels that show no more than this one."""
        levels = list(LogLevel)
        return levels[: levels.index(self) + 1]


FROM: Final[Mapping[type[Any], LogLevel]] = {
    WorkflowStart: LogLevel.MINIMAL,
    WorkflowComplete: LogLevel.MINIMAL,
    StepFail: LogLevel.MINIMAL,
    ValidationFail: LogLevel.MINIMAL,
    StepStart: LogLevel.NORMAL,
    StepComplete: LogLevel.NORMAL,
    StepRetry: LogLevel.NORMAL,
    StepSkip: LogLevel.NORMAL,
    StepCancel: LogLevel.NORMAL,
    ItemFail: LogLevel.NORMAL,
    ValidationComplete: LogLevel.NORMAL,
    LLMCall: LogLevel.NORMAL,
    PlanReplaced: LogLevel.NORMAL,
    ValidationStart: LogLevel.VERBOSE,
    ItemComplete: LogLevel.VERBOSE,
    LLMDelta: LogLevel.VERBOSE,
}
"""The level from which on an event is shown."""

OUTPUT_FROM: Final = LogLevel.VERBOSE
"""The level from which on a step's output is shown with its `step_complete`."""


def shown_at(level: LogLevel) -> frozenset[type[Any]]:
    """The types of event that a logger of this level shows."""
    levels = level.up_to()
    return frozenset(kind for kind, least in FROM.items() if least in levels)
