"""A manifest of the images that a model was trained on, without the images: ids and hashes.

The perceptual hash is the sign pattern of the low frequencies (DCT) of the image's ranks: ranks do not
change with window, gamma or conversion to 8 bits, low frequencies hardly with size or JPEG. Mirrored,
turned and cropped copies have other hashes. The usual package for such hashes (ImageHash) does not
rank, and brings PyWavelets along.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from promptseg.datasets import Dataset
from promptseg.errors import InputError
from promptseg.formats.files import atomic_path, check_output
from promptseg.formats.text import csv_table, read_text
from promptseg.image import Image
from promptseg.names import for_csv, from_csv
from promptseg.parsing import parse_json

__all__ = ["ManifestRow", "manifest_of", "perceptual_hashes", "read_manifest", "write_manifest"]

_SIDE, _LOW = 64, 16
_DIGITS = _LOW * _LOW // 4
_LUMA = (0.299, 0.587, 0.114)
_QUARTERS = (1, 2, 3)
_SCHEMA = "promptseg training manifest 1"


@dataclass(frozen=True)
class ManifestRow:
    """One image that a model was trained on.

    Attributes:
        dataset: name of the dataset it is from.
        case: its name there.
        patient: whom it shows; "" if nobody knows.
        sha256: `Image.sha256` of its voxels; "" if nobody knows.
        phash: `perceptual_hashes`, separated by blanks; "" if nobody knows.
    """

    dataset: str
    case: str
    patient: str = ""
    sha256: str = ""
    phash: str = ""


def perceptual_hashes(image: Image) -> list[str]:
    """Compute 64 hex digits each: of a 2D image, or of slices or frames at 1/4, 1/2 and 3/4.

    Slices of one value have none.
    """
    if image.kind == "picture":
        slices = [image.voxels]
    else:
        depth = len(image.voxels)
        slices = [image.voxels[depth * quarter // 4] for quarter in _QUARTERS]
    return [_hash(each) for each in slices if each.min() < each.max()]


def manifest_of(datasets: Iterable[Dataset]) -> Iterator[ManifestRow]:
    """Yield a row for every case of some datasets; reads every image.

    Raises:
        InputError: an image that cannot be read.
    """
    for dataset in datasets:
        for case in dataset.cases:
            image = case.load_image()
            hashes = " ".join(perceptual_hashes(image))
            yield ManifestRow(dataset.name, case.name, case.patient, image.sha256(), hashes)


def write_manifest(rows: Iterable[ManifestRow], path: Path, overwrite: bool = False) -> Path:
    """Write a manifest as CSV or JSON, by the ending of its name.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    check_output(path, overwrite)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        if path.suffix.lower() == ".json":
            json.dump({"schema": _SCHEMA, "images": [asdict(r) for r in rows]}, stream, indent=1)
        else:
            writer = csv.DictWriter(stream, [f.name for f in fields(ManifestRow)])
            writer.writeheader()
            writer.writerows(
                {k: for_csv(v) if isinstance(v, str) else v for k, v in asdict(row).items()}
                for row in rows
            )
    return path


def read_manifest(path: str | Path) -> list[ManifestRow]:
    """Read a manifest: CSV with a header, or JSON, a list of rows or an object with `images`.

    Columns are those of `ManifestRow`; `dataset` and one of `patient`, `sha256`, `phash` must be there,
    others are passed over.

    Raises:
        InputError: no such file, or other content.
    """
    path = Path(path)
    try:
        is_json = path.suffix.lower() == ".json"
        said = parse_json(read_text(path)) if is_json else [*map(_texts, csv_table(path))]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            "a training manifest in CSV or JSON", f"{path} ({error})", "see docs/datasets.md"
        ) from None
    entries = said.get("images") if isinstance(said, dict) else said
    if not isinstance(entries, list) or not entries:
        raise InputError("a training manifest with rows", f"{path} without", "see docs/datasets.md")
    return [_row(entry, number, path) for number, entry in enumerate(entries, 1)]


def _texts(line: dict[str, str | None]) -> dict[str, str | None]:
    """A line of CSV as it was meant; see `promptseg.names.for_csv`."""
    return {k: from_csv(v) if isinstance(v, str) else v for k, v in line.items()}


def _hash(pixels: NDArray[Any]) -> str:
    """64 hex digits of a (y, x) or (y, x, 3) slice."""
    from PIL import Image as PilImage

    gray = np.asarray(pixels, dtype=np.float32)
    gray = gray @ np.array(_LUMA, dtype=np.float32) if gray.ndim == 3 else gray
    small = PilImage.fromarray(gray).resize((_SIDE, _SIDE), PilImage.Resampling.BILINEAR)
    ranks = stats.rankdata(np.asarray(small)).reshape(_SIDE, _SIDE)
    low = fft.dctn(ranks, norm="ortho")[:_LOW, :_LOW].ravel()
    low[0] = -np.inf  # the mean says nothing
    return np.packbits(low > np.median(low[1:])).tobytes().hex()


def _row(entry: Any, number: int, path: Path) -> ManifestRow:
    known = {f.name for f in fields(ManifestRow)}
    where = f"{path}, row {number}"
    if not isinstance(entry, dict):
        raise InputError("rows with names", f"{where}: {entry}", "see docs/datasets.md")
    said = {str(k): str(v).strip() for k, v in entry.items() if k in known and v is not None}
    if not said.get("dataset") or not any(said.get(k) for k in ("patient", "sha256", "phash")):
        raise InputError(
            "a dataset, and a patient, sha256 or phash, in every row", where, "see docs/datasets.md"
        )
    hexadecimal = set("0123456789abcdef")
    for each in said.get("phash", "").split():
        if len(each) != _DIGITS or not set(each) <= hexadecimal:
            raise InputError(
                f"a phash of {_DIGITS} hex digits", f"{where}: {each!r}", "see docs/datasets.md"
            )
    return ManifestRow(said.pop("dataset"), said.pop("case", ""), **said)
