"""`promptseg segment`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from promptseg.cli.options import parse
from promptseg.segment.options import SegmentOptions

__all__ = ["SegmentCommand", "run"]

_Many = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(kw_only=True)
class _FileOptions:
    """Where images, prompts and results are."""

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Image, folder with a DICOM series, or folder of images."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Mask file (.nii.gz, .nii, .nrrd, .mha, .npz, .tif, .png), or a folder for a folder of images."""

    model: str = "lite-medsam"
    """Model name (see promptseg models) or checkpoint file."""

    box: _Many = ()
    """Box x0,y0,x1,y1[@slice][=name]; may be repeated."""

    box3d: _Many = ()
    """3D box x0,y0,z0,x1,y1,z1[=name]; may be repeated."""

    point: _Many = ()
    """Click x,y,+|-[@slice][=name]; may be repeated."""

    prompts: Path | None = None
    """Prompt file in JSON (docs/prompts.md)."""

    series: str | None = None
    """SeriesInstanceUID, or its ending, where a folder holds several DICOM series."""

    nan_as: float | None = None
    """Value to put in place of NaN and infinite voxels, which are refused otherwise."""

    overlap: Literal["keep", "later-wins"] = "keep"
    """Overlapping objects: keep them, one layer per object, or let later objects win."""

    suffix: str | None = None
    """File ending of the masks of a folder of images (default: the input's, or .nii.gz / .png)."""

    overlay: bool = True
    """Write an overlay picture beside the mask."""

    overwrite: bool = False
    """Replace outputs that exist."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""

    threads: int | None = None
    """CPU threads (default: PROMPTSEG_THREADS, or all)."""

    config: Path | None = None
    """Options from a YAML or JSON file, or the provenance of an earlier run to do it again."""

    json: bool = False
    """Print the provenance as JSON."""

    quiet: bool = False
    """No progress, no summary."""


@dataclass(kw_only=True)
class SegmentCommand(SegmentOptions, _FileOptions):
    """Segment what the prompts point at.

    Reads NIfTI, NRRD, MHA, a folder with a DICOM series, PNG, JPEG, TIFF, BMP, WebP or the challenge
    npz; writes masks on exactly the input's grid, an overlay picture and a provenance JSON beside
    them. Coordinates are original pixels or voxels counted from 0; boxes include both ends. With a
    folder of images (and --prompts or npz files with boxes), every image is segmented into the
    output folder; a second run goes on where the first was cut off.
    """


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(SegmentCommand, "segment", argv, _from_config)
    from promptseg.segment.batch import is_batch, segment_folder
    from promptseg.segment.job import segment_file

    if is_batch(command.input, command.output):
        return segment_folder(command)
    outputs = segment_file(command)
    if command.json:
        print(json.dumps(outputs.provenance, indent=2))
    elif not command.quiet:
        for line in outputs.summary():
            print(line)
    return 0


def _from_config(content: dict[str, Any]) -> dict[str, Any]:
    """Fields from a configuration file, or from the provenance of an earlier run."""
    if "weights_sha256" not in str(content.get("model", "")):
        for name in ("box", "box3d", "point"):
            if isinstance(content.get(name), list):
                content[name] = tuple(content[name])
        return content
    known = {f.name for f in fields(SegmentCommand)}
    replay: dict[str, Any] = {k: v for k, v in content["command"].items() if k in known}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in replay.items() if v is not None}


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
