"""Text that is HTML or SVG already, and the one way to make it: whatever is put into it is escaped."""

from __future__ import annotations

import html
from typing import Final

from kairos_async.security import terminal_text

_EMPTY: Final = frozenset(("meta", "rect", "line", "circle", "path", "br"))


class Markup(str):
    """A text that is markup. Only `tag` and `join` make it."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Return a text from anywhere as markup. Control and bidi characters are shown as escapes, as on a terminal."""
    return text if isinstance(text, Markup) else Markup(html.escape(terminal_text(text, lines=True)))


def join(parts: list[Markup]) -> Markup:
    """Return the parts one after the other."""
    return Markup("".join(parts))


def tag(name: str, /, *inside: str, **attributes: str | float | bool | None) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        inside: markup, and texts, which are escaped.
        attributes: `class_` is class, `aria_label` is aria-label; True has no value, None and False leave it out.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _EMPTY and not inside:
        return Markup(f"<{name}{shown}/>")
    return Markup(f"<{name}{shown}>{''.join(map(escaped, inside))}</{name}>")


def _attribute(key: str, value: str | float | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{escaped(value if isinstance(value, str) else f"{value:g}")}"'
