"""One image from file to files: read, segment, write mask, overlay and provenance."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, ModelError, PromptError
from promptseg.formats import format_for_output, read
from promptseg.formats import outputs as writing
from promptseg.formats.deidentify import deidentified, discreet
from promptseg.formats.files import overlay_path, provenance_path
from promptseg.formats.label_tables import check_beside
from promptseg.formats.location import written
from promptseg.formats.maps import map_path, write_map
from promptseg.formats.outputs import Reads
from promptseg.formats.places import with_places
from promptseg.formats.promptfile import PromptFile, read_prompt_file
from promptseg.formats.systems import bare_name
from promptseg.geometry import Axis
from promptseg.image import Image, Segmentation
from promptseg.intensity import Intensity
from promptseg.jobs.elsewhere import MODELS
from promptseg.jobs.existing import (
    markers_from_labels,
    masks_from_labels,
    read_segmentation,
)
from promptseg.jobs.outputs import UNSURE, Computed, Outputs
from promptseg.jobs.remote import check_remote, file_for, is_remote, send
from promptseg.jobs.replay import check_same_weights, compare, earlier_mask, read_provenance
from promptseg.models.cards import CARDS, model_file, require_prompts
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.noted import refuse
from promptseg.progress import step_progress
from promptseg.prompts import (
    PARSERS,
    Points,
    Prompt,
    group_by_object,
    place,
    typed_prompts,
)
from promptseg.result import Result
from promptseg.segment.auto import settle_model
from promptseg.segment.changes import Change, changes
from promptseg.segment.classes.segmenter import ClassSegmenter, load_classes
from promptseg.segment.classes.windows import Windows
from promptseg.segment.options import SegmentJob
from promptseg.segment.overlay import overlay_picture
from promptseg.segment.run import axis_of_run
from promptseg.segment.segmenter import Segmenter, load

__all__ = [
    "Outputs",
    "check_classes",
    "check_outputs",
    "command_of",
    "compute_job",
    "load_for",
    "load_prompted",
    "prompts_in_labels",
    "prompts_of",
    "reads_of",
    "run_job",
    "segment_file",
    "single",
    "write_job",
]

log = logging.getLogger("promptseg")

_READ = ("prompts", "config", "replay", "table")
_IN_PROMPTS = (*PARSERS, "prompts", "mask", "markers")
_NOT_REPLAYED = (
    *("overwrite", "config", "replay", "json", "quiet", "shard", "cluster"),
    *("embeddings", "embeddings_limit"),
)


def prompts_of(job: SegmentJob, file: PromptFile | None = None) -> list[Prompt]:
    """Return the prompts of the command line and of one entry of its prompt file."""
    return [*(file.prompts if file else ()), *typed_prompts(job)]


def segment_file(job: SegmentJob) -> Outputs:
    """Do what the job says for its one input.

    Raises:
        PromptsegError: anything the user can put right; nothing has been written then.
    """
    with discreet(job.input, job.correct, on=job.deidentify):
        return _segment_file(job)


def _segment_file(job: SegmentJob) -> Outputs:
    earlier = read_provenance(job.replay) if job.replay else None
    file = single(job.prompts) if job.prompts else None
    prompts = prompts_of(job, file)
    check_classes(job, prompts)
    _check_clicks(job, prompts)
    check_outputs(job)
    image = read(job.input, job, modality=job.modality)
    if file and file.image and bare_name(file.image) != image.name:
        image.source.notes.append(f"the prompt file was written for {file.image}")
    prompts += prompts_in_labels(job, image, axis_of_run(prompts, job.axis))
    format_for_output(file_for(job.output), image)
    of_classes = is_semantic(job.model)
    given = prompts if of_classes else prompts or image.source.prompts
    axis = axis_of_run(given, job.axis)
    if given or not of_classes:
        group_by_object(given, image.geometry, axis)  # what is refused is refused before downloads
    job, choice = settle_model(job, given, image)
    segmenter = load_for(job)
    if isinstance(segmenter, Segmenter):
        segmenter.predictor.choice = choice
    if earlier:
        model = segmenter.predictor if isinstance(segmenter, Segmenter) else segmenter.model
        starter = segmenter.starter if isinstance(segmenter, Segmenter) else None
        check_same_weights(earlier, model, image, starter)
    outputs = run_job(segmenter, image, prompts, job)
    if earlier and job.replay:
        outputs.replayed = compare(earlier, job.replay, outputs.segmentation)
    return outputs


def _check_clicks(job: SegmentJob, prompts: Sequence[Prompt]) -> None:
    """Refuse clicks for a model that is known to take none, before anything is read or loaded.

    Weights by the name of their file are asked when they are loaded.
    """
    card = CARDS.get(job.start_model or job.model)
    if card and not job.force and any(isinstance(prompt, Points) for prompt in prompts):
        require_prompts(card, {"point"})


def single(path: Path) -> PromptFile:
    """Read a prompt file that has to be of one image.

    Raises:
        PromptError: one of several images.
    """
    files = read_prompt_file(path)
    if len(files) != 1:
        raise PromptError(
            "a prompt file for one image",
            f"{path} for {len(files)} images",
            "give the folder of the images as input",
        )
    return files[0]


def prompts_in_labels(job: SegmentJob, image: Image, axis: Axis) -> list[Prompt]:
    """Read the prompts of --mask and --markers; label images are cut into slices along an axis."""
    prompts: list[Prompt] = []
    if job.mask:
        prompts += masks_from_labels(job.mask, image, axis, job)
    if job.markers and job.markers.suffix.lower() == ".json":
        prompts += single(job.markers).prompts
    elif job.markers:
        prompts += markers_from_labels(job.markers, image, axis, job)
    return prompts


def check_classes(
    job: SegmentJob, prompts: Sequence[Prompt], of_classes: bool | None = None
) -> None:
    """Refuse what does not go together with a model of classes, or only with one.

    Args:
        job: what is to be done.
        prompts: of the image.
        of_classes: whether the model is one, where that was found out before.

    Raises:
        PromptError: prompts without a model of prompts that takes them, or such a model without any.
        InputError: an option of the other kind of model.
        ModelError: a model of classes to take the prompts.
    """
    pointed = bool(prompts or job.mask or job.markers)
    if job.start_model is not None and job.correct is not None:
        raise InputError(
            "--correct by the model that follows",
            f"--start-model {job.start_model}",
            "leave it out",
        )
    if not (is_semantic(job.model) if of_classes is None else of_classes):
        idle = [k for k in ("tile", "mirror", "uncertainty", "refine") if getattr(job, k)]
        if idle:
            raise InputError(
                f"a model of classes for --{idle[0]}", job.model, "leave it out, or name its folder"
            )
        return
    if job.correct is not None:
        raise InputError(
            "a model of prompts for --correct", job.model, "correct classes with --refine MODEL"
        )
    if job.start_model is not None:
        raise InputError(
            "a model of prompts for --start-model", job.model, "leave it out for one of classes"
        )
    if job.refine is None:
        other = {"embeddings": job.embeddings, "engine": job.engine not in (None, "auto", "eager")}
        if given := [name for name, value in other.items() if value]:
            raise InputError(
                f"a model of prompts for --{given[0]}", job.model, "leave it out for one of classes"
            )
        if pointed:
            raise PromptError(
                "no prompts for a model of classes",
                f"some for {job.model}",
                "leave them out, or add --refine MODEL to correct single classes by them",
            )
        return
    if is_semantic(job.refine):
        raise ModelError(
            "a model of prompts to refine with", f"{job.refine}, of classes", "use lite-medsam"
        )
    if not pointed:
        raise PromptError(
            "prompts that name classes, for --refine", "none", "add --box X0,Y0,X1,Y1=CLASS"
        )


def load_for(job: SegmentJob) -> Segmenter | ClassSegmenter:
    """Load the model a job asks for; a replay takes no embeddings, as another machine may have made
    them.
    """
    if is_semantic(job.model):
        return load_classes(job.model, device=job.device, threads=job.threads)
    return load_prompted(job)


def load_prompted(job: SegmentJob) -> Segmenter:
    """Load a model of prompts, as `load_for` does."""
    kept = None if job.replay else job.embeddings
    if kept != job.embeddings:
        log.warning("a replay encodes every slice afresh: --embeddings is not used")
    return load(
        job.model,
        device=job.device,
        threads=job.threads,
        engine=job.engine,
        quiet=job.quiet,
        embeddings=kept,
        embeddings_limit=job.embeddings_limit,
        start_model=job.start_model,
    )


def run_job(
    segmenter: Segmenter | ClassSegmenter,
    image: Image,
    prompts: list[Prompt],
    job: SegmentJob,
    facts: dict[str, Any] | None = None,
) -> Outputs:
    """Segment `image` and write all results, or none.

    Args:
        segmenter: the model.
        image: what to segment.
        prompts: where; those the file carries if there are none.
        job: how, and where to write.
        facts: more fields of the provenance.
    """
    with discreet(job.input, image.source.path, job.correct, on=job.deidentify):
        computed = compute_job(segmenter, image, prompts, job, facts or {})
        return write_job(computed, image, prompts, job)


def compute_job(
    segmenter: Segmenter | ClassSegmenter,
    image: Image,
    prompts: list[Prompt],
    job: SegmentJob,
    facts: dict[str, Any],
) -> Computed:
    """Do the part of `run_job` that needs the model."""
    if job.strict:
        refuse(image.source.notes, image.name)
    existing = read_segmentation(job.correct, image, job) if job.correct else None
    changed: tuple[Change, ...] | None = None
    title = "slices" if job.deidentify else f"{image.name}: slices"
    with step_progress(title, None, job.quiet) as update:
        how: Any = {"options": job, "progress": lambda n, what: update(n, f"({what})")}
        unsure: NDArray[np.uint8] | None = None
        if isinstance(segmenter, ClassSegmenter):
            result, unsure = _classified(segmenter, image, prompts, job, how)
        elif existing is None:
            result = segmenter.segment(image, *prompts, **how)
        else:
            _warn_of_another_model(existing, segmenter, image)
            result = segmenter.correct(image, existing, *prompts, **how)
            assert result.provenance.options, "every run has options"
            axis = result.provenance.options["axis"]
            changed = tuple(changes(existing, result, axis))
    placed = with_places(result, file_for(job.output), job.overlap)
    result.provenance = dataclasses.replace(
        placed, command=command_of(job), output=job.output.name, **facts
    )
    if job.strict:
        refuse(result.provenance.notes or (), image.name)
    if job.deidentify:
        result = deidentified(result)
    return Computed(result, unsure, changed=changed)


def _warn_of_another_model(existing: Segmentation, segmenter: Segmenter, image: Image) -> None:
    """Say that a mask is corrected by a model that did not make it, where that is known."""
    earlier, predictor = existing.provenance.model, segmenter.predictor
    if earlier is None or earlier.weights_sha256 in (None, predictor.weights_sha256):
        return
    name = predictor.card.name
    theirs = earlier.name if earlier.name != name else f"other weights of {name}"
    log.warning(
        "%s: %s made this mask and %s corrects it: it may see neighbouring slices differently",
        image.name,
        theirs,
        name,
    )


def write_job(computed: Computed, image: Image, prompts: list[Prompt], job: SegmentJob) -> Outputs:
    """Do the part of `run_job` that writes."""
    result = computed.result
    if is_remote(job.output):
        stored = send(result, job.output, job.overlap)
        result.provenance = dataclasses.replace(
            result.provenance, output=stored.address, instance=stored.instance
        )
        return Outputs(Path(stored.address), None, None, result, changed=computed.changed)
    check_outputs(job)  # again: the model has taken its time
    overlay = overlay_path(job.output) if job.overlay else None
    also: dict[Path, Callable[[Path], object]] = {}
    unsure = None
    if (values := computed.uncertainty) is not None:
        unsure = map_path(job.output, UNSURE, values.ndim == 2)
        also[unsure] = lambda path: write_map(values, image.geometry, path)
    if overlay:
        made = result.provenance
        assert made.options, "every run has options"
        assert made.intensity, "and a rule for intensities"
        axis = made.options["axis"]
        given = prompts if is_semantic(job.model) else prompts or image.source.prompts
        shown = place(given, image.geometry, axis)
        intensity = Intensity(**made.intensity.to_json())
        also[overlay] = overlay_picture(result, image, intensity, shown, axis).save
    result.save(
        job.output,
        overwrite=job.overwrite,
        overlap=job.overlap,
        also=also,
        beside=job.beside,
    )
    return Outputs(
        job.output,
        overlay,
        provenance_path(job.output),
        result,
        unsure=unsure,
        changed=computed.changed,
    )


def _classified(
    segmenter: ClassSegmenter,
    image: Image,
    prompts: list[Prompt],
    job: SegmentJob,
    how: dict[str, Any],
) -> tuple[Result, NDArray[np.uint8] | None]:
    """The classes of an image, maybe refined by prompts, and how unsure the model is."""
    windows = Windows(job.tile, job.tile_overlap, job.mirror)
    found = segmenter.segment(image, **how, windows=windows, uncertain=job.uncertainty)
    if job.refine is None:
        return found.result, found.uncertainty
    refining = load(job.refine, device=job.device, threads=job.threads, engine=job.engine)
    return refining.correct(image, found.result, *prompts, **how), found.uncertainty


def check_outputs(job: SegmentJob, reads: Reads | None = None) -> None:
    """Refuse before any work what could not be written after it, or would replace an input.

    Args:
        job: what is to be done.
        reads: what it reads, where that is known already: of a folder of images, all of them.
    """
    if is_remote(job.output):
        check_remote(job.output)
        return
    outputs = [job.output, provenance_path(job.output), *check_beside(job.output, job.beside)]
    if job.uncertainty:
        outputs += [map_path(job.output, UNSURE, planar) for planar in (False, True)]
    if job.overlay:
        outputs.append(overlay_path(job.output))
    writing.check_outputs(outputs, job.overwrite, reads or reads_of(job, [job.input]))


def reads_of(job: SegmentJob, images: Iterable[Path]) -> Reads:
    """Return every file that a job reads.

    Args:
        job: what is to be done.
        images: its image, or all of them.
    """
    models = [getattr(job, name) for name in MODELS]
    weights = [model_file(model)[1] for model in models if model is not None]
    earlier = earlier_mask(job.replay) if job.replay else None
    return Reads(
        [*images, *weights, *(getattr(job, name) for name in _READ)],
        masks=[job.correct, job.mask, job.markers, earlier],
    )


def command_of(job: SegmentJob) -> dict[str, Any]:
    """Return the job as plain values that `--config` takes; prompts are kept apart, under `prompts`."""
    values = dataclasses.asdict(job)
    for name in (*_NOT_REPLAYED, *_IN_PROMPTS):
        values.pop(name)
    for name in ("input", "output", "correct", "table"):
        if values[name] is not None:
            values[name] = written(values[name])
    for name in MODELS:
        if values[name] is None:
            continue
        named, weights = model_file(values[name])
        if weights is not None:
            values[name] = (f"{named}=" if named else "") + str(weights.absolute())
    return values
