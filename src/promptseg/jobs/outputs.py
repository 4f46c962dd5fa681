"""Results of one run: masks that are not written yet, and what lies on the disk in the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.formats.location import address_in
from promptseg.image import Segmentation
from promptseg.provenance import Provenance
from promptseg.result import Result
from promptseg.segment.changes import Change

__all__ = ["UNSURE", "Computed", "Outputs"]

UNSURE = "uncertainty"
"""What the map of a model of classes is called that says how unsure it is."""


@dataclass(frozen=True)
class Computed:
    """Everything a model found in an image; it may travel to another machine that writes it.

    Attributes:
        result: the masks, with their provenance.
        uncertainty: 0..255 on the image's grid, if a model of classes was asked how unsure it is.
        seconds: that it took.
        changed: what a correction changed, object by object; None where nothing was corrected.
    """

    result: Result
    uncertainty: NDArray[np.uint8] | None = None
    seconds: float = 0.0
    changed: tuple[Change, ...] | None = None


@dataclass
class Outputs:
    """Everything one run left on the disk, or on a server.

    Attributes:
        mask: the mask file, or the address of the series on the server.
        overlay: the overlay picture, if it was asked for.
        provenance_file: the JSON beside it; None on a server.
        segmentation: the result, with its provenance.
        replayed: how the masks compare with those of the run that was replayed.
        unsure: how unsure a model of classes is, if that was asked for.
        changed: as in `Computed`.
    """

    mask: Path
    overlay: Path | None
    provenance_file: Path | None
    segmentation: Segmentation
    replayed: str | None = None
    unsure: Path | None = None
    changed: tuple[Change, ...] | None = None

    @property
    def provenance(self) -> Provenance:
        """Return the provenance of the result."""
        return self.segmentation.provenance

    def summary(self) -> list[str]:
        """Return lines for a person: the objects, and where everything is."""
        lines = []
        for entry in self.provenance.objects or ():
            sizes = {"volume_ml": "{:.2f} ml", "area_mm2": "{:.1f} mm2", "area_px": "{:.0f} px"}
            found = entry.measurements
            facts = [text.format(found[key]) for key, text in sizes.items() if key in found][:1]
            if found["long_axis"] is not None:
                unit = found["unit"]
                facts.append(f"{found['long_axis']:.1f} x {found['short_axis']:.1f} {unit}")
            if entry.words:
                facts.append(f"score {entry.words['score']:.2f}")
            if entry.predicted_iou is not None:
                doubt = " (low confidence)" if entry.low_confidence else ""
                facts.append(f"predicted IoU {entry.predicted_iou:.2f}{doubt}")
            said = ", ".join(facts) if found["voxels"] else "nothing found"
            lines.append(f"{entry.label} {entry.name}: {said}")
        if any(entry.predicted_iou is not None for entry in self.provenance.objects or ()):
            lines.append("estimate    predicted IoU is the model's own estimate: docs/quality.md")
        if self.changed is not None:
            lines += [f"corrected   {change}" for change in self.changed]
            if not self.changed:
                lines.append("corrected   nothing changed")
        bare = self.provenance.deidentified is not None
        for what, path in (
            ("mask", self.mask),
            ("overlay", self.overlay),
            (UNSURE, self.unsure),
            ("provenance", self.provenance_file),
        ):
            if path:
                shown = path.name if bare and path.parent.name else address_in(path) or path
                lines.append(f"{what:<12}{shown}")
        if self.replayed:
            lines.append(f"replay      {self.replayed}")
        return lines
