"""`promptseg benchmark`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from promptseg.cli.options import parse
from promptseg.errors import InputError

if TYPE_CHECKING:
    from promptseg.runtime.choose import Verdict
    from promptseg.runtime.measure import Speed

__all__ = ["BenchmarkCommand", "run"]


@dataclass
class BenchmarkCommand:
    """Measure how fast the engines run a model on this machine, and how close to eager float32.

    Engines take turns, one call each in every round. With --show nothing is measured: it prints what
    --engine auto chose here so far, and why.
    """

    model: str = "lite-medsam"
    """Model name (see promptseg models), checkpoint file or NAME=FILE."""

    engine: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-e"])] = ()
    """Engines to compare (default: all that this machine can run)."""

    rounds: int = 7
    """Rounds."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""

    threads: int | None = None
    """CPU threads (default: PROMPTSEG_THREADS, or all)."""

    show: bool = False
    """Print what was chosen on this machine so far."""

    json: bool = False
    """Print as JSON."""

    quiet: bool = False
    """No progress."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(BenchmarkCommand, "benchmark", argv)
    if command.rounds < 1:
        raise InputError("1 round or more", str(command.rounds))
    if command.show:
        from promptseg.runtime.choose import remembered

        _show(list(remembered().values()), command.json)
        return 0
    _measure(command)
    return 0


def _show(verdicts: list[Verdict], as_json: bool) -> None:
    verdicts = [v for v in verdicts if any(t.encode_ms is not None for t in v.trials)]
    if as_json:
        print(json.dumps([asdict(v) for v in verdicts], indent=2))
        return
    if not verdicts:
        print("nothing was chosen here yet: it is when a model is first used with --engine auto")
    for verdict in verdicts:
        print(f"{verdict}, measured {verdict.created}")
        for trial in verdict.trials:
            times = (
                f"slice {trial.encode_ms:.0f} ms, box {trial.decode_ms:.0f} ms"
                if trial.encode_ms is not None and trial.decode_ms is not None
                else "not timed"
            )
            mark = "*" if trial.engine == verdict.engine else " "
            print(f"{mark} {trial.engine:<14} {times}{'; ' + trial.note if trial.note else ''}")


def _measure(command: BenchmarkCommand) -> None:
    import torch

    from promptseg.inference.predictor import Predictor
    from promptseg.progress import step_progress
    from promptseg.runtime import set_threads
    from promptseg.runtime.choose import candidates, wanted_engine
    from promptseg.runtime.engines import CompileError, engine_named
    from promptseg.runtime.machine import describe_machine
    from promptseg.runtime.measure import measure_runners
    from promptseg.runtime.runner import runner_of

    threads = set_threads(command.threads)
    predictor = Predictor.load(command.model, command.device, command.quiet, "eager")
    device, network = predictor.device, predictor.require_rewrite("can be compared").network
    names = [wanted_engine(name) for name in command.engine] or candidates(device)
    engines = [engine_named(n) for n in dict.fromkeys(["eager", *names]) if n != "auto"]
    left_out: dict[str, str] = {e.name: reason for e in engines if (reason := e.missing(device))}
    runners = []
    for engine in engines:
        if engine.name in left_out:
            continue
        runner = runner_of(network, engine, threads, predictor.weights_sha256)
        try:
            runner.warm()
        except CompileError as error:
            if engine.name in command.engine:
                raise
            left_out[engine.name] = str(error)
            continue
        runners.append(runner)
    with step_progress("rounds", command.rounds, command.quiet) as update:
        speeds = measure_runners(runners, command.rounds, lambda n: update(n, command.model))
    facts: dict[str, Any] = {
        "model": predictor.card.name,
        "device": str(device),
        "threads": threads,
        "rounds": command.rounds,
        "machine": describe_machine(),
        "torch": torch.__version__,
        "engines": [_facts(s, speeds[0]) for s in speeds],
        "left_out": left_out,
    }
    if command.json:
        print(json.dumps(facts, indent=2))
        return
    _table(facts, speeds)


def _facts(speed: Speed, eager: Speed) -> dict[str, Any]:
    return {
        "engine": speed.engine,
        "encode_s": speed.encode,
        "decode_s": speed.decode,
        "encode_ratio": median(eager.encode) / median(speed.encode),
        "decode_ratio": median(eager.decode) / median(speed.decode),
        **asdict(speed.agreement),
        "usable": speed.agreement.good,
    }


def _table(facts: dict[str, Any], speeds: list[Speed]) -> None:
    from promptseg.runtime.measure import spread

    print(f"{facts['model']} on {facts['device']}, {facts['threads']} threads, ", end="")
    print(f"{facts['machine']['processor']}")
    head = f"{'engine':<14}{'slice, ms':>20}{'x eager':>9}{'box, ms':>18}{'x eager':>9}{'distance':>10}"
    print(head)
    for speed, entry in zip(speeds, facts["engines"], strict=True):
        line = f"{speed.engine:<14}{spread(speed.encode):>20}{entry['encode_ratio']:>9.2f}"
        line += (
            f"{spread(speed.decode):>18}{entry['decode_ratio']:>9.2f}{entry['embedding']:>10.2g}"
        )
        print(line + ("" if entry["usable"] else "  too far: never chosen"))
    for name, reason in facts["left_out"].items():
        print(f"{name:<14}not here: {reason}")
    print(
        "median (fastest-slowest) of one slice and one box; distance: relative L2 distance of the "
        "embedding to eager float32"
    )
