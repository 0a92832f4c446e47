"""Names and paths that come from data: they stay inside their directory, on every system."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from kairos_async.exceptions import SecurityError
from kairos_async.security.late import Late

_UNSAFE: Final = Late(r"[^A-Za-z0-9._-]")
_CONTROL: Final = Late(
    "[\\x00-\\x1f\\x7f-\\x9f\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ud800-\\udfff]"
)
"""Also what is not seen, or turns the rest around, so that an ending in `.exe` is shown as one in `.pdf`."""
_RESERVED: Final = Late(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]|conin\$|conout\$|clock\$)(?:\.|\Z)", re.IGNORECASE)
_LONGEST_NAME: Final = 200
"""Characters. File systems allow 255 bytes; sinks add an ending of their own."""
_LONGEST_PATH: Final = 4096
"""Characters. No system takes more, and to look for links in a path of many parts takes the square of their number."""


def sanitize_path(name: str, base_dir: str | os.PathLike[str] | None = None) -> str:
    """Return a safe name for a file or directory, made of letters, digits, `.`, `_` and `-`.

    Every other character becomes `_`, separators too, so that the result is one name: `"../a/b"` becomes `"_a_b"`.
    Names that Windows reserves get a `_` in front; dots at the ends go; at most 200 characters are kept.

    Args:
        name: from anywhere: a workflow's name, a run id, data.
        base_dir: None, or the directory that the name is to be in.

    Returns:
        The name; with `base_dir` the absolute path of that name in it, symbolic links resolved.

    Raises:
        SecurityError: no character is left, or the path leads out of `base_dir` through a symbolic link.
    """
    safe = _UNSAFE.pattern.sub("_", str.__str__(name))[:_LONGEST_NAME].strip(".")
    if not safe.strip("_"):
        raise SecurityError(f"No safe file name can be made of {name[:80]!r}: it has no letter, digit or '-' in it.")
    if _RESERVED.pattern.match(safe):
        safe = f"_{safe}"
    return safe if base_dir is None else str(path_inside(safe, base_dir))


def path_inside(path: str | os.PathLike[str], base_dir: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a relative one in `base_dir`, refusing any that could mean a place outside of it.

    Unlike `sanitize_path` it changes nothing: it is for paths that a caller wrote and expects to find again. The rules
    of Windows hold everywhere, so that a path is safe on all systems or on none. The path need not exist. Between this
    check and the opening of the file someone could replace a directory by a link: whoever opens it has to ask for
    `O_NOFOLLOW` and `O_EXCL`.

    Raises:
        SecurityError: the path is empty, absolute or longer than 4,096 characters, has a `..`, a drive, a NUL, another
            control character or an invisible one, a name that Windows reserves or that ends in a dot or space, or
            leads out of `base_dir` through a symbolic link.
    """
    text = os.fspath(path)
    problem = _problem(text) if len(text) <= _LONGEST_PATH else "is longer than 4,096 characters"
    if problem:
        raise SecurityError(f"Path {text[:200]!r} {problem}. Use a plain relative path such as 'runs/today.jsonl'.")
    base = Path(base_dir).resolve()
    full = (base / PureWindowsPath(text).as_posix()).resolve()
    if not full.is_relative_to(base) or full == base:
        raise SecurityError(f"Path {text[:200]!r} leads out of its directory {base.name!r}, through a symbolic link.")
    return full


def _problem(text: str) -> str | None:
    windows = PureWindowsPath(text)
    parts = windows.parts
    checks = (
        (_CONTROL.pattern.search(text), "has a NUL, another control character or an invisible one"),
        (windows.drive or windows.root or PurePosixPath(text).is_absolute(), "is absolute"),
        (":" in text, "has a ':', which names a drive or a stream"),
        (".." in parts, "has a '..'"),
        (not parts, "is empty"),
        (any(_RESERVED.pattern.match(part) for part in parts), "has a name that Windows reserves"),
        (any(part != part.rstrip(". ") for part in parts), "has a name that ends in a dot or space"),
        (text.startswith("~"), "begins with '~'"),
    )
    return next((problem for wrong, problem in checks if wrong), None)
