"""The images of a loop, each with a name of its own, and copies of them for a task."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptseg.datasets import CaseFiles, DatasetOptions, open_datasets
from promptseg.datasets.case_list import Case, CaseList, is_case_list
from promptseg.datasets.patients import patient_of
from promptseg.errors import InputError, OutputError
from promptseg.formats.detached import belonging_to
from promptseg.formats.files import beside, files_below
from promptseg.jobs.batch import find_images
from promptseg.loop.options import LoopOptions
from promptseg.loop.placing import copied
from promptseg.parsing import name_fault
from promptseg.prompts import Prompt
from promptseg.prompts.text import typed_prompts

__all__ = ["Entry", "copy_image", "free_for", "read_pool"]

_PROMPTED = ("box", "box3d", "point")


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        name: its own in the loop, without an ending.
        path: file, or folder of a DICOM series.
        patient: whom it shows.
        prompts: that the list gives for it.
        truth: the labelled case, where labels answer in the expert's place.
    """

    name: str
    path: Path
    patient: str
    prompts: tuple[Prompt, ...] = ()
    truth: CaseFiles | None = None


@dataclass(frozen=True)
class _Typed:
    """Prompts of a row, as `typed_prompts` takes them."""

    box: tuple[str, ...] = ()
    box3d: tuple[str, ...] = ()
    point: tuple[str, ...] = ()


def read_pool(options: LoopOptions) -> dict[str, Entry]:
    """Read the images of the pool, by name, in order.

    Raises:
        InputError: none, one that is not there, or a list with columns that mean nothing here.
    """
    source = Path(options.input).expanduser()
    if options.simulate:
        found = _labelled(source, options)
    elif source.is_file() and is_case_list(source):
        found = [_listed(case, source, options) for case in CaseList(source)]
    elif source.is_dir():
        found = [_entry(path, options) for path in find_images(source)]
    else:
        raise InputError("a folder of images, or a list of them", str(source), "correct --input")
    if not found:
        raise InputError("a folder with images", f"{source} without any", "correct --input")
    return {entry.name: entry for entry in _named_apart(found)}


def copy_image(entry: Entry, folder: Path) -> Path:
    """Copy an image, with the files that belong to it, under its name; what is there stays.

    Args:
        entry: the image.
        folder: where to.

    Returns:
        The file, or the folder of the series.

    Raises:
        OutputError: it cannot be written.
    """
    source = entry.path
    if source.is_dir():
        target = folder / entry.name
        copied(source, target)
        return target
    stem = beside(source, "").name
    target = folder / (entry.name + source.name[len(stem) :])
    for other in belonging_to(source):
        own = beside(other, "").name
        name = entry.name + other.name[len(own) :] if own == stem else other.name
        if target.suffix.lower() in (".nhdr", ".mhd"):  # whose text names the other file
            name = other.name
            if (folder / name).exists() and not filecmp.cmp(other, folder / name, shallow=False):
                raise InputError(
                    "data files of headers under names of their own",
                    f"{name!r} of {source} and of another image of the task",
                    "rename one of them, in its header too",
                )
        copied(other, folder / name)
    copied(source, target)
    return target


def free_for(entries: Sequence[Entry], folder: Path) -> None:
    """Refuse a task for whose copies there is no room, before the first is made.

    Raises:
        OutputError: too little is free.
    """
    needed = sum(_bytes_of(entry.path) for entry in entries)
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OutputError(
            f"{needed / 1e9:.2f} GB of free disk for the images of a task",
            f"{free / 1e9:.2f} GB in {place}",
            "free some space and give the same command again",
        )


def _entry(path: Path, options: LoopOptions, prompts: tuple[Prompt, ...] = ()) -> Entry:
    name = path.name if path.is_dir() else beside(path, "").name
    if fault := name_fault(name):
        raise InputError("names of images in valid Unicode", fault, f"rename {path.name!r}")
    asked = DatasetOptions(patient_pattern=options.patient_pattern)
    return Entry(name, path, patient_of(name, {}, asked, path), prompts)


def _listed(case: Case, table: Path, options: LoopOptions) -> Entry:
    if strange := [name for name in case.options if name not in _PROMPTED]:
        raise InputError(
            f"a list with image, {', '.join(_PROMPTED)}",
            f"{strange[0]!r} in {table}",
            f"leave it out, or call it '#{strange[0]}'",
        )
    if not case.image.exists():
        raise InputError(
            "images that are there",
            f"{case.image} in row {case.row} of {table}",
            "correct the list",
        )
    texts = {
        name: tuple(part.strip() for part in text.split(";") if part.strip())
        for name, text in case.options.items()
    }
    return _entry(case.image, options, tuple(typed_prompts(_Typed(**texts))))


def _labelled(source: Path, options: LoopOptions) -> list[Entry]:
    asked = DatasetOptions(
        patient_pattern=options.patient_pattern,
        dataset_modality=options.modality,
        keep_going=True,
    )
    return [
        Entry(case.name, case.image, case.patient, truth=case)
        for dataset in open_datasets(source, asked)
        for case in dataset.cases
    ]


def _named_apart(entries: Sequence[Entry]) -> list[Entry]:
    """The same, where no two have one name, whatever the case of letters."""
    taken = {"answers", "proposals"}  # folders of a task
    found = []
    for entry in entries:
        name, number = entry.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{entry.name}-{number}"
        taken.add(name.lower())
        found.append(Entry(name, entry.path, entry.patient, entry.prompts, entry.truth))
    return found


def _bytes_of(path: Path) -> int:
    files = files_below(path) if path.is_dir() else [path, *belonging_to(path)]
    return sum(file.stat().st_size for file in files)
