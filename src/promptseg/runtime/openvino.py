"""OpenVINO on CPUs: a part is exported once, kept on disk, and compiled at each start.

The export goes through OpenVINO's frontend itself, not through `convert_model`, which would report
usage to its makers; what reports cannot be imported (`promptseg.telemetry`).
"""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from promptseg.runtime.compiled import CompiledStore
from promptseg.runtime.engine import Compiled, CompileError, NotInstalled, Part
from promptseg.runtime.machine import describe_machine, has_bfloat16, version_of
from promptseg.runtime.rewrite.ops import graph_in
from promptseg.telemetry import refuse_telemetry

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVINO", "core", "export_ir"]

# Part of every key. Raise it when the export gives another graph than before.
_VERSION = 6


_one_at_a_time = Lock()


@cache
def _core() -> openvino.Core:
    refuse_telemetry()
    import openvino as ov

    return ov.Core()


def core() -> openvino.Core:
    """Return OpenVINO itself: one for the process, which stays until it ends.

    Its CPU plugin gives the thread that loads it another stack for signals, and unmaps that stack when
    it is unloaded, in use or not. With a core for each model, models that go in another order than they
    came, or in another thread, leave a stack that is not there: the next signal, a Ctrl-C, then kills
    the process without a word.
    """
    with _one_at_a_time:
        return _core()


@dataclass(frozen=True)
class OpenVINO:
    """OpenVINO's CPU plugin.

    In bfloat16 the parts that a module names in `keep_float32` stay in float32.
    """

    name: str = "openvino"
    dtype: torch.dtype = torch.float32
    parallel: ClassVar[bool] = True
    batches: ClassVar[bool] = False

    def missing(self, device: torch.device) -> str | None:
        """See `Engine`."""
        if device.type != "cpu":
            return "it is for CPUs"
        if version_of("openvino") is None:
            return NotInstalled("it is not installed: pip install openvino")
        if self.dtype == torch.bfloat16 and not has_bfloat16():
            return "this processor has no bfloat16 arithmetic"
        return None

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        """See `Engine`."""
        try:
            path = CompiledStore().get(self._facts(part), lambda folder: self._export(part, folder))
            model = core().read_model(path)
            compiled = core().compile_model(model, "CPU", self._properties(threads, streams))
        except (ImportError, RuntimeError, ValueError, OSError) as error:
            raise CompileError(
                f"a part that {self.name} takes", str(error).strip()[-200:]
            ) from error
        return _Requests(compiled, streams, part)

    def _export(self, part: Part, folder: Path) -> Path:
        rounded = part.in_weights_of(self.dtype)
        with graph_in(self.dtype):
            return export_ir(rounded, folder, channels_last=part.channels_last)

    def _facts(self, part: Part) -> dict[str, Any]:
        """What an export depends on."""
        return {
            "version": _VERSION,
            "engine": f"openvino {version_of('openvino')}",
            "part": part.name,
            "weights": part.identity,
            "for": str(self.dtype),
            "shapes": [list(x.shape) for x in part.example],
            "free": [list(axes) for axes in part.free],
            "keep_float32": list(part.keep_float32),
            "channels_last": list(part.channels_last),
            "machine": describe_machine()["processor"],
        }

    def _properties(self, threads: int, streams: int) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": "bf16" if self.dtype == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            # Its generated kernels made these networks slower, by a third in bfloat16.
            "SNIPPETS_MODE": "DISABLE",
        }


