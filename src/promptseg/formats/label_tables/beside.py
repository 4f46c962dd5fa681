"""Tables beside a mask: which there are, under which names, and what is written into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from promptseg.errors import OutputError
from promptseg.formats.bids_names import is_dseg, sidecar_of
from promptseg.formats.files import beside
from promptseg.formats.table import format_by_suffix
from promptseg.image import Segmentation
from promptseg.notes import Note

__all__ = [
    "TABLES",
    "Beside",
    "TableKind",
    "check_beside",
    "holds_labels",
    "places",
    "table_path",
    "tables_beside",
]

Beside = Literal["bids", "itk-snap", "slicer"]
"""Tables that `--beside` knows."""


@dataclass(frozen=True)
class TableKind:
    """One form of a table.

    Attributes:
        name: as `--beside` has it.
        title: for messages.
        module: has `parse(text)`, `text_of(segments)` and `cleaned(name)`.
        written: what its name adds to the mask's own (`mask.nii.gz.ctbl`).
        read: further endings on the mask's stem (`mask.ctbl`) that are looked for.
        generic: endings that many other files have, too.
    """

    name: Beside
    title: str
    module: str
    written: str
    read: tuple[str, ...]
    generic: tuple[str, ...] = (".txt",)

    def load(self) -> Any:
        """Load the module that reads and writes tables of this kind."""
        return import_module(f"promptseg.formats.label_tables.{self.module}")


TABLES: tuple[TableKind, ...] = (
    TableKind("bids", "look-up table of BIDS", "bids", "", (".tsv",), (".tsv",)),
    TableKind(
        "itk-snap",
        "label description of ITK-SNAP",
        "itksnap",
        ".label.txt",
        (".label.txt", ".label", ".txt"),
    ),
    TableKind(
        "slicer",
        "colour table of 3D Slicer",
        "slicer_colours",
        ".ctbl",
        (".ctbl", "_ColorTable.ctbl"),
    ),
)
assert tuple(table.name for table in TABLES) == get_args(Beside)


def table_path(mask: Path, kind: TableKind) -> Path:
    """Return the path of the table beside a mask; BIDS' has its ending in place of the mask's."""
    if kind.name == "bids":
        return beside(mask, ".tsv")
    return mask.with_name(mask.name + kind.written)


def places(mask: Path, kind: TableKind) -> list[Path]:
    """Return the paths where a table of this kind may stand beside a mask, the likeliest first."""
    found = [table_path(mask, kind)]
    found += [path for ending in kind.read if (path := beside(mask, ending)) not in found]
    return found


def tables_beside(
    segmentation: Segmentation, mask: Path, kinds: Iterable[Beside] = (), overlap: str = "keep"
) -> tuple[dict[Path, Callable[[Path], object]], list[Note]]:
    """Return the files to write beside a mask, and notes on what they cannot hold.

    Args:
        segmentation: the objects.
        mask: the mask file; called as BIDS has it, it gets BIDS' table and side file unasked.
        kinds: tables that are asked for.
        overlap: "keep" or "later-wins".

    Returns:
        Further files with what writes each, and notes on what a table cannot hold.

    Raises:
        OutputError: as `check_beside`, or BIDS for objects that overlap.
    """
    wanted = _wanted(mask, kinds)
    if not wanted:
        return {}, []
    if wanted[0].name == "bids" and overlap == "keep" and segmentation.has_overlap():
        raise OutputError(
            "objects that do not overlap in a BIDS segmentation (_dseg)",
            "some that do",
            "let later objects win with --overlap later-wins, or write another format",
        )
    files: dict[Path, Callable[[Path], object]] = {}
    notes = []
    for table in wanted:
        module = table.load()
        text = module.text_of(segmentation.segments)
        files[table_path(mask, table)] = _writer(text)
        if table.name == "bids":
            files[beside(mask, ".json")] = _writer(sidecar_of(segmentation, mask))
        changed = [s.name for s in segmentation.segments if module.cleaned(s.name) != s.name]
        if changed:
            notes.append(
                Note(
                    f"the {table.title} cannot hold {', '.join(map(repr, changed[:5]))} as it is: "
                    "the whole name is in the provenance",
                    "values",
                )
            )
    return files, notes


def check_beside(mask: Path, kinds: Iterable[Beside] = ()) -> list[Path]:
    """Return the files that `tables_beside` will write; refuse a table that the mask cannot have.

    Raises:
        OutputError: a table that this mask cannot have.
    """
    wanted = _wanted(mask, kinds)
    found = [table_path(mask, table) for table in wanted]
    return [*found, beside(mask, ".json")] if wanted and wanted[0].name == "bids" else found


def _wanted(mask: Path, kinds: Iterable[Beside]) -> list[TableKind]:
    """The tables that are asked for, by an option or by a BIDS name, in the order of `TABLES`."""
    asked = {*kinds, *(("bids",) if is_dseg(mask) else ())}
    wanted = [table for table in TABLES if table.name in asked]
    if wanted and not holds_labels(mask):
        raise OutputError(
            f"a label image for --beside {wanted[0].name} (.nii.gz, .nrrd, .mha, .png, ...)",
            mask.name,
            "rename it, or leave --beside out",
        )
    if "bids" in asked and not is_dseg(mask):
        raise OutputError(
            "a mask called ..._dseg.nii.gz for --beside bids",
            mask.name,
            "rename it, as sub-01_desc-T1w_dseg.nii.gz",
        )
    return wanted


def holds_labels(mask: Path) -> bool:
    """Tell whether the ending of a mask is that of a label image, which keeps numbers and no names."""
    known = format_by_suffix(mask)
    return known is not None and not (known.writer or known.outlines or known.name == "ome-zarr")


def _writer(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8")
