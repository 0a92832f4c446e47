"""Where a TARGET lies, decided on real paths before any line of it runs.

A target is a file or a dotted module, in the working directory or in a directory that was allowed by name. Everything
that loading it would execute, the `__init__` files of its packages too, is found and checked here; nothing is imported,
not even to find out where it is.
"""

from __future__ import annotations

import keyword
import os
import re
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kairos_async.cli.errors import CommandError, quoted

DEFAULT_ATTRIBUTE: Final = "workflow"
_LONGEST: Final = 1_000
_MOST_PARTS: Final = 20
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_IMPORTABLE: Final = (".py", ".pyc", ".pyd", ".so")


@dataclass(frozen=True, slots=True)
class Package:
    """A package around the target: its dotted name, its real directory, and its `__init__.py`, if it has one."""

    name: str
    directory: Path
    init: Path | None


@dataclass(frozen=True, slots=True)
class Target:
    """A target that may be loaded.

    Attributes:
        shown: how messages name it.
        attribute: the name of the workflow in the module; None: `workflow`, or the only workflow that is there.
        module: the dotted name that the module gets.
        file: its real path.
        packages: what lies around it, from the outside in.
        directory: where its own imports are looked for, before the installed packages.
        roots: the real directories out of which nothing is loaded.
    """

    shown: str
    attribute: str | None
    module: str
    file: Path
    packages: tuple[Package, ...]
    directory: Path
    roots: tuple[Path, ...]


def allowed_roots(extra: str | None) -> tuple[Path, ...]:
    """Return the directories from which targets are loaded: the working directory, then the extra ones.

    Args:
        extra: directories, separated as in PATH; None or "": none.

    Raises:
        CommandError: one of them is no directory.
    """
    try:
        roots = [Path(os.path.realpath(os.getcwd()))]
    except OSError:
        raise CommandError("the working directory is not there any more, or cannot be read.") from None
    for entry in (extra or "").split(os.pathsep):
        if not entry:
            continue
        if _CONTROL.search(entry):
            raise CommandError(f"workflows directory {quoted(entry)} has a control character in its name.")
        real = Path(os.path.realpath(entry))
        if not real.is_dir():
            raise CommandError(f"workflows directory {quoted(entry)} is no directory.")
        roots.append(real)
    return tuple(dict.fromkeys(roots))


def locate(text: str, roots: Sequence[Path]) -> Target:
    """Return where the target lies: `path/to/file.py` or `package.module`, either with `:attribute`.

    Raises:
        CommandError: it is not there, not inside one of the roots once links are followed, no Python source file, or
            would hide a module of the standard library.
    """
    place, attribute = _parse(text)
    shown = quoted(place)
    if place.endswith(".py") or "/" in place or "\\" in place:
        return _locate_file(place, shown, attribute, tuple(roots))
    return _locate_module(place, shown, attribute, tuple(roots))


def _parse(text: str) -> tuple[str, str | None]:
    if not text.strip() or len(text) > _LONGEST:
        raise CommandError(f"TARGET must have 1 to {_LONGEST} characters; this one has {len(text)}.")
    if _CONTROL.search(text):
        raise CommandError(f"TARGET {quoted(text)} has a NUL or another control character.")
    place, colon, attribute = text.rpartition(":")
    if not colon or "/" in attribute or "\\" in attribute:
        return text, None
    if not attribute.isidentifier() or keyword.iskeyword(attribute) or attribute.startswith("__"):
        raise CommandError(f"TARGET {quoted(text)}: {quoted(attribute)} is no name of a workflow.")
    return place, attribute


def _locate_file(place: str, shown: str, attribute: str | None, roots: tuple[Path, ...]) -> Target:
    found = next((root / place for root in roots if os.path.lexists(root / place)), None)  # an absolute place wins
    if found is None:
        raise CommandError(f"there is no file {shown} in {_named(roots)}.")
    file = _checked_file(found, shown, roots)
    name = re.sub(r"\W", "_", file.stem, flags=re.ASCII)
    name = name if name.isidentifier() else f"_{name}"
    _check_name(name, shown)
    _check_shadows(file.parent, shown)
    return Target(shown, attribute, name, file, (), file.parent, roots)


