"""Any file of masks -> Segmentation: label images, layered files, 3D Slicer's, npz, SEG, RTSTRUCT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.errors import damaged_as
from promptseg.formats import format_by_suffix, is_dicom_file, read_labels
from promptseg.formats.label_tables import LabelTable, read_table, table_for, with_table
from promptseg.formats.label_tables.beside import holds_labels
from promptseg.formats.layers import read_layers
from promptseg.formats.npz import told_in
from promptseg.formats.objects import Located, Told, in_label_image, in_layers, told_by
from promptseg.formats.ome_zarr import rows_in
from promptseg.formats.options import MaskOptions
from promptseg.formats.placing import masks_on
from promptseg.formats.slicer import located, segments_in
from promptseg.formats.told import provenance_of
from promptseg.image import Image, Segment, Segmentation
from promptseg.names import for_header
from promptseg.provenance import ObjectFacts, Provenance

__all__ = ["read_masks"]

_SEG = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_IN_COLOUR = ("nrrd", "metaimage")  # whose channels may be colours or layers


def read_masks(
    path: str | Path,
    reference: Image | None = None,
    options: MaskOptions | None = None,
    *,
    interpolate: bool = False,
) -> Segmentation:
    """Read the objects of a mask file, with their names and numbers.

    Names come from the file itself (DICOM, .seg.nrrd, npz), from a table of labels (BIDS, ITK-SNAP,
    3D Slicer) or the provenance beside it; otherwise an object is called `label N`, or `object` if
    it is the only one. An object that is named and has no voxel is kept as empty; voxels that
    nothing names are an object too, with a note.

    Args:
        path: label image, layered file, DICOM SEG or RTSTRUCT.
        reference: the image the masks belong to. They are brought onto its grid
            (`promptseg.formats.placing`), and get its source (with what there was to note), so that
            they can be written as DICOM. An RTSTRUCT cannot be read without.
        options: what the file leaves open.
        interpolate: fill slices between the contours of an RTSTRUCT that has some on every second or
            third slice only.

    Raises:
        InputError: not a mask file, or an RTSTRUCT without its image.
        GeometryError: masks of another grid or frame of reference.
    """
    path, options = Path(path), options or MaskOptions()
    with damaged_as("a readable mask file", str(path), "check that it is complete"):
        found = _read(path, reference, options, interpolate)
        if table := _table(path, options, found.source.notes):
            dimensions = found.geometry.ndim
            found.segments = with_table(found.segments, table, dimensions, found.source.notes)
    for names in _doubled(found.segments):
        found.source.notes.append(f"{names} cover the very same voxels")
    return found


def _table(path: Path, options: MaskOptions, notes: list[str]) -> LabelTable | None:
    """The table of names that is asked for, or that stands beside a file without names of its own."""
    if options.table is not None:
        return read_table(options.table)
    if path.is_dir():
        return LabelTable(path, rows_in(path), str, own=True)
    named = path.name.lower().endswith(".seg.nrrd") or is_dicom_file(path)
    return table_for(path, notes) if holds_labels(path) and not named else None


def _read(
    path: Path, reference: Image | None, options: MaskOptions, interpolate: bool
) -> Segmentation:
    if header := _dicom_object(path):
        if str(header.get("SOPClassUID")) in _SEG:
            from promptseg.formats.dicom_seg import read_seg

            return read_seg(path, header, reference, options.resample)
        from promptseg.formats.rtstruct import read_rtstruct

        return read_rtstruct(path, header, reference, interpolate)
    known = format_by_suffix(path)
    if known is not None and known.name == "geojson":
        from promptseg.formats.geojson import read_objects

        return read_objects(path, reference)
    found, layers, names = _labels(path, reference, options)
    notes = found.source.notes
    provenance = provenance_of(path, notes)
    boxes = [
        {v: box for v, box in enumerate(ndimage.find_objects(layer), 1) if box is not None}
        for layer in layers
    ]
    segments = [
        _segment(known, layers, boxes) for known in _objects(path, provenance, boxes, names, notes)
    ]
    result = Segmentation(segments, found.geometry, found.source, provenance)
    if reference is None:
        return result
    told = [f"{path.name}: {note}" for note in notes if note not in reference.source.notes]
    reference.source.notes.extend(note for note in told if note not in reference.source.notes)
    return masks_on(result, reference, options.resample)


def _objects(
    path: Path,
    provenance: Provenance,
    boxes: Sequence[dict[int, Any]],
    names: Sequence[Told],
    notes: list[str],
) -> list[Located]:
    """Every object there is, with what the file or the provenance beside it says of it.

    `names` are those that the file keeps with its layers.
    """
    told = told_by(provenance.objects or ()) or list(names)
    if slicer := segments_in(path):
        known = {t.label: t for t in told}
        found = located(path, slicer, boxes, notes)
        return [_completed(one, known.get(one.label)) for one in found]
    if len(boxes) == 1:
        told = told or _npz_names(path, sorted(boxes[0]), notes)
        return in_label_image(path, boxes[0], told, notes)
    told = told or _npz_names(path, range(1, len(boxes) + 1), notes)
    if not told:
        notes.append(f"{path.name} has {len(boxes)} layers without names: each is one object")
    return in_layers(path, boxes, told, notes)


def _completed(one: Located, told: Told | None) -> Located:
    """An object of a header with what only the provenance can tell, if it tells of the same one."""
    if told is None or for_header(told.name) != one.name:
        return one
    return replace(one, name=told.name, prompted=told.prompted, words=told.words)


def _segment(
    known: Located, layers: NDArray[Any], boxes: Sequence[dict[int, tuple[slice, ...]]]
) -> Segment:
    """An object with its voxels."""
    box = None if known.layer is None else boxes[known.layer].get(known.value)
    if known.layer is None or box is None:
        dimensions = layers.ndim - 1
        box, crop = (slice(0, 0),) * dimensions, np.zeros((0,) * dimensions, dtype=bool)
    else:
        crop = layers[known.layer][box] == known.value
    return Segment(
        known.name,
        known.label,
        crop,
        box,
        prompted=known.prompted,
        colour=known.colour,
        origin=known.origin,
        words=known.words,
    )


def _doubled(segments: Sequence[Segment]) -> list[str]:
    """Names of objects with the very same voxels, as "'a' and 'b'"."""
    places: dict[Any, list[Segment]] = {}
    for segment in segments:
        if not segment.is_empty:
            key = tuple((r.start, r.stop) for r in segment.region), int(segment.crop.sum())
            places.setdefault(key, []).append(segment)
    found = []
    for alike in places.values():
        same = [s for s in alike[1:] if np.array_equal(s.crop, alike[0].crop)]
        if same:
            found.append(" and ".join(repr(s.name) for s in (alike[0], *same)))
    return found


def _dicom_object(path: Path) -> pydicom.FileDataset | None:
    """The data set of a SEG or RTSTRUCT; None for any other file."""
    if not path.is_file():
        return None
    known = format_by_suffix(path)
    if known is not None and known.module != "dicom":
        return None
    from promptseg.formats.dicom.parse import parse, with_pixels

    instance = parse(path)
    if instance is None:
        return None
    kind = str(instance.header.get("SOPClassUID"))
    if kind in _SEG:
        return with_pixels(instance)
    return instance.header if kind == _RTSTRUCT else None


def _labels(
    path: Path, reference: Image | None, options: MaskOptions
) -> tuple[Image, NDArray[Any], Sequence[Told]]:
    """The file as an image, its label images, (layer, *grid), and what it tells of its layers."""
    known = format_by_suffix(path)
    coded = options.colours is not None and known is not None and known.name in _IN_COLOUR
    if known is not None and path.is_file() and path.stat().st_size and not coded:
        layers = read_layers(path, known.name, reference, options.pages)
        if layers is not None:
            return layers.first, layers.labels, layers.told
    image = read_labels(path, options.colours)
    return image, image.voxels[None], ()


def _npz_names(path: Path, values: Sequence[int], notes: list[str]) -> list[Told]:
    """What an npz of masks tells: names, and the labels they belong to."""
    if path.suffix.lower() != ".npz":
        return []
    names, labels = told_in(path, notes)
    if len(labels) != len(names):  # as earlier versions wrote it
        labels = list(range(1, len(names) + 1))
        if len(names) == len(values) and labels != list(values):
            notes.append(f"{path.name} does not say which label has which name: taken in order")
            labels = list(values)
    return told_by(ObjectFacts(label=v, name=n) for v, n in zip(labels, names, strict=True))
