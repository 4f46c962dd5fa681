"""Result of segmenting: a segmentation that can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptseg.formats.label_tables import Beside
from promptseg.formats.options import Outlines
from promptseg.formats.saving import Also, save
from promptseg.image import Segmentation

__all__ = ["Result"]


class Result(Segmentation):
    """A segmentation with `save`, which stands above the formats; `promptseg.Segmentation`.

    Examples:
        >>> import numpy as np
        >>> import promptseg
        >>> mask = np.zeros((8, 32, 32), bool)
        >>> mask[2:5, 10:20, 8:12] = True
        >>> grid = promptseg.Geometry.from_spacing(mask.shape, spacing=(1, 1, 5))
        >>> found = promptseg.Segmentation([promptseg.Segment.from_mask("liver", 1, mask)], grid)
        >>> found.save("liver.nii.gz").name
        'liver.nii.gz'
    """

    def save(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        overlap: str = "keep",
        also: Also | None = None,
        beside: Sequence[Beside] = (),
        outlines: Outlines = "rle",
    ) -> Path:
        """Write the masks, and what made them beside; see `promptseg.formats.saving.save`.

        Args:
            path: output file, whose suffix names the format; its folder is made if need be.
            overwrite: replace what exists; the image's own files never are.
            overlap: "keep" (overlapping objects get one layer each) or "later-wins".
            also: further files and what writes each; all appear, or none.
            beside: tables of names and colours to write too: "bids", "itk-snap", "slicer".
            outlines: of COCO, "rle" (exact) or "polygons".

        Returns:
            The path written.

        Raises:
            OutputError: the file exists, cannot be written, or its format cannot hold the result.
        """
        return save(
            self,
            path,
            overwrite=overwrite,
            overlap=overlap,
            also=also,
            beside=beside,
            outlines=outlines,
        )
