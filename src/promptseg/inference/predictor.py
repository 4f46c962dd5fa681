"""A model ready to run: slices in, embeddings out; embeddings and prompts in, masks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from promptseg import assets
from promptseg.errors import ModelError, UnsupportedPromptError
from promptseg.formats.memory import available_bytes
from promptseg.models.calibration import IouMap, asked_with
from promptseg.models.card import ModelCard
from promptseg.models.cards import require_prompts, weights_of
from promptseg.models.checkpoint import build_network, is_external, open_checkpoint
from promptseg.models.choose import Choice
from promptseg.models.families import family_named
from promptseg.models.finite import is_finite
from promptseg.models.nnunet.model import NnunetBoxes
from promptseg.models.protocol import (
    Candidates,
    Embedding,
    Findings,
    Phrase,
    Prediction,
    SliceModel,
    SlicePrompt,
    WordModel,
)
from promptseg.models.protocol.prediction import joined
from promptseg.models.protocol.prompt import prompts_of_arrays
from promptseg.runtime import (
    NetworkRunner,
    Verdict,
    choose_device,
    choose_engine,
    require_eager,
    rewritten,
    set_threads,
    wanted_engine,
)

__all__ = ["Candidates", "Embedding", "Prediction", "Predictor"]

_MUCH = 1 << 30  # bytes of weights from which on room for them is looked for
_AT_A_TIME = 64  # prompts that a decoder answers in one call


def require_room(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse large weights for which there is not enough memory, before a network is made of them.

    Args:
        name: of the model.
        tensors: its weights, of which a mapped file may hold all; in use they are float32.

    Raises:
        ModelError: too little memory is free.
    """
    needed = 4 * sum(value.numel() for value in tensors.values())
    free = available_bytes()
    if needed >= _MUCH and free is not None and needed > free:
        raise ModelError(
            f"{needed / 2**30:.1f} GiB of free memory for {name}",
            f"{free / 2**30:.1f} GiB",
            "close other programs, or use a smaller model",
        )


