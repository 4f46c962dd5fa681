"""A folder of images: the same job for each, going on where an earlier run was cut off."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, OutputError, PromptError, PromptsegError
from promptseg.formats import FORMATS, format_by_suffix, format_for_output, is_dicom_file, read
from promptseg.formats.files import atomic_path, beside
from promptseg.formats.promptfile import PromptFile, read_prompt_file
from promptseg.image import Image
from promptseg.jobs.remote import is_remote
from promptseg.jobs.segment import check_outputs, load_for, prompts_of, run_job
from promptseg.models.cards import AUTO
from promptseg.models.choose import Choice
from promptseg.parsing import parse_json
from promptseg.progress import step_progress
from promptseg.prompts import Prompt
from promptseg.segment.auto import settle_model
from promptseg.segment.options import SegmentJob

__all__ = ["find_images", "is_batch", "segment_folder"]

_JOURNAL = ".promptseg-begun"
_NO_BATCH = {"dicom"}  # slices of a series, not images of their own
_IRRELEVANT = {
    *("device", "threads", "engine", "batch", "embeddings", "embeddings_limit"),
    *("quiet", "json", "overwrite", "config"),
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
class _Item:
    """One image of the folder: its job, its prompts, and what identifies the work."""

    job: SegmentJob
    prompts: list[Prompt]

    def request(self) -> dict[str, Any]:
        """What the result depends on; equal requests give equal results.

        Paths may name the patient: without them an input is still known by its size and time.
        """
        values = dataclasses.asdict(self.job)
        unsaid = _IRRELEVANT | (_PATHS if self.job.deidentify else set())
        stat = self.job.input.stat()
        return {
            **{k: _plain(v) for k, v in values.items() if k not in unsaid},
            "prompts": [repr(p) for p in self.prompts],
            "input_stat": [stat.st_size, stat.st_mtime_ns],
        }

    def is_done(self) -> bool:
        """Whether all results are there, from the very same request."""
        wanted = [self.job.output]
        if self.job.overlay:
            wanted.append(beside(self.job.output, ".overlay.png"))
        if self.job.overwrite or not all(path.exists() for path in wanted):
            return False
        try:
            earlier = parse_json(beside(self.job.output, ".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(earlier, dict) and earlier.get("request") == self.request()


def segment_folder(job: SegmentJob) -> int:
    """Segment every image of the input folder into the output folder.

    Images whose results are there already, from the same input, prompts and options, are left alone.
    An image that fails does not stop the others.

    Returns:
        0 if every image is done, 2 if some could not be.
    """
    for name in ("mask", "markers", "correct", "replay"):
        if getattr(job, name) is not None:
            raise InputError(
                f"one image for --{name}", f"the folder {job.input}", "run it per image"
            )
    items, choice = _settled(_plan(job))
    waiting = [item for item in items if not item.is_done()]
    _say(job, f"{len(items)} images, {len(items) - len(waiting)} done already")
    failures: list[tuple[str, str]] = []
    results: list[dict[str, Any]] = []
    if waiting:
        segmenter = load_for(waiting[0].job)
        segmenter.predictor.choice = choice
    journal = _Journal(job.output / _JOURNAL)
    with step_progress("images", len(waiting), job.quiet) as update:
        for done, item in enumerate(waiting):
            one = item.job
            update(done, one.input.name)
            try:
                if one.output.name in journal.begun:  # ours, cut off before it was complete
                    one = dataclasses.replace(one, overwrite=True)
                check_outputs(one)
                image = read(one.input, one, modality=one.modality)
                format_for_output(one.output, image)
                name, facts = one.output.name, {"request": item.request()}
                outputs = run_job(
                    segmenter, image, item.prompts, one, partial(journal.begin, name), facts
                )
                journal.end(name)
                results.append(outputs.provenance)
            except PromptsegError as error:
                failures.append((one.input.name, str(error)))
        update(len(waiting), "")
    for name, reason in failures:
        print(f"error: {name}: {reason}", file=sys.stderr)
    if job.json:
        print(json.dumps(results, indent=2))
    _say(job, f"{len(waiting) - len(failures)} segmented, {len(failures)} failed")
    return 2 if failures else 0


def _plan(job: SegmentJob) -> list[_Item]:
    """One item per image; everything that can be refused early is."""
    if job.output.exists() and not job.output.is_dir():
        raise OutputError("a folder to write into", f"{job.output}: a file")
    if job.output.exists() and job.output.samefile(job.input):
        raise OutputError(
            "an output folder other than the input folder", str(job.output), "name another one"
        )
    images = {path.name: path for path in find_images(job.input)}
    files = read_prompt_file(job.prompts) if job.prompts else []
    items: list[_Item] = []
    taken: dict[Path, str] = {}
    for path, file in _pairs(images, files, job.input):
        output = job.output / _output_name(path, job.suffix)
        facts = beside(output, ".json")
        if facts in taken:
            raise OutputError(
                "images with names of their own", f"{taken[facts]} and {path.name}", "rename one"
            )
        taken[facts] = path.name
        one = dataclasses.replace(job, input=path, output=output)
        items.append(_Item(one, prompts_of(one, file)))
    if not any(i.prompts or i.job.input.suffix == ".npz" for i in items):
        raise PromptError("prompts for the images", "none", "add --prompts FILE.json or --box")
    return items


def _settled(items: list[_Item]) -> tuple[list[_Item], Choice | None]:
    """The items with one model for all: auto goes by all their prompts and by the first image."""
    first = items[0].job
    if first.model != AUTO:
        return items, None
    prompts = [p for item in items for p in item.prompts]
    image: Image | None = None
    with contextlib.suppress(PromptsegError):  # said when its turn comes
        image = read(first.input, first, modality=first.modality)
    carried = image.source.prompts if image else ()
    named, choice = settle_model(first, prompts or carried, image)
    jobs = (dataclasses.replace(item.job, model=named.model) for item in items)
    return [_Item(job, item.prompts) for job, item in zip(jobs, items, strict=True)], choice


def _pairs(
    images: dict[str, Path], files: list[PromptFile], folder: Path
) -> list[tuple[Path, PromptFile | None]]:
    """Each image with its prompts: one set for all, or one for each image that is named."""
    named = {f.image: f for f in files if f.image}
    if len(files) > 1 and len(named) < len(files):
        raise PromptError("an image name in every entry of `images`", "one without, or one twice")
    if len(files) > 1 or (named and next(iter(named)) in images):
        absent = sorted(set(named) - set(images))
        if absent:
            raise InputError(f"the images of the prompt file in {folder}", f"no {absent[0]}")
        return [(images[name], file) for name, file in named.items()]
    return [(path, files[0] if files else None) for path in images.values()]


def _output_name(path: Path, suffix: str | None) -> str:
    if suffix is not None:
        suffix = "." + suffix.lstrip(".")
        chosen = format_by_suffix(Path("mask" + suffix))
        if chosen is None or not chosen.writes:
            able = ", ".join(f.suffixes[0] for f in FORMATS if f.writes)
            raise OutputError(f"a suffix out of {able}", suffix, "correct --suffix")
    if path.is_dir():
        return path.name + (suffix or ".nii.gz")
    chosen = format_by_suffix(path)
    assert chosen
    ending = next(s for s in chosen.suffixes if path.name.lower().endswith(s))
    same = chosen.writes and not chosen.writer  # a DICOM SEG only where it is asked for
    default = ending if same else ".png" if chosen.name == "picture" else ".nii.gz"
    return path.name[: -len(ending)] + (suffix or default)


class _Journal:
    """Names of outputs that were begun and not completed: only those may be replaced on resuming."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.begun = set(path.read_text(encoding="utf-8").splitlines())
        except OSError:
            self.begun = set()

    def begin(self, name: str) -> None:
        """Before the first file of an output appears."""
        self._write(self.begun | {name})

    def end(self, name: str) -> None:
        """When all of its files are there."""
        self._write(self.begun - {name})

    def _write(self, begun: set[str]) -> None:
        self.begun = begun
        if begun:
            with atomic_path(self.path) as temporary:
                temporary.write_text("\n".join(sorted(begun)) + "\n", encoding="utf-8")
        else:
            self.path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _say(job: SegmentJob, text: str) -> None:
    if not job.quiet:
        print(text, file=sys.stderr if job.json else sys.stdout)
