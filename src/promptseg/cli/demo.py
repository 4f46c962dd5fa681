"""`promptseg demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from promptseg.cli.options import parse
from promptseg.errors import AssetError

__all__ = ["DemoCommand", "run"]

_BOXES = ("98,190,272,372@10=liver", "292,242,396,381@10=spleen", "247,284,279,315@10=aorta")


@dataclass(kw_only=True)
class DemoCommand:
    """Segment liver, spleen and aorta on a real CT series from one box each.

    The CT and the weights are fetched once, verified by hash and kept in the cache. Without a network,
    name an image of yours with --input and boxes with --box.
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
    from promptseg.segment.job import segment_file
    from promptseg.segment.options import SegmentJob

    source, boxes = command.input, command.box
    if source is None:
        try:
            source = assets.fetch("demo-ct", command.quiet)
        except AssetError as error:
            error.do = "without a network, name an image of yours: promptseg demo -i FILE --box ..."
            raise
        boxes = _BOXES
        licence = assets.manifest()["demo-ct"].licence
        print(f"image       CT, 20 slices, {source}\nlicence     {licence}")
    outputs = segment_file(
        SegmentJob(
            input=source,
            output=command.output / "mask.nii.gz",
            box=boxes,
            overwrite=True,
            quiet=command.quiet,
        )
    )
    for line in outputs.summary():
        print(line)
    return 0
