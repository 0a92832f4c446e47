"""The return annotation of an action as its output contract."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from kairos_async._types import MISSING, Missing
from kairos_async.exceptions import ConfigError


def return_annotation(action: Callable[..., Any]) -> Any | Missing:
    """What the action's signature says that it returns; MISSING if it says nothing.

    Raises:
        ConfigError: the annotation names something that cannot be found from the action's module.
    """
    function = action
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(function)
    annotation = getattr(function, "__annotations__", {}).get("return", MISSING)
    if not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"return": annotation})
    try:
        return typing.get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)["return"]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise ConfigError(
            f"its return annotation {annotation!r} cannot be resolved ({type(error).__name__}). "
            "Give output_contract=, or output_contract=None for no contract."
        ) from None


def is_model(annotation: object) -> bool:
    """Whether the annotation is a Pydantic model class."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
