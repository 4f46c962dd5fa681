"""DICOM cines: multi-frame objects whose frames are frames in time, not slices in space."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.formats.dicom import values
from promptseg.formats.dicom.frames import each_frame
from promptseg.formats.dicom.instances import DicomSource, Instance
from promptseg.formats.dicom.pixels import decoded
from promptseg.formats.dicom.planes import planes_of
from promptseg.formats.dicom.reader import CROSS_SECTIONS, MODALITY
from promptseg.formats.dicom.scan import choose_series
from promptseg.formats.memory import require_memory
from promptseg.formats.video.video import Facts, Video

__all__ = ["Cine", "open_cine"]

_BLOCK = 8  # frames decoded together on the way back: a file is read for each of them anew


def open_cine(path: Path, series_uid: str | None = None) -> Cine | None:
    """Open the cine of a DICOM file or folder; None where there is something else.

    Args:
        path: file, or folder with it alone.
        series_uid: SeriesInstanceUID or its ending, where there are several.

    Raises:
        InputError: no DICOM image, or several series without a choice.
    """
    notes: list[str] = []
    series = choose_series(path, series_uid, notes)
    instance = series.instances[0]
    header = instance.header
    if len(series.instances) > 1 or series.modality in CROSS_SECTIONS:
        return None
    if instance.frame_count < 2 or "TotalPixelMatrixColumns" in header:
        return None
    with warnings.catch_warnings():  # of pydicom, about headers that can be lived with
        warnings.simplefilter("ignore", UserWarning)
        if planes_of(instance):
            return None
        return Cine(path, each_frame(instance), MODALITY.get(series.modality, "unknown"), notes)


class Cine(Video):
    """The frames of one object.

    Bytes and colours are decoded when they are asked for. Other values are read at once, because what
    they mean hangs on all of them (a scale that fits whole numbers or not, brightness inverted about
    the range).
    """

    def __init__(self, path: Path, frames: list[Instance], modality: str, notes: list[str]) -> None:
        self._frames = frames
        header = frames[0].header
        size = int(header.Rows), int(header.Columns)
        samples = int(header.get("SamplesPerPixel") or 1)
        palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
        simple = samples > 1 or palette or _are_bytes(header)
        require_memory((1 if simple else len(frames), *size), 4 * samples, path)
        self._whole: NDArray[Any] | None = None
        if not simple:
            self._whole = values.of_instances(frames, notes)
        first = next(iter(decoded(frames[0], [0]))) if simple else self._whole[0]  # type: ignore[index]
        self._dtype = first.dtype
        syntax = header.file_meta.TransferSyntaxUID
        facts = Facts(
            path,
            "dicom",
            codec=f"DICOM, {getattr(syntax, 'name', syntax)}",
            size=size,
            colour=first.ndim == 3,
            times=_times(header, len(frames)),
            turned=False,
            modality=modality,
            header=DicomSource(tuple(frames)),
            notes=notes,
        )
        super().__init__(facts, len(frames))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return uint8, or the type that the values of the whole cine need."""
        return self._dtype

    def _key(self, index: int) -> int:
        return index - index % _BLOCK

    def _decode(self, key: int) -> Iterator[tuple[int, NDArray[Any]]]:
        if self._whole is not None:
            yield from ((k, self._whole[k]) for k in range(key, self.count))
            return
        wanted = range(key, self.count)
        yield from zip(wanted, decoded(self._frames[0], wanted), strict=False)


def _are_bytes(header: pydicom.Dataset) -> bool:
    """Whether values are bytes that mean what they are."""
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return (
        int(header.get("BitsAllocated") or 0) == 8
        and not int(header.get("PixelRepresentation") or 0)
        and header.get("PhotometricInterpretation") == "MONOCHROME2"
        and "ModalityLUTSequence" not in header
        and float(slope if slope not in (None, "") else 1) == 1
        and float(intercept or 0) == 0
    )


def _times(header: pydicom.Dataset, count: int) -> NDArray[np.float64] | None:
    """Seconds of frames: of their increments, of one for all, or of a rate (PS3.3, C.7.6.5)."""
    vector = header.get("FrameTimeVector")
    if vector is not None and np.size(vector) == count:
        steps = np.array(vector, np.float64)
        if np.isfinite(steps).all() and (steps[1:] > 0).all():
            times: NDArray[np.float64] = (np.cumsum(steps) - steps[0]) / 1000
            return times
    step = float(header.get("FrameTime") or 0) / 1000
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = float(header.get(keyword) or 0)
        if not step and rate:
            step = 1 / rate
    return np.arange(count, dtype=np.float64) * step if np.isfinite(step) and step > 0 else None
