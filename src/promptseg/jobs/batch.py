"""A folder of images: the same job for each, going on where an earlier run was cut off."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, OutputError, PromptError, PromptsegError
from promptseg.formats import endings, format_by_suffix, format_for_output, is_dicom_file, read
from promptseg.formats.files import atomic_path, beside, overlay_path, read_provenance_beside
from promptseg.formats.outputs import Reads
from promptseg.formats.promptfile import PromptFile, read_prompt_file
from promptseg.formats.text import composed
from promptseg.image import Image
from promptseg.jobs.remote import is_remote
from promptseg.jobs.segment import check_outputs, load_for, prompts_of, reads_of, run_job
from promptseg.models.cards import AUTO
from promptseg.models.choose import Choice
from promptseg.prompts import Prompt
from promptseg.runtime import set_threads
from promptseg.segment.auto import settle_model
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import Segmenter
from promptseg.work import Executor, Failure, Inline, Processes, Unit, as_json, request_hash, run

__all__ = ["Segmented", "find_images", "is_batch", "segment_folder"]

_NO_BATCH = {"dicom"}  # slices of a series, not images of their own
_IRRELEVANT = {
    *("device", "threads", "engine", "batch", "embeddings", "embeddings_limit"),
    *("quiet", "json", "overwrite", "config", "workers"),
}
_PATHS = {"input", "output"}


def is_batch(source: Path, target: Path) -> bool:
    """Whether `source` is a folder of images (not of DICOM slices) and `target` a folder for them.

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
    """Image files, and subfolders with DICOM slices, directly in a folder; in order of name.

    A folder that itself holds DICOM slices is one series, not a folder of images.

    Raises:
        InputError: the folder cannot be read.
    """
    found = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                if any(p.is_file() and is_dicom_file(p) for p in sorted(path.iterdir())[:5]):
                    found.append(path)
                continue
            known = format_by_suffix(path)
            if is_dicom_file(path) or (known and known.name in _NO_BATCH):
                return []
            if known:
                found.append(path)
    except OSError as error:
        raise InputError("a folder that can be read", f"{folder} ({error.strerror})") from error
    return found


@dataclass(frozen=True)
class _ImageUnit(Unit["_Tools", dict[str, Any]]):
    """One image of the folder: its job, and its prompts."""

    job: SegmentJob
    prompts: list[Prompt]

    @property
    def title(self) -> str:
        """The image's name."""
        return self.job.input.name

    def request(self) -> dict[str, Any]:
        """What the result depends on.

        Options may name the patient or the place of weights: a de-identified result keeps a hash.
        """
        said = self._said()
        return {"sha256": request_hash(said)} if self.job.deidentify else said

    def _said(self) -> dict[str, Any]:
        """The request in words; without paths, an input is still known by its size and time."""
        values = dataclasses.asdict(self.job)
        unsaid = _IRRELEVANT | (_PATHS if self.job.deidentify else set())
        stat = self.job.input.stat()
        said = {
            **{k: v for k, v in values.items() if k not in unsaid},
            "prompts": [repr(p) for p in self.prompts],
            "input_stat": [stat.st_size, stat.st_mtime_ns],
        }
        request: dict[str, Any] = as_json(said)
        return request

    def is_done(self) -> bool:
        """Whether all results are there, from the very same request."""
        output = self.job.output
        overlays = (overlay_path(output), beside(output, ".overlay.png"))  # now, and once
        if self.job.overwrite or not output.exists():
            return False
        if self.job.overlay and not any(path.exists() for path in overlays):
            return False
        earlier = read_provenance_beside(output).get("request")
        return earlier in (self.request(), self._said())  # the latter by versions before

    def do(self, context: _Tools) -> dict[str, Any]:
        """Segment the image; returns the provenance."""
        job, mark = self.job, _Mark(self.job.output)
        cut_off = mark.is_there()
        if cut_off:  # ours, before it was complete
            job = dataclasses.replace(job, overwrite=True)
        check_outputs(job, context.reads)
        image = read(job.input, job, modality=job.modality)
        format_for_output(job.output, image)
        facts = {"request": self.request()}
        try:
            outputs = run_job(context.segmenter, image, self.prompts, job, mark.set, facts)
        except PromptsegError:
            if not cut_off:
                mark.clear()  # nothing of it is there
            raise
        mark.clear()
        return outputs.provenance.to_json()


@dataclass(frozen=True)
class _Tools:
    """What a process needs for every image: the model, and what no output may replace."""

    segmenter: Segmenter
    reads: Reads


@dataclass
class Segmented:
    """What came of a folder of images.

    Attributes:
        skipped: images that were done already.
        provenance: of the images that were segmented now, in their order.
        failures: image and error of those that could not be.
    """

    skipped: int
    provenance: list[dict[str, Any]]
    failures: list[tuple[str, PromptsegError]] = field(default_factory=list)

    @property
    def images(self) -> int:
        """How many there are."""
        return self.skipped + len(self.provenance) + len(self.failures)


