"""nnU-Net from a collection to a model: one command, another program."""

from __future__ import annotations

import csv
import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptseg import assets
from promptseg._version import __version__
from promptseg.errors import InputError, OutputError
from promptseg.formats.colours import COLOURS
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.inference.predictor import Predictor
from promptseg.models.heads.semantic.card import ClassFacts, SemanticCard
from promptseg.models.heads.semantic.specialists import SPECIALISTS, boxed_card
from promptseg.models.nnunet.external import Answering, nnunet_python, order
from promptseg.models.nnunet.file import NNUNET, PLANS, WORK
from promptseg.models.nnunet.model import NnunetBoxes, NnunetClasses
from promptseg.noted import lines_of, refuse
from promptseg.parsing import parse_json
from promptseg.progress import step_progress
from promptseg.runtime import choose_device, set_threads
from promptseg.train.model_name import model_name
from promptseg.train.nnunet.folders import NUMBER, Group, dataset_name, write_raw
from promptseg.train.objectives import BoxChannelObjective, Objective, SemanticObjective
from promptseg.train.options import TrainOptions
from promptseg.train.outcome import Trained, noted_in
from promptseg.train.release import TRAINED_ON, data_facts, release
from promptseg.train.report import write_report
from promptseg.train.seen import images_seen
from promptseg.train.semantic.classes import classes_of, warn_of_hidden
from promptseg.train.semantic.release import release_classes
from promptseg.train.semantic.validate import validate_classes
from promptseg.train.setting import Parts, open_parts
from promptseg.train.validate import Validation, validate

__all__ = ["train_nnunet"]

log = logging.getLogger("promptseg")

_TRAINER = "nnUNetTrainer"
_EPOCH = 250  # updates, as nnU-Net has it
_OURS = (
    *("options.json", "train.csv", "model.pth", "model.safetensors", PLANS, "card.json", "card.md"),
    *(TRAINED_ON, "report.md", "report.json", "curves.png"),
)
_TAKEN = {
    *("input", "output", "config", "model", "preset", "classes", "epochs", "updates", "minutes"),
    *("cpu_minutes", "nnunet_trainer"),
    *("validate_every", "batch_size", "features", "nnunet_memory", "train_images", "seed"),
    *("validation_images", "report_images", "validation_objects", "device", "threads", "strict"),
    *("overwrite", "quiet", "json", "box_distortion", "box_distortion_sign", "workers"),
}
_FREE = {
    "output",
    "config",
    "minutes",
    "cpu_minutes",
    "seeds",
    "device",
    "threads",
    "quiet",
    "json",
    "overwrite",
    "workers",
}


def train_nnunet(options: TrainOptions) -> Trained:
    """Train nnU-Net, which is another program, on a collection.

    Args:
        options: of the training, of which nnU-Net leaves few open.

    Returns:
        What it came to.

    Raises:
        InputError: options that nnU-Net decides itself, or data that it cannot be trained on.
        ModelError: no nnU-Net, another version, or one that has failed.
        OutputError: a folder of other things.
    """
    _require_known(options)
    nnunet_python()  # before anything is done
    threads = set_threads(options.threads)
    device, objective = choose_device(options.device), options.objective()
    parts = open_parts(options)
    notes = noted_in(parts.collection)
    for line in lines_of(notes):
        log.warning("data: %s", line)
    if options.strict:
        refuse(list(notes), f"cases of {options.input}")
    names = _names(parts, objective)
    warn_of_hidden(parts.collection, [*parts.train, *parts.validation, *parts.report], names)
    work = _take_folder(options, parts)
    said = _trained(options, parts, names, objective, work, (threads, str(device)))
    weights = _weights(work)
    content = {k: said[k] for k in ("plans", "dataset", "configuration")}
    with atomic_path(options.output / PLANS) as path:
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    program = Answering({**content, "threads": threads, "device": str(device)}, weights)
    try:
        return _finish(options, parts, names, said, (program, weights, work))
    finally:
        program.close()


def _require_known(options: TrainOptions) -> None:
    """Refuse what nnU-Net decides itself."""
    trainer = options.nnunet_trainer
    if trainer is not None and not (trainer.isidentifier() and trainer.startswith(_TRAINER)):
        raise InputError(f"the name of a trainer, {_TRAINER}...", trainer, "correct it")
    if not isinstance(options.objective(), SemanticObjective | BoxChannelObjective):
        raise InputError(
            "--preset semantic-2d, semantic-3d or box-channel for nnunet", options.preset, "use one"
        )
    for each in fields(options):
        usual = each.default if each.default is not MISSING else None
        if each.name not in _TAKEN and getattr(options, each.name) != usual:
            raise InputError(
                "options that nnU-Net leaves open",
                f"--{each.name.replace('_', '-')}",
                "leave it out: its plans decide",
            )


