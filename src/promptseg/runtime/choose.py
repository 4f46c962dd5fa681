"""Choice of the engine: the one a user names, or the quickest that agrees with eager float32, measured
once.

What was measured is remembered per machine, model, device and number of threads, in `engines.json` in
the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from promptseg._version import __version__
from promptseg.assets import cache_folder
from promptseg.errors import InputError
from promptseg.formats.files import atomic_path
from promptseg.parsing import parse_json
from promptseg.runtime.check import check
from promptseg.runtime.engine import CompileError, Engine, NotInstalled
from promptseg.runtime.engines import Eager, engine_named
from promptseg.runtime.machine import describe_machine, version_of
from promptseg.runtime.measure import interleaved
from promptseg.runtime.names import AUTO, ENGINES, TABLE
from promptseg.runtime.rewrite import FusedNetwork
from promptseg.runtime.runner import NetworkRunner, runner_of
from promptseg.runtime.trouble import in_trouble

__all__ = [
    "AUTO",
    "Trial",
    "Verdict",
    "candidates",
    "choose_engine",
    "remembered",
    "require_eager",
    "wanted_engine",
]

log = logging.getLogger("promptseg")

_ROUNDS = 3
_LONG = 2.0  # seconds after which one call is enough
_WORTH = 0.95  # another engine must take less than this of eager's time


@dataclass(frozen=True)
class Trial:
    """One engine, tried.

    Attributes:
        engine: its name.
        encode_ms: median time that one more slice costs; None if it was not used.
        decode_ms: median time of one box prompt.
        embedding: relative L2 distance to eager float32.
        note: why it was not used.
        absent: whether that is because something is not installed.
        trouble: whether it is because of the machine's state, which passes: a full disk, little memory.
    """

    engine: str
    encode_ms: float | None = None
    decode_ms: float | None = None
    embedding: float | None = None
    note: str = ""
    absent: bool = False
    trouble: bool = False


@dataclass(frozen=True)
class Verdict:
    """Choice of an engine for a model on this machine, and what was measured for it.

    Attributes:
        engine: the chosen one.
        model: name of the model.
        device: where it runs.
        threads: CPU threads.
        trials: all engines that came into question.
        created: date and time.
        wanted: the engine that was asked for; "auto" if none was.
    """

    engine: str
    model: str
    device: str
    threads: int
    trials: list[Trial] = field(default_factory=list)
    created: str = ""
    wanted: str = AUTO

    @property
    def given_up(self) -> str:
        """Tell why the engine that was asked for by name does not run; "" if it does, or none was."""
        if self.wanted in (AUTO, self.engine):
            return ""
        reasons = [t.note for t in self.trials if t.engine == self.wanted]
        return f"engine {self.wanted} was asked for and is not used: {'; '.join(reasons)}"

    @property
    def lasts(self) -> bool:
        """Tell whether the choice would be the same another day, so that it may be remembered."""
        return not self.given_up and not any(trial.trouble for trial in self.trials)

    def __str__(self) -> str:
        return f"{self.model} runs on {self.engine} here ({self.device}, {self.threads} threads)"


def wanted_engine(name: str | None) -> str:
    """Return the engine asked for: `name`, else PROMPTSEG_ENGINE, else "auto".

    Raises:
        InputError: not an engine.
    """
    chosen = name or os.environ.get("PROMPTSEG_ENGINE") or AUTO
    if chosen not in (AUTO, *ENGINES):
        raise InputError(f"an engine out of {', '.join((AUTO, *ENGINES))}", repr(chosen))
    return chosen


def require_eager(model: str, wanted: str | None = None) -> str:
    """Choose eager float32 for a network without a rewrite for inference, and refuse any other engine.

    Args:
        model: its name, for messages.
        wanted: the engine asked for; see `wanted_engine`.

    Raises:
        InputError: another engine was asked for.
    """
    name = wanted_engine(wanted)
    if name not in (AUTO, "eager"):
        raise InputError(
            f"engine eager for {model}, whose network has no rewrite for inference",
            repr(name),
            "leave --engine out",
        )
    return "eager"


def candidates(device: torch.device) -> list[str]:
    """Return the engines that come into question on a device, eager first."""
    return [entry.name for entry in TABLE if device.type in entry.devices] or ["eager"]


def choose_engine(
    network: FusedNetwork,
    device: torch.device,
    threads: int,
    model: str,
    identity: str,
    wanted: str | None = None,
) -> tuple[NetworkRunner, Verdict]:
    """Choose the engine asked for, or the quickest, and build a runner for the network on it.

    An engine that is missing, cannot compile or fails its self-check is passed over with one line of
    explanation, and eager float32 is what is left in the end. That an engine asked for by name does
    not run is said every time (`Verdict.given_up`), and it is tried again every time; what was found
    while the machine was short of disk or memory is not remembered either.

    Args:
        network: prepared, on its device.
        device: of the network.
        threads: CPU threads.
        model: its name, for messages.
        identity: hash of its weights.
        wanted: an engine or "auto"; see `wanted_engine`.

    Raises:
        InputError: not an engine.
    """
    name = wanted_engine(wanted)
    if name == "eager":
        runner = runner_of(network, Eager(), threads, identity)
        return runner, Verdict("eager", model, str(device), threads)
    key = _key(device, threads, identity, name)
    known = remembered().get(key)
    if known is not None and known.engine in ENGINES and name in (AUTO, known.engine):
        with contextlib.suppress(CompileError):
            runner = runner_of(network, engine_named(known.engine), threads, identity)
            if runner.engine.missing(device) is None:
                runner.warm()
                return runner, known
    names = candidates(device) if name == AUTO else ["eager", name]
    usable = [n for n in names[1:] if engine_named(n).missing(device) is None]
    if name == AUTO and not usable:
        return runner_of(network, Eager(), threads, identity), Verdict(
            "eager", model, str(device), threads
        )
    verdict, runner = _measure(
        network,
        device,
        threads=threads,
        model=model,
        identity=identity,
        names=names,
        by_speed=name == AUTO,
    )
    verdict = replace(verdict, wanted=name)
    if verdict.lasts:
        _remember(key, verdict)
    return runner, verdict


def remembered() -> dict[str, Verdict]:
    """Read the choices made on this machine so far; none if the file cannot be read."""
    try:
        content = parse_json(_file().read_text(encoding="utf-8"))
        return {
            key: Verdict(**{**entry, "trials": [Trial(**t) for t in entry["trials"]]})
            for key, entry in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _measure(
    network: FusedNetwork,
    device: torch.device,
    threads: int,
    model: str,
    identity: str,
    names: list[str],
    by_speed: bool,
) -> tuple[Verdict, NetworkRunner]:
    """Try the engines; eager is the first of `names`."""
    if by_speed:
        log.warning(
            "looking for the quickest way to run %s here; this is done once and takes seconds to "
            "minutes (--engine eager skips it)",
            model,
        )
    eager: NetworkRunner = runner_of(network, Eager(), threads, identity)
    with torch.inference_mode():
        expected = eager.answers()
    trials = [_timed(eager) if by_speed else Trial("eager")]
    best, best_ms = eager, (trials[0].encode_ms or float("inf")) * _WORTH
    for name in names[1:]:
        engine = engine_named(name)
        runner, trial = _tried(
            network,
            engine,
            device=device,
            threads=threads,
            identity=identity,
            timed=by_speed,
            expected=expected,
        )
        trials.append(trial)
        if runner is None:
            if not by_speed or not trial.absent:
                log.warning("%s is not used: %s", name, trial.note)
            continue
        if not by_speed or (trial.encode_ms or float("inf")) < best_ms:
            best, best_ms = runner, trial.encode_ms or 0.0
    created = time.strftime("%Y-%m-%d %H:%M:%S")
    verdict = Verdict(best.engine.name, model, str(device), threads, trials, created)
    if by_speed or best.engine.name == "eager":
        log.warning("%s", verdict)
    return verdict, best


def _tried(
    network: FusedNetwork,
    engine: Engine,
    device: torch.device,
    threads: int,
    identity: str,
    timed: bool,
    expected: tuple[Tensor, Tensor],
) -> tuple[NetworkRunner | None, Trial]:
    if reason := engine.missing(device):
        absent = isinstance(reason, NotInstalled)
        return None, Trial(engine.name, note=str(reason), absent=absent)
    runner = runner_of(network, engine, threads, identity)
    try:
        agreement = check(runner, expected)
    except (CompileError, MemoryError) as error:
        said = str(error) or type(error).__name__
        return None, Trial(engine.name, note=said, trouble=in_trouble(error, network))
    if not agreement.good:
        return None, Trial(engine.name, note=str(agreement))
    trial = _timed(runner) if timed else Trial(engine.name)
    return runner, Trial(
        engine.name, trial.encode_ms, trial.decode_ms, agreement.embedding, str(agreement)
    )


@torch.inference_mode()
def _timed(runner: NetworkRunner) -> Trial:
    """One slice and one box timed, after the check has warmed the engine up."""
    device = next(runner.network.parameters()).device

    def median_ms(call: Callable[[], Any]) -> float:
        times: list[float] = []
        while len(times) < _ROUNDS and sum(times) < _LONG:
            times += interleaved([call], 1, device)[0]
        return round(1e3 * median(times), 1)

    encode, decode = (median_ms(call) for call in runner.trial())
    return Trial(runner.engine.name, encode, decode)


def _key(device: torch.device, threads: int, identity: str, wanted: str) -> str:
    facts = {
        "promptseg": __version__,
        "weights": identity,
        "device": str(device),
        "threads": threads,
        "wanted": wanted,
        "engines": {name: engine_named(name).missing(device) for name in candidates(device)},
        "torch": torch.__version__,
        "openvino": version_of("openvino"),
        "machine": describe_machine(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _file() -> Path:
    return cache_folder() / "engines.json"


def _remember(key: str, verdict: Verdict) -> None:
    entries = {k: asdict(v) for k, v in remembered().items()}
    entries[key] = asdict(verdict)
    with contextlib.suppress(Exception):  # a cache that cannot be written costs time, no more
        _file().parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(_file()) as temporary:
            temporary.write_text(json.dumps(entries, indent=1), encoding="utf-8")
