"""Whether a model may have seen the images it is evaluated on: they are compared with a manifest of
what it was trained on.

Images are the same if their voxels are, and alike if their perceptual hashes differ in at most 32 of
256 bits. The hash is the sign pattern of the low frequencies (DCT) of the image's ranks: ranks do not
change with window, gamma or 8-bit conversion, low frequencies hardly with size or JPEG. Mirrored,
turned and cropped copies are not found.

The usual package for such hashes (ImageHash) brings PyWavelets along and does not rank, so that gamma
and window cost it most of its margin.
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

from promptseg.errors import InputError, PromptsegError
from promptseg.evaluate.datasets import Dataset
from promptseg.formats.files import atomic_path, check_output
from promptseg.image import Image

__all__ = [
    "ALIKE",
    "Leak",
    "ManifestRow",
    "leaks_in",
    "manifest_of",
    "perceptual_hashes",
    "read_manifest",
    "write_manifest",
]

ALIKE = 32  # bits of 256
_SIDE, _LOW = 64, 16
_LUMA = (0.299, 0.587, 0.114)
_QUARTERS = (1, 2, 3)
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)
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


@dataclass(frozen=True)
class Leak:
    """A case that the model has probably seen.

    Attributes:
        dataset, case: of the evaluation.
        reason: "same voxels", "looks alike" or "same patient".
        trained_on: the row of the manifest.
        distance: bits between the perceptual hashes, where they are alike.
    """

    dataset: str
    case: str
    reason: str
    trained_on: ManifestRow
    distance: float | None = None

    def __str__(self) -> str:
        seen = f"{self.trained_on.dataset}/{self.trained_on.case}"
        bits = "" if self.distance is None else f" ({self.distance:.0f} of 256 bits apart)"
        return (
            f"{self.dataset}/{self.case} is in the training manifest: {self.reason} as {seen}{bits}"
        )


def perceptual_hashes(image: Image) -> list[str]:
    """64 hex digits each: of a picture, or of the slices or frames at a quarter, half, three quarters.

    Slices of one value have none.
    """
    if image.kind == "picture":
        slices = [image.voxels]
    else:
        depth = len(image.voxels)
        slices = [image.voxels[depth * quarter // 4] for quarter in _QUARTERS]
    return [_hash(each) for each in slices if each.min() < each.max()]


def manifest_of(datasets: Iterable[Dataset]) -> Iterator[ManifestRow]:
    """A row for every case of some datasets; reads every image.

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
            writer.writerows(map(asdict, rows))
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
        with path.open(encoding="utf-8", newline="") as stream:
            said = (
                json.load(stream) if path.suffix.lower() == ".json" else [*csv.DictReader(stream)]
            )
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise InputError("a training manifest in CSV or JSON", f"{path} ({error})") from None
    entries = said.get("images") if isinstance(said, dict) else said
    if not isinstance(entries, list) or not entries:
        raise InputError("a training manifest with rows", f"{path} without", "see docs/datasets.md")
    return [_row(entry, number, path) for number, entry in enumerate(entries, 1)]


def leaks_in(manifest: str | Path, datasets: Iterable[Dataset]) -> Iterator[Leak]:
    """The cases that occur in a training manifest, each once, for the strongest reason.

    Cases that cannot be read are passed over, for the evaluation names them.

    Args:
        manifest: as `read_manifest` takes it.
        datasets: what is to be evaluated; every image is read if the manifest knows images.

    Raises:
        InputError: no manifest.
    """
    trained = _Trained(read_manifest(manifest))
    for dataset in datasets:
        for case in dataset.cases:
            leak: tuple[str, ManifestRow, float | None] | None = None
            if trained.knows_images:
                try:
                    leak = trained.image_like(case.load_image())
                except PromptsegError:
                    continue
            if leak is None and (row := trained.patient(dataset.name, case.patient)):
                leak = "same patient", row, None
            if leak is not None:
                yield Leak(dataset.name, case.name, *leak)


class _Trained:
    """A manifest, ready to be asked."""

    def __init__(self, rows: list[ManifestRow]) -> None:
        self.by_voxels = {row.sha256: row for row in rows if row.sha256}
        self.patients = {(row.dataset, row.patient): row for row in rows if row.patient}
        self.people = {row.patient: row for row in rows if _is_telling(row.patient)}
        hashed = [(row, row.phash.split()) for row in rows if row.phash]
        self.rows = [row for row, hashes in hashed for _ in hashes]
        self.first = np.cumsum([0] + [len(hashes) for _, hashes in hashed])
        self.bits = _bytes([each for _, hashes in hashed for each in hashes])
        self.knows_images = bool(self.by_voxels or self.rows)

    def image_like(self, image: Image) -> tuple[str, ManifestRow, float | None] | None:
        """The image that is the same, or else the one that is most alike."""
        if row := self.by_voxels.get(image.sha256()):
            return "same voxels", row, None
        hashes = perceptual_hashes(image)
        if not hashes or not self.rows:
            return None
        apart = np.stack([_ONES[self.bits ^ each].sum(axis=1) for each in _bytes(hashes)])
        distance, place = _nearest(apart, self.first)
        return ("looks alike", self.rows[place], distance) if distance <= ALIKE else None

    def patient(self, dataset: str, patient: str) -> ManifestRow | None:
        """An image of the same patient; of other datasets too, where the id tells persons apart."""
        return self.patients.get((dataset, patient)) or self.people.get(patient)


def _nearest(apart: NDArray[Any], first: NDArray[np.int64]) -> tuple[float, int]:
    """The smallest distance and where.

    Args:
        apart: (hashes of the image, hashes of the manifest) bits.
        first: where the hashes of each row of the manifest begin, and the end.

    Returns:
        Of rows with as many hashes as the image the mean over slice and slice; of others the smallest
        of any two. And the place of the row's first hash.
    """
    counts = np.diff(first)
    distances = np.minimum.reduceat(apart.min(axis=0), first[:-1]).astype(np.float64)
    alike = np.flatnonzero(counts == len(apart))
    places = first[:-1][alike][:, None] + np.arange(len(apart))
    distances[alike] = apart[np.arange(len(apart)), places].mean(axis=1)
    best = int(distances.argmin())
    return float(distances[best]), int(first[best])


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


def _bytes(hashes: list[str]) -> NDArray[np.uint8]:
    """(hashes, 32) bytes."""
    joined = bytes.fromhex("".join(hashes))
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(hashes), _LOW * _LOW // 8)


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
        if len(each) != _LOW * _LOW // 4 or not set(each) <= hexadecimal:
            raise InputError(f"a phash of {_LOW * _LOW // 4} hex digits", f"{where}: {each!r}")
    return ManifestRow(said.pop("dataset"), said.pop("case", ""), **said)


def _is_telling(patient: str) -> bool:
    """Whether an id is hardly that of two persons: letters and digits, and not short."""
    return len(patient) >= 6 and any(map(str.isdigit, patient)) and any(map(str.isalpha, patient))
