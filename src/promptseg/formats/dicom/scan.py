"""A scan for DICOM images among files, and the series that they form."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pydicom.uid import UID

from promptseg.errors import InputError
from promptseg.formats.dicom.instances import Instance
from promptseg.formats.dicom.parse import cut_header, parse
from promptseg.formats.files import files_below

__all__ = ["Scan", "Series", "choose_series", "others_beside", "scan", "series_in"]

_DERIVED = {
    "SEG": "masks: use it with --mask or convert it",
    "RTSTRUCT": "contours: convert it with its image as --reference",
    "RTPLAN": "a treatment plan",
    "SR": "a report",
    "PR": "a presentation state",
    "KO": "a selection of images",
    "REG": "a registration",
    "DOC": "a document",
}


_NEAR_BY = 64  # names of a folder, of which a few files
_LOOKED_AT = 3  # are looked at: is one file of a series given alone?


@dataclass
class Series:
    """The image objects that share a SeriesInstanceUID.

    Attributes:
        uid: SeriesInstanceUID; empty where the files have none.
        modality: as DICOM writes it, "CT", "PT", ...; empty if absent.
        description: SeriesDescription; empty if absent.
        instances: one per file, in the order of the files' names.
    """

    uid: str
    modality: str
    description: str
    instances: list[Instance] = field(default_factory=list)

    def __str__(self) -> str:
        frames = sum(i.frame_count for i in self.instances)
        size = f"{len(self.instances)} slices"
        if frames > len(self.instances):
            size = f"{frames} frames in {len(self.instances)} files"
        return f"{self.uid}: {self.modality or '?'}, {size}, {self.description or 'no description'}"


@dataclass
class Scan:
    """The DICOM series in a folder or file, and what else is there.

    Attributes:
        series: the series of images, in the order of their first files.
        ignored: files that are not DICOM images, by name.
        derived: DICOM objects that are made from images (SEG, RTSTRUCT, ...), by kind.
    """

    series: list[Series]
    ignored: list[str]
    derived: Counter[str]


def series_in(path: Path) -> list[Series]:
    """Find the DICOM image series in a folder (with its subfolders) or file; no pixels are decoded.

    Raises:
        InputError: an image file whose header is cut.
    """
    return scan(path).series


def scan(path: Path) -> Scan:
    """Parse every file once and sort it; see `series_in`."""
    with warnings.catch_warnings():  # pydicom names each oddity of a header that can be lived with
        warnings.simplefilter("ignore", UserWarning)
        return _scan(path)


def _scan(path: Path) -> Scan:
    files = [path]
    if path.is_dir():
        files = files_below(path)
    found: dict[str, Series] = {}
    ignored: list[str] = []
    derived: Counter[str] = Counter()
    for file in files:
        instance = parse(file)
        if instance is None:
            gone = file.is_symlink() and not file.exists()
            ignored.append(f"{file.name} (a link to nothing)" if gone else file.name)
            continue
        header = instance.header
        modality = str(header.get("Modality") or "")
        if modality in _DERIVED:
            derived[modality] += 1
            ignored.append(file.name)
        elif "Rows" in header:
            uid = str(header.get("SeriesInstanceUID") or "")
            description = str(header.get("SeriesDescription") or "")
            series = found.setdefault(uid, Series(uid, modality, description))
            series.instances.append(instance)
        elif _is_cut(instance):
            raise cut_header(file)
        else:
            ignored.append(file.name)
    return Scan(list(found.values()), ignored, derived)


def choose_series(path: Path, wanted: str | None, notes: list[str]) -> Series:
    """Choose the one series to be read.

    Args:
        path: folder or file.
        wanted: SeriesInstanceUID or its ending; None if there should be only one.
        notes: what was left out is added.

    Raises:
        InputError: no image, or not exactly one series that fits.
    """
    found = scan(path)
    if not found.series:
        raise _no_images(path, found)
    if found.ignored:
        some = ", ".join(found.ignored[:3]) + (", ..." if len(found.ignored) > 3 else "")
        notes.append(f"{len(found.ignored)} files that are not DICOM images were ignored: {some}")
    if wanted is None:
        images = [s for s in found.series if s.modality != "RTDOSE"]
        fitting = images or found.series
    else:
        fitting = [s for s in found.series if s.uid.endswith(wanted)]
    if len(fitting) == 1:
        if len(found.series) > 1:
            notes.append(f"series {fitting[0].uid} chosen out of {len(found.series)}")
        return fitting[0]
    lines = "\n".join(f"  {s}" for s in found.series)
    raise InputError(
        "one DICOM series" if wanted is None else f"one series ending in {wanted}",
        f"{len(fitting) or 'none'} of {len(found.series)} in {path}:\n{lines}",
        "choose one with --series UID",
    )


def others_beside(path: Path, instance: Instance) -> bool:
    """Tell whether the folder of a file has others of its series, by a look at a few.

    Args:
        path: of the file.
        instance: what it holds.
    """
    uid = instance.header.get("SeriesInstanceUID")
    if not uid:
        return False
    try:
        with os.scandir(path.parent) as entries:
            first = list(islice(entries, _NEAR_BY))
        near = [e.path for e in first if e.name != path.name and e.is_file()]
        alike = [name for name in map(Path, near) if name.suffix == path.suffix][:_LOOKED_AT]
        found = [other.header for name in alike if (other := parse(name)) is not None]
    except (OSError, InputError):  # a neighbour that cannot be read is no fault of this file
        return False
    return any("Rows" in header and header.get("SeriesInstanceUID") == uid for header in found)


def _no_images(path: Path, found: Scan) -> InputError:
    if found.derived:
        kind = found.derived.most_common(1)[0][0]
        what = f"a DICOM {kind}, {_DERIVED[kind]}"
        return InputError("a DICOM image", f"{path}: {what}", "name the image instead")
    if path.is_dir():
        return InputError(
            "a folder with a DICOM series",
            f"{path}: {len(found.ignored)} files, none of them a DICOM image",
            "name the folder that holds the slices",
        )
    if path.name.upper() == "DICOMDIR":
        return InputError(
            "a DICOM image", f"{path}: a list of files", f"name the folder of images: {path.parent}"
        )
    return InputError("a DICOM image", f"{path}: none", "check that the file is complete")


def _is_cut(instance: Instance) -> bool:
    """Whether a DICOM file without an image's size says it is an image, or does not say at all."""
    header = instance.header
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return not kind or UID(str(kind)).name.endswith("Image Storage")
