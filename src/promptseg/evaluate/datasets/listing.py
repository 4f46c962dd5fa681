"""Names of cases: files by case, pairs of them, whom they show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from promptseg.errors import InputError
from promptseg.evaluate.datasets.options import DatasetOptions
from promptseg.formats import format_by_suffix
from promptseg.image import Kind

__all__ = [
    "SomePairs",
    "by_case",
    "case_name",
    "is_image_file",
    "kind_of",
    "natural",
    "paired",
    "patient_of",
    "shortened",
]

_PICTURES = frozenset({"png", "picture", "tiff"})
_PATIENTS = (
    r"(STS_\d+)",  # soft-tissue sarcoma
    r"(patient_?\d+)",  # ACDC and many others: patient101_frame01
    r"CT_Lesion_(\d+)_\d+_\d+_",  # DeepLesion
    r"(TCGA-\w{2}-\w{4})",
    r"(LIDC-IDRI-\d+)",
    r"(sub-[A-Za-z0-9]+)",  # BIDS
)
_SHOWN = 5
_HEADERS = {".img.gz": ".hdr.gz", ".img": ".hdr", ".brik.gz": ".head", ".brik": ".head"}


def case_name(path: Path) -> str:
    """Name of a file without the ending of its format; dots inside stay."""
    name = path.name.lower()
    known = format_by_suffix(path)
    endings = [s for s in known.suffixes if name.endswith(s)] if known else [path.suffix]
    stem = path.name[: len(path.name) - len(max(endings, key=len))]
    return stem[: -len(".seg")] if stem.lower().endswith(".seg") else stem


def is_image_file(path: Path) -> bool:
    """Whether a name is that of an image file; not of the voxels beside their header."""
    if path.name.startswith(".") or format_by_suffix(path) is None:
        return False
    for ending, header in _HEADERS.items():
        if path.name.lower().endswith(ending):
            stem = path.name[: -len(ending)]
            return not any((path.parent / f"{stem}{h}").exists() for h in (header, header.upper()))
    return True


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key that puts 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in parts if p)


def by_case(folder: Path, files: Iterable[Path] | None = None) -> dict[str, Path]:
    """The image files of a folder by name of the case, in natural order.

    Args:
        folder: for the message and, without `files`, to look in.
        files: those to take.

    Raises:
        InputError: two files of one case.
    """
    found: dict[str, Path] = {}
    for path in folder.iterdir() if files is None else files:
        if not path.is_file() or not is_image_file(path):
            continue
        name = case_name(path)
        if name in found:
            raise InputError(
                "one file per case",
                f"{folder}: {found[name].name} and {path.name}",
                "remove or rename one of them",
            )
        found[name] = path
    return {name: found[name] for name in sorted(found, key=natural)}


class SomePairs(dict[str, tuple[Path, Path]]):
    """Case -> (image, truth), with what lacks its other half in `missing`: (case, what)."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[tuple[str, str]] = []


def paired(
    images: Mapping[str, Path], truths: Mapping[str, Path], where: Path, options: DatasetOptions
) -> SomePairs:
    """Images and truths of the same name.

    Args:
        images: file of each case.
        truths: the same, of its truth.
        where: the dataset, for the message.
        options: `keep_going` leaves out what is incomplete.

    Raises:
        InputError: something lacks its other half, named; or there is nothing.
    """
    pairs = SomePairs()
    for name, image in images.items():
        if name in truths:
            pairs[name] = (image, truths[name])
        else:
            pairs.missing.append((name, f"{image.name} has no labels"))
    pairs.missing += [(n, f"{t.name} has no image") for n, t in truths.items() if n not in images]
    if pairs.missing and not options.keep_going:
        raise InputError(
            "an image and labels for every case",
            f"{where}: {shortened([what for _, what in pairs.missing])}",
            "add them, or leave these cases out with --keep-going",
        )
    if not pairs:
        raise InputError("a dataset with at least one case", f"{where} without any")
    return pairs


def shortened(items: list[str]) -> str:
    """The first few of many, for messages."""
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def patient_of(name: str, patients: Mapping[str, str], options: DatasetOptions) -> str:
    """Whom a case shows: by the pattern of the options, the dataset's table, or usual names.

    Without any of them, every case is a patient of its own.

    Raises:
        InputError: a pattern that does not match the name.
    """
    if options.patient_pattern is not None:
        match = re.search(options.patient_pattern, name)
        if match is None or match[1] is None:
            raise InputError(
                "a patient pattern that matches every case",
                f"{options.patient_pattern!r} for {name!r}",
                "correct --patient-pattern",
            )
        return match[1]
    if name in patients:
        return patients[name]
    found = (match[1] for rule in _PATIENTS if (match := re.search(rule, name, re.I)))
    return next(found, name)


def kind_of(image: Path) -> Kind:
    """Whether a file is a picture or a volume, by its name alone."""
    known = format_by_suffix(image)
    return "picture" if known is not None and known.name in _PICTURES else "volume"