def segment_folder(job: SegmentJob) -> Segmented:
    """Segment every image of the input folder into the output folder.

    Images whose results are there already, from the same input, prompts and options, are left alone.
    An image that fails does not stop the others.

    Raises:
        PromptsegError: a job that cannot be done for a folder; nothing has been written then.
    """
    for name in ("mask", "markers", "correct", "replay"):
        if getattr(job, name) is not None:
            raise InputError(
                f"one image for --{name}", f"the folder {job.input}", "run it per image"
            )
    if job.workers < 1:
        raise InputError("workers to be a whole number from 1", repr(job.workers), "correct it")
    units, choice = _settled(_plan(job))

    def executor(waiting: Sequence[Unit[Any, Any]]) -> Executor:
        reads = reads_of(job, [unit.job.input for unit in units])
        make = partial(_tools, units[0].job, choice, reads)
        workers = min(job.workers, len(waiting))
        if workers == 1:
            return Inline(make)
        share = max(1, set_threads(job.threads) // workers)
        return Processes(workers, partial(make, share))

    outcome = run(units, executor, title="images", quiet=job.quiet)
    return Segmented(outcome.skipped, outcome.results, [_said(f) for f in outcome.failures])


def _tools(
    job: SegmentJob, choice: Choice | None, reads: Reads, threads: int | None = None
) -> _Tools:
    """What a process needs."""
    segmenter = load_for(job if threads is None else dataclasses.replace(job, threads=threads))
    segmenter.predictor.choice = choice
    return _Tools(segmenter, reads)


def _said(failure: Failure) -> tuple[str, PromptsegError]:
    return failure.unit.title, failure.error


def _plan(job: SegmentJob) -> list[_ImageUnit]:
    """One unit per image; everything that can be refused early is."""
    if job.output.exists() and not job.output.is_dir():
        raise OutputError("a folder to write into", f"{job.output}: a file")
    if job.output.exists() and job.output.samefile(job.input):
        raise OutputError(
            "an output folder other than the input folder", str(job.output), "name another one"
        )
    found = (path for path in find_images(job.input) if not _same(path, job.output))
    images = {path.name: path for path in found}
    files = read_prompt_file(job.prompts) if job.prompts else []
    units: list[_ImageUnit] = []
    taken: dict[Path, str] = {}
    for path, file in _pairs(images, files, job.input):
        output = job.output / _output_name(path, job.suffix)
        if output in taken:
            raise OutputError(
                "images with names of their own", f"{taken[output]} and {path.name}", "rename one"
            )
        taken[output] = path.name
        one = dataclasses.replace(job, input=path, output=output)
        units.append(_ImageUnit(one, prompts_of(one, file)))
    if not any(i.prompts or _may_carry_prompts(i.job.input) for i in units):
        raise PromptError("prompts for the images", "none", "add --prompts FILE.json or --box")
    return units


def _same(path: Path, output: Path) -> bool:
    """Whether a subfolder with DICOM files is where the results go."""
    return path.is_dir() and output.exists() and path.samefile(output)


def _settled(units: list[_ImageUnit]) -> tuple[list[_ImageUnit], Choice | None]:
    """The units with one model for all: auto goes by all their prompts and by the first image."""
    first = units[0].job
    if first.model != AUTO:
        return units, None
    prompts = [p for item in units for p in item.prompts]
    image: Image | None = None
    with contextlib.suppress(PromptsegError):  # said when its turn comes
        image = read(first.input, first, modality=first.modality)
    carried = image.source.prompts if image else ()
    named, choice = settle_model(first, prompts or carried, image)
    jobs = (dataclasses.replace(item.job, model=named.model) for item in units)
    return [_ImageUnit(job, item.prompts) for job, item in zip(jobs, units, strict=True)], choice


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


def _may_carry_prompts(path: Path) -> bool:
    known = format_by_suffix(path)
    return known is not None and known.prompts


def _output_name(path: Path, suffix: str | None) -> str:
    if suffix is not None:
        suffix = "." + suffix.lstrip(".")
        chosen = format_by_suffix(Path("mask" + suffix))
        if chosen is None or not chosen.writes:
            able = ", ".join(endings())
            raise OutputError(f"a suffix out of {able}", suffix, "correct --suffix")
    if path.is_dir():
        return path.name + (suffix or ".nii.gz")
    chosen = format_by_suffix(path)
    assert chosen
    ending = next(s for s in chosen.suffixes if path.name.lower().endswith(s))
    same = chosen.writes and not chosen.writer  # a DICOM SEG only where it is asked for
    default = ending if same else ".png" if chosen.name == "picture" else ".nii.gz"
    return path.name[: -len(ending)] + (suffix or default)


class _Mark:
    """A file beside an output that was begun and is not complete: only such an output is replaced."""

    def __init__(self, output: Path) -> None:
        self.name = output.name
        key = hashlib.sha256(os.fsencode(self.name)).hexdigest()[:16]
        self.path = output.with_name(f".promptseg-begun-{key}")
        self.earlier = output.with_name(".promptseg-begun")  # of earlier versions: one for all

    def is_there(self) -> bool:
        """Whether an earlier run was cut off here."""
        with contextlib.suppress(OSError, ValueError):
            return self.path.exists() or self.name in self.earlier.read_text("utf-8").splitlines()
        return False

    def set(self) -> None:
        """Before the first file of the output appears."""
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(os.fsencode(self.name) + b"\n")

    def clear(self) -> None:
        """When all of its files are there."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError, ValueError):
            left = [n for n in self.earlier.read_text("utf-8").splitlines() if n != self.name]
            self.earlier.write_text("\n".join([*left, ""]), "utf-8")
            if not left:
                self.earlier.unlink()
