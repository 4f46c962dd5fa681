"""Conversion of raw values to the 0..255 that models were trained on: one table, chosen by modality.

CT is windowed; MR, PET, X-ray, ultrasound, mammography and OCT are clipped to their 0.5 and 99.5
percentiles; colour is left alone (MedSAM, Methods, "Data curation and pre-processing"; SAM2 medical
benchmark, Methods, for the non-zero region of MR and PET). Bounds are taken once from the whole image
and applied slice by slice.

A model may have been trained on X-ray, ultrasound, mammography and OCT images whose 8 bits were left
unchanged, as the SAM2 benchmark and the "Laptop" challenge do; its card says so (`keep_8bit`).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.image import MODALITIES, Image
from promptseg.notes import Note

__all__ = ["PERCENTILES", "WINDOWS", "Intensity", "Window", "choose_intensity", "parse_window"]


class Window(NamedTuple):
    """A CT window in Hounsfield units."""

    width: float
    level: float
    source: str = "custom"

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lowest and the highest value shown."""
        return self.level - self.width / 2, self.level + self.width / 2


WINDOWS: dict[str, Window] = {
    "soft-tissue": Window(400, 40, "MedSAM, Methods"),
    "lung-medsam": Window(1500, -160, "MedSAM, Methods, as printed"),
    "brain": Window(80, 40, "MedSAM, Methods"),
    "lung": Window(1500, -600, "clinical"),
    "mediastinum": Window(350, 50, "clinical"),
    "bone": Window(1800, 400, "clinical"),
    "liver": Window(150, 30, "clinical"),
    "stroke": Window(40, 40, "clinical"),
    "subdural": Window(215, 75, "clinical"),
    "temporal-bone": Window(2800, 600, "clinical"),
    "angio": Window(600, 300, "clinical"),
}

PERCENTILES = (0.5, 99.5)

_NON_ZERO = {"MR", "PET"}
_CLIPPED = {"MR", "PET", "XR", "US", "MG", "OCT"}


