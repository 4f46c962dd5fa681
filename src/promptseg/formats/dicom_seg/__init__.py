"""DICOM SEG: masks as an object of their own, in the study of the image they were drawn on."""

from __future__ import annotations

from promptseg.formats.dicom_seg.reader import read_seg
from promptseg.formats.dicom_seg.writer import check, write

__all__ = ["check", "read_seg", "write"]
