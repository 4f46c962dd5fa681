"""A training from beginning to end: baseline, loop, report, weights to keep."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from promptseg import assets
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.jobs.seeds import begin_seeds, of_each_seed
from promptseg.metrics.statistics import FEWEST_PAIRS
from promptseg.models.cards import model_file
from promptseg.models.families.sam import Sam
from promptseg.models.families.sam3 import model as sam3
from promptseg.models.heads.semantic.model import preprocessing_of
from promptseg.models.nnunet.file import NNUNET, WORK
from promptseg.noted import lines_of, refuse
from promptseg.parsing import parse_json
from promptseg.progress import step_progress
from promptseg.runtime import choose_device, set_threads
from promptseg.train.boxed import BoxedStart
from promptseg.train.determinism import deterministic
from promptseg.train.image_sam2 import ImageSam2
from promptseg.train.kept import KeptEmbeddings, keep_embeddings
from promptseg.train.logs import BOARD, open_logs, require_packages
from promptseg.train.loop import Loop, TrainingError
from promptseg.train.named import TrainingPhrases
from promptseg.train.objectives import BoxChannelObjective, ClipObjective, WordObjective
from promptseg.train.options import TrainOptions
from promptseg.train.outcome import SEMANTIC, Trained, finish, noted_in
from promptseg.train.parts import encoder_learns
from promptseg.train.processes import Processes, is_restart, process_group
from promptseg.train.release import TRAINED_ON
from promptseg.train.samples import TrainingImages
from promptseg.train.seeds import SEED_FILES, write_seeds
from promptseg.train.seen import reported_and_seen
from promptseg.train.semantic.classes import warn_of_hidden
from promptseg.train.semantic.samples import Setting, TrainingClasses, TrainingStacks
from promptseg.train.semantic.start import SemanticStart, is_of_classes, semantic_learner
from promptseg.train.sequences import TrainingClips
from promptseg.train.setting import (
    Learner,
    Parts,
    StartingWeights,
    open_parts,
    worker_count,
)
from promptseg.train.state import Progress, load_state
from promptseg.train.stopping import End, listening
from promptseg.train.validate import Validation
from promptseg.train.warm import WARM, read_warm, restore
from promptseg.train.watch import Watch, load_predictor, measure_file

__all__ = ["train", "training_images"]

log = logging.getLogger("promptseg")

_STATE = "last.pt"
_OPTIONS = "options.json"
_WARMUP = 20  # updates after a warm restart
_SCHEMA = "promptseg training options 1"
_OURS = (
    *(_STATE, _OPTIONS, "best.safetensors", SEMANTIC, "candidate.safetensors", "bad_batch.pt"),
    *("baseline.npz", "tuned.npz", "train.csv", "validation.csv", "mlflow_run"),
    WARM,
    *("model.pth", "model.safetensors", "semantic.safetensors", "card.json", "card.md", TRAINED_ON),
    *("report.md", "report.json", "curves.png"),
)


def train(options: TrainOptions) -> Trained:
    """Fine-tune a model.

    Args:
        options: what, on what, and how.

    Returns:
        What it came to, or that it was interrupted and can go on.

    Raises:
        PromptsegError: bad options, data or weights, or a training that cannot go on; the state before
            is kept.
    """
    options.check()
    if options.seeds > 1:
        return _of_seeds(options)
    if options.model == NNUNET:
        from promptseg.train.nnunet.run import train_nnunet

        return train_nnunet(options)
    for name in ("nnunet_memory", "nnunet_trainer"):
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} with --model nnunet", options.model, "leave it out")
    if is_restart():  # what there is by now is its own
        options = replace(options, overwrite=False)
    require_packages(options.log)
    set_threads(options.threads)
    with (
        process_group(choose_device(options.device)) as processes,
        deterministic(options.deterministic),
    ):
        parts = open_parts(options)
        notes = noted_in(parts.collection)
        if processes.leads:
            for line in lines_of(notes):
                log.warning("data: %s", line)
        if options.strict:
            refuse(list(notes), f"cases of {options.input}")
        start, learner = _start(options, parts, processes)
        binding = {
            **options.binding(),
            "collection_sha256": parts.collection.sha256,
            "weights_sha256": start.sha256,
        }
        progress = _begin(options, learner, binding, processes)
        if processes.leads and parts.patients_reported < FEWEST_PAIRS:
            log.warning(
                "there will be no verdict but 'too few to tell': the report is on %s, images of %d "
                "patient%s, and %d are needed; curate with a larger share for it, or raise "
                "--report-images",
                parts.reported_on,
                parts.patients_reported,
                "s" * (parts.patients_reported != 1),
                FEWEST_PAIRS,
            )
        if processes.leads and (seen := reported_and_seen(parts, start.card)):
            log.warning(
                "%s was trained on %d of the %d images of the report: its numbers are too good there; "
                "keep patients that it has not seen for the test part",
                start.card.name,
                seen,
                len(parts.report),
            )
        kept = _kept(start, learner, parts, options, processes)
        baseline = _baseline(start, parts, options, processes, kept)
        end = _train(
            start,
            learner,
            parts=parts,
            options=options,
            processes=processes,
            progress=progress,
            binding=binding,
            kept=kept,
        )
        if end == "interrupted":
            if processes.leads:
                again = " without --overwrite" if options.overwrite else ""
                log.warning(
                    "stopped after update %d; give the same command again%s to go on",
                    progress.updates,
                    again,
                )
            return Trained(options.output, interrupted=True)
        tuned = _tuned(start, parts, options, processes, kept)
        trained = Trained(options.output)
        if processes.leads:
            trained = finish(start, learner, parts, options, progress, (baseline, tuned))
        processes.wait()
    return trained


def _of_seeds(options: TrainOptions) -> Trained:
    """One training after the other, a seed each, and how far they lie apart."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--seeds in one process", "torchrun", "train each --seed by itself")
    if options.json:
        raise InputError("--json of one training", f"--seeds {options.seeds}", "read seeds.csv")
    own = begin_seeds(options.output, "train --seeds", SEED_FILES, beside=_OPTIONS)
    each = of_each_seed(options)
    shared = options.embeddings
    for one in each.values():
        if not _stopped_by_time(one):
            trained = train(replace(one, embeddings=shared))
            if trained.interrupted:
                return replace(trained, folder=options.output)
        made = one.output / "embeddings"  # of a frozen encoder: the next ones take them as they are
        shared = shared or (made if made.is_dir() else None)
    own.claim(*SEED_FILES)
    folders = {seed: one.output for seed, one in each.items()}
    return Trained(options.output, seeds=write_seeds(options.output, folders))


