"""The ONNX pair that AnyLabeling and X-AnyLabeling load as `segment_anything`.

Both tools put a picture onto a canvas of 684 x 1024 pixels, at the top left, scaled so that it
fits, and hand it over as RGB from 0 to 255. Prompts are in pixels of that canvas; to every prompt
they add a point of label -1, to boxes too. The decoder has the names of SAM's official ONNX model
and gives one mask on the canvas. What the model wants beside that, its scaling and its size, is
part of the graphs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.errors import PromptsegError
from promptseg.export.decoder import PromptedDecoder
from promptseg.export.write import write_onnx
from promptseg.models.card import ModelCard
from promptseg.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from promptseg.runtime.engines import Part
from promptseg.runtime.parts import parts_of
from promptseg.runtime.rewrite import FusedSam

__all__ = ["CANVAS", "CONFIG", "PAIR", "CanvasDecoder", "CanvasEncoder", "canvas_files"]

CANVAS = (684, 1024)
"""Rows and columns of the tools' canvas."""

CONFIG = "config.yaml"
PAIR = ("encoder.onnx", "decoder.onnx")
_TOLERANCE = (
    1e-3  # relative L2 distance of the written files to torch; logits are interpolated twice
)


class CanvasEncoder(nn.Module):
    """(684, 1024, 3) RGB from 0 to 255 -> the image embedding.

    Args:
        encoder: (1, 3, S, S) -> embedding.
        steps: of the model. What takes the longest side to its size does so here; a model that squashes
            its pictures gets them undistorted, as no canvas tells where the picture ends.
    """

    def __init__(self, encoder: nn.Module, steps: Preprocessing) -> None:
        super().__init__()
        self.encoder = encoder
        self.size, self.scaling = steps.size, steps.scaling
        rows, columns = resized(steps.size)
        self.register_buffer("down", torch.from_numpy(resizing(CANVAS[0], rows)))
        self.register_buffer("across", torch.from_numpy(resizing(CANVAS[1], columns)))
        self.register_buffer("mean", torch.from_numpy(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.from_numpy(IMAGENET_STD).view(1, 3, 1, 1))
        self.down: Tensor  # (rows, 684)
        self.across: Tensor  # (columns, 1024)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, input_image: Tensor) -> Tensor:
        """Compute the embedding of one canvas."""
        x = input_image.permute(2, 0, 1)[None]
        x = torch.round(self.down @ x @ self.across.T)
        if self.scaling == "minmax":
            low, high = (f(x, dim=(1, 2, 3), keepdim=True) for f in (torch.amin, torch.amax))
            x = (x - low) / torch.clamp(high - low, min=1e-8)
        else:
            x = (x - self.mean) / self.std
        rows, columns = self.down.shape[0], self.across.shape[0]
        found: Tensor = self.encoder(F.pad(x, (0, self.size - columns, 0, self.size - rows)))
        return found


class CanvasDecoder(nn.Module):
    """Prompts on the canvas -> one mask there, under the names of SAM's official ONNX model.

    Args:
        decoder: the model's, with all prompts.
        size: of the network's input.
    """

    def __init__(self, decoder: PromptedDecoder, size: int) -> None:
        super().__init__()
        self.decoder, self.size = decoder, size

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute one mask from an embedding and prompts.

        Args:
            image_embeddings: (1, C, h, w).
            point_coords: (1, P, 2) x, y on the canvas.
            point_labels: (1, P) float32, see `PromptedDecoder`; the last is padding.
            mask_input: (1, 1, 256, 256) logits.
            has_mask_input: (1,), 1 where these count.
            orig_im_size: (2,), always 684 and 1024; of no use.

        Returns:
            (1, 1, 684, 1024) logits, (1, 1) predicted IoU and (1, 1, 256, 256) logits. A single point
            is answered by the mask of the highest predicted IoU, as SAM's official model chooses.
        """
        points = point_coords * (self.size / max(CANVAS))
        logits, iou = self.decoder(
            image_embeddings, points, point_labels, mask_input, has_mask_input
        )
        count = torch.ones_like(point_labels).sum()
        first = torch.zeros_like(iou)
        first[:, 0] = 1000.0
        best = (iou + (count - 2.5) * first).argmax(dim=1)
        side = logits.shape[-1]
        chosen = logits.gather(1, best.view(1, 1, 1, 1).expand(1, 1, side, side))
        quality = iou.gather(1, best.view(1, 1))
        large = F.interpolate(chosen, (self.size, self.size), mode="bilinear")
        rows, columns = resized(self.size)
        masks = F.interpolate(large[..., :rows, :columns], CANVAS, mode="bilinear")
        return masks + 0 * orig_im_size.sum(), quality, chosen


def resized(size: int) -> tuple[int, int]:
    """Return the rows and columns that the canvas takes in an input of `size` pixels a side."""
    rows, columns = (int(n * size / max(CANVAS) + 0.5) for n in CANVAS)
    return rows, columns


def resizing(before: int, after: int) -> NDArray[np.float32]:
    """Build the matrix (after, before) of Pillow's antialiased linear resizing along one axis.

    A pixel becomes the mean of those around its centre, with weights of a triangle as wide as two
    pixels of the coarser grid.
    """
    scale = before / after
    width = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - centres[:, None]) / width
    weights = np.clip(1 - distance, 0, None)
    matrix: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix


def canvas_files(card: ModelCard, network: FusedSam) -> dict[str, bytes]:
    """Build the files of a model for the canvas, by name: configuration, encoder and decoder.

    Args:
        card: of the model.
        network: prepared, on the CPU.

    Raises:
        PromptsegError: the exporter failed, or the files answer otherwise than torch.
    """
    steps = card.preprocessing
    encoder = CanvasEncoder(parts_of(network)["encoder"].module, steps)
    decoder = CanvasDecoder(PromptedDecoder(network), steps.size)
    prompts = network.prompt_encoder
    side = 4 * prompts.grid
    embedding = torch.zeros(1, prompts.channels, prompts.grid, prompts.grid)
    points = 3  # lengths of 0 or 1 would be taken for fixed
    parts = (
        Part(
            "encoder",
            encoder.eval().requires_grad_(False),
            example=(torch.zeros(*CANVAS, 3),),
            free=((),),
            identity="",
            inputs=("input_image",),
            outputs=("image_embeddings",),
        ),
        Part(
            "decoder",
            decoder.eval().requires_grad_(False),
            example=(
                embedding,
                torch.zeros(1, points, 2),
                torch.ones(1, points),
                torch.zeros(1, 1, side, side),
                torch.zeros(1),
                torch.tensor(CANVAS, dtype=torch.float32),
            ),
            free=((), (1,), (1,), (), (), ()),
            identity="",
            inputs=(
                *("image_embeddings", "point_coords", "point_labels", "mask_input"),
                *("has_mask_input", "orig_im_size"),
            ),
            outputs=("masks", "iou_predictions", "low_res_masks"),
        ),
    )
    with TemporaryDirectory() as folder:
        for part in parts:
            try:
                write_onnx(part, Path(folder))
            except OSError:
                raise
            except Exception as error:  # whatever an exporter may raise
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise PromptsegError("a model that can be exported to ONNX", said[:300]) from error
        _check(Path(folder), encoder, decoder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    return {CONFIG: _config(card).encode(), **files}


def _config(card: ModelCard) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", card.name)
    content: Mapping[str, object] = {
        "type": "segment_anything",
        "name": name,
        "provider": "promptseg",
        "display_name": f"{card.title} (promptseg)",
        "encoder_model_path": PAIR[0],
        "decoder_model_path": PAIR[1],
        "input_size": max(CANVAS),
        "max_width": CANVAS[1],
        "max_height": CANVAS[0] - 2,  # as in the tools' own files
    }
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


@torch.inference_mode()
def _check(folder: Path, encoder: CanvasEncoder, decoder: CanvasDecoder) -> None:
    """Run the files on a synthetic phantom, a box and a click, and compare with torch.

    Raises:
        PromptsegError: they differ.
    """
    from promptseg.export.parity import run_onnx

    rows, columns = np.indices(CANVAS)
    picture = np.zeros((*CANVAS, 3), np.float32)
    picture[:, :900] = 40 + 20 * (rows[:, :900, None] // 57 % 2)
    picture[(rows - 300) ** 2 + (columns - 400) ** 2 < 150**2] = 220
    embedding = encoder(torch.from_numpy(picture))
    _require_close(run_onnx(folder / PAIR[0], {"input_image": picture})[0], embedding, "embedding")
    prompts = {
        "box": ([[250, 150], [550, 450], [0, 0]], [2, 3, -1]),
        "click": ([[400, 300], [0, 0]], [1, -1]),
    }
    for name, (points, labels) in prompts.items():
        inputs = {
            "image_embeddings": embedding.numpy(),
            "point_coords": np.array([points], np.float32),
            "point_labels": np.array([labels], np.float32),
            "mask_input": np.zeros((1, 1, *(4 * n for n in embedding.shape[-2:])), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(CANVAS, np.float32),
        }
        expected = decoder(*(torch.from_numpy(value) for value in inputs.values()))
        found = run_onnx(folder / PAIR[1], inputs)
        for one, other in zip(found, expected, strict=True):
            _require_close(one, other, f"answer to a {name}")


def _require_close(found: NDArray[np.float32], expected: Tensor, what: str) -> None:
    other = expected.numpy()
    distance = float(np.linalg.norm(found - other) / max(float(np.linalg.norm(other)), 1e-12))
    if not distance <= _TOLERANCE:
        raise PromptsegError(
            f"exported files within {_TOLERANCE:g} of torch in float32",
            f"the {what} {distance:.2g} beside it",
            "nothing was written; please report it with the versions of the packages",
        )
