"""`card.json`: all that the user of exported files has to know."""

from __future__ import annotations

from typing import Any

from promptseg._version import __version__
from promptseg.export.options import Format
from promptseg.export.parity import TOLERANCE, Parity
from promptseg.export.write import OPSET
from promptseg.models.cards import ModelCard
from promptseg.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from promptseg.provenance import DISCLAIMER
from promptseg.runtime.engines import Part
from promptseg.runtime.machine import version_of

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
    "The decoder takes every kind of prompt; prompts names those that the model was trained for.",
    "A box is two points, labels 2 then 3: its first and last pixel, both inside.",
    "Prompts without a box want one point of label -1 added at their end, as SAM was trained; also a "
    "mask prompt alone, as there must be at least one point.",
    "Prompts of different lengths in one call are filled up with points of label -1. The network sees "
    "them, so that answers differ a little from those to each prompt alone: call it once per length "
    "where they must not.",
    "mask_logits is given whatever the prompt: zeros, with has_mask 0, if there is none.",
    "A single point takes the mask 1, 2 or 3 of the highest iou; every other prompt takes answer 0.",
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
    """Return the content of `card.json`.

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
        "tensors": _tensors(parts, card.preprocessing.size),
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
    order = [resize, "repeat grey three times, channels first", scale]
    if steps.fit == "longest":
        order.append("zeros at the right and bottom up to size x size")
    return facts | {
        "steps": order,
        "points": f"pixel indices of the slice, counted from 0, become {points}",
    }


def _tensors(parts: list[Part], size: int) -> dict[str, Any]:
    """Shapes and meanings of what goes into each part and comes out, by the part's name."""
    example = {name: x for part in parts for name, x in zip(part.inputs, part.example, strict=True)}
    side = int(example["mask_logits"].shape[-1])
    facts: dict[str, tuple[list[Any], str]] = {
        "slices": ([1, 3, size, size], "the preprocessed slice"),
        "embedding": (
            list(example["embedding"].shape),
            "the image embedding; made once per slice, good for every prompt on it",
        ),
        "points": (["N", "P", 2], f"x, y pixel indices of the {size} x {size} input"),
        "labels": (["N", "P"], "what each point is; see labels"),
        "mask_logits": (["N", 1, side, side], "mask prompts: logits, such as an earlier answer"),
        "has_mask": (["N"], "1 where the mask prompt counts, 0 where it is ignored"),
        "logits": (
            ["N", 4, side, side],
            "mask logits: 0 the answer to an unambiguous prompt, 1 to 3 the masks of a single point",
        ),
        "iou": (["N", 4], "predicted IoU of each"),
    }

    def described(names: tuple[str, ...]) -> dict[str, Any]:
        return {
            name: {"shape": facts[name][0], "dtype": "float32", "meaning": facts[name][1]}
            for name in names
        }

    return {
        part.name: {"inputs": described(part.inputs), "outputs": described(part.outputs)}
        for part in parts
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