def _stopped_by_time(options: TrainOptions) -> bool:
    """Whether this training has had the time that it may take: given again, it would go on."""
    if options.overwrite or (options.minutes is None and options.cpu_minutes is None):
        return False
    try:
        said = parse_json((options.output / _OPTIONS).read_text(encoding="utf-8"))
        same = said["schema"] == _SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        return False
    asked = json.loads(json.dumps({**options.binding(), **options.length()}))
    return (
        same
        and (options.output / "report.json").exists()
        and all(said.get(name) == value for name, value in asked.items())
    )


def _start(
    options: TrainOptions, parts: Parts, processes: Processes
) -> tuple[StartingWeights, Learner]:
    """The model to be trained, and how it learns."""
    quiet = options.quiet or not processes.leads
    if is_of_classes(options):
        start = SemanticStart.of(options, parts, quiet)
        if processes.leads:
            seen = [*parts.train, *parts.validation, *parts.report]
            warn_of_hidden(parts.collection, seen, start.semantic.names)
        return start, semantic_learner(start, options, parts, processes.device)
    if isinstance(options.objective(), BoxChannelObjective):
        plain = BoxedStart.of(options, quiet)
    else:
        plain = StartingWeights.load(options.model, quiet)
    return plain, Learner.of(plain, options, processes.device)


