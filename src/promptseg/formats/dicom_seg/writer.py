"""Segmentation -> DICOM SEG, through highdicom: binary, one segment per object, overlaps kept.

Every frame carries the position of its own source slice and refers to it. Segments are numbered from
1 in the order of the objects, as DICOM wants it, whatever their labels are; a note says so, the name
of an object that is called by its label tells it, and so does the provenance beside the file.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from promptseg._version import __version__
from promptseg.errors import OutputError
from promptseg.formats.colours import colour_of
from promptseg.formats.dicom.derived import (
    dicom_text,
    frame_of_reference,
    require_uids,
    series_number,
    source_slices,
)
from promptseg.formats.dicom.identity import removed_here
from promptseg.formats.dicom.origin import kept
from promptseg.formats.dicom_seg.codes import meaning_of
from promptseg.formats.dicom_seg.standin import (
    is_film,
    restore_references,
    stand_ins,
    without_places,
)
from promptseg.formats.numbers import number_in
from promptseg.image import Image, Segment, Segmentation
from promptseg.names import for_header
from promptseg.provenance import ModelFacts
from promptseg.terms import Term

__all__ = ["check", "write"]

log = logging.getLogger("promptseg")

_MOST_SEGMENTS = 65_535
_MEANING = (
    *("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"),
    *("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", "SegmentDescription"),
)
_MADE_BY = (
    *(
        "SegmentAlgorithmType",
        "SegmentAlgorithmName",
        "SegmentationAlgorithmIdentificationSequence",
    ),
    *("TrackingID", "TrackingUID"),
)
_SERIES_KIND = 1


def check(target: Segmentation | Image) -> None:
    """Refuse early what no SEG can be made for; for an image by making one, of a single voxel.

    Raises:
        OutputError: not read from DICOM, too many objects, or what a SEG needs is missing.
    """
    slices = source_slices(target, "DICOM SEG")
    require_uids(slices, "DICOM SEG")
    film = is_film(slices, target.geometry)
    if target.geometry.ndim == 3 and target.geometry.unit != "mm" and not film:
        raise OutputError(
            "a 2D image, a film, or slices with a place in space, for a DICOM SEG",
            f"{len(slices)} frames without a place",
            "choose one with --frame, or write .nii.gz",
        )
    if len(slices) > 1 and not film and not frame_of_reference(target):
        raise OutputError(
            "slices with a FrameOfReferenceUID for a DICOM SEG",
            f"{len(slices)} slices without",
            "write .nii.gz",
        )
    if isinstance(target, Segmentation) and not 0 < len(target.segments) <= _MOST_SEGMENTS:
        raise OutputError(
            f"1 to {_MOST_SEGMENTS} objects for a DICOM SEG", str(len(target.segments))
        )
    if isinstance(target, Image):
        dimensions = target.geometry.ndim
        voxel = np.ones((1,) * dimensions, dtype=bool)
        segment = Segment("trial", 1, voxel, (slice(0, 1),) * dimensions)
        _made(Segmentation([segment], target.geometry, target.source), layers=False)


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write a SEG in the source's patient, study and frame of reference; overlaps as they are.

    Empty frames are left out; a SEG without any voxel keeps the first slice, all zero.

    Raises:
        OutputError: see `check`; or the source lacks what every DICOM object must have.
    """
    check(segmentation)
    if not layers:
        segmentation = segmentation.without_overlap()
    renumbered = [
        f"{number} ({segment.name}, {segment.label} before)"
        for number, segment in enumerate(segmentation.segments, 1)
        if segment.label != number and number_in(segment.name) != segment.label
    ]
    if renumbered:
        log.warning(
            "DICOM SEG numbers segments from 1: %s%s",
            ", ".join(renumbered[:5]),
            " and more" if renumbered[5:] else "",
        )
    _made(segmentation, layers).save_as(path, enforce_file_format=True)


def _made(segmentation: Segmentation, layers: bool) -> pydicom.Dataset:
    """The SEG of some masks.

    Raises:
        OutputError: the source lacks what every DICOM object must have.
    """
    slices = source_slices(segmentation, "DICOM SEG")
    used = _slices_used(segmentation)
    slices = tuple(slices[k] for k in used)
    try:
        with warnings.catch_warnings():  # of highdicom, which quote the patient's name
            warnings.simplefilter("ignore", UserWarning)
            return _seg(segmentation, slices, _pixels(segmentation, used, layers))
    except (AttributeError, TypeError, ValueError) as error:
        raise OutputError(
            "a source image that a DICOM SEG can be made for",
            f"{segmentation.source.path} ({str(error).splitlines()[0][:200]})",
            "repair its header, or write .nii.gz",
        ) from error


