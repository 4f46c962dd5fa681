"""Sentences and calls read at first sight: rules over the whole source, checked by its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
FILES = sorted(SOURCE.rglob("*.py"))

FRAGMENTS = re.compile(
    r"(What|Whether|How|Where|Which|Who|Whom|Whose|Why|When|Of|In|At|By|For|From|With|Without|To|As"
    r"|Between|Along|After|Until|That|Not|Like|Such)\b"
)
"""How the first line of a docstring may not begin: it would be no sentence."""

_VERBS = """
Add Allow Answer Append Ask Be Become Begin Build Check Choose Classify Close Compare
Compile Complete Compute Convert Copy Correct Count Crop Cut DELETE Decode Delete Divide Do
Download Draw Embed Encode End Estimate Evaluate Fill Find Fine-tune Forget Format
Freeze GET Give Go Have Join Judge Keep Leave Let List Load Log Make Map Measure Mirror
Move Multiply Note Open POST PUT Pack Parse Print Project Prompt Propagate Provide Put Read
Record Refuse Remember Remove Rename Render Replace Return Run Say Scale Score See Segment
Serve Set Split Spread Stand Start Stop Store Sum Switch Take Teach Tell Time Train Turn
Unpack Use Validate Wait Wake Work Write Yield
"""
VERBS = frozenset(_VERBS.split())
"""How functions, methods and properties begin. A verb that is missing here may be added."""

TORCH = {"permute", "view", "Sequential", "manual_initialization", "_convolution_pointwise"}
"""Functions of others that take a sequence of equal arguments, or know no names."""


def documented(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str]]:
    """Public names of a module with the first paragraph of their docstrings; the module is ""."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.AST, str]]:
        for node in body:
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            if not isinstance(node, kinds) or node.name.startswith("_"):
                continue
            yield prefix + node.name, node, first_of(node)
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")

    yield "", tree, first_of(tree)
    yield from walk(tree.body, "")


def first_of(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def fragments(tree: ast.Module) -> list[str]:
    """Names whose docstring does not begin as a sentence does."""
    wrong = []
    for name, node, said in documented(tree):
        if not said:
            continue  # Ruff asks for docstrings, where they are wanted
        word = re.split(r"[\s,;:.]", said, maxsplit=1)[0]
        plain = isinstance(node, (ast.Module, ast.ClassDef))
        if FRAGMENTS.match(said) or not (plain or word in VERBS):
            wrong.append(f"{name or 'the module'}: {said}")
    return wrong


@pytest.mark.parametrize("package", sorted({f.relative_to(SOURCE).parts[:2] for f in FILES}))
def test_docstrings_begin_with_a_sentence(package: tuple[str, ...]) -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}, {line}"
        for file in FILES
        if file.relative_to(SOURCE).parts[:2] == package
        for line in fragments(ast.parse(file.read_text("utf-8")))
    ]
    assert not wrong, "begin with a verb (VERBS) or a noun:\n" + "\n".join(wrong)


def calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines of calls that hide their parameters: packed ones, and more than six without a name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        stars = [a.value for a in node.args if isinstance(a, ast.Starred)]
        if any(isinstance(star, (ast.Tuple, ast.List)) for star in stars):
            yield node.lineno, f"{name}(*(...)): write the arguments out"
        elif len(node.args) > 6 and name not in TORCH:
            yield node.lineno, f"{name} with {len(node.args)} positional arguments: name them"


def test_no_call_hides_its_parameters() -> None:
    found = [
        f"{file.relative_to(SOURCE)}:{line}: {what}"
        for file in FILES
        for line, what in calls(ast.parse(file.read_text("utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('def f():\n    """Whether it is."""', 1),
        ('def f():\n    """The mask of it."""', 1),
        ('def f():\n    """Return the mask of it."""', 0),
        ('class A:\n    """A mask."""\n    def b(self):\n        """Of it."""', 1),
        ('"""What it does."""', 1),
        ('def _f():\n    """Of no matter."""', 0),
    ],
)
def test_the_rule_for_sentences_tells_them_apart(source: str, count: int) -> None:
    assert len(fragments(ast.parse(source))) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("f(*(a, b))", 1),
        ("f(*a)", 0),
        ("f(1, 2, 3, 4, 5, 6, 7)", 1),
        ("f(1, 2, 3, 4, 5, 6, g=7)", 0),
        ("x.permute(0, 1, 2, 3, 4, 5, 6)", 0),
    ],
)
def test_the_rule_for_calls_tells_them_apart(source: str, count: int) -> None:
    assert len(list(calls(ast.parse(source)))) == count
