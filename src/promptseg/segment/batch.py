"""A folder of images: the same job for each, going on where an earlier run was cut off."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from promptseg.errors import InputError, OutputError, PromptError, PromptsegError
from promptseg.formats import FORMATS, is_dicom_file, read
from promptseg.formats.files import beside
from promptseg.progress import step_progress
from promptseg.promptfile import PromptFile, read_prompt_file
from promptseg.segment.job import (
    check_outputs,
    prompts_of,
    replay,
    run_job,
)
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import load

_JOURNAL = ".promptseg-begun"

__all__ = ["find_images", "is_batch", "segment_folder"]


def is_batch(source: Path, target: Path) -> bool:
    """Whether `source` is a folder of images rather than of DICOM slices."""
    return source.is_dir() and bool(find_images(source))


def find_images(folder: Path) -> list[Path]:
    """Image files, and subfolders with DICOM slices, directly in a folder; in order of name.

    A folder that itself holds DICOM slices is one series, not a folder of images.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if any(p.is_file() and is_dicom_file(p) for p in sorted(path.iterdir())[:5]):
                found.append(path)
        elif is_dicom_file(path):
            return []
        elif any(path.name.lower().endswith(s) for f in FORMATS for s in f.suffixes):
            found.append(path)
    return found


def segment_folder(command: SegmentJob) -> int:
    """Segment every image of the input folder into the output folder.

    Images whose results are there already, made by the same command, are left alone. An image that
    fails does not stop the others.

    Returns:
        0 if every image is done, 2 if some could not be.
    """
    jobs = _plan(command)
    waiting = [job for job in jobs if not _is_done(job[0], job[1])]
    _say(command, f"{len(jobs)} images, {len(jobs) - len(waiting)} done already")
    if not waiting:
        return 0
    failures: list[tuple[str, str]] = []
    begun = _begun(command.output)
    segmenter = load(
        command.model, device=command.device, threads=command.threads, quiet=command.quiet
    )
    with step_progress("images", len(waiting), command.quiet) as update:
        for done, (one, file) in enumerate(waiting):
            update(done, one.input.name)
            try:
                if one.output.name in begun:  # ours, cut off before it was complete
                    one = dataclasses.replace(one, overwrite=True)
                check_outputs(one)
                _begin(one.output)
                image = read(one.input, modality=one.modality, nan_as=one.nan_as, series=one.series)
                run_job(segmenter, image, prompts_of(one, file), one)
            except PromptsegError as error:
                failures.append((one.input.name, str(error)))
        update(len(waiting), "")
    for name, reason in failures:
        print(f"error: {name}: {reason}", file=sys.stderr)
    _say(command, f"{len(waiting) - len(failures)} segmented, {len(failures)} failed")
    return 2 if failures else 0


def _plan(command: SegmentJob) -> list[tuple[SegmentJob, PromptFile | None]]:
    """One command per image, with its prompts; everything that can be refused early is."""
    if command.output.exists() and not command.output.is_dir():
        raise OutputError("a folder to write into", f"{command.output}: a file")
    images = {path.name: path for path in find_images(command.input)}
    files = read_prompt_file(command.prompts) if command.prompts else []
    named = {f.image: f for f in files if f.image}
    if len(files) > 1 and len(named) < len(files):
        raise PromptError("an image name in every entry of `images`", "one without, or one twice")
    if len(files) > 1 or (named and next(iter(named)) in images):
        absent = sorted(set(named) - set(images))
        if absent:
            raise InputError(
                f"the images of the prompt file in {command.input}", f"no {', '.join(absent)}"
            )
        jobs: list[tuple[Path, PromptFile | None]] = [
            (images[name], file) for name, file in named.items()
        ]
    else:
        shared = files[0] if files else None
        jobs = [(path, shared) for path in images.values()]
    plan: list[tuple[SegmentJob, PromptFile | None]] = []
    taken: dict[Path, str] = {}
    for path, file in jobs:
        output = command.output / _output_name(path, command.suffix)
        facts = beside(output, ".json")
        if facts in taken:
            raise OutputError(
                "images with names of their own", f"{taken[facts]} and {path.name}", "rename one"
            )
        taken[facts] = path.name
        one = dataclasses.replace(command, input=path, output=output)
        prompts_of(one, file)
        plan.append((one, file))
    return plan


def _output_name(path: Path, suffix: str | None) -> str:
    if path.is_dir():
        return path.name + (suffix or ".nii.gz")
    name = path.name.lower()
    chosen, ending = next((f, s) for f in FORMATS for s in f.suffixes if name.endswith(s))
    default = ending if chosen.writes else ".png" if chosen.name == "picture" else ".nii.gz"
    return path.name[: -len(ending)] + (suffix or default)


def _is_done(command: SegmentJob, file: PromptFile | None) -> bool:
    """Whether all results are there, from the very same command."""
    wanted = [command.output]
    if command.overlay:
        wanted.append(beside(command.output, ".overlay.png"))
    if command.overwrite or not all(path.exists() for path in wanted):
        return False
    try:
        earlier = json.loads(beside(command.output, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(earlier, dict) and earlier.get("command") == replay(command)


def _begun(folder: Path) -> set[str]:
    """Names of the outputs that earlier runs began in this folder."""
    try:
        return set((folder / _JOURNAL).read_text(encoding="utf-8").splitlines())
    except OSError:
        return set()


def _begin(output: Path) -> None:
    """Note that `output` is ours before any part of it is written."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with (output.parent / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(output.name + "\n")
    except OSError as error:
        raise OutputError(
            "a folder that can be written", f"{output.parent} ({error.strerror})"
        ) from error


def _say(command: SegmentJob, text: str) -> None:
    if not command.quiet:
        print(text)
