"""Executing a target that was located, and finding the workflow in it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from kairos_async.cli.errors import CommandError, InterruptedLoading, explain
from kairos_async.cli.files import read_file
from kairos_async.cli.locate import DEFAULT_ATTRIBUTE, Target
from kairos_async.cli.streams import open_standard_streams
from kairos_async.workflow import Workflow

_MOST_SOURCE: Final = 8 * 1024 * 1024


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the source that is there: no cached bytecode is read or written."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled source."""
        return self.source_to_code(self.get_data(self.path), self.path)

    def get_data(self, path: str) -> bytes:
        """Return the content of the file, if it is one."""
        return read_file(path, _MOST_SOURCE, "module")


class InsideFinder(importlib.abc.MetaPathFinder):
    """Finds what a target imports from its own directory; what a link leads out of the roots is an ImportError.

    The standard library comes first, so that nothing can take the place of one of its modules; a plain directory
    without an `__init__.py` comes after the installed packages.
    """

    def __init__(self, target: Target) -> None:
        self._directory = str(target.directory)
        self._roots = target.roots
        self._found = {target.module.partition(".")[0]}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module inside the roots; None for all others."""
        if path is None:
            if fullname in sys.stdlib_module_names:
                return None
            places = [self._directory]
        elif fullname.partition(".")[0] not in self._found:
            return None  # a package that was installed; where its parts lie is its own affair
        else:
            places = list(path)
        spec = importlib.machinery.PathFinder.find_spec(fullname, places)
        if spec is None:
            return None
        where = [str(spec.origin)] if spec.has_location else list(spec.submodule_search_locations or ())
        if not all(map(self._is_inside, where)):
            raise ImportError(f"module {fullname!r} lies outside of the directories that modules are loaded from")
        if spec.loader is None and path is None and importlib.machinery.PathFinder.find_spec(fullname) is not None:
            return None
        self._found.add(fullname.partition(".")[0])
        if spec.loader is not None:
            return spec
        plain = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        plain.submodule_search_locations = where
        return plain

    def _is_inside(self, place: str) -> bool:
        real = Path(os.path.realpath(place))
        return any(real.is_relative_to(root) for root in self._roots)


def load_workflow(target: Target) -> Workflow:
    """Execute the target and return its workflow.

    Raises:
        CommandError: its code raised, or it has no such workflow; or the user pressed Ctrl-C meanwhile.
    """
    sys.meta_path.insert(0, InsideFinder(target))
    try:
        for package in target.packages:
            _execute(package.name, package.init, [str(package.directory)])
        inside = [str(target.file.parent)] if target.file.name == "__init__.py" else None
        module = _execute(target.module, target.file, inside)
    except KeyboardInterrupt:
        raise InterruptedLoading(f"interrupted while loading {target.shown}.") from None
    except BaseException as error:  # SystemExit is a way to end for a script, not for a module that is loaded
        raise CommandError(f"cannot load {target.shown}: {_where(error, target)}{explain(error)}") from None
    finally:
        open_standard_streams()
    return _workflow_in(module, target)


def _execute(name: str, file: Path | None, inside: list[str] | None) -> ModuleType:
    if file is None:
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = inside
    else:
        loader = _SourceLoader(name, str(file))
        found = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=inside)
        assert found is not None, "a location and a loader are all that a spec is made of"
        spec = found
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    outer, _, inner = name.rpartition(".")
    if outer:
        setattr(sys.modules[outer], inner, module)
    if file is not None:
        loader.exec_module(module)
    return module


def _where(error: BaseException, target: Target) -> str:
    """Return the file and line of the target's own code that raised, as "name.py, line 3: "."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if any(Path(frame.filename).is_relative_to(root) for root in target.roots)
        and "site-packages" not in Path(frame.filename).parts
    ]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: " if frames else ""


def _workflow_in(module: ModuleType, target: Target) -> Workflow:
    names = vars(module)
    found = names.get(target.attribute or DEFAULT_ATTRIBUTE)
    if isinstance(found, Workflow):
        return found
    if target.attribute is not None:
        raise CommandError(f"{target.shown} has no {target.attribute!r} that is a Workflow.{_offered(names)}")
    workflows = {id(value): value for value in names.values() if isinstance(value, Workflow)}
    if len(workflows) == 1:
        return next(iter(workflows.values()))
    raise CommandError(f"{target.shown} has no {DEFAULT_ATTRIBUTE!r} that is a Workflow.{_offered(names)}")


def _offered(names: dict[str, object]) -> str:
    found = [name for name, value in names.items() if isinstance(value, Workflow)][:5]
    return f" It has: {', '.join(found)}; name one as TARGET:NAME." if found else ""
