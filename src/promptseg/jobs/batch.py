"""A folder of images: the same job for each, going on where an earlier run was cut off."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptseg.datasets import bids
from promptseg.errors import InputError, OutputError, PromptError, PromptsegError
from promptseg.formats import endings, format_by_suffix, is_dicom_file, read
from promptseg.formats.bids_names import derivative_name, parse_name
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.ome_zarr import is_ome_zarr
from promptseg.formats.promptfile import PromptFile, read_prompt_file
from promptseg.formats.systems import clash
from promptseg.formats.text import composed
from promptseg.image import Image
from promptseg.jobs.image_task import ImageTask, executor_for_images, given_weights
from promptseg.jobs.measurements import measurements_of, require_ours, write_measurements
from promptseg.jobs.remote import is_remote
from promptseg.jobs.segment import check_classes, prompts_of, reads_of
from promptseg.models.cards import AUTO
from promptseg.models.choose import Choice
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.noted import counted, refusal
from promptseg.segment.auto import settle_model
from promptseg.segment.options import SegmentJob
from promptseg.work import Executor, Failure, Shard, Task, run

__all__ = [
    "Segmented",
    "find_images",
    "is_batch",
    "may_carry_prompts",
    "output_name",
    "segment_folder",
]

_NO_BATCH = {"dicom"}  # slices of a series, not images of their own


def is_batch(source: Path, target: Path) -> bool:
    """Tell whether `source` is a folder of images (not of DICOM slices) and `target` a folder for them.

    Raises:
        OutputError: a folder of images, but a mask file as output.
        InputError: a folder that cannot be read.
    """
    if not os.path.isdir(source):
        return False
    images = find_images(source)
    if images and is_remote(target):
        raise OutputError(
            "one DICOM image for a DICOMweb server as output",
            f"the {len(images)} images in {source}",
            "store them one by one",
        )
    chosen = format_by_suffix(target)
    if chosen is None or not chosen.writes or target.is_dir():
        return bool(images)
    pictures = [p.name for p in images if p.is_file()]
    if pictures:
        raise OutputError(
            f"a folder as output for the {len(pictures)} images in {source}",
            f"the file {target}",
            "name a folder, or give one image as input",
        )
    return False  # subfolders with DICOM: one study, read as a series


def find_images(folder: Path) -> list[Path]:
    """Find the image files directly in a folder, and folders of DICOM slices at any depth, by name.

    Of a BIDS dataset, the images of all subjects.

    So a DICOM export is taken as it comes, PATIENT/STUDY/SERIES; its DICOMDIR is passed over. A folder
    that itself holds DICOM slices is one series, not a folder of images.

    Raises:
        InputError: the folder cannot be read, or is a BIDS dataset without its description.
    """
    if bids.is_tree(folder):
        return bids.images_in(folder)
    found = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name.upper() == "DICOMDIR":
                continue
            if path.is_dir() and is_ome_zarr(path):
                found.append(path)
                continue
            if path.is_dir():
                found += _series_below(path, frozenset())
                continue
            known = format_by_suffix(path)
            if is_dicom_file(path) or (known and known.name in _NO_BATCH):
                return []
            if known and not known.outlines and known.module != "video":
                found.append(path)
    except OSError as error:
        raise InputError("a folder that can be read", f"{folder} ({error.strerror})") from error
    return found


def _series_below(folder: Path, above: frozenset[Path]) -> list[Path]:
    """The folders that hold DICOM slices, this one or those in it; links that lead back are left."""
    place = folder.resolve()
    if place in above or folder.name.startswith("."):
        return []
    inside = sorted(folder.iterdir())
    files = [p for p in inside if p.is_file() and p.name.upper() != "DICOMDIR"]
    if any(is_dicom_file(p) for p in files[:5]):
        return [folder]
    return [s for p in inside if p.is_dir() for s in _series_below(p, above | {place})]


@dataclass
class Segmented:
    """Outcome of segmenting a folder of images.

    Attributes:
        skipped: images that were done already.
        provenance: of the images that were segmented now, in their order.
        failures: image and error of those that could not be.
        notes: what their provenances say beside, each with the number of images, earlier ones too.
    """

    skipped: int
    provenance: list[dict[str, Any]]
    failures: list[tuple[str, PromptsegError]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Count the images, whatever came of them."""
        return self.skipped + len(self.provenance) + len(self.failures)


def segment_folder(job: SegmentJob) -> Segmented:
    """Segment every image of the input folder into the output folder.

    Images whose results are there already, from the same input, prompts and options, are left alone.
    An image that fails does not stop the others.

    Raises:
        OutputError: masks of other machines are not seen here; the same job goes on.
        PromptsegError: a job that cannot be done for a folder; nothing has been written then.
    """
    for name in ("mask", "markers", "correct", "replay"):
        if getattr(job, name) is not None:
            raise InputError(
                f"one image for --{name}", f"the folder {job.input}", "run it per image"
            )
    shard = Shard.parse(job.shard)
    planned, choice = _settled(_plan(job))  # of all, so that shares have one model
    tasks = list(shard.of(planned))
    if not tasks:  # of more shares than images
        return Segmented(0, [])
    weights = given_weights(tasks[0].job)
    tasks = [dataclasses.replace(task, weights=weights) for task in tasks]

    def executor(waiting: Sequence[Task[Any, Any]]) -> Executor:
        reads = reads_of(job, [task.job.input for task in tasks])
        if bids.is_tree(job.input):
            bids.write_description(job.output, None if job.deidentify else job.input)
        return executor_for_images(tasks[0].job, choice, reads, len(waiting))

    table = measurements_of(job.output, shard)
    require_ours(table)
    outcome = run(tasks, executor, title="images", quiet=job.quiet)
    earlier = ((u.title, u.job.output, read_provenance_beside(u.job.output)) for u in tasks)
    done = [one for one in earlier if one[2]]
    if done:
        write_measurements(table, done)
    failures = [_said(f) for f in outcome.failures]
    notes = {title: facts.get("notes") or [] for title, _, facts in done}
    if job.strict:  # of those that were done without it
        failures += [(title, refusal(own, title)) for title, own in notes.items() if own]
    found = counted(note for own in notes.values() for note in own)
    return Segmented(outcome.skipped, outcome.results, failures, found)


