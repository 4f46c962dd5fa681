"""DICOM RTSTRUCT: objects as closed contours on the slices of an image."""

from __future__ import annotations

from promptseg.formats.rtstruct.reader import read_rtstruct
from promptseg.formats.rtstruct.writer import check, write

__all__ = ["check", "read_rtstruct", "write"]
