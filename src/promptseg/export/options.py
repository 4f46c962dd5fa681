"""Options of the export, defined once for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from promptseg.export.tools import ToolName

__all__ = ["FORMATS", "ExportJob", "Format"]

Format = Literal["onnx", "openvino", "official"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(kw_only=True)
class ExportJob:
    """Write a model as ONNX or OpenVINO files, or put its weights where another tool loads them.

    The folder gets the image encoder, one decoder that takes clicks, boxes and masks, reference inputs
    and outputs, and card.json, which says how to use them (docs/export.md). The files are run and
    compared with torch in float32 first; if they disagree, nothing is written.

    With --for TOOL the weights go unchanged under the name, and into the folder, that the tool
    loads them from, and what is left to do there is printed (docs/tools.md); AnyLabeling and
    X-AnyLabeling get an encoder and a decoder in ONNX with their configuration.
    """

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder to be made; with --for, the tool's folder, where it is not the same on every machine."""

    model: str = "lite-medsam"
    """Model name (see promptseg models), checkpoint file, or NAME=FILE."""

    format: Format = "onnx"
    """onnx (encoder.onnx, decoder.onnx), openvino (encoder.xml, decoder.xml and their .bin), or
    official (model.pt, which the official code of SAM or SAM 2 loads; also what was trained)."""

    tool: Annotated[ToolName | None, tyro.conf.arg(name="for", aliases=["--tool"])] = None
    """An annotation tool that shall load the weights."""

    overwrite: bool = False
    """Replace an earlier export in that folder."""

    quiet: bool = False
    """No progress, no summary."""

    json: bool = False
    """Print card.json; with --for, what was written and what is left to do."""
