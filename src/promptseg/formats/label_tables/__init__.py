"""Tables of names and colours beside masks, as BIDS, ITK-SNAP and 3D Slicer keep them.

A label image holds numbers. What they stand for is in a text file beside it, and each family of
programs has a form of its own. One rule for all: a table that is called after a mask is read with it; a
table for many masks is named (`--table`); which ones are written is asked for (`--beside`), and a BIDS
name (`..._dseg.nii.gz`) asks for BIDS' own by itself.
"""

from promptseg.formats.label_tables.beside import (
    TABLES,
    Beside,
    TableKind,
    check_beside,
    table_path,
    tables_beside,
)
from promptseg.formats.label_tables.read import LabelTable, read_table, table_for, with_table
from promptseg.formats.label_tables.row import LabelRow

__all__ = [
    "TABLES",
    "Beside",
    "LabelRow",
    "LabelTable",
    "TableKind",
    "check_beside",
    "read_table",
    "table_for",
    "table_path",
    "tables_beside",
    "with_table",
]
