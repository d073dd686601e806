"""Functions of the user's that build models: `path/to/file.py:factory`, `package.module:factory`."""

import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast

from torch import nn

from holdfast.core.errors import InputError


def load_factory(spec: str) -> Callable[[], nn.Module]:
    """The function behind `path/to/file.py:factory` or `package.module:factory`; runs that code."""
    place, _, attribute = spec.rpartition(":")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    if not hasattr(module, attribute):
        near = get_close_matches(attribute, dir(module), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"define {attribute}() there"
        raise InputError(f"{place} has no {attribute!r}", got=spec, fix=hint)
    factory = getattr(module, attribute)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise InputError(
            f"{spec} must be a function that makes a fresh model",
            got=f"an object of type {type(factory).__name__}",
            fix=f"write def {attribute}(): return ...",
        )
    return cast(Callable[[], nn.Module], factory)


class _Source(importlib.machinery.SourceFileLoader):
    """Runs the source itself, never compiled code beside it that may be another's."""

    def get_code(self, fullname: str) -> CodeType:
        """The source, compiled now."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _import_file(path: Path) -> ModuleType:
    """Run a file of the user's as a module of its own, with its folder on the path meanwhile."""
    path = file_at(str(path)).resolve()
    name = f"holdfast_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    loader = _Source(name, str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader))
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up here
    try:
        with _on_path(path.parent):
            loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(
            f"{path} failed when it was imported", got=first_line(error), fix="mend the file"
        ) from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        with _on_path(Path.cwd()):
            return importlib.import_module(name)
    except Exception as error:  # the user's own code may raise anything
        raise InputError(
            f"the module {name} cannot be imported",
            got=first_line(error),
            fix="check the name, or give path/to/file.py:factory",
        ) from error


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def file_at(spec: str) -> Path:
    """An existing file."""
    path = Path(spec).expanduser()
    if not path.is_file():
        raise InputError("no model file is there", got=spec, fix="check the path")
    return path


def first_line(error: BaseException) -> str:
    """Kind and first line of an error of somebody else's."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
