"""Models as files for other engines: ONNX and OpenVINO, checked against torch before they are kept."""

from promptseg.export.job import ExportError, export_model
from promptseg.export.options import ExportJob

__all__ = ["ExportError", "ExportJob", "export_model"]
