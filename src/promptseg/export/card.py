"""`card.json`: all that the user of exported files has to know."""

from __future__ import annotations

from typing import Any

from promptseg._version import __version__
from promptseg.export.options import Format
from promptseg.export.parity import TOLERANCE, Parity
from promptseg.export.write import OPSET
from promptseg.models.cards import ModelCard
from promptseg.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from promptseg.runtime.engines import Part
from promptseg.runtime.machine import version_of
from promptseg.segment.provenance import DISCLAIMER

__all__ = ["describe_export"]

_LIBRARIES = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "openvino"),
}
_LABELS = {
    "1": "a click on the object",
    "0": "a click beside the object",
    "2": "the top left corner of a box",
    "3": "the bottom right corner of a box",
    "-1": "padding; its place does not matter",
}
_RULES = (
    "A box is two points, labels 2 then 3: its first and last pixel, both inside.",
    "Prompts without a box want one point of label -1 added at their end, as SAM was trained; also a "
    "mask prompt alone, as there must be at least one point.",
    "Prompts of different lengths in one call are filled up with points of label -1. The network sees "
    "them, so that answers differ a little from those to each prompt alone: call it once per length "
    "where they must not.",
    "mask_logits is (N, 1, 256, 256) whatever the prompt: zeros, with has_mask 0, if there is none.",
    "A lone click takes the reading 1, 2 or 3 of the highest iou; every other prompt takes answer 0.",
)
_AFTER = {
    "longest": (
        "interpolate the logits bilinearly (pixel centres, no antialiasing) to size x size",
        "cut out the rows and columns that the resized slice takes, from the top left",
        "interpolate bilinearly to the slice's own rows and columns",
        "the mask is where the value is above 0",
    ),
    "squash": (
        "take the sigmoid of the logits",
        "interpolate bilinearly (pixel centres, no antialiasing) to the slice's rows and columns",
        "the mask is where the value is above 0.5",
    ),
}


def describe_export(
    card: ModelCard,
    weights_sha256: str,
    format: Format,
    parts: list[Part],
    files: dict[str, dict[str, Any]],
    parity: Parity | None,
) -> dict[str, Any]:
    """The content of `card.json`.

    Args:
        card: of the model.
        weights_sha256: of the checkpoint.
        format: of the files.
        parts: what was exported.
        files: size and SHA-256 of each file by name.
        parity: what the check found; None if it could not be made.
    """
    return {
        "model": card.name,
        "title": card.title,
        "notice": DISCLAIMER,
        "weights_sha256": weights_sha256,
        "licence": card.licence,
        "source": card.source,
        "citation": card.citation,
        "prompts": sorted(card.prompts),
        "trained_on": card.modalities,
        "weak_at": card.weak_at,
        "format": format,
        **({"opset": OPSET} if format == "onnx" else {}),
        "versions": {
            "promptseg": __version__,
            **{name: version_of(name) for name in _LIBRARIES[format]},
        },
        "files": files,
        "preprocessing": _before(card.preprocessing),
        "tensors": {part.name: _tensors(part, card.preprocessing.size) for part in parts},
        "labels": _LABELS,
        "rules": list(_RULES),
        "postprocessing": list(_AFTER[card.preprocessing.fit]),
        "parity": _parity(parity),
    }


def _before(steps: Preprocessing) -> dict[str, Any]:
    """How a slice becomes `slices`, and where its pixels are then."""
    facts: dict[str, Any] = {
        "intensity": "8-bit grey or RGB first, by the rules of the modality: docs/intensity.md of "
        "promptseg",
        "size": steps.size,
        "fit": steps.fit,
        "scaling": steps.scaling,
    }
    if steps.fit == "squash":
        resize = (
            "resize rows and columns to size each, whatever the shape: cubic splines after a Gaussian "
            "of standard deviation max(0, (factor - 1) / 2) per axis, cut down to whole numbers"
        )
        points = "x * size / columns, y * size / rows"
    else:
        resize = (
            "resize by size / max(rows, columns), the new lengths rounded to int(length + 0.5), "
            "bilinearly with antialiasing (Pillow's BILINEAR); pixels that are not square are made "
            "square on the way"
        )
        points = (
            "x * new columns / columns, y * new rows / rows"
            if steps.scaling == "imagenet"
            else "x and y * size / max(rows, columns)"
        )
    if steps.scaling == "imagenet":
        scale = "(value - mean) / std of 0..255, channel by channel"
        facts |= {
            "mean": [round(float(v), 3) for v in IMAGENET_MEAN],
            "std": [round(float(v), 3) for v in IMAGENET_STD],
        }
    else:
        scale = "(value - minimum) / max(maximum - minimum, 1e-8), both of the resized slice"
    return facts | {
        "steps": [
            resize,
            "repeat grey three times",
            scale,
            "zeros at the right and bottom up to size x size",
        ],
        "points": f"pixel indices of the slice, counted from 0, become {points}",
    }


def _tensors(part: Part, size: int) -> dict[str, Any]:
    """Shapes and meanings of what goes in and comes out."""
    meanings = {
        "slices": ("the preprocessed slice", [1, 3, size, size]),
        "embedding": ("the image embedding; make it once per slice", None),
        "points": (f"x, y pixel indices of the {size} x {size} input", ["N", "P", 2]),
        "labels": ("what each point is; see labels", ["N", "P"]),
        "mask_logits": ("mask prompts: logits, such as an answer of before", None),
        "has_mask": ("1 where the mask prompt counts, 0 where it is ignored", ["N"]),
        "logits": ("mask logits: 0 the answer to an unambiguous prompt, 1 to 3 readings", None),
        "iou": ("predicted IoU of each", ["N", 4]),
    }
    prompts = next(x for x in part.example if x.ndim == 4)
    grid = int(prompts.shape[-1]) if part.name == "decoder" else size // 16
    own = {
        "embedding": [1, 256, grid, grid],
        "mask_logits": ["N", 1, 4 * grid, 4 * grid],
        "logits": ["N", 4, 4 * grid, 4 * grid],
    }
    facts = {
        name: {"shape": shape or own[name], "dtype": "float32", "meaning": meaning}
        for name, (meaning, shape) in meanings.items()
    }
    return {
        "inputs": {name: facts[name] for name in part.inputs},
        "outputs": {name: facts[name] for name in part.outputs},
    }


def _parity(parity: Parity | None) -> dict[str, Any]:
    if parity is None:
        return {
            "checked": False,
            "why": "onnxruntime was not installed; only the graph was checked",
        }
    return {
        "checked": True,
        "against": "eager float32 in torch, relative L2 distance, the largest over reference.npz",
        "engine": parity.engine,
        "embedding": parity.embedding,
        "logits": parity.logits,
        "iou": parity.iou,
        "allowed": TOLERANCE,
    }
