"""GeoJSON as QuPath reads and writes it: one feature per object, in pixels of the whole image.

The corner of the first pixel is (0, 0), so that outlines run along the edges of pixels. Of a region
of a slide they are in pixels of the largest level, where QuPath has them, too. Polygons have holes,
objects of several parts are multi-polygons; a pixel belongs to an object if its centre lies inside.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, OutputError
from promptseg.formats.categories import categories_of
from promptseg.formats.colours import colour_of
from promptseg.formats.contours import filled, rings
from promptseg.formats.files import require_file
from promptseg.formats.numbers import usable_labels
from promptseg.formats.options import ReadOptions
from promptseg.formats.slide import SlideRegion
from promptseg.formats.text import read_text
from promptseg.formats.told import provenance_of
from promptseg.image import Image, Segment, Segmentation
from promptseg.parsing import name_fault, parse_json

__all__ = ["feature", "read", "read_objects", "write"]

_LABEL = "label"  # key of QuPath's metadata, which it keeps as text
_LONGEST = 1_000_000  # features
Ring = NDArray[np.float64]


class _Scale(NamedTuple):
    """Pixels of the file from pixels of the image, (x, y) each: file = origin + step * image."""

    origin: tuple[float, float]
    step: tuple[float, float]


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Refuse: outlines are no image.

    Raises:
        InputError: always.
    """
    raise InputError(
        "an image", f"{path}: outlines (GeoJSON)", "promptseg convert makes masks of them"
    )


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write objects as features; overlaps as they are, if `layers`.

    Raises:
        OutputError: a volume.
    """
    if segmentation.geometry.ndim != 2:
        raise OutputError("a 2D image for GeoJSON", "a volume", "write .nii.gz")
    segmentation.check_labels()
    masks = segmentation if layers else segmentation.without_overlap()
    scale = _scale_of(segmentation)
    classes = categories_of(segment.name for segment in masks.segments)
    colours: dict[str, list[int]] = {}
    for segment in masks.segments:
        colours.setdefault(classes[segment.name], list(colour_of(segment)))
    features = [
        _feature(segment, scale, classes[segment.name], colours)
        for segment in masks.segments
        if not segment.is_empty
    ]
    content = {"type": "FeatureCollection", "features": features}
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _feature(
    segment: Segment, scale: _Scale, kind: str, colours: dict[str, list[int]]
) -> dict[str, Any]:
    parts = [[_placed(ring, segment, scale) for ring in part] for part in rings(segment.crop)]
    found = feature(segment.name, segment.label, parts, kind, colours[kind])
    if segment.colour is not None:
        found["properties"]["color"] = list(segment.colour)
    return found


def feature(
    name: str,
    label: int,
    polygons: Sequence[Sequence[Sequence[Sequence[float]]]],
    kind: str,
    colour: Sequence[int],
) -> dict[str, Any]:
    """Return an object as an annotation of QuPath.

    Args:
        name: of the object.
        label: its number, which is kept.
        polygons: of each part the outer ring and its holes: closed, (x, y) in pixels of the file.
        kind: name of its class.
        colour: (red, green, blue) of the class.
    """
    single = len(polygons) == 1
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{label} {name}")),
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": polygons[0] if single else polygons,
        },
        "properties": {
            "objectType": "annotation",
            "name": name,
            "classification": {"name": kind, "color": list(colour)},
            "metadata": {_LABEL: str(label)},
        },
    }


def _placed(ring: Ring, segment: Segment, scale: _Scale) -> list[list[float]]:
    """A ring of the crop, corners of pixels, in pixels of the file; closed as RFC 7946 has it."""
    corner = np.array([segment.region[1].start, segment.region[0].start], dtype=np.float64)
    points = np.array(scale.origin) + np.array(scale.step) * (ring + corner)
    closed = np.vstack([points, points[:1]])
    return [[_short(x), _short(y)] for x, y in closed.tolist()]


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 4)


def _scale_of(shown: Segmentation | Image) -> _Scale:
    """Where the pixels of an image are in the file."""
    header = shown.source.header
    if not isinstance(header, SlideRegion):
        return _Scale((0.0, 0.0), (1.0, 1.0))
    rows, columns = shown.geometry.shape
    region = header.region
    return _Scale((region.x, region.y), (region.width / columns, region.height / rows))


def read_objects(path: Path, reference: Image | None) -> Segmentation:
    """Read the objects of a file on the grid of their 2D image.

    Names are those of the objects, else of their classes, with a number where a class has several;
    labels are those that were written, else counted.

    Raises:
        InputError: no GeoJSON of outlines, no 2D image they belong to, or a volume.
    """
    require_file(path, "a GeoJSON file")
    if reference is None:
        raise InputError(
            "the 2D image that outlines belong to", f"{path} alone", "name it with --reference"
        )
    if reference.geometry.ndim != 2:
        raise InputError("a 2D image for the outlines of GeoJSON", reference.name, "name another")
    notes = reference.source.notes
    features = _features(path)
    scale, shape = _scale_of(reference), reference.geometry.shape
    found: list[tuple[_Said, Segment | None]] = []
    for number, feature in enumerate(features, 1):
        where = f"{path}: feature {number}"
        try:
            said = _said(feature, number)
            polygons = list(_polygons(feature.get("geometry"), where))
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise InputError("features with outlines", f"{where} ({error})", "correct it") from None
        if not polygons:
            notes.append(f"{path.name}: {said.shown} has no area: left out")
            continue
        if said.plane != (0, 0):
            notes.append(f"{path.name}: {said.shown} lies on another plane: left out")
            continue
        found.append((said, _filled(polygons, scale, shape, said, path, notes)))
    names = _names([said for said, _ in found])
    labels = usable_labels(
        [(name, said.label or 0) for name, (said, _) in zip(names, found, strict=True)],
        [] if not any(said.label for said, _ in found) else notes,
    )
    segments = [
        Segment(name, label, mask.crop, mask.region, colour=said.colour)
        for name, label, (said, mask) in zip(names, labels, found, strict=True)
        if mask is not None
    ]
    provenance = provenance_of(path, notes)
    there = {segment.label for segment in segments}
    for told in provenance.objects or ():  # what has no voxel has no outline
        if told.label and told.name and told.label not in there:
            nothing = np.zeros(shape, dtype=bool)
            segments.append(Segment.from_mask(told.name, told.label, nothing))
    segments.sort(key=lambda segment: segment.label)
    return Segmentation(segments, reference.geometry, reference.source, provenance, reference)


class _Said(NamedTuple):
    """What a feature says of its object."""

    name: str
    kind: str
    label: int | None
    colour: tuple[int, int, int] | None
    plane: tuple[int, int]
    shown: str


def _features(path: Path) -> list[Any]:
    try:
        content = parse_json(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("a GeoJSON file", f"{path} ({error})", "export it again") from None
    found = content
    if isinstance(content, dict):
        found = content.get("features", [content] if content.get("type") == "Feature" else None)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError("a GeoJSON file of features", str(path), "export objects from QuPath")
    if len(found) > _LONGEST:
        raise InputError(f"at most {_LONGEST:,} features", f"{path} with {len(found):,}")
    return found


def _said(feature: dict[str, Any], number: int) -> _Said:
    properties = feature.get("properties") or {}
    kind = properties.get("classification") or {}
    kind = {"name": kind} if isinstance(kind, str) else kind
    names = kind.get("names")
    called = str(kind.get("name") or (": ".join(map(str, names)) if names else ""))
    name = str(properties.get("name") or "")
    for text in (name, called):
        if fault := name_fault(text) if text else None:
            raise ValueError(fault)
    metadata = properties.get("metadata")
    label = str(metadata.get(_LABEL, "")) if isinstance(metadata, dict) else ""
    plane = (feature.get("geometry") or {}).get("plane") or {}
    return _Said(
        name,
        called,
        int(label) if label.isascii() and label.isdigit() and 0 < int(label) <= 65_535 else None,
        _colour(properties.get("color")) or _colour(kind.get("color", kind.get("colorRGB"))),
        (int(plane.get("z", 0)), int(plane.get("t", 0))),
        repr(name or called) if name or called else f"feature {number}",
    )


def _colour(value: Any) -> tuple[int, int, int] | None:
    """[r, g, b], or Java's packed number; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value >> 16 & 255, value >> 8 & 255, value & 255
    if not isinstance(value, list) or len(value) < 3:
        return None
    if not all(isinstance(v, int) and 0 <= v <= 255 for v in value[:3]):
        return None
    return value[0], value[1], value[2]


