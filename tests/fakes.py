"""A predictor without a network: it finds the bright pixels inside a box. Instant and exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from promptseg.models.cards import CARDS
from promptseg.segment.predictor import Embedding, Prediction, Predictor


class BrightPredictor(Predictor):
    """Masks are the pixels of at least `level` inside the box, or around a click."""

    def __init__(self, level: int = 128) -> None:
        self.card = CARDS["lite-medsam"]
        self.device = torch.device("cpu")
        self.weights = Path("none.pth")
        self.weights_sha256 = "0" * 64
        self.level = level
        self.encoded: list[NDArray[np.uint8]] = []
        self.batches: list[int] = []
        self.pixels: list[tuple[float, float]] = []
        self.boxes: list[tuple[float, ...]] = []

    def encode(
        self, slices: Sequence[NDArray[np.uint8]], pixel: tuple[float, float] = (1, 1)
    ) -> list[Embedding]:
        self.batches.append(len(slices))
        self.pixels.append(pixel)
        self.encoded += list(slices)
        return [
            Embedding(torch.from_numpy(s.copy())[None], SimpleNamespace(original=s.shape[:2]))  # type: ignore[arg-type]
            for s in slices
        ]

    def decode(
        self,
        embedding: Embedding,
        boxes: ArrayLike | None = None,
        points: Any = None,
        mask_logits: Any = None,
    ) -> Prediction:
        image = embedding.features[0].numpy()
        gray = image if image.ndim == 2 else image.mean(-1)
        masks = []
        given = np.asarray(boxes) if boxes is not None else [None] * len(points[0])
        for k, box in enumerate(given):
            inside = np.ones(gray.shape, dtype=bool)
            if box is not None:
                self.boxes.append(tuple(float(v) for v in box))
                x0, y0, x1, y1 = np.round(box).astype(int)
                inside[:] = False
                inside[y0 : y1 + 1, x0 : x1 + 1] = True
            if points is not None:
                for (x, y), label in zip(points[0][k], points[1][k], strict=True):
                    if not label:
                        inside[int(y), int(x)] = False
            masks.append((gray >= self.level) & inside)
        return Prediction(
            torch.zeros(len(masks), 1, 256, 256),
            np.array(masks),
            np.full(len(masks), 0.9, np.float32),
        )


def ball(
    shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float
) -> NDArray[np.bool_]:
    """Boolean (z, y, x) ball."""
    grid = np.indices(shape)
    offsets = grid - np.array(centre)[:, None, None, None]
    return np.asarray((offsets**2).sum(0) <= radius**2)
