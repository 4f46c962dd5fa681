"""Parts of a model -> files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from promptseg.export.decoder import PromptedDecoder
from promptseg.export.options import Format
from promptseg.runtime.engines import Part
from promptseg.runtime.parts import parts_of
from promptseg.runtime.rewrite import FusedSam

__all__ = ["OPSET", "exported_parts", "write_onnx", "write_part"]

OPSET = 20  # the first that has GELU
_AXES = ("prompts", "points")  # names of the free axes 0 and 1
_IN_ONE_FILE = 1_500_000_000  # bytes of weights; protobuf cannot hold 2 GiB


def exported_parts(network: FusedSam) -> list[Part]:
    """Return the encoder, and the decoder with prompts, of a prepared network on the CPU."""
    prompts = network.prompt_encoder
    channels, grid = prompts.channels, prompts.grid
    objects, points = 2, 3  # lengths of 0 or 1 would be taken for fixed
    example = (
        torch.zeros(1, channels, grid, grid),
        torch.zeros(objects, points, 2),
        torch.ones(objects, points),
        torch.zeros(objects, 1, 4 * grid, 4 * grid),
        torch.zeros(objects),
    )
    decoder = Part(
        "decoder",
        PromptedDecoder(network).eval().requires_grad_(False),
        example=example,
        free=((), (0, 1), (0, 1), (0,), (0,)),
        identity="",
        inputs=("embedding", "points", "labels", "mask_logits", "has_mask"),
        outputs=("logits", "iou"),
    )
    return [parts_of(network)["encoder"], decoder]


def write_part(part: Part, folder: Path, format: Format) -> Path:
    """Write a part under its name; returns the file to open.

    Raises:
        Exception: whatever the exporter raises.
    """
    if format == "onnx":
        return write_onnx(part, folder)
    from promptseg.runtime.openvino import export_ir

    return export_ir(part, folder, part.name)


def write_onnx(part: Part, folder: Path) -> Path:
    """Write a part as `NAME.onnx`; weights too large for one file lie beside it in `NAME.onnx.data`."""
    import onnx

    axes = [torch.export.Dim(name, min=1) for name in _AXES]
    shapes = tuple({axis: axes[axis] for axis in free} for free in part.free)
    with _quietly(), torch.no_grad():
        program: Any = torch.onnx.export(
            part.module,
            part.example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=shapes or None,
        )
    _forget_sources(program.model)
    path = folder / f"{part.name}.onnx"
    size = sum(x.nbytes for x in part.module.state_dict().values())
    program.save(path, external_data=size > _IN_ONE_FILE)
    onnx.checker.check_model(path)
    return path


def _forget_sources(model: Any) -> None:
    """Drop what the exporter notes of every operation: lines of code, with this machine's paths."""
    for graph in (model.graph, *model.functions.values()):
        for node in graph.all_nodes() if hasattr(graph, "all_nodes") else graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
        graph.metadata_props.clear()
    model.metadata_props.clear()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on its own future, and on a torchvision that is not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
