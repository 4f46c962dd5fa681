"""The floors of the house: imports point downwards, lazy ones included, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import promptseg

SOURCE = Path(promptseg.__file__).parent

# From the ground up. Rooms on one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("names",),
    ("_version", "errors", "progress", "notes", "_moved", "_lazy", "telemetry", "leftovers"),
    ("geometry", "bounds", "noted", "parsing", "provenance", "terms", "assets"),
    ("prompts",),
    ("image",),
    ("intensity",),
    ("display", "metrics"),
    ("formats", "models"),
    ("result", "runtime"),
    ("inference",),
    ("segment",),
    ("datasets", "simulate", "slides", "plots", "work", "compat"),
    ("curate", "train", "evaluate", "export", "timing"),
    ("jobs",),
    ("serve",),
    ("loop",),
    ("cli",),
    ("__main__", "__init__"),  # the public face: it may look at every floor
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


class Arrow(NamedTuple):
    """One import: which module looks at which, where, and whether only for its types."""

    user: str
    used: str
    line: int
    typing: bool


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("promptseg", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """The room a module is in: a package or module right under `promptseg`."""
    return ([*module.split("."), "__init__"])[1]


def imported(node: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """Names of modules that a statement, or a call of import_module, imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            yield name if name in known else str(node.module)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
        first = node.args[0]
        if isinstance(first, ast.JoinedStr):  # f"promptseg.formats.{name}": some module in there
            first = ast.Constant(f"{getattr(first.values[0], 'value', '')}*")
        if isinstance(first, ast.Constant):
            yield str(first.value)


def for_types(tree: ast.Module) -> set[int]:
    """Identities of the nodes under `if TYPE_CHECKING:`."""
    return {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and getattr(test.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(test)
    }


def arrows() -> list[Arrow]:
    known, found = modules(), []
    for user, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing = for_types(tree)
        for node in ast.walk(tree):
            for used in imported(node, known):
                if used.split(".")[0] == "promptseg" and used != user:
                    line = getattr(node, "lineno", 0)
                    found.append(Arrow(user, used, line, id(node) in typing))
    return found


ARROWS = arrows()


def test_every_room_stands_on_a_floor() -> None:
    assert {room(module) for module in modules()} <= set(FLOOR)


def test_arrows_point_downwards() -> None:
    upwards = [
        f"{arrow.user}:{arrow.line} -> {arrow.used}"
        for arrow in ARROWS
        if room(arrow.user) not in ("__init__", room(arrow.used))
        and FLOOR[room(arrow.used)] >= FLOOR[room(arrow.user)]
    ]
    assert upwards == []


def test_there_is_no_circle_of_modules() -> None:
    """What is imported for its types alone does not count: it is not there when the code runs."""
    known = set(modules())
    below: dict[str, set[str]] = {module: set() for module in known}
    for arrow in ARROWS:
        if not arrow.typing and arrow.used in known:
            below[arrow.user].add(arrow.used)
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("def f():\n    from promptseg.formats import read", "promptseg.formats"),
        ("import promptseg.cli.main", "promptseg.cli.main"),
        ("from promptseg import assets", "promptseg.assets"),
        ("import_module(f'promptseg.cli.{verb}')", "promptseg.cli.*"),
    ],
)
def test_every_way_to_import_is_seen(code: str, used: str) -> None:
    nodes = ast.walk(ast.parse(code))
    assert used in {name for node in nodes for name in imported(node, modules())}
