"""`promptseg info`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from promptseg.cli.options import parse
from promptseg.errors import InputError
from promptseg.formats.options import ReadOptions
from promptseg.jobs.preview import PreviewOptions, check_preview, save_preview

if TYPE_CHECKING:
    from promptseg.jobs.info import Facts

__all__ = ["InfoCommand", "run"]

_WIDE = 160  # columns, where no terminal says how many it has


@dataclass(kw_only=True)
class InfoCommand(PreviewOptions, ReadOptions):
    """Show what was understood of an image: kind, modality, grid, orientation, range, series, frames,
    names of fields that may identify the patient (never what they say), prompts, warnings. Of several
    series, all are listed; of DICOM SEG and RTSTRUCT, what they name and refer to.
    """

    input: tyro.conf.Positional[Path]
    """Image, DICOM folder, SEG or RTSTRUCT, or address dicomweb://HOST/PATH/studies/STUDY."""

    preview: Path | None = None
    """Write a picture to this PNG: slices in radiological display, ticked in the voxel indices that
    --box takes; of a volume the three middle planes."""

    overwrite: bool = False
    """Replace a preview that exists."""

    json: bool = False
    """Print as JSON."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    # the image may be named as other verbs name it
    argv = [token for token in argv if token not in ("-i", "--input")]
    command = parse(InfoCommand, "info", argv)
    check_preview(command.preview, command.overwrite, command, command.input)
    from promptseg.jobs.info import gather

    facts, shown = gather(command.input, command, command.window)
    if command.preview:
        if shown is None:
            raise InputError(
                "one image for --preview",
                f"{len(facts.series) or 'no'} series of images in {facts.path}",
                "choose one with --series UID" if facts.series else "leave --preview out",
            )
        save_preview(*shown, command.preview, command, command.overwrite)
    if command.json:
        print(json.dumps(dataclasses.asdict(facts), indent=2))
    else:
        _print(facts)
    return 0


def _print(facts: Facts) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid("", "", padding=(0, 2))
    table.columns[1].overflow = "fold"
    for name, value in _rows(facts):
        table.add_row(name, Text("".join(c if c.isprintable() else "?" for c in value)))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(table)


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """Name and value of every line of the table."""
    yield "path", facts.path
    yield "format", facts.format
    if facts.kind:
        yield "kind", facts.kind + (" in colour" if facts.colour else "")
    if facts.modality:
        guess = f" (guess: {facts.modality_guess})" if facts.modality_guess else ""
        yield "modality", facts.modality + guess
    if facts.size_xyz and facts.spacing_xyz:
        yield "size", _product(facts.size_xyz)
        yield "spacing", f"{_product(facts.spacing_xyz)} {facts.unit}"
        yield "orientation", facts.orientation or "unknown"
        if facts.origin and facts.direction:
            yield "origin", f"{', '.join(map(str, facts.origin))} (LPS)"
            for name, column in zip("xyz", zip(*facts.direction, strict=True), strict=True):
                yield f"direction of {name}", ", ".join(map(str, column))
        if not facts.orthogonal:
            yield "axes", "not at right angles"
        span = "" if facts.range is None else f", {facts.range[0]:g} to {facts.range[1]:g}"
        yield "values", f"{facts.dtype}{span}"
        yield "shown with", facts.intensity or ""
    if facts.frames:
        chosen = facts.frames["shown"]
        said = "" if chosen is None else f"; shown: {chosen}, choose with --frame"
        yield "frames", facts.frames["what"] + said
    if facts.video:
        yield from _video_rows(facts.video)
    yield from _series_rows(facts.series)
    for made in facts.objects:
        yield from _object_rows(made)
    if facts.identifying_fields is not None:
        fields = ", ".join(facts.identifying_fields)
        yield "identifying", fields or "no field that may tell who the patient is"
    if facts.free_text:
        yield "free text", f"{', '.join(facts.free_text)} (may tell who the patient is)"
    if facts.prompts_in_file:
        yield "prompts", f"{facts.prompts_in_file} in the file"
    for note in facts.notes:
        yield "note", note


def _video_rows(video: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "codec", video["codec"]
    if video["rate"] is None:
        yield "times", "nothing says when frames were taken"
    else:
        uneven = "" if video["even"] else " on average: the time stamps are uneven"
        yield "rate", f"{video['rate']:g} frames a second{uneven}"
        yield "duration", f"{video['duration_s']:g} s"
    if video["turned"]:
        yield "turned", "frames are turned as the file says"


def _series_rows(series: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    endings = _endings([s["uid"] for s in series])
    for one, ending in zip(series, endings, strict=True):
        size = f"{one['files']} files" if one["slices"] is None else f"{one['slices']} slices"
        description = one["description"] or "no description"
        yield "series", f"{ending}  {one['modality'] or '?'}, {size}, {description}"
    if len(series) > 1:
        yield "", "choose one with --series and what its UID ends in, as above"


def _object_rows(made: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield made["kind"], f"{made['file']}: {made['modality']}, {made['description'] or '-'}"
    for segment in made["segments"]:
        yield "", f"{segment['number']} {segment['name']}"
    for reference in made["references"]:
        yield "", f"refers to {reference['instances']} instances of series {reference['series']}"


def _endings(uids: list[str], shortest: int = 8) -> list[str]:
    """The shortest endings that tell the UIDs apart."""
    for length in range(shortest, 65):
        endings = [uid[-length:] for uid in uids]
        if len(set(endings)) == len(endings) and not any(
            uid.endswith(e)
            for uid, own in zip(uids, endings, strict=True)
            for e in endings
            if e != own
        ):
            return endings
    return uids


def _product(values: list[Any]) -> str:
    return " x ".join(f"{v:g}" for v in values)
