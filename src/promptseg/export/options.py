"""Options of the export, defined once for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

__all__ = ["FORMATS", "ExportJob", "Format"]

Format = Literal["onnx", "openvino", "official"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(kw_only=True)
class ExportJob:
    """Write a model as ONNX or OpenVINO files that run without torch, or as its official code loads it.

    The folder gets the image encoder, one decoder that takes clicks, boxes and masks, reference inputs
    and outputs, and card.json, which says how to use them (docs/export.md). The files are run and
    compared with torch in float32 first; if they disagree, nothing is written.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to be made."""

    model: str = "lite-medsam"
    """Model name (see promptseg models), checkpoint file, or NAME=FILE."""

    format: Format = "onnx"
    """onnx (encoder.onnx, decoder.onnx), openvino (encoder.xml, decoder.xml and their .bin), or
    official (model.pt, which the official code of SAM or SAM 2 loads; also what was trained)."""

    overwrite: bool = False
    """Replace an earlier export in that folder."""

    quiet: bool = False
    """No progress, no summary."""

    json: bool = False
    """Print card.json."""
