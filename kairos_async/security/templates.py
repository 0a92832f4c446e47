"""Prompt templates with plain `{name}` placeholders: nothing is evaluated, looked up or expanded twice."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from typing_extensions import TypeAliasType

from kairos_async._types import JSONValue
from kairos_async.exceptions import ConfigError, SecurityError
from kairos_async.security.late import Late
from kairos_async.security.untrusted import UntrustedText, fenced

PromptValue = TypeAliasType(
    "PromptValue", "JSONValue | UntrustedText | Sequence[PromptValue] | Mapping[str, PromptValue]"
)
"""What a placeholder may stand for: text, JSON data, untrusted text by itself or in lists and dicts."""

_PIECE: Final = Late(r"\{\{|\}\}|\{([A-Za-z0-9_-]{1,200})\}|[{}]")


class Template:
    """A text with placeholders `{name}`, parsed when it is made; `{{` and `}}` stand for braces.

    Placeholders have no attributes, indices, conversions or format specifications, so a template can reach nothing but
    the values that it is given. What a value says is never parsed: a value "{x}" stays "{x}".

    Attributes:
        names: the placeholders, each once, in the order of their first use.
        uses: the placeholders as often as they are used, in order.

    Raises:
        ConfigError: a brace is neither doubled nor part of a placeholder.
    """

    __slots__ = ("_parts", "names", "uses")

    def __init__(self, text: str) -> None:
        self._parts = _parse(text)
        # Odd places are names, as in the result of re.split.
        self.uses: Final = tuple(self._parts[1::2])
        self.names: Final = tuple(dict.fromkeys(self.uses))

    def __repr__(self) -> str:
        return f"<Template: {list(self.names)}>"

    def check(self, known: Collection[str], subject: str = "The template") -> None:
        """Raise ConfigError unless every placeholder is among the known names. For when a workflow is built."""
        missing = [name for name in self.names if name not in known]
        if missing:
            raise ConfigError(
                f"{subject} uses {missing}, which nothing provides. Known names: {sorted(known)}. "
                "Write '{{' and '}}' for braces that are no placeholder."
            )

    def render(self, values: Mapping[str, PromptValue], *, delimiter: str | None = None) -> str:
        """Return the text with each placeholder replaced: strings as they are, untrusted text fenced, all else as JSON.

        A list or dict with untrusted text anywhere in it is fenced as a whole.

        Args:
            values: by name; others than the template's are ignored.
            delimiter: of the run, for untrusted text; see `untrusted_delimiter`.

        Raises:
            ConfigError: a value is missing, or cannot be written as JSON.
            SecurityError: a value has untrusted text and there is no delimiter to fence it.
        """
        self.check(values)
        parts = list(self._parts)
        for place in range(1, len(parts), 2):
            parts[place] = _shown(parts[place], values[parts[place]], delimiter)
        return "".join(parts)


def _parse(text: str) -> list[str]:
    """Return the literal text and the names in turn, beginning and ending with literal text."""
    parts: list[str] = []
    literal: list[str] = []
    end = 0
    for piece in _PIECE.pattern.finditer(text):
        literal.append(text[end : piece.start()])
        end = piece.end()
        if piece[1] is not None:
            parts += ("".join(literal), piece[1])
            literal = []
        elif len(piece[0]) == 2:
            literal.append(piece[0][0])
        else:
            line = text.count("\n", 0, piece.start()) + 1
            raise ConfigError(
                f"Template, line {line}: {text[piece.start() : piece.start() + 30]!r} begins with a brace that is no "
                "plain placeholder such as '{name}'. Write '{{' and '}}' for braces."
            )
    return [*parts, "".join(literal) + text[end:]]


def _shown(name: str, value: PromptValue, delimiter: str | None) -> str:
    if isinstance(value, str):
        return value
    text = value if isinstance(value, UntrustedText) else _as_json(name, value)
    if isinstance(text, str):
        return text
    if delimiter is None:
        raise SecurityError(f"Placeholder {name!r} has untrusted text; give render() the run's delimiter to fence it.")
    return fenced(text, delimiter, label=name)


def _as_json(name: str, value: PromptValue) -> str | UntrustedText:
    """Return the value as JSON, which is itself untrusted if untrusted text is anywhere in it."""
    inside: list[UntrustedText] = []

    def raw(part: object) -> str:
        if not isinstance(part, UntrustedText):
            raise TypeError
        inside.append(part)
        return part.raw

    try:
        text = json.dumps(value, ensure_ascii=False, default=raw)
    except (TypeError, ValueError, RecursionError):
        raise ConfigError(
            f"Placeholder {name!r} has a value that cannot be written as JSON. Values are strings, JSON data, and "
            "untrusted text, by itself or in lists and dicts."
        ) from None
    return UntrustedText(text) if inside else text
