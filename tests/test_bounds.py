"""Every number of every verb has bounds: in its help, and refused beyond them before any work."""

from __future__ import annotations

import dataclasses
import math
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from promptseg import cli
from promptseg.bounds import BOUNDS, bound_of, check_bounds, numbers_of
from promptseg.cli.options import parse
from promptseg.errors import InputError
from promptseg.runtime import set_threads

ABSURD = (10**12, -1, math.nan, math.inf, -math.inf)


class _ParsedError(Exception):
    """Stops a verb when its options are known."""


def verbs() -> dict[str, type[Any]]:
    """Every verb's dataclass of options, as its module asks for it."""
    found: dict[str, type[Any]] = {}

    def note(kind: type[Any], verb: str, *_: Any, **__: Any) -> None:
        found[verb] = kind
        raise _ParsedError

    with pytest.MonkeyPatch.context() as patch:
        modules = [
            import_module(f"promptseg.cli.{m.name}") for m in pkgutil.iter_modules(cli.__path__)
        ]
        modules = [
            module for module in modules if hasattr(module, "parse") and hasattr(module, "run")
        ]
        for module in modules:
            patch.setattr(module, "parse", note)
        for module in modules:
            for first in ([], ["check"], ["statistics"], ["list"], ["show"]):
                try:
                    module.run(first)
                except _ParsedError:
                    pass
                except Exception:  # no word of this verb
                    continue
    return found


VERBS = verbs()
NUMBERS = [(verb, name) for verb, kind in VERBS.items() for name in numbers_of(kind)]


def test_all_verbs_are_walked() -> None:
    assert {"segment", "embed", "train", "evaluate", "curate", "report", "benchmark"} <= set(VERBS)
    assert len(NUMBERS) > 80


@pytest.mark.parametrize(("verb", "name"), NUMBERS)
def test_every_number_has_bounds_that_keep_absurd_ones_out(verb: str, name: str) -> None:
    bound = bound_of(name, verb)
    absurd = [v for v in ABSURD if not (v == -1 and bound.least < 0)]
    assert not any(map(bound.holds, absurd))
    field = next(f for f in dataclasses.fields(VERBS[verb]) if f.name == name)
    default = field.default
    if isinstance(default, int | float):
        assert bound.holds(default)  # what is not given is allowed


def test_no_bound_is_of_an_option_that_is_gone() -> None:
    assert set(BOUNDS) == {name for _, name in NUMBERS}


def given(verb: str) -> list[str]:
    """What a verb cannot do without."""
    words = []
    for field in dataclasses.fields(VERBS[verb]):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            positional = field.name in ("results", "collection")
            words += ["x"] if positional else [f"--{field.name.replace('_', '-')}", "x"]
    return words


@pytest.mark.parametrize("verb", sorted({verb for verb, _ in NUMBERS}))
def test_the_command_line_refuses_and_its_help_says(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kind = VERBS[verb]
    name = list(numbers_of(kind))[-1]
    option = f"--{name.replace('_', '-')}"
    words = ["status", "x"] if verb == "timing" else given(verb)
    with pytest.raises(InputError):
        parse(kind, verb, [*words, option, str(10**12)])
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        parse(kind, verb, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    said = re.split(rf" {option} [NX] ", shown)[1][:300]
    assert f"From {bound_of(name, verb)}." in said


def test_python_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--threads from 1 to"):
        set_threads(10**5)
    monkeypatch.setenv("PROMPTSEG_THREADS", "100000")
    with pytest.raises(InputError, match="--threads from 1 to"):
        set_threads()

    @dataclasses.dataclass
    class Some:
        points_per_step: tuple[int, ...] = (1, 10**12)

    with pytest.raises(InputError, match="--points-per-step from 0 to 1000, got 1000000000000"):
        check_bounds(Some())


def test_what_this_machine_has_does_not_bound_the_workers_of_a_cluster() -> None:
    @dataclasses.dataclass
    class Some:
        workers: int = 5000
        cluster: str | None = None

    with pytest.raises(InputError, match="--workers from 1 to"):
        check_bounds(Some())
    check_bounds(Some(cluster="auto"))
    with pytest.raises(InputError, match="--workers from 1 to 100 000"):
        check_bounds(Some(workers=10**6, cluster="auto"))
