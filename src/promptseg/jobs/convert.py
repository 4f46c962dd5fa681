"""Masks from any format to any other: the job of `promptseg convert`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from promptseg._version import __version__
from promptseg.errors import InputError, OutputError
from promptseg.formats import endings, format_by_suffix
from promptseg.formats.files import provenance_path
from promptseg.formats.label_tables import check_beside
from promptseg.formats.location import address_in
from promptseg.formats.options import BesideOptions, MaskOptions, Outlines, ReadOptions
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.image import Segment, Segmentation
from promptseg.notes import Note
from promptseg.provenance import Conversion, ObjectFacts, Provenance, now
from promptseg.segment.options import ManyOptions

__all__ = ["ConvertJob", "convert", "select_segments"]

log = logging.getLogger("promptseg")

_OUTPUT = (
    f"Mask file to write; its ending names the format: {', '.join(endings())} (.dcm: DICOM SEG). A "
    "folder for a folder or list."
)


@dataclass(kw_only=True)
class ConvertJob(BesideOptions, MaskOptions, ManyOptions, ReadOptions):
    """Turn masks from one format into another, on the same grid, with their names.

    Reads and writes label images and layered masks, DICOM SEG and RTSTRUCT. DICOM output needs the
    DICOM image it belongs to as --reference; so does reading an RTSTRUCT. The options for reading
    apply to the reference.
    """

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Mask file; folder of mask files, into a folder or one .coco.json; or list of them (.csv, .tsv,
    .parquet; docs/lists.md)."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], help=_OUTPUT)]

    reference: Path | None = None
    """Image the masks belong to: file, or folder with a DICOM series; of a folder of masks, the folder
    with their 2D images."""

    segments: str | None = None
    """Names of the objects to keep, in order (liver,spleen), or names for labels
    (1=liver,2=spleen)."""

    overlap: Literal["keep", "later-wins"] = "keep"
    """Overlapping objects: keep them, one layer per object, or let later objects win."""

    outlines: Outlines = "rle"
    """How COCO gets its outlines: rle (run lengths, exact) or polygons."""

    interpolate: bool = False
    """Fill slices between the contours of an RTSTRUCT drawn on every second or third slice."""

    deidentify: bool = False
    """Leave out of the outputs what says who the patient is."""

    suffix: str | None = None
    """File ending of what is written of a folder or list, such as .seg.nrrd."""

    overwrite: bool = False
    """Replace outputs that exist."""

    json: bool = False
    """Print the provenance as JSON."""

    quiet: bool = False
    """No summary."""


def convert(job: ConvertJob, request: Mapping[str, Any] | None = None) -> Segmentation:
    """Do what the job says for its one mask.

    Args:
        job: what and how.
        request: what the result depends on, for the provenance of one of many.

    Returns:
        The masks as written, with their provenance.

    Raises:
        PromptsegError: anything the user can put right; nothing has been written then.
    """
    from promptseg.formats import read
    from promptseg.formats.deidentify import deidentified, discreet
    from promptseg.formats.masks import read_masks
    from promptseg.formats.saving import save

    known = format_by_suffix(job.output)
    if job.outlines != "rle" and (known is None or known.name != "coco"):
        raise InputError(
            "an output .coco.json for --outlines", job.output.name, "leave --outlines out"
        )
    if address := address_in(job.output):
        raise OutputError(
            "a file", address, "write a .dcm file and store it with your server's tools"
        )
    outputs = (job.output, provenance_path(job.output), *check_beside(job.output, job.beside))
    check_outputs(outputs, job.overwrite, Reads([job.reference, job.table], masks=[job.input]))
    if job.reference is None and job.chosen():
        raise InputError(
            f"a --reference for --{job.chosen()[0]}", "none", "name the image, or leave it out"
        )
    with discreet(job.input, job.reference, on=job.deidentify):
        reference = read(job.reference, job) if job.reference else None
        result = read_masks(job.input, reference, job, interpolate=job.interpolate)
        if job.segments is not None:
            result = replace(result, segments=select_segments(result.segments, job.segments))
        for note in result.source.notes:
            log.warning("%s", Note(note))
        facts = _provenance(result, job)
        if request is not None:
            facts = replace(facts, request=request)
        result = replace(result, provenance=facts)
        if job.deidentify:
            result = deidentified(result)
        save(
            result,
            job.output,
            overwrite=job.overwrite,
            overlap=job.overlap,
            beside=job.beside,
            outlines=job.outlines,
        )
        return result


def select_segments(segments: list[Segment], text: str) -> list[Segment]:
    """Choose objects by name, in the order given, or by label, with the names they are to have.

    Args:
        segments: all objects.
        text: `liver,spleen`, or `1=liver,2=spleen`, which keeps those labels alone.

    Raises:
        InputError: no such name or label, one twice, or both kinds mixed.
    """
    entries = [part.strip() for part in text.split(",") if part.strip()]
    by_name = {s.name: s for s in segments}
    by_label = {str(s.label): s for s in segments}
    found: list[Segment] = []
    for entry in entries:
        label, equals, name = (part.strip() for part in entry.partition("="))
        if entry in by_name:
            chosen = by_name[entry]
        elif equals and name and label in by_label:
            chosen = replace(by_label[label], name=name)
        else:
            there = ", ".join(f"{s.label}={s.name}" for s in segments)
            raise InputError(
                f"segments out of {there or 'none'}", repr(entry), "correct --segments"
            )
        found.append(chosen)
    names, labels = {s.name for s in found}, {s.label for s in found}
    if not found or len(names) < len(found) or len(labels) < len(found):
        raise InputError("names of segments, each once", repr(text), "correct --segments")
    return found


def _provenance(result: Segmentation, job: ConvertJob) -> Provenance:
    """What is known of how the masks were made, and that they were converted."""
    earlier = result.provenance
    from promptseg.formats.places import with_places

    told = {entry.label: entry for entry in earlier.objects or ()}
    objects = []
    for s in result.segments:
        known = told.get(s.label, ObjectFacts())
        more = {**known.more, "voxels": int(s.crop.sum())}
        objects.append(replace(known, label=s.label, name=s.name, more=more))
    conversion = Conversion(path=str(job.input), software={"promptseg": __version__}, created=now())
    facts = replace(
        earlier,
        converted=conversion,
        notes=(*(earlier.notes or ()), *map(Note, result.source.notes)),
        objects=tuple(objects),
    )
    return with_places(replace(result, provenance=facts), job.output, job.overlap)
