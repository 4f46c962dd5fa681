"""`promptseg curate check` and `promptseg curate statistics`: a collection before training."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from promptseg.cli.options import parse
from promptseg.curate.preflight import PreflightOptions
from promptseg.errors import InputError
from promptseg.names import for_terminal

__all__ = ["CheckCommand", "StatisticsCommand", "run"]

_Output = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]


@dataclass(kw_only=True)
class CheckCommand(PreflightOptions):
    """Look for what would waste hours of training: missing parts, leaks between parts, damaged shards,
    targets too small for the model; and estimate time and memory on this machine.

    Writes preflight.md, preflight.json, sheet.png (samples with simulated prompts) and sizes.png. Exit
    code 2 if training should not be started.
    """

    collection: tyro.conf.Positional[Path]
    """Folder of the collection."""

    preset: str = "medicosam"
    """Training strategy whose rounds are estimated: medsam, simple-ft, medicosam, ft-sam, sam-med2d."""

    batch_size: int = 1
    """Images on the device at a time."""

    epochs: int = 1
    """For how many epochs to estimate."""

    output: _Output = None
    """Folder for the files (default: preflight/ in the collection)."""

    json: bool = field(default=False)
    """Print what was found as JSON."""


@dataclass
class StatisticsCommand:
    """Count images, masks, patients and classes of a collection, per dataset and per modality.

    Writes statistics.csv, statistics.md and modalities.png.
    """

    collection: tyro.conf.Positional[Path]
    """Folder of the collection."""

    output: _Output = None
    """Folder for the files (default: statistics/ in the collection)."""

    json: bool = False
    """Print as JSON."""


def run(argv: list[str]) -> int:
    """Run `check` or `statistics`, which is the first word; returns the exit code."""
    action = argv[0] if argv else ""
    if action == "check":
        return _check(parse(CheckCommand, "curate check", argv[1:]))
    if action == "statistics":
        return _statistics(parse(StatisticsCommand, "curate statistics", argv[1:]))
    raise InputError("check or statistics", repr(action), "see promptseg curate --help")


def _check(command: CheckCommand) -> int:
    from promptseg.curate.estimate import Plan
    from promptseg.curate.preflight import preflight
    from promptseg.curate.preflight_report import as_json
    from promptseg.train.objectives.settings import PRESETS, ClipObjective, SemanticObjective

    if command.preset not in PRESETS:
        raise InputError(
            f"a preset out of {', '.join(PRESETS)}",
            repr(command.preset),
            "choose one with --preset",
        )
    preset = PRESETS[command.preset]
    if isinstance(preset.objective, SemanticObjective):
        raise InputError(
            "a preset of prompts, whose cost can be estimated",
            command.preset,
            "leave --preset out: the data are checked alike",
        )
    plan = Plan(
        n_steps=preset.objective.n_steps,
        n_objects=preset.objective.n_objects,
        encoder=preset.trains not in ("decoder", "prompts+decoder", "memory"),
        frames=preset.objective.frames if isinstance(preset.objective, ClipObjective) else 1,
        batch_size=command.batch_size,
        epochs=command.epochs,
    )
    folder = command.output or command.collection / "preflight"
    found = preflight(command.collection, plan, command, folder)
    if command.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        total = found.statistics.total
        print(
            f"{total.images:,} images with {total.masks:,} masks: {total.train:,} for training, "
            f"{total.validation:,} for validation, {total.test:,} for testing; {found.read:,} read"
        )
        if found.estimate is not None:
            print(f"{command.preset}: {found.estimate}")
        print(f"see {folder / 'preflight.md'}")
    for line in found.warnings:
        print(f"warning: {for_terminal(line)}", file=sys.stderr)
    for line in found.errors:
        print(f"error: {for_terminal(line)}", file=sys.stderr)
    return 0 if found.passed else 2


def _statistics(command: StatisticsCommand) -> int:
    from promptseg.curate.statistics import count, write_statistics
    from promptseg.datasets.collection import Collection

    found = count(Collection(command.collection))
    paths = write_statistics(found, command.output or command.collection / "statistics")
    if command.json:
        print(json.dumps(found.to_json(), indent=1))
        return 0
    for line in [*found.modalities, found.total]:
        print(
            f"{line.modality:<12}{line.images:>9,} images{line.masks:>10,} masks"
            f"{line.patients:>8,} patients{len(line.targets):>5} classes"
        )
    print(f"see {paths[1]}")
    return 0