def _names(said: Sequence[_Said]) -> list[str]:
    """Names of objects; those of a class without names of their own are counted."""
    kinds = [one.kind for one in said if not one.name and one.kind]
    taken = {one.name for one in said}
    counts: dict[str, int] = {}
    names = []
    for number, one in enumerate(said, 1):
        if one.name:
            names.append(one.name)
        elif not one.kind:
            names.append(f"label {one.label or number}")
        elif kinds.count(one.kind) == 1 and one.kind not in taken:
            names.append(one.kind)
        else:
            counts[one.kind] = counts.get(one.kind, 0) + 1
            while f"{one.kind} {counts[one.kind]}" in taken:
                counts[one.kind] += 1
            names.append(f"{one.kind} {counts[one.kind]}")
    return names


def _polygons(geometry: Any, where: str) -> Iterator[list[Ring]]:
    """The polygons of a geometry, rings each, the outer one first."""
    if geometry is None:
        return
    kind, coordinates = geometry["type"], geometry.get("coordinates")
    if kind == "GeometryCollection":
        for one in geometry["geometries"]:
            yield from _polygons(one, where)
    elif kind in ("Polygon", "MultiPolygon"):
        for polygon in [coordinates] if kind == "Polygon" else coordinates:
            yield [_ring(points) for points in polygon]
    elif kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise ValueError(f"a geometry {kind!r:.40}")


