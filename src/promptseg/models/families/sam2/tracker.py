"""One object propagated through frames: what is said of it, what is seen of it, what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.errors import ModelError
from promptseg.models.families.sam2.bank import Bank, Remembered
from promptseg.models.families.sam2.bank_state import as_arrays, fill
from promptseg.models.families.sam2.embedding import Sam2Embedding
from promptseg.models.families.sam2.network import Features, Memory, Sam2Steps, Seen
from promptseg.models.families.sam2.prompts import drawn_mask, mask_prompt_of, points_of
from promptseg.models.finite import is_finite
from promptseg.models.preprocess import InputTransform
from promptseg.models.protocol import Answer, Frames, SlicePrompt

__all__ = ["Sam2Memory"]


class Sam2Memory:
    """Memory of a SAM 2 of one object in some frames; see `ObjectMemory`.

    Args:
        network: in evaluation mode.
        frames: encoded by the model of this network.
        device: where the network is.
        official: do as the official predictor of videos does: look at all conditioning frames, keep
            everything, round memory to bfloat16, and let a corrected frame be one like others.

    Attributes:
        bank: what is remembered.
    """

    def __init__(
        self, network: Sam2Steps, frames: Frames, device: torch.device, official: bool = False
    ) -> None:
        self.network, self.frames, self.device, self.official = network, frames, device, official
        shape = network.shape
        self.bank = Bank(sure=shape.sure, clears=shape.clears)
        if official:
            self.bank.limit, self.bank.forgetful = None, False

    @torch.inference_mode()
    def prompt(
        self, frame: int, prompt: SlicePrompt, afresh: bool = True, down: bool = False
    ) -> Answer:
        """See `ObjectMemory`."""
        features, transform = self._features(frame)
        seen = self.network.see(
            self._alone(features) if afresh else self._conditioned(features, frame, down),
            points_of([prompt], transform, self.device),
            mask_prompt_of([prompt], transform, 4 * self.network.grid, self.device),
        )
        self._condition(frame, seen, propagated=not afresh)
        return self._answer(seen, transform)

    @torch.inference_mode()
    def take(self, frame: int, mask: NDArray[np.bool_]) -> Answer:
        """See `ObjectMemory`."""
        features, _ = self._features(frame)
        drawn = drawn_mask(mask, self.network.mask_size, self.device)
        seen = self.network.take(features, drawn)
        self._condition(frame, seen)
        return Answer(mask, 1.0, seen.logits, float(seen.presence))

    @torch.inference_mode()
    def propagate(self, frame: int, down: bool = False, end: int | None = None) -> Answer:
        """See `ObjectMemory`."""
        features, transform = self._features(frame, end)
        seen = self.network.propagate(features, self._memory(frame, down))
        map_ = self._map(features.coarse, seen, prompted=False)
        self.bank.propagate(frame, Remembered(seen, map_, prompted=False), _back(down))
        return self._answer(seen, transform)

    @torch.inference_mode()
    def recall(self, frame: int, mask: NDArray[np.bool_], down: bool = False) -> None:
        """See `ObjectMemory`: its map and pointer are those of the mask, as of a drawn one."""
        features, _ = self._features(frame)
        seen = self.network.take(features, drawn_mask(mask, self.network.mask_size, self.device))
        map_ = self._map(features.coarse, seen, prompted=False)
        self.bank.propagate(frame, Remembered(seen, map_, prompted=False), _back(down))

    def forget(self) -> None:
        """See `ObjectMemory`."""
        self.bank.propagated.clear()

    def state(self) -> dict[str, NDArray[Any]]:
        """See `ObjectMemory`."""
        return as_arrays(self.bank)

    def go_on(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `ObjectMemory`."""
        fill(self.bank, state, self.device)

    def _features(self, frame: int, end: int | None = None) -> tuple[Features, InputTransform]:
        embedding = self.frames.embedding(frame, end)
        assert isinstance(embedding, Sam2Embedding), "an embedding of this model"
        return embedding.features, embedding.transform

    def _alone(self, features: Features) -> Features:
        return features._replace(coarse=self.network.alone(features.coarse))

    def _conditioned(self, features: Features, frame: int, down: bool) -> Features:
        """The features of a frame in the light of what is remembered."""
        return self.network.look(features, self._memory(frame, down)).features

    def _memory(self, frame: int, down: bool) -> Memory:
        return self.bank.for_frame(frame, len(self.frames), _back(down), self._map_again)

    def _condition(self, frame: int, seen: Seen, propagated: bool = False) -> None:
        """Take up a frame that somebody said something of; its map is made when it is looked at."""
        one = Remembered(seen, None, prompted=True)
        if not (self.official and propagated):
            self.bank.condition(frame, one)
            return
        features, _ = self._features(frame)
        self.bank.propagated[frame] = replace(one, map=self._map(features.coarse, seen, True))

    def _map_again(self, frame: int, one: Remembered) -> Tensor:
        """The map of a conditioning frame, made if it is not there: its features are, or come again."""
        if one.map is None:
            features, _ = self._features(frame)
            one = replace(one, map=self._map(features.coarse, one.seen, prompted=True))
            self.bank.conditioning[frame] = one
        assert one.map is not None
        return one.map

    def _map(self, coarse: Tensor, seen: Seen, prompted: bool) -> Tensor:
        map_ = self.network.remember(coarse, seen, prompted)
        return map_.bfloat16().float() if self.official else map_

    def _answer(self, seen: Seen, transform: InputTransform) -> Answer:
        logits = seen.logits.float()
        if not is_finite(logits) or not is_finite(seen.iou):
            raise ModelError(
                "finite numbers from the model",
                "NaN or infinity in the mask logits of a propagated object",
                "get the weights again",
            )
        mask = transform.masks(logits)[0].cpu().numpy()
        return Answer(mask, float(seen.iou), logits, float(seen.presence))


def _back(down: bool) -> int:
    """Where propagated frames lie: before a frame on the way up, after it on the way down."""
    return 1 if down else -1
