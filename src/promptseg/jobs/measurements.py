"""`measurements.csv`: the sizes of all objects of a folder or list of images, one row each."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path
from promptseg.names import for_csv
from promptseg.work import WHOLE, Shard

__all__ = ["COLUMNS", "MEASUREMENTS", "measurements_of", "require_ours", "write_measurements"]

MEASUREMENTS = "measurements.csv"
COLUMNS = (
    *("image", "mask", "object", "label", "voxels", "volume_ml", "area_mm2", "area_px"),
    *("long_axis", "short_axis", "unit", "slice", "predicted_iou", "low_confidence"),
)
"""Sizes as `promptseg.segment.measure` gives them; empty where they do not apply."""


def measurements_of(folder: Path, shard: Shard = WHOLE) -> Path:
    """Return the path of the table of a folder of masks; each share of a job writes one of its own."""
    return folder / f"{Path(MEASUREMENTS).stem}{shard.suffix}.csv"


def require_ours(path: Path) -> None:
    """Refuse to write over somebody else's file in the place of the table.

    Raises:
        OutputError: it is.
    """
    if not path.exists() and not path.is_symlink():
        return
    try:
        with path.open(encoding="utf-8") as file:
            ours = not path.is_symlink() and file.readline().rstrip() == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise OutputError(
            f"no {path.name} of others in the output folder",
            str(path),
            "move it, or name another",
        )


def write_measurements(path: Path, done: Iterable[tuple[str, Path, Mapping[str, Any]]]) -> Path:
    """Write the table; an earlier one of ours is replaced.

    Args:
        path: of the table, in the folder of the masks.
        done: image name, mask file and provenance (as JSON) of every image that is done.

    Raises:
        OutputError: the file cannot be written.
    """
    with (
        atomic_path(path, overwrite=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for image, mask, provenance in done:
            name = Path(os.path.relpath(mask, path.parent)).as_posix()
            writer.writerows(_rows(image, name, provenance))
    return path


def _rows(image: str, mask: str, provenance: Mapping[str, Any]) -> Iterator[list[str]]:
    for one in provenance.get("objects") or ():
        about = {"image": image, "mask": mask, **one, "object": one.get("name")}
        yield [_cell(about.get(column)) for column in COLUMNS]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return for_csv(value) if isinstance(value, str) else str(value)
