"""A model without a network: it finds the bright pixels inside a box. Instant and exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.families.sam.mask_prompt import logits_of_mask
from promptseg.models.preprocess import InputTransform, Preprocessing
from promptseg.models.protocol import Embedding, Prediction, SlicePrompt

FINE = Preprocessing(256, "minmax")


@dataclass(frozen=True)
class BrightEmbedding:
    """The slice itself."""

    pixels: torch.Tensor  # (rows, columns[, 3]) uint8
    transform: InputTransform

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"features": self.pixels}

    def view(self) -> torch.Tensor:
        return torch.atleast_3d(self.pixels).permute(2, 0, 1).float()


class BrightModel:
    """Masks are the pixels of at least `level` inside the box.

    A click inside adds the bright patch it lies on, a click outside takes its patch away from the mask
    prompt; a mask prompt with clicks alone, or alone, gives itself. It remembers what it was asked.
    """

    device = torch.device("cpu")

    def __init__(self, level: int = 128, card: str = "lite-medsam") -> None:
        self.card, self.level = CARDS[card], level
        self.encoded: list[NDArray[np.uint8]] = []
        self.batches: list[int] = []
        self.pixels: list[tuple[float, float]] = []
        self.boxes: list[tuple[float, ...]] = []
        self.asked: list[set[str]] = []

    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        self.batches.append(len(slices))
        self.pixels.append(pixel)
        self.encoded += list(slices)
        return [
            BrightEmbedding(torch.from_numpy(s.copy()), FINE.input_transform(*s.shape[:2]))
            for s in slices
        ]

    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        assert isinstance(embedding, BrightEmbedding)
        image = embedding.pixels.numpy()
        gray = image if image.ndim == 2 else image.mean(-1)
        masks = np.zeros((len(prompts), *gray.shape), dtype=bool)
        logits = [torch.zeros(0, 1, 256, 256)]
        for k, prompt in enumerate(prompts):
            self.asked.append(set(prompt.kinds))
            masks[k] = self._mask(gray, prompt, embedding.transform)
            logits.append(logits_of_mask(masks[k], embedding.transform))
        return Prediction(torch.cat(logits), masks, np.full(len(masks), 0.9, np.float32))

    def _mask(
        self, gray: NDArray[Any], prompt: SlicePrompt, transform: InputTransform
    ) -> NDArray[np.bool_]:
        bright = gray >= self.level
        patches = ndimage.label(bright)[0]
        mask = np.zeros(gray.shape, dtype=bool)
        if prompt.mask is not None:
            mask |= transform.restore(logits_of_mask(prompt.mask, transform))[0].numpy() > 0
        elif prompt.logits is not None:
            mask |= transform.restore(prompt.logits)[0].numpy() > 0
        if prompt.box is not None:
            self.boxes.append(tuple(float(v) for v in prompt.box))
            x0, y0, x1, y1 = np.round(prompt.box).astype(int)
            within = np.zeros_like(mask)
            within[y0 : y1 + 1, x0 : x1 + 1] = True
            mask = within & (mask if prompt.xy and mask.any() else bright)
        for (x, y), label in zip(prompt.xy, prompt.labels, strict=True):
            patch = patches[int(y), int(x)]
            if label:
                mask |= (patches == patch) & (patch > 0)
            else:
                parts = ndimage.label(mask)[0]
                mask &= (parts != parts[int(y), int(x)]) | (parts[int(y), int(x)] == 0)
        return mask

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        return {"resized": self.card.preprocessing.input_transform(*shape, pixel).resized}

    def unpack(
        self,
        tensors: Mapping[str, torch.Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> Embedding:
        if tensors.keys() != {"features"}:
            raise ValueError("made by another kind of model")
        return BrightEmbedding(tensors["features"], FINE.input_transform(*shape))


class BrightPredictor(Predictor):
    """A `BrightModel` made ready, and what it was asked."""

    model: BrightModel

    def __init__(self, level: int = 128, card: str = "lite-medsam") -> None:
        super().__init__(BrightModel(level, card), Path("none.pth"), "0" * 64)
        remembered = self.model
        self.encoded, self.batches = remembered.encoded, remembered.batches
        self.pixels, self.boxes = remembered.pixels, remembered.boxes
        self.asked = remembered.asked


def ball(
    shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float
) -> NDArray[np.bool_]:
    """Boolean (z, y, x) ball."""
    grid = np.indices(shape)
    offsets = grid - np.array(centre)[:, None, None, None]
    return np.asarray((offsets**2).sum(0) <= radius**2)
