"""Any file of masks -> Segmentation: label images, layered files, 3D Slicer's, npz, SEG, RTSTRUCT."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import GeometryError, InputError, PromptsegError
from promptseg.formats import format_by_suffix, read_labels
from promptseg.formats.archive import open_archive
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.layers import read_layers
from promptseg.formats.npz import MOST_NAMES
from promptseg.image import Image, Segment, Segmentation, Source
from promptseg.provenance import ObjectFacts, Provenance

__all__ = ["grid_text", "read_masks"]

_SEG = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_HIGHEST_LABEL = 65_535
_SAME_PLACE = 1e-2  # mm
_ESCAPED = re.compile(r"\\(.)")
_SLICER_FIELD = re.compile(r"^Segment(\d+)_(Name|LabelValue|Layer|Color):=(.*)$")


@dataclass(frozen=True)
class _Known:
    """What is known of one object: where its voxels are and what it is called."""

    name: str
    label: int
    layer: int
    value: int
    colour: tuple[int, int, int] | None = None
    prompted: tuple[int, ...] = ()

    @classmethod
    def told(cls, entry: ObjectFacts, layer: int, value: int, label: int, name: str) -> _Known:
        """An object from its entry in a provenance; `label` and `name` where it has none."""
        label = label if entry.label is None else entry.label
        name = name if entry.name is None else entry.name
        return cls(name, label, layer, value, prompted=entry.prompted_slices or ())


def read_masks(path: str | Path, reference: Image | None = None) -> Segmentation:
    """Read the objects of a mask file, with their names.

    Names come from the file itself (DICOM, .seg.nrrd, npz) or from the provenance beside it;
    otherwise an object is called `label N`, or `object` if it is the only one.

    Args:
        path: label image, layered file, DICOM SEG or RTSTRUCT.
        reference: the image the masks belong to. They must lie on its grid, and get its source, so
            that they can be written as DICOM. An RTSTRUCT cannot be read without.

    Raises:
        InputError: not a mask file, or an RTSTRUCT without its image.
        GeometryError: masks of another grid or frame of reference.
    """
    path = Path(path)
    if header := _dicom_object(path):
        if str(header.get("SOPClassUID")) in _SEG:
            from promptseg.formats.dicom_seg import read_seg

            return read_seg(path, header, reference)
        from promptseg.formats.rtstruct import read_rtstruct

        return read_rtstruct(path, header, reference)
    found, layers = _labels(path)
    provenance = _provenance(path, found.source)
    segments = []
    for known in _objects(path, provenance, layers):
        mask = layers[known.layer] == known.value
        segment = Segment.from_mask(known.name, known.label, mask, prompted=known.prompted)
        segment.colour = known.colour
        segments.append(segment)
    result = Segmentation(segments, found.geometry, found.source, provenance)
    return result if reference is None else _placed(result, reference)


def grid_text(target: Image | Segmentation) -> str:
    """Size and spacing of a grid, for messages."""
    geometry = target.geometry
    shape = " x ".join(str(n) for n in geometry.shape[::-1])
    spacing = " x ".join(f"{v:g}" for v in geometry.spacing)
    return f"{shape} voxels of {spacing} {geometry.unit}"


def _placed(masks: Segmentation, reference: Image) -> Segmentation:
    """The same masks with the grid and source of the image they belong to.

    Pictures, films and stacks of pixels lie nowhere in space: there the same size is all that can be
    asked for, whatever place the format of the masks gave them.
    """
    segments, shape = masks.segments, masks.geometry.shape
    if reference.kind == "picture":
        same = shape in (reference.geometry.shape, (1, *reference.geometry.shape))
        if same and masks.geometry.ndim == 3:  # a format without pictures holds it as one slice
            segments = [_as_picture(segment) for segment in segments]
    elif reference.geometry.unit == "pixel":
        same = shape == reference.geometry.shape
    else:
        same = masks.geometry.agrees_with(reference.geometry, _SAME_PLACE)
    if not same:
        raise GeometryError(
            f"labels on the grid of {reference.name}, {grid_text(reference)}",
            f"{masks.source.path} of {grid_text(masks)}, or at another place",
            "resample them to the image first",
        )
    return Segmentation(segments, reference.geometry, reference.source, masks.provenance, reference)


def _as_picture(segment: Segment) -> Segment:
    """An object on a volume of one slice as one on the slice."""
    crop = segment.crop.reshape(segment.crop.shape[1:])
    return replace(segment, crop=crop, region=segment.region[1:])


def _dicom_object(path: Path) -> pydicom.FileDataset | None:
    """The data set of a SEG or RTSTRUCT; None for any other file."""
    if not path.is_file():
        return None
    known = format_by_suffix(path)
    if known is not None and known.module != "dicom":
        return None
    from promptseg.formats.dicom.parse import parse

    instance = parse(path)
    if instance is None:
        return None
    kind = str(instance.header.get("SOPClassUID"))
    if kind in _SEG:
        return pydicom.dcmread(path, force=True)
    return instance.header if kind == _RTSTRUCT else None


def _labels(path: Path) -> tuple[Image, NDArray[Any]]:
    """The file as an image, and its label images, (layer, *grid)."""
    known = format_by_suffix(path)
    if known is not None and path.is_file() and path.stat().st_size:
        try:
            layers = read_layers(path, known.name)
        except PromptsegError:
            raise
        except Exception:  # a broken file: its reader says it better
            layers = None
        if layers is not None:
            return layers.first, layers.labels
    image = read_labels(path)
    return image, image.voxels[None]


def _objects(path: Path, provenance: Provenance, layers: NDArray[Any]) -> list[_Known]:
    """Every object there is, with what the file or the provenance beside it says of it.

    Raises:
        InputError: a layer of several objects that nothing tells apart.
    """
    if slicer := _slicer_segments(path):
        return [known for known in slicer if known.layer < len(layers)]
    names = [ObjectFacts(label=k, name=name) for k, name in enumerate(_npz_names(path), 1)]
    told = list(provenance.objects or names)
    unknown = ObjectFacts()
    if len(layers) == 1:
        by_label = {entry.label: entry for entry in told}
        labels = [int(value) for value in np.unique(layers) if value]
        alone = len(labels) == 1
        return [
            _Known.told(by_label.get(v, unknown), 0, v, v, "object" if alone else f"label {v}")
            for v in labels
        ]
    found = []
    for k, layer in enumerate(layers):
        values = [int(value) for value in np.unique(layer) if value]
        if len(values) > 1:
            raise InputError("layers of one object each", f"{path}: {len(values)} in layer {k}")
        entry = told[k] if k < len(told) else unknown
        found.append(_Known.told(entry, k, values[0] if values else 1, k + 1, f"label {k + 1}"))
    return found


def _slicer_segments(path: Path) -> list[_Known]:
    """The objects that a NRRD header names, as 3D Slicer and this package write them."""
    if path.suffix.lower() != ".nrrd":
        return []
    head = path.read_bytes().partition(b"\n\n")[0].decode("utf-8", "replace")
    fields: dict[int, dict[str, str]] = {}
    for line in head.splitlines():
        if match := _SLICER_FIELD.match(line):
            text = _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], match[3])
            fields.setdefault(int(match[1]), {})[match[2]] = text
    found: list[_Known] = []
    for number, entry in sorted(fields.items()):
        if "Name" not in entry:
            continue
        layer, value = _number(entry.get("Layer"), 0), _number(entry.get("LabelValue"), 1)
        alone = layer == 0 and all(_number(e.get("Layer"), 0) == 0 for e in fields.values())
        label = value if alone else number + 1
        colour = _colour(entry.get("Color"))
        found.append(_Known(entry["Name"], label, layer, value, colour))
    return found


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() else otherwise


def _colour(text: str | None) -> tuple[int, int, int] | None:
    """Slicer's "0.5 0.2 1" -> (128, 51, 255)."""
    try:
        red, green, blue = (min(255, max(0, round(float(v) * 255))) for v in (text or "").split())
    except ValueError:
        return None
    return red, green, blue