def _said(failure: Failure) -> tuple[str, PromptsegError]:
    return failure.task.title, failure.error


def _plan(job: SegmentJob) -> list[ImageTask]:
    """One task per image; everything that can be refused early is."""
    if job.output.exists() and not job.output.is_dir():
        raise OutputError("a folder to write into", f"{job.output}: a file")
    if job.output.exists() and job.output.samefile(job.input):
        raise OutputError(
            "an output folder other than the input folder", str(job.output), "name another one"
        )
    found = (path for path in find_images(job.input) if not _is_result(path, job.output))
    tree = bids.is_tree(job.input)
    if tree and job.suffix not in (None, "nii.gz", ".nii.gz"):
        raise OutputError(
            "masks called ..._dseg.nii.gz for a BIDS dataset",
            f"--suffix {job.suffix}",
            "leave it out",
        )
    images = {path.relative_to(job.input).as_posix(): path for path in found}
    files = read_prompt_file(job.prompts) if job.prompts else []
    tasks: list[ImageTask] = []
    taken: dict[Path, str] = {}
    for path, file in _pairs(images, files, job.input):
        name = path.relative_to(job.input)
        as_bids = parse_name(path.name) if tree else None
        mask = derivative_name(as_bids) if as_bids else output_name(path, job.suffix)
        output = job.output / name.parent / mask
        if output in taken:
            raise OutputError(
                "images with names of their own", f"{taken[output]} and {name}", "rename one"
            )
        taken[output] = name.as_posix()
        one = dataclasses.replace(job, input=path, output=output)
        tasks.append(ImageTask(one, prompts_of(one, file), name.as_posix()))
    if same := clash(taken, job.output):
        raise OutputError(
            "images with names of their own, where capitals do not count",
            " and ".join(taken[path] for path in same),
            "rename one",
        )
    for task in tasks:
        check_classes(task.job, task.prompts)
    asks = not is_semantic(job.model)
    if asks and not any(i.prompts or may_carry_prompts(i.job.input) for i in tasks):
        raise PromptError("prompts for the images", "none", "add --prompts FILE.json or --box")
    return tasks


def _is_result(path: Path, output: Path) -> bool:
    """Whether a subfolder with DICOM files is where results go, or below."""
    return path.is_dir() and path.resolve().is_relative_to(output.resolve())


def _settled(tasks: list[ImageTask]) -> tuple[list[ImageTask], Choice | None]:
    """The tasks with one model for all: auto goes by all their prompts and by the first image."""
    if not tasks or tasks[0].job.model != AUTO:
        return tasks, None
    first = tasks[0].job
    prompts = [p for item in tasks for p in item.prompts]
    image: Image | None = None
    with contextlib.suppress(PromptsegError):  # said when its turn comes
        image = read(first.input, first, modality=first.modality)
    carried = image.source.prompts if image else ()
    named, choice = settle_model(first, prompts or carried, image)
    jobs = (dataclasses.replace(item.job, model=named.model) for item in tasks)
    settled = (dataclasses.replace(item, job=job) for job, item in zip(jobs, tasks, strict=True))
    return list(settled), choice


def _pairs(
    images: dict[str, Path], files: list[PromptFile], folder: Path
) -> list[tuple[Path, PromptFile | None]]:
    """Each image with its prompts: one set for all, or one for each image that is named."""
    images = {composed(name): path for name, path in images.items()}
    named = {composed(f.image): f for f in files if f.image}
    if len(files) > 1 and len(named) < len(files):
        raise PromptError("an image name in every entry of `images`", "one without, or one twice")
    if len(files) > 1 or (named and next(iter(named)) in images):
        absent = sorted(set(named) - set(images))
        if absent:
            raise InputError(f"the images of the prompt file in {folder}", f"no {absent[0]}")
        return [(images[name], file) for name, file in named.items()]
    return [(path, files[0] if files else None) for path in images.values()]


def may_carry_prompts(path: Path) -> bool:
    """Tell whether a file of this name can have prompts in it, as a challenge's npz has boxes."""
    known = format_by_suffix(path)
    return known is not None and known.prompts


def output_name(path: Path, suffix: str | None) -> str:
    """Return the name of the mask of an image.

    Args:
        path: the image, or a folder with a DICOM series.
        suffix: ending of the mask; the image's, or .nii.gz or .png, if None.

    Raises:
        OutputError: an ending that no mask has.
    """
    if suffix is not None:
        suffix = "." + suffix.lstrip(".")
        chosen = format_by_suffix(Path("mask" + suffix))
        if chosen is None or not chosen.writes:
            able = ", ".join(endings())
            raise OutputError(f"a suffix out of {able}", suffix, "correct --suffix")
    if path.is_dir() and not is_ome_zarr(path):
        return path.name + (suffix or ".nii.gz")
    chosen = format_by_suffix(path)
    if chosen is None:  # a folder of OME-Zarr under any name
        return path.name + (suffix or ".ome.zarr")
    ending = next(s for s in chosen.suffixes if path.name.lower().endswith(s))
    same = chosen.writes and not chosen.writer  # a DICOM SEG only where it is asked for
    return path.name[: -len(ending)] + (suffix or (ending if same else chosen.masks))