def _ring(points: Any) -> Ring:
    ring = np.asarray([point[:2] for point in points], dtype=np.float64)
    if ring.ndim != 2 or len(ring) < 3 or ring.shape[1] != 2:
        raise ValueError("a ring of fewer than 3 corners")
    if not np.isfinite(ring).all() or np.abs(ring).max() > 1e9:
        raise ValueError("corners that are no pixels")
    return ring


def _filled(
    polygons: list[list[Ring]],
    scale: _Scale,
    shape: tuple[int, ...],
    said: _Said,
    path: Path,
    notes: list[str],
) -> Segment:
    """The pixels of an object, of the part of it that lies in the 2D image."""
    origin, step = np.array(scale.origin), np.array(scale.step)
    placed = [[(ring - origin) / step - 0.5 for ring in polygon] for polygon in polygons]
    corners = np.vstack([polygon[0] for polygon in placed])
    size = np.array(shape[::-1])
    if (corners < -0.5 - 1e-6).any() or (corners > size - 0.5 + 1e-6).any():
        notes.append(f"{path.name}: {said.shown} reaches beyond the image: cut off")
    low = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, low, size).astype(int)
    columns, rows = (high - low).tolist()
    inside = np.zeros((rows, columns), dtype=bool)
    for polygon in placed if inside.size else ():
        inside |= filled([ring - low for ring in polygon], (rows, columns))
    if not inside.any():
        notes.append(f"{path.name}: {said.shown} covers no pixel: kept as empty")
        return Segment("object", 1, np.zeros((0, 0), dtype=bool), (slice(0, 0), slice(0, 0)))
    cut = Segment.from_mask("object", 1, inside)
    region = tuple(
        slice(r.start + int(start), r.stop + int(start))
        for r, start in zip(cut.region, low[::-1], strict=True)
    )
    return Segment("object", 1, cut.crop, region)
