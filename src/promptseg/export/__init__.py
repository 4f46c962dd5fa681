"""Models as files for other engines: ONNX and OpenVINO, checked against torch before they are kept."""

from promptseg._moved import moved_names
from promptseg.export.options import ExportJob

__all__ = ["ExportJob"]

__getattr__ = moved_names(
    __name__, dict.fromkeys(("ExportError", "export_model"), "promptseg.jobs.export")
)
