"""A predictor without a network: it finds the bright pixels inside a box. Instant and exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from promptseg.inference.predictor import Embedding, Prediction, Predictor
from promptseg.models.cards import CARDS
from promptseg.models.preprocess import Preprocessing
from promptseg.segment.projection import logits_of_mask


class BrightPredictor(Predictor):
    """Masks are the pixels of at least `level` inside the box.

    A click inside adds the bright patch it lies on, a click outside takes its patch away from the mask
    prompt; a mask prompt with clicks alone, or alone, gives itself.
    """

    parallel = 1
    engine = "eager"

    def __init__(self, level: int = 128, card: str = "lite-medsam") -> None:
        self.card = CARDS[card]
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.weights = Path("none.pth")
        self.weights_sha256 = "0" * 64
        self.level = level
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
            Embedding(torch.from_numpy(s.copy())[None], FINE.frame(*s.shape[:2])) for s in slices
        ]

    def decode(
        self,
        embedding: Embedding,
        boxes: ArrayLike | None = None,
        points: Any = None,
        mask_logits: Any = None,
    ) -> Prediction:
        given = {"box": boxes, "point": points, "mask": mask_logits}
        self.asked.append({kind for kind, value in given.items() if value is not None})
        image = embedding.features[0].numpy()
        gray = image if image.ndim == 2 else image.mean(-1)
        bright = gray >= self.level
        patches = ndimage.label(bright)[0]
        hint = embedding.frame.restore(mask_logits)[0].numpy() > 0 if mask_logits is not None else 0
        masks = []
        for k, box in enumerate(np.asarray(boxes) if boxes is not None else [None]):
            mask = np.zeros(gray.shape, dtype=bool) | hint
            if box is not None:
                self.boxes.append(tuple(float(v) for v in box))
                x0, y0, x1, y1 = np.round(box).astype(int)
                within = np.zeros_like(mask)
                within[y0 : y1 + 1, x0 : x1 + 1] = True
                mask = within & (mask if points and mask.any() else bright)
            for (x, y), label in zip(
                *((points[0][k], points[1][k]) if points else ((), ())), strict=True
            ):
                patch = patches[int(y), int(x)]
                if label:
                    mask |= (patches == patch) & (patch > 0)
                else:
                    parts = ndimage.label(mask)[0]
                    mask &= (parts != parts[int(y), int(x)]) | (parts[int(y), int(x)] == 0)
            masks.append(mask)
        return Prediction(
            torch.cat([logits_of_mask(m, embedding.frame) for m in masks]),
            np.array(masks),
            np.full(len(masks), 0.9, np.float32),
        )


FINE = Preprocessing(256, "minmax")


def ball(
    shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float
) -> NDArray[np.bool_]:
    """Boolean (z, y, x) ball."""
    grid = np.indices(shape)
    offsets = grid - np.array(centre)[:, None, None, None]
    return np.asarray((offsets**2).sum(0) <= radius**2)
