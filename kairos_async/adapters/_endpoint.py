"""Where a provider is, and with which key: judged once, when an adapter is made, so that no call can go elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from kairos_async.exceptions import ConfigError, SecurityError
from kairos_async.security import Redactor

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""The only hosts to which plain http is possible: exact names, so that nothing needs to be resolved to judge one."""

_URL: Final = re.compile(r"[A-Za-z0-9:/\[\]._~%-]+")
_HOST: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*\.?")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
_KEY: Final = re.compile(r"[!-~]{1,4096}")
_REDACTOR: Final = Redactor()


class Secret:
    """A key. Nothing but `reveal` gives it; `repr`, `str`, pickling and comparison do not."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "<Secret>"

    def __reduce__(self) -> Any:
        raise SecurityError("A key is not pickled; read it from the environment where it is needed.")

    def reveal(self) -> str:
        """The key, for a header."""
        return self._value


def checked_base_url(url: object, *, allow_localhost: bool, subject: str) -> str:
    """The base URL without a slash at its end. Everything that two URL parsers could read in two ways is refused.

    Raises:
        SecurityError: plain http to anything but loopback (and there only with `allow_localhost`), or user information,
            a query or a fragment, where credentials could hide.
        ConfigError: it is no URL.
    """
    if not isinstance(url, str) or not url:
        raise ConfigError(f"{subject}: base_url must be a URL such as 'https://api.example.com/v1'.")
    if any(mark in url for mark in "@?#\\"):
        raise SecurityError(
            f"{subject}: a base_url has no user information, query, fragment or backslash: they could hide a "
            "credential or another host. Keys come from the environment."
        )
    try:
        parts = urlsplit(url if _URL.fullmatch(url) else "")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme not in ("https", "http") or not (host in LOOPBACK or _HOST.fullmatch(host)) or port == 0:
        raise ConfigError(f"{subject}: base_url is no URL of the form 'https://host[:port]/path', in plain ASCII.")
    if parts.scheme == "http" and not (allow_localhost and host in LOOPBACK):
        raise SecurityError(
            f"{subject}: plain http to {host!r} would send key and prompts readable for everyone on the way. Use "
            f"https; http is possible to {', '.join(sorted(LOOPBACK))}, with allow_localhost=True."
        )
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def is_loopback(base_url: str) -> bool:
    """Whether a checked base URL leads to this machine."""
    return urlsplit(base_url).hostname in LOOPBACK


def key_from_environment(variables: Iterable[str], *, subject: str) -> Secret:
    """The key in the first of these environment variables that is set.

    Raises:
        ConfigError: none is set, or its value is not the kind of text that a header can carry.
        SecurityError: what should name a variable is no name, so it may be a key.
    """
    names = tuple(variables)
    for name in names:
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise SecurityError(
                f"{subject}: key_env is the name of an environment variable, such as 'OPENAI_API_KEY', never a key."
            )
    for name in names:
        value = os.environ.get(name, "").strip()
        if value and not _KEY.fullmatch(value):
            raise ConfigError(f"{subject}: the environment variable {name} holds no key: it has spaces or odd signs.")
        if value:
            return Secret(value)
    raise ConfigError(f"{subject} needs a key: set the environment variable {' or '.join(names)}.")


def refuse_keywords(subject: str, given: Mapping[str, object], known: Collection[str]) -> None:
    """Raise for a keyword that is not known.

    Raises:
        SecurityError: its name is that of a credential, in any spelling.
        ConfigError: it has another name.
    """
    unknown = {name: value for name, value in given.items() if name not in known}
    for name, value in unknown.items():
        refuse_credentials(subject, value)
        if _REDACTOR.is_sensitive(name) or name.lower().strip("_") in ("key", "keys"):
            raise SecurityError(
                f"{subject} takes no credential as an argument ({name!r}): it would end up in code and tracebacks. "
                "Keys come from the environment; key_env names another variable."
            )
    for name in unknown:
        raise ConfigError(f"{subject} has no parameter {name!r}. It has: {', '.join(known)}.")


def refuse_credentials(subject: str, argument: object) -> None:
    """Raise SecurityError if a key of this argument, at any depth, is named like a credential."""
    if isinstance(argument, Mapping):
        for key, value in argument.items():
            if isinstance(key, str) and _REDACTOR.is_sensitive(key) and isinstance(value, str):
                raise SecurityError(
                    f"{subject}: {key!r} is a credential as an argument; keys come from the environment."
                )
            refuse_credentials(subject, value)
    elif isinstance(argument, list | tuple):
        for value in argument:
            refuse_credentials(subject, value)
