"""Any file of masks -> Segmentation: label images, layered files, 3D Slicer's, npz, SEG, RTSTRUCT."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptsegError
from promptseg.formats import format_by_suffix, read_labels
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.layers import read_layers
from promptseg.formats.npz import names_in
from promptseg.formats.options import MaskOptions
from promptseg.formats.placing import masks_on
from promptseg.image import Image, Segment, Segmentation, Source
from promptseg.provenance import ObjectFacts, Provenance

__all__ = ["read_masks"]

_SEG = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_HIGHEST_LABEL = 65_535
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


def read_masks(
    path: str | Path, reference: Image | None = None, options: MaskOptions | None = None
) -> Segmentation:
    """Read the objects of a mask file, with their names.

    Names come from the file itself (DICOM, .seg.nrrd, npz) or from the provenance beside it;
    otherwise an object is called `label N`, or `object` if it is the only one.

    Args:
        path: label image, layered file, DICOM SEG or RTSTRUCT.
        reference: the image the masks belong to. They are brought onto its grid
            (`promptseg.formats.placing`), and get its source, so that they can be written as DICOM. An
            RTSTRUCT cannot be read without.
        options: what the file leaves open.

    Raises:
        InputError: not a mask file, or an RTSTRUCT without its image.
        GeometryError: masks of another grid or frame of reference.
    """
    path, options = Path(path), options or MaskOptions()
    try:
        return _read(path, reference, options)
    except PromptsegError:
        raise
    except MemoryError:
        raise InputError("masks that fit into memory", str(path), "crop them first") from None
    except Exception as error:  # damaged files make readers raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            "a readable mask file", f"{path} ({reason})", "check that it is complete"
        ) from error


def _read(path: Path, reference: Image | None, options: MaskOptions) -> Segmentation:
    if header := _dicom_object(path):
        if str(header.get("SOPClassUID")) in _SEG:
            from promptseg.formats.dicom_seg import read_seg

            return read_seg(path, header, reference, options.resample)
        from promptseg.formats.rtstruct import read_rtstruct

        return read_rtstruct(path, header, reference)
    found, layers, names = _labels(path, reference, options)
    provenance = _provenance(path, found.source)
    segments = []
    for known in _objects(path, provenance, layers, names, found.source.notes):
        mask = layers[known.layer] == known.value
        segment = Segment.from_mask(known.name, known.label, mask, prompted=known.prompted)
        segment.colour = known.colour
        segments.append(segment)
    result = Segmentation(segments, found.geometry, found.source, provenance)
    if reference is None:
        return result
    known = set(reference.source.notes)
    reference.source.notes += [
        f"{path.name}: {note}" for note in found.source.notes if note not in known
    ]
    return masks_on(result, reference, options.resample)


def _dicom_object(path: Path) -> pydicom.FileDataset | None:
    """The data set of a SEG or RTSTRUCT; None for any other file."""
    if not path.is_file():
        return None
    known = format_by_suffix(path)
    if known is not None and known.load().__name__ != "promptseg.formats.dicom":
        return None
    from promptseg.formats.dicom.parse import parse

    instance = parse(path)
    if instance is None:
        return None
    kind = str(instance.header.get("SOPClassUID"))
    if kind in _SEG:
        return pydicom.dcmread(path, force=True)
    return instance.header if kind == _RTSTRUCT else None


def _labels(
    path: Path, reference: Image | None, options: MaskOptions
) -> tuple[Image, NDArray[Any], tuple[str, ...]]:
    """The file as an image, its label images, (layer, *grid), and the names of layers."""
    known = format_by_suffix(path)
    if known is not None and path.is_file() and path.stat().st_size and not options.colours:
        try:
            layers = read_layers(path, known.name, reference, options.pages)
        except PromptsegError:
            raise
        except Exception:  # a broken file: its reader says it better
            layers = None
        if layers is not None:
            return layers.first, layers.labels, layers.names
    image = read_labels(path, options.colours)
    return image, image.voxels[None], ()


def _objects(
    path: Path,
    provenance: Provenance,
    layers: NDArray[Any],
    named: Sequence[str],
    notes: list[str],
) -> list[_Known]:
    """Every object there is, with what the file or the provenance beside it says of it.

    Raises:
        InputError: a layer of several objects that nothing tells apart.
    """
    if slicer := _slicer_segments(path):
        return [known for known in slicer if known.layer < len(layers)]
    if not named and path.suffix.lower() == ".npz":
        named = names_in(path, notes)
    names = [ObjectFacts(label=k, name=name) for k, name in enumerate(named, 1)]
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
    if not told:
        notes.append(f"{len(layers)} layers without names: each is taken as one object")
    for k, layer in enumerate(layers):
        values = [int(value) for value in np.unique(layer) if value]
        if len(values) > 1:
            raise InputError(
                "layers of one object each",
                f"{path}: {len(values)} in layer {k}",
                "save them as one label image, or one object per layer",
            )
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
