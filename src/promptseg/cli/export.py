"""`promptseg export`."""

from __future__ import annotations

import json
from typing import Any

from promptseg.cli.options import parse
from promptseg.export.options import ExportJob
from promptseg.names import for_terminal

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(ExportJob, "export", argv)
    from promptseg.jobs.export import export_model

    card = export_model(job.model, job.output, job.format, job.overwrite, job.quiet)
    if job.json:
        print(json.dumps(card, indent=2))
    elif not job.quiet:
        for line in _summary(card):
            print(for_terminal(line))
        print(f"{'card':<16}{job.output / 'card.json'}")
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
