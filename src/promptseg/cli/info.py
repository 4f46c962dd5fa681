"""`promptseg info`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from promptseg.cli.options import parse
from promptseg.formats.options import ReadOptions

__all__ = ["InfoCommand", "run"]


@dataclass(kw_only=True)
class InfoCommand(ReadOptions):
    """Show what was understood of an image: kind, modality, grid, orientation, range, warnings."""

    input: tyro.conf.Positional[Path]
    """Image, or folder with a DICOM series."""

    json: bool = False
    """Print as JSON."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(InfoCommand, "info", argv)
    from promptseg.formats import read
    from promptseg.image import Image
    from promptseg.intensity import choose_intensity
    from promptseg.models.cards import CARDS

    image: Image = read(command.input, command)
    geometry = image.geometry
    intensity = choose_intensity(image, keep_8bit=CARDS["lite-medsam"].keep_8bit)
    known = geometry.unit == "mm"
    facts: dict[str, Any] = {
        "path": str(command.input),
        "format": image.source.format,
        "kind": image.kind + (" in colour" if image.is_colour else ""),
        "modality": image.modality
        + (f" (guess: {intensity.modality})" if intensity.guessed else ""),
        "size_xyz": list(geometry.shape[::-1]),
        "spacing_xyz": [round(float(v), 5) for v in geometry.spacing[: geometry.ndim]],
        "unit": geometry.unit,
        "orientation": geometry.orientation if known else "unknown",
        "orthogonal": geometry.is_orthogonal,
        "dtype": str(image.voxels.dtype),
        "range": [float(image.voxels.min()), float(image.voxels.max())],
        "intensity": intensity.rule,
        "prompts_in_file": len(image.source.prompts),
        "notes": image.source.notes,
    }
    if command.json:
        print(json.dumps(facts, indent=2))
        return 0
    for key, value in facts.items():
        text = " x ".join(map(str, value)) if isinstance(value, list) and key != "notes" else value
        if key == "notes":
            for note in value:
                print(f"{'note':<16}{note}")
        else:
            print(f"{key:<16}{text}")
    return 0