def _locate_module(place: str, shown: str, attribute: str | None, roots: tuple[Path, ...]) -> Target:
    parts = place.split(".")
    if len(parts) > _MOST_PARTS or not all(_is_name(part) for part in parts):
        raise CommandError(f"TARGET {shown} is no Python file and no dotted name of a module.")
    _check_name(parts[0], shown)
    root = next((root for root in roots if _is_there(root, parts[0])), None)
    if root is None:
        raise CommandError(f"there is no module {shown} in {_named(roots)}.")
    packages: list[Package] = []
    directory = root
    for depth, part in enumerate(parts[:-1], start=1):
        directory = _checked_directory(directory / part, shown, roots)
        init = directory / "__init__.py"
        checked = _checked_file(init, shown, roots) if os.path.lexists(init) else None
        packages.append(Package(".".join(parts[:depth]), directory, checked))
    inner = directory / parts[-1] / "__init__.py"
    plain = directory / f"{parts[-1]}.py"
    found = inner if os.path.lexists(inner) else plain
    if not os.path.lexists(found):
        raise CommandError(f"there is no module {shown} in {_named(roots)}.")
    if found is inner:
        _checked_directory(inner.parent, shown, roots)
    file = _checked_file(found, shown, roots)
    _check_shadows(root, shown)
    return Target(shown, attribute, place, file, tuple(packages), root, roots)


def _is_name(part: str) -> bool:
    return part.isascii() and part.isidentifier() and not keyword.iskeyword(part)


def _is_there(root: Path, name: str) -> bool:
    return os.path.lexists(root / name) or os.path.lexists(root / f"{name}.py")


def _named(roots: Sequence[Path]) -> str:
    return "the working directory" + (" or the workflows directories" if len(roots) > 1 else "")


def _real(path: Path, shown: str, roots: Sequence[Path]) -> Path:
    """Return the real path, which is inside one of the roots.

    The message does not tell what a link points to, nor whether it is there.
    """
    try:
        real = Path(os.path.realpath(path, strict=True))
    except (OSError, ValueError):
        raise CommandError(f"TARGET {shown}: {quoted(path.name)} leads nowhere or cannot be read.") from None
    if not any(real.is_relative_to(root) for root in roots):
        raise CommandError(
            f"TARGET {shown}: {quoted(path.name)} lies outside of {_named(roots)}; --workflows-dir allows another one."
        )
    return real


def _checked_file(path: Path, shown: str, roots: Sequence[Path]) -> Path:
    real = _real(path, shown, roots)
    if not stat.S_ISREG(os.stat(real).st_mode):
        raise CommandError(f"TARGET {shown}: {quoted(path.name)} is no regular file.")
    if real.suffix != ".py":
        raise CommandError(f"TARGET {shown}: {quoted(real.name)} is no Python source file (.py).")
    return real


def _checked_directory(path: Path, shown: str, roots: Sequence[Path]) -> Path:
    if not os.path.lexists(path):
        raise CommandError(f"there is no module {shown} in {_named(roots)}.")
    real = _real(path, shown, roots)
    if not real.is_dir():
        raise CommandError(f"TARGET {shown}: {quoted(path.name)} is no package.")
    return real


def _check_name(name: str, shown: str) -> None:
    """Refuse a module that would take the place of one that is in use, or of one of the standard library."""
    if name in sys.stdlib_module_names:
        raise CommandError(f"TARGET {shown} would hide the standard library's module {name!r}; rename it.")
    if name in sys.modules:
        raise CommandError(f"TARGET {shown} would hide the installed module {name!r}; rename it.")


def _check_shadows(directory: Path, shown: str) -> None:
    """Refuse a directory in which a module has the name of one of the standard library.

    It would be taken for the real one by whatever imports that for the first time from here on.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        raise CommandError(f"TARGET {shown}: its directory cannot be read.") from None
    for name in names:
        stem = name.partition(".")[0]
        if stem not in sys.stdlib_module_names:
            continue
        if name.endswith(_IMPORTABLE) or any((directory / name / f"__init__{end}").exists() for end in _IMPORTABLE):
            raise CommandError(
                f"TARGET {shown}: {quoted(name)} in its directory would hide the standard library's module {stem!r}; "
                "rename it."
            )
