"""A round's training: what was annotated becomes a collection, and the training job goes on."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from promptseg.curate.options import CurateJob
from promptseg.datasets import DatasetOptions, open_datasets
from promptseg.datasets.collection import Collection
from promptseg.errors import InputError, did_you_mean
from promptseg.formats.detached import belonging_to
from promptseg.formats.files import atomic_path, beside
from promptseg.formats.text import read_text
from promptseg.jobs.curate import curate
from promptseg.jobs.train import train
from promptseg.loop.options import LoopOptions
from promptseg.loop.placing import linked
from promptseg.train.options import TrainOptions
from promptseg.train.outcome import Trained
from promptseg.train.validate import CLASSES, Answer, Validation
from promptseg.train.verdict import Verdict, compare
from promptseg.train.watch import asked_means

__all__ = [
    "Learnt",
    "Taken",
    "collect",
    "learn",
    "measured",
    "same_questions",
    "score_of",
    "training_options",
    "verdict_on",
]

_DATASET = "annotated"
_EVERY = 10**6
_OURS = {"input", "output", "model", "embeddings", "config", "overwrite", "warm_start", "json"}


@dataclass(frozen=True)
class Taken:
    """An annotated image.

    Attributes:
        name: of it.
        image: file, or folder of a series.
        label: masks of its objects.
        patient: whom it shows.
        part: train or validation.
    """

    name: str
    image: Path
    label: Path
    patient: str
    part: str


@dataclass(frozen=True)
class Learnt:
    """Outcome of a round's training.

    Attributes:
        trained: the training.
        start, version: how the starting weights and those of the round do on the validation part.
    """

    trained: Trained
    start: Validation
    version: Validation


def collect(
    taken: Sequence[Taken], classes: Sequence[str], folder: Path, options: LoopOptions
) -> Collection:
    """Write the images that are annotated by now as a collection to train on.

    Args:
        taken: all of them.
        classes: names of objects, in the order of their numbers.
        folder: of the round.
        options: of the loop.

    Raises:
        InputError: nothing that could be used.
        OutputError: no room.
    """
    root = folder / _DATASET
    root.mkdir(parents=True, exist_ok=True)
    for one in taken:
        _as_pair(one, root)
    content: dict[str, Any] = {
        "targets": {str(k): name for k, name in enumerate(classes, 1)},
        "patients": {one.name: one.patient for one in taken},
    }
    if options.modality:
        content["modality"] = options.modality
    with atomic_path(root / "dataset.json") as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    rows = [(_DATASET, one.name, one.part) for one in taken]
    inputs = [root]
    if options.validation is not None:
        held = Path(options.validation).expanduser()
        asked = DatasetOptions(dataset_modality=options.modality, keep_going=True)
        for dataset in open_datasets(held, asked):
            rows += [(dataset.name, case.name, "validation") for case in dataset.cases]
        inputs.append(held)
    with (
        atomic_path(folder / "parts.csv") as path,
        path.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("dataset", "case", "part"))
        writer.writerows(rows)
    return curate(
        CurateJob(
            input=tuple(inputs),
            output=folder / "collection",
            splits=folder / "parts.csv",
            look_alikes="report",
            max_slices=options.max_slices,
            window=options.window,
            dataset_modality=options.modality,
            min_pixels=0,  # the expert's word holds
            min_pixels_256=0,
            min_voxels=0,
            quiet=True,
        )
    )


def training_options(options: LoopOptions, folder: Path, classes: Sequence[str]) -> TrainOptions:
    """Return the options of a round's training: the loop's own, and those of the user's file over them.

    The encoder stays and its embeddings are kept, so that a round takes minutes. Everything that
    was annotated is learnt from anew, from the same start: versions then differ by what was
    annotated alone.

    Args:
        options: of the loop.
        folder: of the round.
        classes: that the training part shows, for a model of classes.

    Raises:
        InputError: a file with options that there are not, or that are the loop's own.
    """
    chosen: dict[str, Any] = {
        "preset": "simple-ft",
        "trains": "decoder",
        "learning_rate": 1e-4,
        "decay": 1.0,
        "batch_size": 4,
        "micro_batch": 1,
        "corrections": 2,
    }
    if options.task == "classes":
        chosen |= {"preset": "semantic-2d", "features": 16, "doublings": 2, "learning_rate": 3e-3}
        chosen |= {"micro_batch": 4, "classes": tuple(classes), "decay": None, "corrections": 0}
    chosen |= {
        "epochs": _EVERY,
        "updates": options.updates,
        "validate_every": max(1, options.updates // 2),
        "validation_images": _EVERY,
        "report_images": _EVERY,
        "balance": "none",
        "seed": options.seed,
        "workers": 0,
        "engine": options.engine,
        "device": options.device,
        "threads": options.threads,
        "quiet": options.quiet,
    }
    chosen |= _from_file(options.train)
    return TrainOptions(
        input=folder / "collection",
        output=folder / f"version-{folder.name.rpartition('-')[2]}",
        model=options.model,
        embeddings=folder.parent / "embeddings" if chosen["trains"] == "decoder" else None,
        **chosen,
    )


def learn(how: TrainOptions) -> Learnt | None:
    """Train, or go on where a training was cut off; None if it was interrupted again.

    Raises:
        PromptsegError: as of `promptseg.jobs.train.train`.
    """
    trained = train(how)
    if trained.interrupted:
        return None
    start, version = (Validation.read(how.output / f"{k}.npz") for k in ("baseline", "tuned"))
    return Learnt(trained, start, version)


def measured(found: Validation, collection: Collection, stacks: bool = False) -> Validation:
    """Return the answers on all classes of the validation part; a class a version lacks scores 0.

    So that versions of more and of fewer classes answer the same questions. Models of prompts are
    asked about every object anyway.

    Args:
        found: of a version.
        collection: what it was validated on.
        stacks: runs of slices were scored as a whole, under the name of their first.
    """
    if not any(a.prompt == CLASSES for a in found.answers):
        return found
    known = {(a.sample, a.target) for a in found.answers}
    missing = [
        Answer(
            s.key,
            s.dataset,
            modality=s.modality,
            patient=s.patient,
            target=name,
            prompt=CLASSES,
            step=0,
            dsc=0.0,
            predicted_iou=math.nan,
        )
        for s in collection.of("validation")
        if not stacks or s.key in {sample for sample, _ in known}
        for name in sorted({t.name for t in s.targets})
        if (s.key, name) not in known
    ]
    order = {s.key: k for k, s in enumerate(collection.samples)}
    answers = sorted([*found.answers, *missing], key=lambda a: (order[a.sample], a.target))
    return replace(found, answers=answers)


def same_questions(first: Validation, second: Validation) -> bool:
    """Tell whether two validations are of the same objects, asked about in the same way."""

    def asked(found: Validation) -> set[tuple[str, str, str, int]]:
        return {(a.sample, a.target, a.prompt, a.step) for a in found.answers}

    return bool(first.answers) and asked(first) == asked(second)


def score_of(found: Validation, how: TrainOptions) -> tuple[float, dict[str, float]]:
    """Return the mean DSC over the kinds of prompts that the training asks with, and that of each."""
    means = asked_means(found, how.objective().asks())
    return sum(means.values()) / len(means), means


def verdict_on(before: Validation, after: Validation, how: TrainOptions) -> Verdict | None:
    """Compare a version with the one before it; None where they were not asked the same."""
    if not same_questions(before, after):
        return None
    return compare(before, after, how.objective().asks(), "the validation part")


def _from_file(path: Path | None) -> dict[str, Any]:
    """Options of training out of a file."""
    if path is None:
        return {}
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError("a readable YAML file", f"{path} ({first})", "correct --train") from None
    if not isinstance(content, dict):
        raise InputError("a configuration of `option: value` lines", str(path), "correct --train")
    said = {str(k).replace("-", "_"): v for k, v in content.items()}
    known = {f.name: f for f in fields(TrainOptions)}
    for name in said:
        if name not in known:
            raise InputError(
                "options of promptseg train",
                f"{name} in {path}",
                did_you_mean(name, known) or "leave it out",
            )
        if name in _OURS:
            raise InputError(
                "options that the loop leaves open", f"{name} in {path}", "leave it out"
            )
    return {
        name: tuple(value) if isinstance(value, list) else _as_path(value, known[name].type)
        for name, value in said.items()
    }


def _as_path(value: Any, kind: Any) -> Any:
    return Path(value) if isinstance(value, str) and "Path" in str(kind) else value


def _as_pair(one: Taken, root: Path) -> None:
    """An image and its masks under the names of a dataset: further names of our own files."""
    stem = one.image.name if one.image.is_dir() else beside(one.image, "").name
    linked(one.image, root / f"{one.name}_image{one.image.name[len(stem) :]}")
    if one.image.is_file():
        for other in belonging_to(one.image):
            own = other.name[len(stem) :] if beside(other, "").name == stem else None
            named = own is None or one.image.suffix.lower() in (".nhdr", ".mhd")
            linked(other, root / (other.name if named else f"{one.name}_image{own}"))
    linked(one.label, root / f"{one.name}_label{one.label.name[len(one.name) :]}")