class Predictor:
    """One model on one device, with what is to be known of how it runs. It is a `SliceModel` too.

    Any number of threads may use it: the network answers one of them at a time.

    Args:
        model: what encodes and decodes.
        weights: the file the weights came from.
        weights_sha256: of the file.
        runner: what executes the network, where it was rewritten for inference; else it runs as it is.
        verdict: how the engine was chosen.

    Attributes:
        card: what the model is.
        choice: why it is this model, where it was chosen by evidence.
        calibration: what its predicted IoU is corrected by; empty for weights other than those that
            the maps on the card were measured with.
        engine: what executes it.
        dtype: of its arithmetic.
    """

    choice: Choice | None = None
    calibration: tuple[IouMap, ...] = ()

    def __init__(
        self,
        model: SliceModel,
        weights: Path,
        weights_sha256: str,
        runner: NetworkRunner | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        self.model, self.card = model, model.card
        self.weights, self.weights_sha256 = weights, weights_sha256
        self.runner, self.verdict = runner, verdict
        self.engine = runner.engine.name if runner else "eager"
        self.dtype = runner.engine.dtype if runner else torch.float32
        self._one_at_a_time = Lock()

    @classmethod
    def of_network(
        cls,
        card: ModelCard,
        network: nn.Module,
        device: torch.device,
        weights: Path,
        engine: str | None = None,
    ) -> Predictor:
        """Build a predictor around a network of a model's family.

        Args:
            card: what the model is.
            network: its network, as its family builds it.
            device: where to run it.
            weights: the file the weights came from.
            engine: what executes it, or "auto"; see `promptseg.runtime.choose`.

        Raises:
            InputError: an engine there is not, or none for a network without a rewrite.
        """
        family, sha256 = family_named(card.family), assets.sha256_of(weights)
        ready = rewritten(network, device)
        if ready is None:
            require_eager(card.name, engine)
            plain = network.eval().requires_grad_(False).to(device)
            return cls(family.model(card, plain, device), weights, sha256)
        threads = set_threads() if device.type == "cpu" else torch.get_num_threads()
        runner, verdict = choose_engine(ready, device, threads, card.name, sha256, engine)
        return cls(family.model(card, runner.asked, device), weights, sha256, runner, verdict)

    @classmethod
    def load(
        cls,
        model: str | Path,
        device: str = "auto",
        quiet: bool = True,
        engine: str | None = None,
    ) -> Predictor:
        """Load a model by name (its weights fetched if need be) or from a checkpoint file.

        Args:
            model: NAME, FILE, or NAME=FILE where several models share the file's architecture.
            device: "auto", "cpu", "cuda", "cuda:1", "mps".
            quiet: no progress bar while weights are fetched.
            engine: what executes it: "auto" (the quickest, measured once), "eager", "openvino", ...;
                PROMPTSEG_ENGINE, then "auto", if not given.

        Raises:
            InputError: a device or engine there is not, or an engine that this network cannot run on.
            ModelError: unknown name, or a checkpoint that cannot be used.
            AssetError: the weights cannot be obtained or do not verify.
        """
        chosen, engine = choose_device(device), wanted_engine(engine)
        card, file, tensors = open_checkpoint(model, quiet)
        require_room(card.name, tensors)
        if is_external(card):
            require_eager(card.name, engine)
            return cls(NnunetBoxes.open(card, file, tensors, chosen), file, assets.sha256_of(file))
        found = cls.of_network(card, build_network(card, tensors, file), chosen, file, engine)
        if card.calibration and found.weights_sha256 == weights_of(card).sha256:
            found.calibration = card.calibration
        return found

    @property
    def device(self) -> torch.device:
        """Return the device that the model runs on."""
        return self.model.device

    @property
    def batch(self) -> int:
        """Return how many slices to encode at a time by default; larger batches are slower on a CPU."""
        return 8 if self.device.type == "cuda" else 1

    @property
    def parallel(self) -> int:
        """Return how many calls of `encode` are worth making at the same time, one per thread."""
        return self.runner.parallel if self.runner else 1

    @property
    def encoder(self) -> dict[str, Any]:
        """Return the facts that an embedding depends on besides the slice, as plain values."""
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
        if not force:
            require_prompts(self.card, kinds)

    def require_rewrite(self, what: str) -> NetworkRunner:
        """Return the runner of the rewritten network; refuse a network that runs as it is.

        Args:
            what: it is needed for, for messages.

        Raises:
            ModelError: the network runs as it is.
        """
        if self.runner is None:
            raise ModelError(
                f"a model that {what}, which a network rewritten for inference does",
                self.card.name,
                "see docs/engines.md",
            )
        return self.runner

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
        if parallel:  # the engine's own affair
            embeddings = self.model.encode(slices, pixel, parallel)
        else:
            with self._one_at_a_time:
                embeddings = self.model.encode(slices, pixel)
        for embedding in embeddings:
            self._require_finite("an embedding", *embedding.tensors().values())
        return embeddings

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[SlicePrompt] | None = None,
        *,
        boxes: ArrayLike | None = None,
        points: tuple[ArrayLike, ArrayLike] | None = None,
        mask_logits: Tensor | None = None,
        calibrated: bool = True,
    ) -> Prediction:
        """Return the masks of N objects on one slice; many objects take several calls of the network.

        Args:
            embedding: of the slice.
            prompts: one entry per object; or, in their place, all objects' prompts side by side:
            boxes: (N, 4) XYXY pixel indices of the slice, both ends inside.
            points: (N, P, 2) pixel indices and (N, P) labels 1 / 0 (-1: ignored).
            mask_logits: (N, 1, h, w) mask prompt in the network's frame, such as `Prediction.logits`.
            calibrated: predicted IoU corrected by `calibration`, else as the network says it.

        Returns:
            One mask per prompt; a lone click gets the best of three by predicted IoU, and all three
            as `candidates`.

        Raises:
            ModelError: an answer that is not finite, which would look like nothing found.
            PromptError: no prompts at all, or arrays for different numbers of objects.
        """
        if prompts is None:
            prompts = prompts_of_arrays(boxes, points, mask_logits)
        parts = [
            self._decoded(embedding, prompts[k : k + _AT_A_TIME], calibrated)
            for k in range(0, max(len(prompts), 1), _AT_A_TIME)
        ]
        return parts[0] if len(parts) == 1 else joined(parts)

    def find(
        self, embedding: Embedding, phrases: Sequence[Phrase], at_least: float = 0.5
    ) -> list[Findings]:
        """Find the instances of phrases on one slice; see `WordModel.find`.

        Raises:
            UnsupportedPromptError: a model that takes no words.
            ModelError: a score that is not finite.
        """
        if not isinstance(self.model, WordModel):
            self.require({"text"})
            raise UnsupportedPromptError("a model that takes words", self.card.name, "use sam3")
        with self._one_at_a_time:
            found = self.model.find(embedding, phrases, at_least)
        for each in found:
            self._require_finite("a score", torch.tensor([each.best, each.presence or 0.0]))
        return found

    def _decoded(
        self, embedding: Embedding, prompts: Sequence[SlicePrompt], calibrated: bool
    ) -> Prediction:
        with self._one_at_a_time:
            prediction = self.model.decode(embedding, prompts)
        read = prediction.candidates.logits if prediction.candidates else prediction.logits
        self._require_finite("mask logits", read)
        self._require_finite("a predicted IoU", torch.from_numpy(prediction.iou))
        return self._corrected(prediction, prompts) if calibrated else prediction

    def _corrected(self, prediction: Prediction, prompts: Sequence[SlicePrompt]) -> Prediction:
        """The same masks, their predicted IoU by the maps of their kinds of prompts."""
        for known in self.calibration:
            own = np.array([asked_with(prompt) == known.asked for prompt in prompts], dtype=bool)
            prediction = replace(
                prediction, iou=np.where(own, known(prediction.iou), prediction.iou)
            )
            if several := prediction.candidates:
                every = np.where(own[:, None], known(several.iou), several.iou)
                prediction = replace(prediction, candidates=replace(several, iou=every))
        return prediction

    def _require_finite(self, what: str, *values: Tensor) -> None:
        if not all(is_finite(each) for each in values):
            raise ModelError(
                "finite numbers from the model",
                f"NaN or infinity in {what} of {self.card.name} ({self.weights.name}) on {self.engine}",
                "get the weights again"
                + ("" if self.engine == "eager" else ", or try --engine eager"),
            )

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        """See `SliceModel.layout`."""
        return self.model.layout(shape, pixel)

    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> Embedding:
        """See `SliceModel.unpack`."""
        return self.model.unpack(tensors, shape, pixel)