@dataclass(frozen=True)
class Intensity:
    """Rule by which the values of one image become 0..255.

    Attributes:
        modality: the modality the rule was chosen for.
        rule: the rule in words, for the provenance.
        lower: value that becomes 0; None leaves values as they are.
        upper: value that becomes 255.
        guessed: whether the modality was guessed because the file does not say it.
    """

    modality: str
    rule: str
    lower: float | None = None
    upper: float | None = None
    guessed: bool = False

    def apply(self, voxels: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert an array of raw values of any shape to uint8; fractions are cut off."""
        if voxels.dtype.kind in "iu" and voxels.dtype.itemsize <= 2:
            stored = voxels.view(_unsigned(voxels.dtype))
            return np.take(_table(self, voxels.dtype), stored)
        return self._computed(voxels)

    def _computed(self, voxels: NDArray[Any]) -> NDArray[np.uint8]:
        if self.lower is None or self.upper is None:
            return voxels.astype(np.uint8)
        if self.upper <= self.lower:
            return np.zeros(voxels.shape, dtype=np.uint8)
        clipped = np.clip(voxels.astype(np.float64), self.lower, self.upper)
        unit = (clipped - self.lower) / (self.upper - self.lower)
        return (unit * 255).astype(np.uint8)

    def notes(self) -> list[Note]:
        """Return what a person should know about the choice of the rule."""
        if not self.guessed:
            return []
        said = f"the file does not say its modality: {self.rule}"
        return [Note(f"{said}; set --modality or --window if that is wrong", "intensity")]

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plain values."""
        return asdict(self)


@lru_cache(maxsize=4)
def _table(intensity: Intensity, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
    """What all values of an integer type become, by their bits as they are stored."""
    bits = np.arange(1 << 8 * dtype.itemsize).astype(_unsigned(dtype))
    return intensity._computed(bits.view(dtype))


def _unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)


def parse_window(text: str) -> Window:
    """Parse a window: a name, or WIDTH/LEVEL such as "400/40".

    Raises:
        InputError: neither.
    """
    if text in WINDOWS:
        return WINDOWS[text]
    number = r"[+-]?\d+(?:\.\d+)?"
    match = re.fullmatch(rf"\s*({number})\s*/\s*({number})\s*", text)
    if not match or float(match[1]) <= 0:
        raise InputError(
            "a window WIDTH/LEVEL (width above 0), percentile, minmax or one of "
            + ", ".join(WINDOWS),
            repr(text),
            "write for example 400/40",
        )
    return Window(float(match[1]), float(match[2]))


def choose_intensity(
    image: Image,
    modality: str | None = None,
    window: str | None = None,
    keep_8bit: bool = False,
) -> Intensity:
    """Choose the rule by which the values of `image` become 0..255.

    Args:
        image: whose values are measured once (percentiles, range).
        modality: overrides what the file says.
        window: a CT window (name or WIDTH/LEVEL), "percentile" (of all voxels) or "minmax", over the
            rule of the modality; only for images that are not in colour.
        keep_8bit: leave 8-bit images unchanged where the modality would have them clipped.

    Returns:
        The rule, with `guessed` set where the modality had to be guessed: grayscale volumes that
        reach below -200 and span at least 500 are taken for CT, other grayscale volumes for MR,
        grayscale images are clipped to their percentiles, colour is left as it is.
    """
    if modality is not None and modality not in MODALITIES:
        raise InputError(
            "a modality out of " + ", ".join(MODALITIES), repr(modality), "name one of them"
        )
    known = modality or image.modality
    guessed = known == "unknown"
    if image.is_colour:
        if window:
            raise InputError(
                "a grayscale image for --window", "a colour image", "leave --window out"
            )
        return _as_is(image, known, guessed)
    if window == "percentile":
        return _percentiles(image, known, False, non_zero=False)
    if window == "minmax":
        return _min_max(image, known, False)
    if window:
        chosen = parse_window(window)
        return Intensity(
            known, f"window {chosen.width:g}/{chosen.level:g} ({chosen.source})", *chosen.bounds
        )
    if image.voxels.dtype == np.uint8 and (image.source.format == "npz" or known == "CT"):
        return Intensity(known, "already 8 bit: values unchanged", guessed=guessed)
    if known == "CT" or (guessed and _looks_like_ct(image)):
        soft = WINDOWS["soft-tissue"]
        rule = f"window soft-tissue {soft.width:g}/{soft.level:g} ({soft.source})"
        return Intensity("CT", rule, *soft.bounds, guessed=guessed)
    if guessed and image.kind == "volume":
        return _percentiles(image, "MR", guessed, non_zero=True)
    if image.kind != "volume" and image.voxels.dtype == np.uint8 and keep_8bit:
        return _as_is(image, known, guessed)
    if known in _CLIPPED or guessed:
        return _percentiles(image, known, guessed, non_zero=known in _NON_ZERO)
    return _as_is(image, known, guessed)


def _looks_like_ct(image: Image) -> bool:
    if image.kind != "volume" or image.voxels.dtype.kind not in "if":
        return False
    low, high = image.voxels.min(), image.voxels.max()
    return bool(low < -200 and float(high) - float(low) >= 500)


def _percentiles(image: Image, modality: str, guessed: bool, non_zero: bool) -> Intensity:
    values, region = image.voxels, "all voxels"
    if non_zero:
        positive = values[values > 0]
        if positive.size:
            values, region = positive, "voxels above 0"
    lower, upper = (float(v) for v in np.percentile(values, PERCENTILES))
    if upper <= lower:
        return _min_max(image, modality, guessed)
    rule = f"{PERCENTILES[0]:g}-{PERCENTILES[1]:g} percentiles of {region}"
    return Intensity(modality, rule, lower, upper, guessed)


def _as_is(image: Image, modality: str, guessed: bool) -> Intensity:
    low, high = float(image.voxels.min()), float(image.voxels.max())
    if image.voxels.dtype == np.uint8 or (low >= 0 and 1 < high <= 255):
        return Intensity(modality, "values within 0..255 unchanged", guessed=guessed)
    return _min_max(image, modality, guessed)


def _min_max(image: Image, modality: str, guessed: bool) -> Intensity:
    low, high = float(image.voxels.min()), float(image.voxels.max())
    return Intensity(modality, "minimum to maximum", low, high, guessed)
