"""Names of cases: files by case, pairs of them, what they lack."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError
from promptseg.formats import format_by_suffix
from promptseg.formats.text import composed
from promptseg.image import Kind

__all__ = [
    "Missing",
    "SomePairs",
    "by_case",
    "case_name",
    "check_complete",
    "ending_of",
    "files_in",
    "is_image_file",
    "kind_of",
    "natural",
    "no_cases",
    "paired",
    "require_target",
    "shortened",
]

_PICTURES = frozenset({"png", "picture", "tiff"})
_SHOWN = 5
_HEADERS = {".img.gz": ".hdr.gz", ".img": ".hdr", ".brik.gz": ".head", ".brik": ".head"}


def case_name(path: Path) -> str:
    """Return the name of a file without the ending of its format; dots inside stay."""
    name = path.name.lower()
    known = format_by_suffix(path)
    endings = [s for s in known.suffixes if name.endswith(s)] if known else [path.suffix]
    stem = composed(path.name[: len(path.name) - len(max(endings, key=len))])
    return stem[: -len(".seg")] if stem.lower().endswith(".seg") else stem


def is_image_file(path: Path) -> bool:
    """Tell whether a name is that of an image: no video, no outlines, no voxels beside their header."""
    known = format_by_suffix(path)
    if path.name.startswith(".") or known is None or known.module == "video" or known.outlines:
        return False
    for ending, header in _HEADERS.items():
        if path.name.lower().endswith(ending):
            stem = path.name[: -len(ending)]
            return not any((path.parent / f"{stem}{h}").exists() for h in (header, header.upper()))
    return True


def ending_of(path: Path) -> str:
    """Return the ending that tells the format of a file, in lower case; "" if none does."""
    known = format_by_suffix(path)
    name = path.name.lower()
    return next((s for s in known.suffixes if name.endswith(s)), "") if known else ""


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder in order, except hidden ones; links lead where they lead.

    Raises:
        InputError: a link to nothing, which would be a case that is missing without a word.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file():
            found.append(path)
        require_target(path)
    return found


def require_target(path: Path) -> None:
    """Refuse a link to nothing: it would be a case that is missing without a word.

    Raises:
        InputError: it is one.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            "files that are there",
            f"{path}: a link to nothing",
            "get what it points to (git annex get, dvc pull), or remove it",
        )


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sorting key that puts 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in parts if p)


def by_case(folder: Path, files: Iterable[Path] | None = None) -> dict[str, Path]:
    """Return the image files of a folder by name of the case, in natural order.

    Args:
        folder: for the message and, without `files`, to look in.
        files: those to take.

    Raises:
        InputError: two files of one case.
    """
    found: dict[str, Path] = {}
    for path in files_in(folder) if files is None else files:
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


@dataclass(frozen=True)
class Missing:
    """A case that lacks its image or its labels; it unpacks to `case, what`, for messages.

    Attributes:
        case: its name.
        kind: which of the two it lacks.
        what: in words ("a.png has no labels").
    """

    case: str
    kind: Literal["image", "labels"]
    what: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.case, self.what))


class SomePairs(dict[str, tuple[Path, Path]]):
    """Case -> (image, truth), with what lacks its other half in `missing`."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[Missing] = []


def paired(
    images: Mapping[str, Path], truths: Mapping[str, Path], where: Path, options: DatasetOptions
) -> SomePairs:
    """Return pairs of an image and a truth of the same name.

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
            pairs.missing.append(Missing(name, "labels", f"{image.name} has no labels"))
    alone = {name: truth for name, truth in truths.items() if name not in images}
    pairs.missing += [Missing(n, "image", f"{t.name} has no image") for n, t in alone.items()]
    check_complete(pairs.missing, where, options)
    if not pairs:
        raise no_cases(where, pairs.missing)
    return pairs


def check_complete(
    missing: Sequence[Missing], where: Path, options: DatasetOptions, do: str = "add them"
) -> None:
    """Refuse incomplete cases, unless they may be left out.

    Args:
        missing: what they lack.
        where: the dataset, for the message.
        options: `keep_going` leaves them out.
        do: what else to do about it, for the message.

    Raises:
        InputError: there are some, named.
    """
    if missing and not options.keep_going:
        raise InputError(
            "an image and labels for every case",
            f"{where}: {shortened([each.what for each in missing])}",
            f"{do}, or leave these cases out with --keep-going",
        )


def no_cases(where: Path, missing: Sequence[Missing] = ()) -> InputError:
    """Return the error about a dataset without a complete case: what it lacks, and what to do."""
    if not missing:
        return InputError(
            "a dataset with at least one case",
            f"{where} without any",
            "put images and their labels there, or name another folder",
        )
    return InputError(
        "a dataset with at least one case that has an image and labels",
        f"{where}: {shortened([each.what for each in missing])}",
        "put labels beside the images, named as docs/datasets.md says",
    )


def shortened(items: list[str]) -> str:
    """Return the first few of many texts as one, for messages."""
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def kind_of(image: Path) -> Kind:
    """Tell whether a file is a 2D image, a volume or a film: by its name, and of a TIFF by its
    pages.
    """
    known = format_by_suffix(image)
    if known is None or known.name not in _PICTURES:
        return "volume"
    if known.name == "tiff":
        from promptseg.formats import tiff

        with contextlib.suppress(Exception):  # a broken file: its reader says it better
            return tiff.kind_of(image)
    return "picture"