def _names(parts: Parts, objective: Objective) -> tuple[str, ...]:
    """Of the classes; none where boxes are drawn."""
    if not isinstance(objective, SemanticObjective):
        return ()
    others = [*parts.collection.of("validation"), *parts.collection.of("test")]
    return classes_of(parts.collection.of("train"), others, objective.classes)


def _take_folder(options: TrainOptions, parts: Parts) -> Path:
    """The folder that nnU-Net works in: new, or that of the same training, which goes on."""
    folder, work = options.output, options.output / WORK
    own = OwnFolder(folder)
    own.take("train", *_OURS)
    if not own.is_ours and folder.exists() and any(folder.iterdir()):
        raise OutputError(
            "a new folder, or one with a training", f"{folder} with other files", "choose another"
        )
    if not work.exists() and not options.overwrite and any((folder / n).exists() for n in _OURS):
        raise OutputError(
            "a new folder, or one with a training of nnU-Net",
            f"{folder} with another training",
            "choose another folder, or give --overwrite",
        )
    own.check(*_OURS)
    if work.exists() and not own.owns(folder / PLANS):
        raise OutputError(
            "a new folder, or one with a training of nnU-Net",
            f"{folder} with another folder {WORK}",
            "it is left alone: choose another folder",
        )
    check_outputs((folder / name for name in _OURS), overwrite=True, reads=Reads([options.config]))
    said = {k: v for k, v in options.to_json().items() if k not in _FREE}
    if options.nnunet_trainer is None:  # as trainings of before there was a choice
        del said["nnunet_trainer"]
    binding = {**said, "collection_sha256": parts.collection.sha256}
    file = folder / "options.json"
    if options.overwrite:
        shutil.rmtree(work, ignore_errors=True)
        own.remove(*_OURS)
    elif work.exists() and _read(file).get("binding") != json.loads(json.dumps(binding)):
        raise OutputError(
            "the options that the training in this folder began with",
            str(folder),
            "give the same ones, --overwrite, or another folder",
        )
    own.claim(*_OURS)
    work.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as path:
        text = json.dumps({"schema": "promptseg training options 1", "binding": binding}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
    return work


def _read(path: Path) -> dict[str, Any]:
    try:
        said = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _trained(
    options: TrainOptions,
    parts: Parts,
    names: tuple[str, ...],
    objective: Objective,
    work: Path,
    where: tuple[int, str],
) -> dict[str, Any]:
    """Plans and trains, as far as that is not done; what nnU-Net says of it."""
    done = work / "trained.json"
    if not done.exists():
        _planned(options, parts, names, objective, work)
        iterations = options.validate_every or _EPOCH
        epochs = options.epochs
        if options.updates is not None:
            epochs = min(epochs, math.ceil(options.updates / iterations))
        asked = {
            **_about(parts, objective, work),
            "epochs": epochs,
            "iterations": iterations,
            "minutes": options.minutes,
            "cpu_minutes": options.cpu_minutes,
            "trainer": options.nnunet_trainer or _TRAINER,
            "seed": options.seed,
            "threads": where[0],
            "device": where[1],
            "again": any((work / "results").rglob("checkpoint_latest.pth")),
        }
        table = options.output / "train.csv"
        if not asked["again"]:
            table.unlink(missing_ok=True)  # of one that was cut off within its first epoch
        with step_progress("nnU-Net", epochs, options.quiet) as show:
            order("train", asked, work / "log.txt", _showing(show, table))
    return _read(done)


def _showing(show: Callable[[int, str], None], table: Path) -> Callable[[dict[str, Any]], None]:
    """Shows each epoch, and adds it to a table that a training which goes on adds to."""

    def told(facts: dict[str, Any]) -> None:
        if "epoch" in facts:
            show(int(facts["epoch"]), f"loss {facts['loss']:.3f}")
            _add_loss(table, int(facts["updates"]), float(facts["loss"]))

    return told


def _planned(
    options: TrainOptions,
    parts: Parts,
    names: tuple[str, ...],
    objective: Objective,
    work: Path,
) -> None:
    """Folders, plans and preprocessed data."""
    if (work / "planned.json").exists():
        return
    for name in ("raw", "preprocessed", "results"):
        shutil.rmtree(work / name, ignore_errors=True)
        (work / name).mkdir()
    learnt: list[Group] = [(s,) for s in parts.train]
    watched: list[Group] = [(s,) for s in parts.validation]
    if isinstance(objective, SemanticObjective) and objective.depth > 1:
        keys = {s.key for s in parts.validation}
        learnt = [run.samples for run in parts.runs[0]]
        watched = [r.samples for r in parts.runs[1] if r.samples[0].key in keys]
    jitter = objective.distortion if isinstance(objective, BoxChannelObjective) else None
    about = (parts.collection, (learnt, watched), names, jitter, options.seed)
    written = write_raw(work, *about)
    asked = {
        **_about(parts, objective, work),
        "number": NUMBER,
        "memory": options.nnunet_memory,
        "features": options.features,
        "batch_size": options.batch_size,
        "train": written.train,
        "validation": written.validation,
    }
    order("plan", asked, work / "log.txt")
    (work / "planned.json").write_text(json.dumps(asked), encoding="utf-8")


def _about(parts: Parts, objective: Objective, work: Path) -> dict[str, Any]:
    deep = isinstance(objective, SemanticObjective) and objective.depth > 1
    return {
        "folder": str(work.resolve()),
        "name": dataset_name(parts.collection),
        "configuration": "3d_fullres" if deep else "2d",
    }


def _add_loss(path: Path, update: int, loss: float) -> None:
    begun = path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        if not begun:
            table.writerow(("update", "loss"))
        table.writerow((update, loss))


def _weights(work: Path) -> dict[str, Any]:
    with np.load(work / "weights.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _finish(
    options: TrainOptions,
    parts: Parts,
    names: tuple[str, ...],
    said: Mapping[str, Any],
    made: tuple[Answering, dict[str, Any], Path],
) -> Trained:
    """Measure what came out, and write report, card and weights."""
    program, weights, work = made
    folder, strategy = options.output, options.preset_values()
    used = {"train": parts.train, "validation": parts.validation, "report": parts.report}
    data = data_facts(parts.collection, used)
    open_ = all(entry["open"] for entry in data["datasets"].values())
    licence = SPECIALISTS[NNUNET].licence
    facts: dict[str, Any] = {
        "name": model_name(options, NNUNET),
        "strategy": {"preset": options.preset, "source": strategy.source},
        "licence": licence if open_ else f"{licence}; datasets of its training are not open",
        "base_weights_sha256": None,
        "data": data,
        "options": {
            k: v for k, v in asdict(options).items() if k in _TAKEN and not isinstance(v, Path)
        },
        **{k: said[k] for k in ("configuration", "epochs", "updates", "cpu_seconds")},
        "parameters_trained": said["parameters"],
        "reported_on": parts.reported_on,
        "notes_on_data": noted_in(parts.collection),
        "decoder_at_start": "untrained",
        "before": "an empty answer: what random weights answer was not measured",
        "versions": {"promptseg": __version__, "torch": torch.__version__},
    }
    asks = strategy.objective.asks()
    seen = images_seen(parts, SPECIALISTS[NNUNET])
    file = work / "weights.npz"
    patch = said["plans"]["configurations"][said["configuration"]]["patch_size"]
    side = min(2048, max(64, *patch[-2:]))
    told = {k: v for k, v in facts.items() if k != "data"}
    if names:
        card = SemanticCard(
            name=facts["name"],
            base=NNUNET,
            classes=tuple(
                ClassFacts.of(name, COLOURS[k % len(COLOURS)]) for k, name in enumerate(names)
            ),
            side=side,
            depth=patch[0] if len(patch) == 3 else 1,
            features=0,
            doublings=0,
            licence=str(facts["licence"]),
            citation=SPECIALISTS[NNUNET].citation,
            modalities=", ".join(sorted({s.modality for s in parts.train})),
        )
        model = NnunetClasses(card, program, dict(said), file, assets.sha256_of(file))
        runs = parts.runs[1] if card.depth > 1 else []
        with step_progress("tuned: validation", len(parts.report), options.quiet) as show:
            found = validate_classes(model, parts.collection, parts.report, runs, progress=show)
        verdict = write_report(folder, _empty(found), found, told, asks, folder)
        done = release_classes(_named(weights, "network."), card, facts, folder, verdict, seen)
        return Trained(folder, verdict, done.name)
    base = boxed_card(NNUNET, side, 0)
    predictor = Predictor(NnunetBoxes(base, program, dict(said)), file, assets.sha256_of(file))
    with step_progress("tuned: validation", len(parts.report), options.quiet) as show:
        found = validate(
            predictor,
            parts.collection,
            parts.report,
            max_objects=options.validation_objects,
            seed=options.seed,
            shifted=True,
            progress=show,
        )
    verdict = write_report(folder, _empty(found), found, told, asks, folder)
    known = release(
        _named(weights, "boxed."), base, facts, folder, asks=asks, verdict=verdict, seen=seen
    )
    return Trained(folder, verdict, known.name)


def _empty(found: Validation) -> Validation:
    """The same questions, answered by nothing."""
    nothing = [answer._replace(dsc=0.0) for answer in found.answers]
    return replace(found, answers=nothing)


def _named(weights: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: torch.from_numpy(value) for name, value in weights.items()}
