"""A model ready to run: slices in, embeddings out; embeddings and prompts in, masks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from promptseg import assets
from promptseg.errors import UnsupportedPromptError
from promptseg.models.cards import CARDS, ModelCard, find_card, models_that_take
from promptseg.models.checkpoint import build_network, identify, read_checkpoint
from promptseg.models.preprocess import Frame
from promptseg.models.sam import Sam
from promptseg.runtime import choose_device, prepare

_CHECKPOINTS = (".pt", ".pth", ".safetensors", ".ckpt", ".bin")

__all__ = ["Embedding", "Prediction", "Predictor"]


@dataclass(frozen=True)
class Embedding:
    """What the image encoder makes of one slice.

    Attributes:
        features: (1, 256, 64, 64) on the model's device.
        frame: how the slice lies in the network's input.
    """

    features: Tensor
    frame: Frame


@dataclass(frozen=True)
class Prediction:
    """Masks of N prompts on one slice.

    Attributes:
        logits: (N, 1, 256, 256) low-resolution mask logits, in the network's frame.
        masks: (N, rows, columns) boolean, on the slice's own grid.
        iou: (N,) predicted IoU.
    """

    logits: Tensor
    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]


class Predictor:
    """One model on one device.

    Args:
        card: what the model is.
        network: its network, unprepared.
        device: where to run it.
        weights: the file the weights came from.
    """

    def __init__(self, card: ModelCard, network: Sam, device: torch.device, weights: Path) -> None:
        self.card = card
        self.device = device
        self.weights = weights
        self.weights_sha256 = assets.sha256_of(weights)
        self.network = prepare(network, device)

    @classmethod
    def load(cls, model: str | Path, device: str = "auto", quiet: bool = True) -> Predictor:
        """A model by name (its weights fetched if need be) or from a checkpoint file.

        Raises:
            ModelError: unknown name, or a checkpoint that cannot be used.
            AssetError: the weights cannot be obtained or do not verify.
        """
        path = Path(model)
        chosen = choose_device(device)
        if str(model) not in CARDS and (path.suffix in _CHECKPOINTS or path.exists()):
            tensors = read_checkpoint(path)
            card = identify(tensors, path)
        else:
            card = find_card(str(model))
            path = assets.fetch(card.weights, quiet)
            tensors = read_checkpoint(path)
        return cls(card, build_network(card, tensors, path), chosen, path)

    def require(self, kinds: set[str], force: bool = False) -> None:
        """Refuse prompts the model was not trained for, unless forced.

        Raises:
            UnsupportedPromptError: names models that take them.
        """
        missing = sorted(kinds - self.card.prompts)
        if missing and not force:
            others = models_that_take(kinds)
            raise UnsupportedPromptError(
                f"prompts {self.card.name} was trained for ({', '.join(sorted(self.card.prompts))})",
                f"a {' and a '.join(missing)}",
                (f"use --model {others[0]}, which takes it, or " if others else "")
                + "--force to try all the same",
            )

    @torch.inference_mode()
    def encode(
        self, slices: Sequence[NDArray[np.uint8]], pixel: tuple[float, float] = (1, 1)
    ) -> list[Embedding]:
        """Embed slices of one shape as one batch.

        Args:
            slices: (rows, columns[, 3]) uint8 each.
            pixel: width and height of their pixels, in any unit.
        """
        prepared = [self.card.preprocessing.apply(s, pixel) for s in slices]
        batch = torch.from_numpy(np.stack([values for values, _ in prepared])).to(self.device)
        features = self.network.encode(batch.contiguous(memory_format=torch.channels_last))
        return [
            Embedding(one[None].clone(), frame)
            for one, (_, frame) in zip(features, prepared, strict=True)
        ]

    @torch.inference_mode()
    def decode(
        self,
        embedding: Embedding,
        boxes: ArrayLike | None = None,
        points: tuple[ArrayLike, ArrayLike] | None = None,
        mask_logits: Tensor | None = None,
    ) -> Prediction:
        """Masks of N prompts on one slice.

        Args:
            embedding: of the slice.
            boxes: (N, 4) XYXY pixel indices of the slice, both ends inside.
            points: (N, P, 2) pixel indices and (N, P) labels 1 / 0 (-1: ignored).
            mask_logits: (N, 1, 256, 256) mask prompt, such as `Prediction.logits`.

        Returns:
            One mask per prompt; a lone click gets the best of three by predicted IoU.
        """
        prompt: dict[str, Any] = {}
        lone_click = False
        if boxes is not None:
            corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2)
            scaled = embedding.frame.scale_xy(corners).reshape(-1, 4)
            prompt["boxes"] = torch.from_numpy(scaled).to(self.device)
        if points is not None:
            xy, labels = np.asarray(points[0], np.float64), np.asarray(points[1], np.float32)
            scaled = embedding.frame.scale_xy(xy)
            prompt["points"] = (
                torch.from_numpy(scaled).to(self.device),
                torch.from_numpy(labels).to(self.device),
            )
            lone_click = boxes is None and mask_logits is None and labels.shape[1] == 1
        if mask_logits is not None:
            prompt["masks"] = mask_logits
        logits, iou = self.network.decode(embedding.features, multimask=lone_click, **prompt)
        best = iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        logits, iou = logits[rows, best][:, None].float(), iou[rows, best].float()
        masks = embedding.frame.restore(logits) > 0
        return Prediction(logits, masks.cpu().numpy(), iou.cpu().numpy())
