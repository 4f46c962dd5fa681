"""`promptseg export`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from promptseg.cli.options import parse
from promptseg.errors import InputError
from promptseg.export.options import ExportJob
from promptseg.export.tools import ToolName
from promptseg.names import for_terminal

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(ExportJob, "export", argv)
    if job.tool is not None:
        return _place(job, job.tool)
    if job.output is None:
        raise InputError("--output with the folder to be made", "none", "add -o FOLDER")
    from promptseg.jobs.export import export_model

    card = export_model(job.model, job.output, job.format, job.overwrite, job.quiet)
    if job.json:
        print(json.dumps(card, indent=2))
    elif not job.quiet:
        for line in _summary(card):
            print(for_terminal(line))
        print(f"{'card':<16}{job.output / 'card.json'}")
    return 0


def _place(job: ExportJob, tool: ToolName) -> int:
    """Put the weights where a tool looks for them."""
    if job.format != "onnx":
        raise InputError("--for or --format", "both", "a tool loads the weights themselves")
    from promptseg.jobs.place import place_for

    placed = place_for(job.model, tool, job.output, job.overwrite, job.quiet)
    if job.json:
        print(json.dumps(dataclasses.asdict(placed), indent=2, default=str))
    elif not job.quiet:
        print(for_terminal(f"{'written':<16}{placed.file}"))
        print(for_terminal(f"{'in ' + tool:<16}{placed.step}"))
        for note in placed.notes:
            print(for_terminal(f"{'note':<16}{note}"))
    return 0


def _summary(card: dict[str, Any]) -> list[str]:
    parity = card["parity"]
    found = (
        f"embedding {parity['embedding']:.1e}, mask logits {parity['logits']:.1e}, predicted IoU "
        f"{parity['iou']:.1e} from torch in float32 ({parity['engine']})"
        if parity["checked"]
        else f"not checked: {parity['why']}"
    )
    files = [f"{name:<16}{facts['bytes'] / 1e6:.1f} MB" for name, facts in card["files"].items()]
    return [*files, f"{'parity':<16}{found}"]
