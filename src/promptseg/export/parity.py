"""Do exported files answer as torch does? Reference prompts, and the distance to eager float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.models.preprocess import Preprocessing
from promptseg.runtime.openvino import core
from promptseg.runtime.phantom import synthetic_phantom
from promptseg.runtime.rewrite import FusedSam
from promptseg.telemetry import refuse_telemetry

__all__ = [
    "TOLERANCE",
    "Case",
    "Exported",
    "Parity",
    "Reference",
    "measure",
    "open_exported",
    "run_onnx",
]

# Relative L2 distance allowed to eager float32, of everything the files give.
TOLERANCE = 1e-4

_Array = NDArray[np.float32]
_PADDING, _CLICK, _BESIDE, _FIRST, _LAST = -1.0, 1.0, 0.0, 2.0, 3.0


@dataclass(frozen=True)
class Case:
    """Prompts of N objects as the exported decoder takes them; see `PromptedDecoder.forward`."""

    points: _Array
    labels: _Array
    mask_logits: _Array
    has_mask: _Array


@dataclass(frozen=True)
class Exported:
    """Exported files, ready to run.

    Attributes:
        encode: (1, 3, S, S) -> (1, C, h, w).
        decode: an embedding and a case -> logits and predicted IoU.
        engine: what runs them, with its version.
    """

    encode: Callable[[_Array], _Array]
    decode: Callable[[_Array, Case], tuple[_Array, _Array]]
    engine: str


@dataclass(frozen=True)
class Parity:
    """The largest relative L2 distances to eager float32; masks are of the own embedding.

    Attributes:
        embedding: of the embedding.
        logits: of the mask logits.
        iou: of the predicted IoU.
        engine: what ran the files.
    """

    embedding: float
    logits: float
    iou: float
    engine: str

    @property
    def good(self) -> bool:
        """Tell whether the files agree closely enough to be kept; NaN never does."""
        return all(x <= TOLERANCE for x in (self.embedding, self.logits, self.iou))

    def __str__(self) -> str:
        return (
            f"embedding {self.embedding:.2g}, mask logits {self.logits:.2g}, predicted IoU "
            f"{self.iou:.2g} relative to eager float32, in {self.engine} (allowed {TOLERANCE:g})"
        )


@dataclass(frozen=True)
class Reference:
    """A synthetic phantom, prompts on it, and the answers of eager float32 to them.

    Attributes:
        slices: (1, 3, S, S).
        embedding: (1, C, h, w).
        cases: prompts by name.
        answers: (N, 4, 4h, 4w) logits and (N, 4) predicted IoU by name.
    """

    slices: _Array
    embedding: _Array
    cases: dict[str, Case]
    answers: dict[str, tuple[_Array, _Array]]

    @classmethod
    @torch.inference_mode()
    def of(cls, network: FusedSam, preprocessing: Preprocessing) -> Reference:
        """Run a prepared network on the CPU with a box, a click, a mask, and all kinds at once."""
        picture = np.round(255 * synthetic_phantom(preprocessing.size)).astype(np.uint8)
        slices = preprocessing.apply(picture.transpose(1, 2, 0))[0][None]
        embedding = network.encode(torch.from_numpy(slices)).numpy()
        side = 4 * network.prompt_encoder.grid
        box = [(0.15, 0.27), (0.55, 0.63)]
        blank = np.zeros((side, side), np.float32)

        def case(*objects: tuple[list[tuple[float, float]], list[float], _Array | None]) -> Case:
            return Case(
                np.array([xy for xy, _, _ in objects], np.float32) * preprocessing.size,
                np.array([labels for _, labels, _ in objects], np.float32),
                np.stack([blank if mask is None else mask for _, _, mask in objects])[:, None],
                np.array([mask is not None for _, _, mask in objects], np.float32),
            )

        corners, single_point = [_FIRST, _LAST], [_CLICK, _PADDING]
        cases = {
            "box": case((box, corners, None)),
            "click": case(([(0.68, 0.37), (0, 0)], single_point, None)),
        }
        found = _answer(network, embedding, cases["box"])[0][0, 0]
        cases["mask"] = case((box, corners, found))
        many = [(0.35, 0.45), (0.7, 0.38), (0.5, 0.5)]
        cases["three"] = case(
            ([*many, *box], [_CLICK, _BESIDE, _PADDING, *corners], None),
            ([*many, *box], [_CLICK, _CLICK, _BESIDE, _CLICK, _PADDING], None),
            ([*many, *box], [_PADDING, _PADDING, _PADDING, *corners], found),
        )
        answers = {name: _answer(network, embedding, one) for name, one in cases.items()}
        return cls(slices, embedding, cases, answers)

    def save(self, path: Path) -> None:
        """Write it as npz: `slices`, `embedding`, and `CASE_points` ... `CASE_iou` of every case."""
        arrays = {"slices": self.slices, "embedding": self.embedding}
        for name, case in self.cases.items():
            arrays |= {f"{name}_{key}": value for key, value in vars(case).items()}
            arrays[f"{name}_logits"], arrays[f"{name}_iou"] = self.answers[name]
        np.savez_compressed(path, allow_pickle=False, **arrays)


def measure(reference: Reference, exported: Exported) -> Parity:
    """Run exported files on the reference prompts."""
    embedding = exported.encode(reference.slices)
    logits, iou = [], []
    for name, case in reference.cases.items():
        expected = reference.answers[name]
        found = exported.decode(embedding, case)
        logits.append(_distance(found[0], expected[0]))
        iou.append(_distance(found[1], expected[1]))
    return Parity(
        _distance(embedding, reference.embedding),
        float(np.max(logits)),
        float(np.max(iou)),
        exported.engine,
    )


def open_exported(encoder: Path, decoder: Path) -> Exported:
    """Open exported files in onnxruntime or OpenVINO, by their ending, in float32 on the CPU.

    Raises:
        ImportError: the engine is not installed.
    """
    start = _in_onnxruntime if encoder.suffix == ".onnx" else _in_openvino
    encode, engine = start(encoder)
    decode, _ = start(decoder)
    return Exported(
        lambda slices: encode({"slices": slices})["embedding"],
        lambda embedding, case: (
            (out := decode({"embedding": embedding, **vars(case)}))["logits"],
            out["iou"],
        ),
        engine,
    )


_Run = Callable[[dict[str, _Array]], dict[str, _Array]]


def _in_onnxruntime(path: Path) -> tuple[_Run, str]:
    refuse_telemetry()
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: dict[str, _Array]) -> dict[str, _Array]:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run, f"onnxruntime {onnxruntime.__version__}"


def run_onnx(path: Path, inputs: dict[str, _Array]) -> list[_Array]:
    """Run an ONNX file in onnxruntime; returns its outputs in their order.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    run, _ = _in_onnxruntime(path)
    return list(run(inputs).values())