def _begin(
    options: TrainOptions, learner: Learner, binding: dict[str, Any], processes: Processes
) -> Progress:
    """The state of a training that is there already, or a folder for a new one."""
    folder, state = options.output, options.output / _STATE
    if processes.leads:
        _take_folder(options)
    processes.wait()
    progress = Progress()
    if state.exists():
        progress = load_state(state, learner.modules, learner.optimizer, learner.average, binding)
    elif options.warm_start is not None:
        progress = _warm_restart(learner, options.warm_start, processes)
    if len(set(processes.gather(progress.updates))) > 1:
        raise OutputError(
            "a folder that all processes share", f"{folder}, which some of them see otherwise"
        )
    if processes.leads:
        with atomic_path(folder / _OPTIONS) as path:
            said = {"schema": _SCHEMA, **options.to_json()}
            path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        if progress.updates and not options.quiet:
            log.info("going on after update %d", progress.updates)
    return progress


def _warm_restart(learner: Learner, file: Path, processes: Processes) -> Progress:
    """The learner with the weights of a file, and the updates that they have behind them."""
    tensors, updates = read_warm(file)
    changed = restore(learner.sam, tensors, file)
    if processes.leads:
        log.info(
            "warm restart after update %d: %d of %d tensors from %s, a new optimizer",
            updates,
            len(changed),
            len(tensors),
            file,
        )
    return Progress(updates=updates, restarted=updates)


def _take_folder(options: TrainOptions) -> None:
    """Refuse what is no folder, or holds other things than a training; list what this one will write.

    With `overwrite`, what a training left goes; embeddings stay, as they depend on the weights alone.
    """
    folder = options.output
    reads = Reads([model_file(options.model)[1], options.config])
    own = OwnFolder(folder)
    own.take("train", *_OURS, BOARD)
    if not own.is_ours and folder.exists() and any(folder.iterdir()):
        _require_training(folder)
        own.claim(*(name for name in _OURS if (folder / name).exists()), taken=True)
    own.check(*_OURS)
    if (folder / WORK).exists() and not options.overwrite:
        raise OutputError(
            "a new folder, or one with this training",
            f"{folder} with one of nnU-Net",
            "choose another",
        )
    check_outputs((folder / name for name in _OURS), overwrite=True, reads=reads)
    if options.overwrite:
        own.check(BOARD)
        own.remove(*_OURS, BOARD)
    own.claim(*_OURS)


def _require_training(folder: Path) -> None:
    """Refuse a folder without the options of a training, as versions without lists left them."""
    try:
        ours = parse_json((folder / _OPTIONS).read_text(encoding="utf-8"))["schema"] == _SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise OutputError(
            "a new folder, or one with a training", f"{folder} with other files", "choose another"
        )


def _baseline(
    start: StartingWeights,
    parts: Parts,
    options: TrainOptions,
    processes: Processes,
    kept: KeptEmbeddings | None,
) -> Validation:
    """What the starting weights can do, on the samples of the report."""
    return _measured(
        "baseline",
        start.file,
        start=start,
        parts=parts,
        options=options,
        processes=processes,
        kept=kept,
    )


def _tuned(
    start: StartingWeights,
    parts: Parts,
    options: TrainOptions,
    processes: Processes,
    kept: KeptEmbeddings | None,
) -> Validation:
    """What the best weights can do, on the same samples."""
    best = options.output / "best.safetensors"
    _require_change(start, best)
    return _measured(
        "tuned", best, start=start, parts=parts, options=options, processes=processes, kept=kept
    )