class _Requests:
    """A compiled model that as many threads as it has streams may call at the same time."""

    def __init__(self, compiled: openvino.CompiledModel, streams: int, part: Part) -> None:
        from queue import SimpleQueue

        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())
        self._last_in = [k for k, own in enumerate(part.inputs) if own in part.channels_last]
        self._last_out = [k for k, own in enumerate(part.outputs) if own in part.channels_last]

    def __call__(self, *inputs: Tensor) -> Any:
        given = [x.permute(0, 2, 3, 1) if k in self._last_in else x for k, x in enumerate(inputs)]
        request = self._idle.get()
        try:
            answer = request.infer(
                [_shared(x) for x in given], share_inputs=True, share_outputs=True
            )
            found = [torch.from_numpy(a).clone() for a in answer.values()]
        finally:
            self._idle.put(request)
        outputs = tuple(
            y.permute(0, 3, 1, 2) if k in self._last_out else y for k, y in enumerate(found)
        )
        return outputs if len(outputs) > 1 else outputs[0]


def _shared(x: Tensor) -> openvino.Tensor:
    """The same memory as a tensor of OpenVINO's; a copy where it is not contiguous."""
    import openvino as ov

    plain = x.detach().contiguous()
    if plain.dtype == torch.bfloat16:  # NumPy does not know it
        return ov.Tensor(plain.view(torch.uint16).numpy(), list(plain.shape), ov.Type.bf16)
    return ov.Tensor(plain.numpy(), shared_memory=True)


def export_ir(
    part: Part, folder: Path, name: str = "model", channels_last: tuple[str, ...] = ()
) -> Path:
    """Write a part as OpenVINO's IR: `NAME.xml` and `NAME.bin` in `folder`, weights in float32.

    Inputs and outputs carry the part's names for them.

    Args:
        part: what to write.
        folder: where.
        name: of the files.
        channels_last: inputs and outputs that are (B, H, W, C) in the IR.

    Returns:
        The path of the XML file.

    Raises:
        CompileError: an operation that the frontend does not know.
    """
    refuse_telemetry()
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's, on shapes that are meant to be fixed
        traced = torch.jit.trace(part.module, part.example, check_trace=False)
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced, example_input=part.example)
        model = frontend.convert(frontend.load(decoder))
    for k, example in enumerate(part.example):
        free = part.free[k] if part.free else ()
        shape = [-1 if axis in free else n for axis, n in enumerate(example.shape)]
        model.inputs[k].get_node().set_partial_shape(ov.PartialShape(shape))
        kind = ov.Type.bf16 if example.dtype == torch.bfloat16 else ov.Type.f32
        model.inputs[k].get_node().set_element_type(kind)
    for port, own in zip(model.inputs, part.inputs, strict=False):  # a part need not name them
        port.get_tensor().set_names({own})
        port.get_node().set_friendly_name(own)
    for port, own in zip(model.outputs, part.outputs, strict=False):
        port.get_tensor().set_names({own})
    model.validate_nodes_and_infer_types()
    if channels_last:
        model = _channels_last(model, channels_last)
    path = folder / f"{name}.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    _keep_float32(path, part.keep_float32)
    return path


def _channels_last(model: openvino.Model, names: tuple[str, ...]) -> openvino.Model:
    """The model with images (B, C, H, W) of these names as (B, H, W, C)."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    for ports, step in ((model.inputs, steps.input), (model.outputs, steps.output)):
        for own in {name for port in ports for name in port.get_names()} & set(names):
            step(own).model().set_layout(Layout("NCHW"))
            step(own).tensor().set_layout(Layout("NHWC"))
    return steps.build()


def _keep_float32(path: Path, names: tuple[str, ...]) -> None:
    """Mark the operations of named submodules as not to be reduced, whatever the precision."""
    if not names:
        return
    inside = re.compile(rf"__module\.(.*\.)?({'|'.join(map(re.escape, names))})[./]")
    tree = ET.parse(path)
    layers = tree.getroot().find("layers")
    assert layers is not None
    for layer in layers:
        if layer.get("type") in ("Const", "Parameter", "Result"):
            continue
        if inside.match(layer.get("name", "")):
            facts = layer.find("rt_info")
            if facts is None:
                facts = ET.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, facts)
            ET.SubElement(facts, "attribute", {"name": "precise", "version": "0"})
    tree.write(path)
