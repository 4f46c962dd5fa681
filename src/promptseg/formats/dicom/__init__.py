"""DICOM: one module per question that a reader has to answer.

Which files (`parse`), which series (`scan`), what is said of each frame (`frames`, `mosaic`), where
it lies (`planes`), which slices form a volume (`split`), on which grid (`grid`), with which pixels
(`pixels`, `gdcm`) and values (`values`, `suv`); `reader` asks them in turn.
"""

from __future__ import annotations

from promptseg.formats.dicom.instances import DicomSource, Instance
from promptseg.formats.dicom.reader import read
from promptseg.formats.dicom.scan import Scan, Series, scan, series_in

__all__ = ["DicomSource", "Instance", "Scan", "Series", "read", "scan", "series_in"]
