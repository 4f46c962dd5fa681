"""Images: voxels on a grid, and where they came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from promptseg._moved import old_argument
from promptseg.errors import InputError
from promptseg.geometry import Axis, Geometry, axis_position

if TYPE_CHECKING:
    from promptseg.prompts import Prompt

__all__ = ["MODALITIES", "Image", "Kind", "Source"]

MODALITIES = (
    "CT",
    "MR",
    "PET",
    "US",
    "XR",
    "MG",
    "OCT",
    "endoscopy",
    "dermoscopy",
    "fundus",
    "pathology",
    "microscopy",
    "unknown",
)

Kind = Literal["picture", "volume", "video"]


@dataclass
class Source:
    """Origin of an image, kept so that results can go back onto the same grid.

    Attributes:
        path: the file or folder, or None for an array given by the caller.
        format: name of the format that read it ("nifti", "dicom", ...).
        header: format-specific geometry header for same-format output; opaque to everyone else.
        grid: the grid `header` describes; set by the image.
        prompts: prompts the file itself carries (the boxes of a challenge npz).
        notes: facts and warnings found while reading, for the user and the provenance; texts, of
            which a `promptseg.notes.Note` also knows its kind.
    """

    path: Path | None = None
    format: str = "array"
    header: Any = None
    grid: Geometry | None = None
    prompts: tuple[Prompt, ...] = ()
    notes: list[str] = field(default_factory=list)

    def header_of(self, format_name: str, geometry: Geometry) -> Any:
        """Return the header, if it is of this format and describes the grid `geometry`; else None."""
        same = self.grid is not None and self.grid.agrees_with(geometry)
        return self.header if self.format == format_name and same else None


@old_argument("moving", "video")
@dataclass
class Image:
    """Voxels on a grid.

    Attributes:
        voxels: (z, y, x), (t, y, x) or (y, x), with an optional last channel axis of 3 (RGB); any
            real dtype.
        geometry: the grid, without channels; that of a video counts in pixels and frames.
        modality: one of `MODALITIES`; "unknown" where the file does not say.
        source: where it came from.
        video: whether the slices are frames in time, not in space.

    The voxels are not to be changed in place: embeddings and the hash are kept.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Image
        >>> image = Image.from_array(np.zeros((20, 64, 48), np.int16), "CT", spacing=(0.7, 0.7, 5.0))
        >>> (image.kind, image.geometry.spacing.tolist(), image.slice(3).shape)
        ('volume', [0.7, 0.7, 5.0], (64, 48))
    """

    voxels: NDArray[Any]
    geometry: Geometry
    modality: str = "unknown"
    source: Source = field(default_factory=Source)
    video: bool = False
    _hash: str | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise InputError(
                f"a modality out of {', '.join(MODALITIES)}",
                repr(self.modality),
                "name one of them",
            )
        if self.voxels.shape[: self.geometry.ndim] != self.geometry.shape or (
            self.voxels.ndim != self.geometry.ndim + self.is_colour
        ):
            raise InputError(
                f"voxels of shape {self.geometry.shape} with an optional channel axis of 3",
                f"shape {self.voxels.shape}",
                "give one grayscale or RGB value per voxel",
            )

        if self.video and (self.geometry.ndim != 3 or self.geometry.unit != "pixel"):
            raise InputError(
                "a video of frames (t, y, x) on a grid of pixels",
                f"shape {self.geometry.shape} in {self.geometry.unit}",
            )
        if self.source.grid is None:
            self.source.grid = self.geometry

    @classmethod
    def from_array(
        cls,
        voxels: NDArray[Any],
        modality: str = "unknown",
        spacing: tuple[float, float, float] | None = None,
    ) -> Image:
        """Build an image from a bare array: (y, x), (y, x, 3), (z, y, x) or (z, y, x, 3).

        Args:
            voxels: the array; a last axis of exactly 3 in a 3D array means RGB.
            modality: one of `MODALITIES`.
            spacing: (x, y, z) in mm; without it the grid is in pixels.
        """
        colour = voxels.ndim == 4 or (voxels.ndim == 3 and voxels.shape[-1] == 3)
        shape = voxels.shape[:-1] if colour else voxels.shape
        if len(shape) not in (2, 3):
            raise InputError("an array of 2 or 3 spatial dimensions", f"shape {voxels.shape}")
        if spacing is None:
            return cls(voxels, Geometry.pixels(shape), modality)
        return cls(voxels, Geometry.from_spacing(shape, spacing), modality)

    @property
    def kind(self) -> Kind:
        """Return "picture" (y, x), "volume" (z, y, x) or "video" (t, y, x)."""
        if self.geometry.ndim == 2:
            return "picture"
        return "video" if self.video else "volume"

    @property
    def is_colour(self) -> bool:
        """Tell whether the last axis holds RGB."""
        return self.voxels.ndim == self.geometry.ndim + 1 and self.voxels.shape[-1] == 3

    def slice(self, index: int, axis: Axis = "z") -> NDArray[Any]:
        """Return slice `index` along `axis` as a view, (rows, columns[, 3]); a 2D image itself."""
        if self.kind == "picture":
            return self.voxels
        return self.voxels[(slice(None),) * axis_position(axis) + (index,)]

    @property
    def name(self) -> str:
        """Return the short name of the file, for messages."""
        return self.source.path.name if self.source.path else "array"

    def sha256(self) -> str:
        """Return the hash of the voxel values (not of the file), for provenance and caches."""
        if self._hash is None:
            digest = hashlib.sha256(repr((self.voxels.shape, self.voxels.dtype.str)).encode())
            for part in self.voxels:
                digest.update(np.ascontiguousarray(part).data)
            self._hash = digest.hexdigest()
        return self._hash
