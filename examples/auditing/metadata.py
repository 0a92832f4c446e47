"""Finding distributions and reading their metadata, from an environment or from a directory of wheels.

`importlib.metadata` would find them too, but an audit has to know more: it fails on a missing file in one Python and
calls it empty in another, and has no limit of size.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import Distribution
from pathlib import Path
from typing import Annotated, Final

from packaging.version import Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of one metadata file. The largest of real packages have a few hundred thousand."""

INSIDE: Final = {".dist-info": "METADATA", ".egg-info": "PKG-INFO", ".egg": "EGG-INFO/PKG-INFO"}
"""Where the metadata lies, by the suffix of what holds it. An .egg-info may also be that file itself."""


class DirtyMetadataError(ValueError):
    """The metadata of a distribution is not there or cannot be read."""


def _version(text: str) -> str:
    Version(text)
    return text


class Package(BaseModel):
    """The contract of one item: what the metadata of a distribution must say, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=200)]
    version: Annotated[str, AfterValidator(_version), Field(max_length=200)]
    licence_expression: str | None
    licence_text: Annotated[str, Field(max_length=100_000)] | None
    licence_classifiers: list[str]
    requires: list[str]


def environment_paths() -> list[str]:
    """Return the directories from which this Python imports."""
    return [path or "." for path in sys.path if os.path.isdir(path or ".")]


def find_distributions(roots: Iterable[str]) -> list[str]:
    """Return the path of everything in these directories that holds a distribution's metadata, in a fixed order."""
    found = [
        str(path)
        for root in dict.fromkeys(roots)
        for path in sorted(Path(root).iterdir())
        if path.suffix == ".whl" or path.suffix in INSIDE
    ]
    # A name that is no text (bytes that are not UTF-8) cannot be passed on as JSON; reading it will say so.
    return [path.encode("utf-8", "replace").decode() for path in found]


def read_package(path: str) -> dict[str, object]:
    """Return the fields of `Package` from a wheel or an installed distribution.

    Raises:
        DirtyMetadataError: there is no metadata, it is no UTF-8, or it is too large.
        OSError: the file system refuses.
    """
    holder = Path(path)
    # The description follows the first empty line. The parser would go through all of it, ten times as long.
    headers = HeaderParser().parsestr(re.split(r"\r?\n\r?\n", _decoded(_raw_metadata(holder)), maxsplit=1)[0])
    return {
        "name": headers["Name"],
        "version": headers["Version"],
        "licence_expression": headers["License-Expression"],
        "licence_text": headers["License"],
        "licence_classifiers": [line for line in _lines(headers, "Classifier") if line.startswith("License ::")],
        "requires": _lines(headers, "Requires-Dist") or _requires_txt(holder),
    }


def _lines(headers: Message[str, str], name: str) -> list[str]:
    return [str(line).strip() for line in headers.get_all(name, [])]


def _requires_txt(holder: Path) -> list[str]:
    """Return the requirements that setuptools keeps beside PKG-INFO, in a format of its own."""
    if holder.suffix not in {".egg-info", ".egg"} or not holder.is_dir():
        return []
    try:
        return Distribution.at(holder / "EGG-INFO" if holder.suffix == ".egg" else holder).requires or []
    except UnicodeDecodeError:
        raise DirtyMetadataError("requires.txt is not UTF-8") from None


def _decoded(raw: bytes) -> str:
    if len(raw) > LARGEST:
        raise DirtyMetadataError(f"metadata is larger than {LARGEST // 1024} KiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DirtyMetadataError(f"metadata is not UTF-8: byte 0x{raw[error.start]:02x} at {error.start}") from None


def _raw_metadata(path: Path) -> bytes:
    """Return the metadata file's bytes, at most one more than allowed."""
    if path.name.startswith("~"):
        raise DirtyMetadataError("left over from an interrupted installation")
    if path.suffix == ".whl" or (path.suffix == ".egg" and path.is_file()):
        return _from_archive(path)
    file = path if path.suffix == ".egg-info" and path.is_file() else path / INSIDE[path.suffix]
    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise DirtyMetadataError(f"has no {file.name}") from None


def _from_archive(path: Path) -> bytes:
    ending = ".dist-info/METADATA" if path.suffix == ".whl" else INSIDE[".egg"]
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(ending) and name.count("/") == 1]
            if len(members) != 1:
                raise DirtyMetadataError(f"has {len(members)} files *{ending}; one is wanted")
            with archive.open(members[0]) as stream:
                return stream.read(LARGEST + 1)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, FileNotFoundError) as error:
        raise DirtyMetadataError(f"is no readable archive ({type(error).__name__})") from None