def _npz_names(path: Path) -> list[str]:
    if path.suffix.lower() != ".npz":
        return []
    with open_archive(path) as archive:
        names = archive.take("names", MOST_NAMES) if "names" in archive else ()
    return [str(name) for name in np.ravel(names)]


def _provenance(path: Path, source: Source) -> Provenance:
    """What stands beside a mask of ours; nothing where it is another's, or where it is damaged."""
    content = read_provenance_beside(path)
    if not isinstance(content.get("objects"), list):
        return Provenance()
    try:
        _check_sound(content)
        return Provenance.from_json(content)
    except InputError as error:
        source.notes.append(f"the provenance beside {path.name} is not used: {error}")
        return Provenance()


def _check_sound(content: dict[str, Any]) -> None:
    """Refuse a provenance that could not be written again, or whose objects are none of ours."""
    try:
        json.dumps(content, allow_nan=False)
    except (ValueError, RecursionError):
        raise InputError("finite numbers in a provenance", "others") from None
    if not all(isinstance(o, dict) and _is_told(o) for o in content["objects"]):
        raise InputError("objects with labels and names", "others")


def _is_told(entry: dict[str, Any]) -> bool:
    label, prompted = entry.get("label", 0), entry.get("prompted_slices", [])
    numbers = [label, *prompted] if isinstance(prompted, list) else [None]
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    return whole and 0 <= label <= _HIGHEST_LABEL and isinstance(entry.get("name", ""), str)