def _in_openvino(path: Path) -> tuple[_Run, str]:
    refuse_telemetry()
    import openvino as ov

    properties = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core().compile_model(path, "CPU", properties)

    def run(inputs: dict[str, _Array]) -> dict[str, _Array]:
        answer: dict[str, _Array] = compiled(inputs)  # compiled outputs may have further names
        return answer

    return run, f"openvino {ov.__version__.partition('-')[0]}"


def _answer(network: FusedSam, embedding: _Array, case: Case) -> tuple[_Array, _Array]:
    """Eager answers, object by object and through the network's own prompt encoder."""
    answers = []
    for xy, labels, mask, has_mask in zip(*vars(case).values(), strict=True):
        corner = labels >= _FIRST
        boxes = torch.from_numpy(xy[corner].reshape(1, 4)) if corner.any() else None
        clicks, kinds = xy[~corner], labels[~corner]
        if boxes is None:  # the prompt encoder adds the padding itself
            clicks, kinds = clicks[:-1], kinds[:-1]
        points = torch.from_numpy(clicks)[None], torch.from_numpy(kinds)[None]
        sparse, dense = network.embed_prompts(
            points if len(clicks) else None,
            boxes,
            torch.from_numpy(mask)[None] if has_mask else None,
        )
        answers.append(network.mask_decoder(torch.from_numpy(embedding), sparse, dense))
    logits, iou = (torch.cat(parts).numpy() for parts in zip(*answers, strict=True))
    return logits, iou


def _distance(found: _Array, expected: _Array) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
