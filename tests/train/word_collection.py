"""A collection of bright discs for words to be taught on, and a model to be taught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curate.made import Made, disc, make_collection
from promptseg.datasets.collection import Split
from promptseg.models.families.sam.model import SamEmbedding
from promptseg.models.families.words.model import WordsModel
from promptseg.models.protocol import Embedding, Prediction, SlicePrompt


def made_words(root: Path, images: int = 12, size: int = 100) -> Path:
    """A bright disc on each image, beside much that is none; every image another patient."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(images):
        y, x = rng.integers(25, size - 25, 2)
        split: Split = "train" if k < images - 4 else "validation" if k % 2 else "test"
        masks = {"bright disc (made)": disc((size, size), float(y), float(x), 12.0 + k % 5)}
        made.append(Made(f"us/case{k}", masks, split, f"patient{k}", "US"))
    make_collection(root, made)
    return root


class Shades(WordsModel):
    """Its features are the image's gray values, in a few channels; boxes become masks as they are."""

    def encode(
        self,
        slices: Any,
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        found: list[Embedding] = []
        for values in slices:
            square, transform = self.card.preprocessing.apply(values, pixel)
            small = torch.nn.functional.avg_pool2d(torch.from_numpy(square)[None], 16)
            features = torch.zeros(1, 256, 64, 64)
            for k in range(32):
                features[:, k] = torch.sin((k + 1) * small.mean(1))
            found.append(SamEmbedding(features, transform))
        return found

    def decode(self, embedding: Embedding, prompts: Any) -> Prediction:
        assert isinstance(embedding, SamEmbedding)
        masks: NDArray[np.bool_] = np.zeros((len(prompts), *embedding.transform.original), bool)
        for mask, prompt in zip(masks, prompts, strict=True):
            assert isinstance(prompt, SlicePrompt)
            assert prompt.box
            x0, y0, x1, y1 = map(int, prompt.box)
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        return Prediction(
            torch.zeros(len(masks), 1, 256, 256), masks, np.ones(len(masks), np.float32)
        )
