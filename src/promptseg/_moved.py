"""Names that have moved: importable from their old place for one version, with a deprecation note."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

__all__ = ["MODULES", "install", "moved_names", "old_argument", "old_method"]

_Class = TypeVar("_Class")

MODULES = {
    "promptseg.curate.collection": "promptseg.datasets.collection",
    "promptseg.curate.job": "promptseg.jobs.curate",
    "promptseg.evaluate.datasets": "promptseg.datasets",
    "promptseg.evaluate.hashes": "promptseg.datasets.hashes",
    "promptseg.evaluate.leaks": "promptseg.datasets.leaks",
    "promptseg.evaluate.manifest": "promptseg.datasets.manifest",
    "promptseg.evaluate.metrics": "promptseg.metrics",
    "promptseg.evaluate.prompting": "promptseg.simulate",
    "promptseg.evaluate.report.plots": "promptseg.evaluate.report.figures",
    "promptseg.evaluate.report.plots.style": "promptseg.plots.style",
    "promptseg.evaluate.report.statistics": "promptseg.metrics.statistics",
    "promptseg.evaluate.run": "promptseg.jobs.evaluate",
    "promptseg.evaluate.study": "promptseg.timing",
    "promptseg.export.job": "promptseg.jobs.export",
    "promptseg.facts": "promptseg.jobs.info",
    "promptseg.facts.dicom": "promptseg.formats.dicom.facts",
    "promptseg.facts.gather": "promptseg.jobs.info",
    "promptseg.formats.convert": "promptseg.jobs.convert",
    "promptseg.models.sam": "promptseg.models.families.sam",
    "promptseg.promptfile": "promptseg.formats.promptfile",
    "promptseg.segment.batch": "promptseg.jobs.batch",
    "promptseg.segment.embed": "promptseg.jobs.embed",
    "promptseg.segment.embeddings": "promptseg.inference.embeddings",
    "promptseg.segment.existing": "promptseg.jobs.existing",
    "promptseg.segment.job": "promptseg.jobs.segment",
    "promptseg.segment.predictor": "promptseg.inference.predictor",
    "promptseg.segment.remote": "promptseg.jobs.remote",
    "promptseg.segment.replay": "promptseg.jobs.replay",
    "promptseg.segment.stack": "promptseg.inference.embedded",
    "promptseg.train.job": "promptseg.jobs.train",
}
"""Old module name -> new one. Modules inside a moved package follow it."""


def _new_name(old: str) -> str | None:
    """The new name of a module that has moved itself or inside its package."""
    package, _, rest = old, "", ""
    while package:
        if package in MODULES:
            return MODULES[package] + rest
        package, _, last = package.rpartition(".")
        rest = f".{last}{rest}"
    return None


class _Alias(Loader):
    """Gives the module that stands under the new name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module under its new name."""
        module = import_module(self.name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs twice; the module keeps the spec of its new name."""
        module.__spec__ = self._spec


class _Finder(MetaPathFinder):
    """Answers for old names alone, after everything that is really there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec that loads the module under its new name, and says so once per importing line."""
        new = _new_name(fullname) if fullname.startswith("promptseg.") else None
        if new is None:
            return None
        note = f"{fullname} is now {new}; the old name goes with the next version"
        warnings.warn(note, DeprecationWarning, stacklevel=2)
        return ModuleSpec(fullname, _Alias(new))


def install() -> None:
    """Let old names be imported. Calling it again does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def moved_names(package: str, names: dict[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a module which finds names that moved (name -> their module now).

    Examples:
        >>> from promptseg import _moved
        >>> _moved.moved_names("promptseg", {"Axis": "promptseg.geometry"})("Nothing")
        Traceback (most recent call last):
        AttributeError: module 'promptseg' has no attribute 'Nothing'
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the module's own
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        note = (
            f"{package}.{name} is now {names[name]}.{name}; the old name goes with the next version"
        )
        warnings.warn(note, DeprecationWarning, stacklevel=2)
        return getattr(import_module(names[name]), name)

    return __getattr__


def old_method(old: str, new: str) -> Callable[..., Any]:
    """Return the method `new` for a class to have under its old name, too, with a deprecation note.

    Examples:
        >>> class Session:
        ...     def result(self):
        ...         return 42
        ...     answer = old_method("answer", "result")
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     (Session().answer(), str(said[0].message))
        (42, 'answer is now result; the old name goes with the next version')
    """

    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        note = f"{old} is now {new}; the old name goes with the next version"
        warnings.warn(note, DeprecationWarning, stacklevel=2)
        return getattr(self, new)(*arguments, **keywords)

    return method


def old_argument(old: str, new: str) -> Callable[[type[_Class]], type[_Class]]:
    """Let a class take its argument and attribute `new` under the old name, too, with a note.

    Examples:
        >>> @old_argument("moving", "video")
        ... class Image:
        ...     def __init__(self, video=False):
        ...         self.video = video
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     (Image(moving=True).moving, len(said))
        (True, 2)
    """
    note = f"{old} is now {new}; the old name goes with the next version"

    def decorated(kind: type[_Class]) -> type[_Class]:
        begin: Callable[..., None] = kind.__init__

        @wraps(begin)
        def __init__(self: _Class, *arguments: Any, **keywords: Any) -> None:  # noqa: N807
            if old in keywords:
                warnings.warn(note, DeprecationWarning, stacklevel=2)
                keywords[new] = keywords.pop(old)
            begin(self, *arguments, **keywords)

        def attribute(self: _Class) -> Any:
            warnings.warn(note, DeprecationWarning, stacklevel=2)
            return getattr(self, new)

        setattr(kind, "__init__", __init__)  # noqa: B010 - mypy knows no assigned methods
        setattr(kind, old, property(attribute))
        return kind

    return decorated
