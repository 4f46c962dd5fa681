"""`promptseg demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from promptseg.cli.options import parse
from promptseg.errors import AssetError, PromptError, UnreachableError
from promptseg.formats.files import beside, overlay_path, provenance_path
from promptseg.names import for_terminal

__all__ = ["DemoCommand", "run"]

_SERIES = "ct"
_BOXES = ("98,190,272,372@10=liver", "292,242,396,381@10=spleen", "247,284,279,315@10=aorta")


@dataclass(kw_only=True)
class DemoCommand:
    """Segment liver, spleen and aorta on a real CT series from one box each.

    The CT and the weights are fetched once, verified by hash and kept in the cache. As the CT was
    published without UIDs, a copy with UIDs that are made up, for DICOM SEG and RTSTRUCT, is put into
    the folder ct of the results. Without a network, name an image of yours with --input and boxes with
    --box.
    """

    input: Annotated[Path | None, tyro.conf.arg(aliases=["-i"])] = None
    """An image of yours instead of the CT."""

    box: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Boxes for your image, x0,y0,x1,y1[@slice][=name]."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("demo")
    """Folder for the results."""

    quiet: bool = False
    """No progress."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(DemoCommand, "demo", argv)
    from promptseg import assets
    from promptseg.formats.dicom.uids import copy_with_uids
    from promptseg.formats.own_folder import OwnFolder
    from promptseg.jobs.segment import segment_file
    from promptseg.segment.options import SegmentJob

    if command.input is None and command.box:
        raise PromptError("an image for --box", "none", "name it with --input")
    source, boxes, name, again = command.input, command.box, "mask", False
    if source is None:
        if assets.find("demo-ct") is None and not command.quiet:
            print("the demo's CT is not here yet")
        try:
            source = fetched = assets.fetch("demo-ct", command.quiet)
        except UnreachableError as error:
            do = "without a network, name an image: promptseg demo -i FILE --box ..."
            raise AssetError(error.expected, error.got, do) from None
        boxes, again = _BOXES, True  # a second demo replaces the files of the first, and no others
        own = OwnFolder(command.output)
        mask = command.output / f"{name}.nii.gz"
        outputs = (mask, provenance_path(mask), overlay_path(mask))
        slices = sum(path.is_file() for path in fetched.iterdir()) if fetched.is_dir() else 0
        series = (f"{_SERIES}/slice-{number:03d}.dcm" for number in range(1, slices + 1))
        own.take("demo", *(path.name for path in outputs), _SERIES)
        own.claim(*(path.name for path in outputs), *series)
        licence = assets.manifest()["demo-ct"].licence
        print(f"image       {source}\nlicence     {licence}")
        if slices:
            source = command.output / _SERIES
            copy_with_uids(fetched, source)
            print(f"series      {source} (a copy, with the UIDs that the original lacks made up)")
    else:
        name = beside(source, "").name + "_mask"
    made = segment_file(
        SegmentJob(
            input=source,
            output=command.output / f"{name}.nii.gz",
            box=boxes,
            overwrite=again,
            quiet=command.quiet,
        )
    )
    for line in made.summary():
        print(for_terminal(line))
    return 0