def _seg(
    segmentation: Segmentation, slices: Sequence[Any], pixels: NDArray[np.uint8 | np.uint16]
) -> pydicom.Dataset:
    import highdicom

    sources = stand_ins(slices, segmentation.geometry)
    names = ", ".join(s.name for s in segmentation.segments)
    model = segmentation.provenance.model or ModelFacts()
    seg = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _described(number, segment, segmentation)
            for number, segment in enumerate(segmentation.segments, 1)
        ],
        series_instance_uid=generate_uid(),
        series_number=series_number(sources[0], _SERIES_KIND),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="promptseg",
        manufacturer_model_name="promptseg",
        software_versions=__version__,
        device_serial_number=(model.weights_sha256 or "none")[:16],
        content_label="SEGMENTATION",
        content_description=_shortened(names),
        series_description=_shortened(f"promptseg: {names}"),
        specific_character_set="ISO_IR 192",
    )
    if (
        "ImagePositionPatient" not in sources[0]
    ):  # where a 2D image lies is said in words, if at all
        seg.PatientOrientation = sources[0].get("PatientOrientation")
    restore_references(seg, sources, slices)
    if removed_here(seg) and "ContributingEquipmentSequence" in seg:
        del seg.ContributingEquipmentSequence  # the scanner, which highdicom adds
    if is_film(slices, segmentation.geometry):
        without_places(seg)
    return seg


def _slices_used(segmentation: Segmentation) -> list[int]:
    """Slices with any object on them; the first one if there are none."""
    if segmentation.geometry.ndim == 2:
        return [0]
    used: set[int] = set()
    for segment in segmentation.segments:
        filled = np.flatnonzero(segment.crop.any(axis=(1, 2)))
        used.update(int(k) + segment.region[0].start for k in filled)
    return sorted(used) or [0]


def _pixels(
    segmentation: Segmentation, used: list[int], layers: bool
) -> NDArray[np.uint8 | np.uint16]:
    """(slice, y, x) segment numbers or, with `layers`, (slice, y, x, segment) of 0 and 1."""
    count = len(segmentation.segments)
    shape = segmentation.geometry.shape
    picture = len(shape) == 2
    if layers:
        stacked = np.zeros((len(used), *shape[-2:], count), dtype=np.uint8)
    else:
        stacked = np.zeros((len(used), *shape[-2:]), np.uint8 if count < 256 else np.uint16)
    for number, segment in enumerate(segmentation.segments, 1):
        crop = segment.crop[None] if picture else segment.crop
        rows, columns = segment.region[-2:]
        first = 0 if picture else segment.region[0].start
        for k, mask in enumerate(crop, first):
            if not mask.any():
                continue
            part = stacked[used.index(k), rows, columns]
            if layers:
                part[mask, number - 1] = 1
            else:
                part[mask] = number
    return stacked


def _described(number: int, segment: Segment, segmentation: Segmentation) -> Any:
    """The item of the Segment Sequence: names, codes, algorithm, tracking identity and colour."""
    import highdicom

    meaning = meaning_of(segment.name, "" if segment.words is None else segment.words.code)
    label = dicom_text(segment.name, "LO") or f"Segment {number}"
    item = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=_code(meaning.category),
        segmented_property_type=_code(meaning.type),
        algorithm_type=_algorithm_type(segmentation),
        algorithm_identification=_algorithm(segmentation),
        tracking_uid=generate_uid(),
        tracking_id=label,
        anatomic_regions=[_code(meaning.region)] if meaning.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*colour_of(segment)),
    )
    if not segmentation.provenance.model:  # made elsewhere: nothing is known of how
        del item.SegmentationAlgorithmIdentificationSequence
    if label != segment.name:
        item.SegmentDescription = for_header(segment.name)[:1024]
    if meaning.side:
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_code(meaning.side)]
    if coded := kept(segment, ("RTROIIdentificationCodeSequence",)):  # of an RTSTRUCT
        item.SegmentedPropertyTypeCodeSequence = coded.RTROIIdentificationCodeSequence
    made_elsewhere = not segmentation.provenance.model
    item.update(kept(segment, (*_MEANING, *(_MADE_BY if made_elsewhere else ()))))
    return item


def _algorithm_type(segmentation: Segmentation) -> str:
    """A person prompts, so it is semi-automatic; words alone make it automatic."""
    kinds = {
        kind
        for entry in (segmentation.provenance.prompts or {}).get("objects", ())
        for kind in entry
        if kind != "name"
    }
    return "AUTOMATIC" if kinds == {"text"} else "SEMIAUTOMATIC"


def _algorithm(segmentation: Segmentation) -> Any:
    """Name, version and weights of what made the masks, as far as they are known."""
    import highdicom
    from pydicom.sr.codedict import codes

    model = segmentation.provenance.model or ModelFacts()
    name, sha = model.name, model.weights_sha256
    return highdicom.AlgorithmIdentificationSequence(
        name=_shortened(f"promptseg {name}") if name else "unknown",
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        source="promptseg",
        parameters={"weights_sha256": sha} if sha else None,
    )


def _code(term: Term) -> Any:
    import highdicom

    return highdicom.sr.CodedConcept(term.code, "SCT", term.meaning)


def _shortened(text: str) -> str:
    """A description of at most 64 characters."""
    plain = re.sub(r"[\\\x00-\x1f\x7f]", " ", for_header(text)).strip()
    return plain if len(plain) <= 64 else plain[:61].rstrip() + "..."
