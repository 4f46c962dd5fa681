"""DICOM: one module per question that a reader has to answer."""

from __future__ import annotations

from promptseg.formats.dicom.instances import DicomSource, Instance
from promptseg.formats.dicom.series import read

__all__ = ["DicomSource", "Instance", "read"]
