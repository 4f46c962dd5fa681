"""NRRD: voxels through SimpleITK, headers through pynrrd so that they go back as they came.

Masks are written the way 3D Slicer writes segmentations (names, labels and layers in key-value
fields), so a `.seg.nrrd` opens there with its names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from promptseg.formats.itk import read_itk
from promptseg.formats.options import ReadOptions
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation

__all__ = ["read", "write"]

_GEOMETRY_FIELDS = (
    "space",
    "space dimension",
    "space directions",
    "space origin",
    "space units",
    "spacings",
    "axis mins",
    "axis maxs",
    "centers",
    "centerings",
    "measurement frame",
)


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a NRRD file; see `read_itk`."""
    image = read_itk(path, "nrrd")
    header = nrrd.read_header(str(path))
    if int(header["dimension"]) == image.geometry.ndim:  # no list axis in between
        image.source.header = {k: header[k] for k in _GEOMETRY_FIELDS if k in header}
    return image


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels (x, y[, z]) or, with `layers`, (object, x, y[, z])."""
    geometry = segmentation.geometry
    header: dict[str, Any] = {"encoding": "gzip", "type": "uint8"}
    if source := segmentation.header_of("nrrd"):
        header.update(source)
    else:
        header.update(_geometry_fields(geometry))
    if layers:
        masks = segmentation.layers()
        data = masks.transpose(0, *range(geometry.ndim, 0, -1))
        header["kinds"] = ["list", *["domain"] * geometry.ndim]
        for field in ("space directions", "spacings", "axis mins", "axis maxs"):
            if field in header:
                header[field] = _with_list_axis(np.asarray(header[field], float))
        for field in ("centers", "centerings"):
            if field in header:
                header[field] = ["???", *header[field]]
    else:
        labels = segmentation.labels(later_wins=True)
        data = labels.T
        header["kinds"] = ["domain"] * geometry.ndim
        header["type"] = str(labels.dtype)
    nrrd.write(str(path), data, header, index_order="F")
    _add_fields(path, _slicer_fields(segmentation, layers))


def _geometry_fields(geometry: Geometry) -> dict[str, Any]:
    d = geometry.ndim
    if geometry.unit == "pixel":
        return {"spacings": geometry.spacing[:d]}
    space = {"space": "left-posterior-superior"} if d == 3 else {"space dimension": 2}
    return {
        **space,
        "space directions": geometry.matrix[:d, :d].T,
        "space origin": geometry.origin[:d],
    }


def _with_list_axis(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    first = np.full((1, *values.shape[1:]), np.nan)
    return np.concatenate([first, values])


def _slicer_fields(segmentation: Segmentation, layers: bool) -> dict[str, str]:
    fields = {}
    for k, segment in enumerate(segmentation.segments):
        fields[f"Segment{k}_ID"] = f"Segment_{segment.label}"
        fields[f"Segment{k}_Name"] = segment.name
        fields[f"Segment{k}_LabelValue"] = "1" if layers else str(segment.label)
        fields[f"Segment{k}_Layer"] = str(k if layers else 0)
    return fields


def _add_fields(path: Path, fields: dict[str, str]) -> None:
    """Put key-value lines at the end of a header; pynrrd would write them in ASCII only."""
    head, blank, data = path.read_bytes().partition(b"\n\n")
    lines = (f"{k}:={v}".replace("\\", "\\\\").replace("\n", "\\n") for k, v in fields.items())
    path.write_bytes(b"\n".join([head, *(line.encode() for line in lines)]) + blank + data)
