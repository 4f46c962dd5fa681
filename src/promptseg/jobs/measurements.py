"""`measurements.csv`: the sizes of all objects of a folder of images, one row each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path
from promptseg.names import for_csv

__all__ = ["COLUMNS", "MEASUREMENTS", "require_ours", "write_measurements"]

MEASUREMENTS = "measurements.csv"
COLUMNS = (
    *("image", "mask", "object", "label", "voxels", "volume_ml", "area_mm2", "area_px"),
    *("long_axis", "short_axis", "unit", "slice", "predicted_iou", "low_confidence"),
)
"""Sizes as `promptseg.segment.measure` gives them; empty where they do not apply."""


def require_ours(folder: Path) -> None:
    """Refuse a file of that name which is somebody else's.

    Raises:
        OutputError: it is.
    """
    path = folder / MEASUREMENTS
    if not path.exists() and not path.is_symlink():
        return
    try:
        with path.open(encoding="utf-8") as file:
            ours = not path.is_symlink() and file.readline().rstrip() == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise OutputError(
            f"no {MEASUREMENTS} of others in the output folder",
            str(path),
            "move it, or name another",
        )


def write_measurements(folder: Path, done: Iterable[tuple[str, Path, Mapping[str, Any]]]) -> Path:
    """Write the table; an earlier one of ours is replaced.

    Args:
        folder: of the masks.
        done: image name, mask file and provenance (as JSON) of every image that is done.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image, mask, provenance in done:
        for one in provenance.get("objects") or ():
            about = {"image": image, "mask": mask.relative_to(folder).as_posix(), **one}
            about["object"] = one.get("name")
            writer.writerow([_cell(about.get(column)) for column in COLUMNS])
    path = folder / MEASUREMENTS
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return path


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return for_csv(value) if isinstance(value, str) else str(value)