def _measured(
    name: str,
    file: Path,
    start: StartingWeights,
    parts: Parts,
    options: TrainOptions,
    processes: Processes,
    kept: KeptEmbeddings | None,
) -> Validation:
    path = options.output / f"{name}.npz"
    about = json.dumps(
        [
            *(assets.sha256_of(file), parts.collection.sha256, options.engine, options.seed),
            *(options.corrections, options.validation_objects, [s.key for s in parts.report]),
            *([clip.frames] if isinstance(clip := options.objective(), ClipObjective) else []),
            *([start.semantic.to_json()] if isinstance(start, SemanticStart) else []),
            *(["words"] if isinstance(clip, WordObjective) else []),
        ]
    )
    if path.exists():
        found = Validation.read(path)
        if found.about == about:
            return found
    with step_progress(
        f"{name}: validation", len(parts.report) // processes.count, _silent(options, processes)
    ) as show:
        about_it = (start, file, parts, options, processes)
        found = measure_file(*about_it, report=True, kept=kept, show=show)
    found.about = about
    if processes.leads:
        found.write(path)
    processes.wait()
    return found


def _train(
    start: StartingWeights,
    learner: Learner,
    parts: Parts,
    options: TrainOptions,
    processes: Processes,
    progress: Progress,
    binding: dict[str, Any],
    kept: KeptEmbeddings | None,
) -> End:
    """The loop, with its logs."""
    seen = [run.samples[0] for run in parts.runs[0]] or parts.train
    schedule = replace(learner.schedule(options, seen), restarted=progress.restarted)
    if progress.restarted and not options.warmup:
        schedule = replace(schedule, warmup=_WARMUP)
    if progress.updates >= schedule.updates and progress.best_score is not None:
        return "done"
    logs = (
        open_logs(options.output, progress.updates, options.log, options.to_json())
        if processes.leads
        else []
    )
    watch = Watch(
        start,
        learner,
        parts=parts,
        options=options,
        processes=processes,
        progress=progress,
        binding=binding,
        logs=logs,
        every=options.validate_every or schedule.per_epoch,
        last=schedule.updates,
        kept=kept,
    )
    loop = Loop(
        learner.sam,
        learner.algorithm,
        parameters=learner.parameters,
        optimizer=learner.optimizer,
        images=training_images(parts, learner, options, start, kept),
        schedule=schedule,
        processes=processes,
        seed=options.seed,
        precision=_precision(options, processes),
        clip=options.clip or learner.strategy.clip,
        train_batch_norm=options.train_batch_norm,
        average=learner.average,
        progress=progress,
        workers=worker_count(options),
        folder=options.output,
    )
    title = f"{start.card.name}, {options.preset}"
    try:
        with (
            listening(options.minutes, options.cpu_minutes) as stop,
            step_progress(title, schedule.updates, _silent(options, processes)) as show,
        ):
            if progress.updates == 0:
                watch.begin()
            elif progress.updates == progress.restarted:
                watch.validate()
            end = loop.run(logs, stop, watch.after, show)
        if end == "interrupted":
            watch.save()
        elif end == "late" or progress.best_score is None:
            watch.validate()
    except Exception:  # the weights are those after the last whole update
        with suppress(PromptsegError):
            watch.save()
        raise
    finally:
        for each in logs:
            each.close()
    return end


def training_images(
    parts: Parts,
    learner: Learner,
    options: TrainOptions,
    start: StartingWeights,
    kept: KeptEmbeddings | None = None,
) -> TrainingImages | TrainingClips | TrainingClasses | TrainingStacks | TrainingPhrases:
    """Return the images of the training part in the form that the network takes."""
    objective = learner.strategy.objective
    n_objects = objective.n_objects
    if isinstance(start, SemanticStart):
        return _classes(parts, learner, options, start, kept)
    if isinstance(objective, WordObjective):
        return TrainingPhrases(
            parts.collection,
            parts.train,
            start.card,
            grid=options.mask_side or learner.grid,
            objective=objective,
            vocabulary=parts.vocabulary,
            tokens=sam3.words_table(),
            seed=options.seed,
            augmented=options.augment,
        )
    if isinstance(objective, ClipObjective) and parts.runs[0]:
        about = (learner.grid, n_objects, options.seed, options.augment, kept, objective.turns)
        return TrainingClips(parts.collection, parts.runs[0], start.card, *about)
    return TrainingImages(
        parts.collection,
        parts.train,
        start.card,
        grid=options.mask_side or learner.grid,
        n_objects=n_objects,
        seed=options.seed,
        augmented=options.augment,
        embedding=kept,
    )


