"""The reference of the public Python names, each with the docstring of the place that defines it."""

from __future__ import annotations

from importlib import import_module

__all__ = ["PACKAGES", "python_page"]

PACKAGES = {
    "promptseg": "Everything that a first program needs.",
    "promptseg.metrics": "Scores of masks and statistics of scores.",
    "promptseg.datasets": "Layouts of datasets, cases and patients.",
    "promptseg.simulate": "Prompts as a simulated user gives them.",
    "promptseg.models": "Cards of models.",
    "promptseg.timing": "Annotation times.",
}
"""Package -> what it is for."""

_HEAD = """# Python

Public names with their signatures, units, errors and examples, taken from the source. Options that
stand in a dataclass are listed with the verb that takes them ([options](options.md)).
"""


_MEMBER = "::: {package}.{name}\n    options:\n      heading_level: 3"


def python_page() -> str:
    """Return the page in Markdown, with a line for mkdocstrings in place of every name."""
    parts = [_HEAD]
    for package, about in PACKAGES.items():
        parts += [f"## {package}", about]
        parts += [_MEMBER.format(package=package, name=name) for name in _names(package)]
    return "\n\n".join(parts) + "\n"


def _names(package: str) -> list[str]:
    """The classes and functions of a package; constants have no docstring to show."""
    return [n for n in import_module(package).__all__ if not n.isupper() and n[0] != "_"]
