"""Files that promptseg reads and writes, as layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from promptseg_napari.problems import missing

__all__ = ["get_reader", "read_image", "read_layers", "write_labels"]

LayerData = tuple[Any, dict[str, Any], str]
_MASKS = (".seg.nrrd", ".seg.dcm")


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """napari's reader hook: one path at a time."""
    if isinstance(path, list):
        return get_reader(path[0]) if len(path) == 1 else None
    return read_layers


def read_layers(path: str | list[str]) -> list[LayerData]:
    """An image, or the objects of a mask file that says it is one (.seg.nrrd)."""
    path = path[0] if isinstance(path, list) else path
    if path.lower().endswith(_MASKS):
        return [_read_masks(path)]
    return [read_image(path)]


def read_image(path: str) -> LayerData:
    """An image layer with the scale of its voxels; the image is kept in `metadata["promptseg"]`."""
    try:
        import promptseg
    except ImportError:
        raise missing("promptseg", "local") from None
    image = promptseg.read(path)
    name = Path(path).name
    facts: dict[str, Any] = {"name": name, "metadata": {"promptseg": image}, "rgb": image.is_colour}
    facts |= _placed(image.geometry)
    return image.voxels, facts, "image"


def _read_masks(path: str) -> LayerData:
    from promptseg.formats.masks import read_masks

    found = read_masks(path)
    labels = np.zeros(found.geometry.shape, np.int32)
    for segment in found.segments:
        labels[segment.mask(labels.shape)] = segment.label
    names = {s.label: s.name for s in found.segments}
    facts = {"name": Path(path).name, "metadata": {"promptseg_names": names}}
    return labels, {**facts, **_placed(found.geometry)}, "labels"


def _placed(geometry: Any) -> dict[str, Any]:
    """Scale, and the first voxel's distance from the origin along the array's own axes."""
    n = geometry.ndim
    if geometry.unit != "mm":
        return {"scale": [1.0] * n}
    along = (geometry.direction.T @ geometry.origin)[:n][::-1]
    return {
        "scale": geometry.spacing[:n][::-1].tolist(),
        "translate": along.tolist(),
        "units": ["mm"] * n,
    }


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """napari's writer for one labels layer: every number is an object, on the grid of its image.

    Raises:
        PromptsegError: the file exists, or its format cannot hold the result.
    """
    try:
        import promptseg
    except ImportError:
        raise missing("promptseg", "local") from None
    from promptseg.image import Segment

    labels = np.asarray(data)
    image = meta.get("metadata", {}).get("promptseg")
    if image is None or image.geometry.shape != labels.shape:
        scale = [float(v) for v in np.asarray(meta.get("scale", (1.0,) * labels.ndim))]
        plain = labels.ndim == 2 and all(v == 1 for v in scale)
        geometry = (
            promptseg.Geometry.pixels(labels.shape)
            if plain
            else promptseg.Geometry.from_spacing(labels.shape, [*scale[::-1], 1.0][:3])
        )
        image = promptseg.Image(labels.astype(np.int32), geometry)
    names = meta.get("metadata", {}).get("promptseg_names", {})
    segments = [
        Segment.from_mask(names.get(k, f"label {k}"), k, labels == k)
        for k in np.unique(labels[labels != 0]).tolist()
    ]
    result = promptseg.Segmentation(segments, image.geometry, image.source, image=image)
    return [str(result.save(path))]
