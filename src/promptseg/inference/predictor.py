"""A model ready to run: slices in, embeddings out; embeddings and prompts in, masks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from promptseg import assets
from promptseg.errors import ModelError, UnsupportedPromptError
from promptseg.models.cards import ModelCard, models_that_take
from promptseg.models.checkpoint import build_network, open_checkpoint
from promptseg.models.choose import Choice
from promptseg.models.families.sam import Sam
from promptseg.models.finite import is_finite
from promptseg.models.preprocess import Frame
from promptseg.runtime import choose_device, choose_engine, prepare, set_threads, wanted_engine

__all__ = ["Candidates", "Embedding", "Prediction", "Predictor"]


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
class Candidates:
    """The three readings of N lone clicks: the part, the whole, and something between.

    Attributes:
        logits: (N, 3, 256, 256) low-resolution mask logits, in the network's frame.
        iou: (N, 3) predicted IoU, 0..1.
        frame: how the slice lies in the network's input.
    """

    logits: Tensor
    iou: NDArray[np.float32]
    frame: Frame

    @torch.inference_mode()
    def masks(self) -> NDArray[np.bool_]:
        """(N, 3, rows, columns) boolean, on the slice's own grid; computed at every call."""
        masks: NDArray[np.bool_] = (
            self.frame.masks(self.logits.flatten(0, 1)[:, None]).cpu().numpy()
        )
        return masks.reshape(*self.logits.shape[:2], *masks.shape[1:])


@dataclass(frozen=True)
class Prediction:
    """Masks of N prompts on one slice.

    Attributes:
        logits: (N, 1, 256, 256) low-resolution mask logits, in the network's frame.
        masks: (N, rows, columns) boolean, on the slice's own grid.
        iou: (N,) predicted IoU, 0..1.
        candidates: what a lone click was chosen from; None for other prompts.
    """

    logits: Tensor
    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]
    candidates: Candidates | None = None


class Predictor:
    """One model on one device.

    Args:
        card: what the model is.
        network: its network, unprepared.
        device: where to run it.
        weights: the file the weights came from.
        engine: what executes it, or "auto"; see `promptseg.runtime.choose`.

    Attributes:
        choice: why it is this model, where it was chosen by evidence.
        engine: what executes it.
    """

    choice: Choice | None = None

    def __init__(
        self,
        card: ModelCard,
        network: Sam,
        device: torch.device,
        weights: Path,
        engine: str | None = None,
    ) -> None:
        self.card = card
        self.device = device
        self.weights = weights
        self.weights_sha256 = assets.sha256_of(weights)
        self.runner, self.verdict = choose_engine(
            prepare(network, device),
            device,
            set_threads() if device.type == "cpu" else torch.get_num_threads(),
            card.name,
            self.weights_sha256,
            engine,
        )
        self.engine = self.runner.engine.name
        self.dtype = self.runner.engine.dtype

    @classmethod
    def load(
        cls,
        model: str | Path,
        device: str = "auto",
        quiet: bool = True,
        engine: str | None = None,
    ) -> Predictor:
        """A model by name (its weights fetched if need be) or from a checkpoint file.

        Args:
            model: NAME, FILE, or NAME=FILE where several models share the file's architecture.
            device: "auto", "cpu", "cuda", "cuda:1", "mps".
            quiet: no progress bar while weights are fetched.
            engine: what executes it: "auto" (the quickest, measured once), "eager", "openvino", ...;
                PROMPTSEG_ENGINE, then "auto", if not given.

        Raises:
            InputError: a device or engine there is not.
            ModelError: unknown name, or a checkpoint that cannot be used.
            AssetError: the weights cannot be obtained or do not verify.
        """
        chosen, engine = choose_device(device), wanted_engine(engine)
        card, file, tensors = open_checkpoint(model, quiet)
        return cls(card, build_network(card, tensors, file), chosen, file, engine)

    @property
    def batch(self) -> int:
        """Slices to encode at a time unless told otherwise; larger batches are slower on a CPU."""
        return 8 if self.device.type == "cuda" else 1

    @property
    def parallel(self) -> int:
        """Calls of `encode` worth making at the same time, from as many threads."""
        return self.runner.parallel

    @property
    def encoder(self) -> dict[str, Any]:
        """What an embedding depends on besides the slice, as plain values."""
        return {
            "model": self.card.name,
            "weights_sha256": self.weights_sha256,
            "preprocessing": asdict(self.card.preprocessing),
            "engine": self.engine,
            "dtype": str(self.dtype),
        }

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
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        """Embed slices of one shape as one batch.

        Args:
            slices: (rows, columns[, 3]) uint8 each.
            pixel: width and height of their pixels, in any unit.
            parallel: whether other threads encode at the same time.

        Raises:
            ModelError: an embedding that is not finite.
        """
        prepared = [self.card.preprocessing.apply(s, pixel) for s in slices]
        batch = torch.from_numpy(np.stack([values for values, _ in prepared])).to(self.device)
        channels_last = batch.contiguous(memory_format=torch.channels_last)
        features = self.runner.encode(channels_last, parallel)
        self._require_finite(features, "an embedding")
        alone = features.split(1) if len(features) == 1 else [f.clone() for f in features.split(1)]
        return [Embedding(one, frame) for one, (_, frame) in zip(alone, prepared, strict=True)]

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
            mask_logits: (N, 1, 256, 256) mask prompt in the network's frame, such as
                `Prediction.logits`.

        Returns:
            One mask per prompt; a lone click gets the best of three by predicted IoU, and all three
            as `candidates`.

        Raises:
            ModelError: an answer that is not finite, which would look like nothing found.
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
            prompt["masks"] = mask_logits.to(self.device)
        every, quality = self.runner.decode(embedding.features, multimask=lone_click, **prompt)
        every, quality = every.float(), quality.float()
        self._require_finite(every, "mask logits")
        self._require_finite(quality, "a predicted IoU")
        best = quality.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        quality = quality.clamp(0, 1)  # an estimate of something within, which may overshoot
        logits, iou = every[rows, best][:, None], quality[rows, best]
        masks = embedding.frame.masks(logits)
        candidates = (
            Candidates(every, quality.cpu().numpy(), embedding.frame) if lone_click else None
        )
        return Prediction(logits, masks.cpu().numpy(), iou.cpu().numpy(), candidates)

    def _require_finite(self, values: Tensor, what: str) -> None:
        if not is_finite(values):
            raise ModelError(
                "finite numbers from the model",
                f"NaN or infinity in {what} of {self.card.name} ({self.weights.name}) on {self.engine}",
                "get the weights again"
                + ("" if self.engine == "eager" else ", or try --engine eager"),
            )