def _classes(
    parts: Parts,
    learner: Learner,
    options: TrainOptions,
    start: SemanticStart,
    kept: KeptEmbeddings | None,
) -> TrainingClasses | TrainingStacks:
    """The training part with the class of every pixel."""
    card = start.semantic
    if options.augment and card.sided and not options.quiet:
        log.warning("--augment mirrors images, and %r becomes its other side", card.sided[0])
    setting = Setting(
        preprocessing_of(card),
        start.card.keep_8bit,
        names=card.names,
        grid=options.mask_side or start.grid,
        seed=options.seed,
        augmented=options.augment,
        embedding=kept,
    )
    if card.depth > 1:
        return TrainingStacks(parts.collection, parts.runs[0], card.depth, setting)
    return TrainingClasses(parts.collection, parts.train, setting)


def _kept(
    start: StartingWeights,
    learner: Learner,
    parts: Parts,
    options: TrainOptions,
    processes: Processes,
) -> KeptEmbeddings | None:
    """Embeddings of all images that are used, where they stay the same."""
    keeps = not encoder_learns(learner.sam) and options.keep_embeddings and not options.augment
    own = isinstance(learner.sam, Sam)  # others' may have three sizes
    own |= isinstance(learner.sam, ImageSam2) and learner.sam.one_level
    keeps = keeps and (start.keepable if isinstance(start, SemanticStart) else own)
    idle = {"--embeddings": options.embeddings is not None} if not keeps else {}
    if keeps:
        idle["--activation-checkpointing"] = options.activation_checkpointing
        idle["--train-batch-norm"] = options.train_batch_norm and not is_of_classes(options)
    for name in (name for name, given in idle.items() if given and processes.leads):
        why = "the encoder is not run" if keeps else "no embeddings are kept"
        log.warning("%s changes nothing here: %s", name, why)
    if not keeps:
        return None
    predictor = load_predictor(start, start.file, processes, options.engine)
    folder = options.embeddings or options.output / "embeddings"
    # in this order, so that a training of more images begins with those of one of fewer
    watched = [*parts.validation, *parts.report]
    if isinstance(learner.strategy.objective, ClipObjective):
        watched += [s for sample in watched for s in parts.clip_of(sample)]
    used = {s.key: s for s in (*watched, *parts.train)}
    mine = list(used.values())[processes.rank :: processes.count]
    with step_progress("embeddings", len(mine), _silent(options, processes)) as show:
        kept = keep_embeddings(predictor, parts.collection, mine, folder, show)
    keys = {k: key for each in processes.gather(kept.keys) for k, key in each.items()}
    return KeptEmbeddings(folder, keys)


def _require_change(start: StartingWeights, file: Path) -> None:
    tensors = start.read(file)
    if all(torch.equal(tensors[name].float(), v.float()) for name, v in start.tensors.items()):
        raise TrainingError(
            "weights that training has changed",
            f"{file}, equal to the starting weights",
            "raise --learning-rate, or train other parts",
        )


def _precision(options: TrainOptions, processes: Processes) -> torch.dtype:
    if options.precision == "auto":
        able = processes.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if options.precision == "bf16" else torch.float32


def _silent(options: TrainOptions, processes: Processes) -> bool:
    return options.quiet or not processes.leads
