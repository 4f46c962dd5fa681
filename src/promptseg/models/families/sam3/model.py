"""A SAM 3 as a model: phrases and examples on slices."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg import assets
from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.models.card import ModelCard
from promptseg.models.families.alike import apart, as_batch, no_prediction
from promptseg.models.families.sam3.detect import VISUAL, Detections, Words, detect, encode, read
from promptseg.models.families.sam3.embedding import LEVELS, Sam3Embedding
from promptseg.models.families.sam3.tokens import Tokens
from promptseg.models.preprocess import InputTransform
from promptseg.models.protocol import (
    Embedding,
    Findings,
    Instance,
    Phrase,
    Prediction,
    SlicePrompt,
)

__all__ = ["Sam3Model", "words_table"]

_PHRASES_KEPT = 64
_AT_ONCE = 32  # objects whose masks on the slice are made together
Bounds = tuple[float, float, float, float]


def words_table() -> Tokens:
    """Return the table by which SAM 3 turns words into token numbers; it is downloaded once."""
    return Tokens(assets.fetch("sam3-words"))


class Sam3Model:
    """One SAM 3 on one device.

    Args:
        card: what the model is.
        network: of `build`, in evaluation mode.
        device: where it is.
    """

    def __init__(self, card: ModelCard, network: Any, device: torch.device) -> None:
        self.card, self.network, self.device = card, network, device
        self._read: OrderedDict[str, Words] = OrderedDict()

    @cached_property
    def tokens(self) -> Tokens:
        """Return the table by which words become token numbers."""
        return words_table()

    @torch.inference_mode()
    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        """See `SliceModel`."""
        if not slices:
            return []
        batch, transforms = as_batch(self.card.preprocessing, slices, pixel, self.device)
        each = apart(encode(self.network, batch))
        return [
            Sam3Embedding(levels, transform)
            for levels, transform in zip(each, transforms, strict=True)
        ]

    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        """See `SliceModel`: of all that looks like what is in the box, what lies in the box best.

        Raises:
            UnsupportedPromptError: clicks or masks, which this part of SAM 3 cannot be given.
        """
        assert isinstance(embedding, Sam3Embedding), "an embedding of this model"
        found = [self._within(embedding, prompt) for prompt in prompts]
        if not found:
            side = embedding.levels[0].shape[-1]
            return no_prediction(embedding.transform.original, side, self.device)
        logits = torch.stack([each for each, _ in found])
        masks = embedding.transform.masks(logits).cpu().numpy()
        return Prediction(logits, masks, np.array([sure for _, sure in found], np.float32))

    @torch.inference_mode()
    def _within(self, embedding: Sam3Embedding, prompt: SlicePrompt) -> tuple[Tensor, float]:
        """(1, h, w) logits of the instance that a box is around, and its score."""
        if prompt.box is None or prompt.kinds != {"box"}:
            raise UnsupportedPromptError(
                f"a box for {self.card.name}, which takes words and boxes alone",
                " and ".join(sorted(prompt.kinds)),
                "use another model, such as medsam2",
            )
        found = self._detected(embedding, Phrase(boxes=(prompt.box,)))
        sure = found.sure
        wanted = _parts(prompt.box, embedding.transform).to(self.device)
        best = int((_overlaps(found.boxes, wanted) * sure).argmax())
        return found.logits[best][None].float(), float(sure[best])

    @torch.inference_mode()
    def find(
        self, embedding: Embedding, phrases: Sequence[Phrase], at_least: float = 0.5
    ) -> list[Findings]:
        """See `WordModel`."""
        assert isinstance(embedding, Sam3Embedding), "an embedding of this model"
        return [self._found(embedding, phrase, at_least) for phrase in phrases]

    def _found(self, embedding: Sam3Embedding, phrase: Phrase, at_least: float) -> Findings:
        found, transform = self._detected(embedding, phrase), embedding.transform
        sure = found.sure.float()
        order = sure.argsort(descending=True, stable=True)
        kept = order[sure[order] > at_least]
        instances = []
        for some in kept.split(_AT_ONCE):
            masks = transform.masks(found.logits[some][:, None].float()).cpu().numpy()
            boxes = found.boxes[some].float().cpu()
            instances += [
                Instance(mask, score, _pixels(box, transform))
                for mask, score, box in zip(masks, sure[some].tolist(), boxes, strict=True)
            ]
        return Findings(tuple(instances), float(found.presence.sigmoid()), float(sure.max()))

    def _detected(self, embedding: Sam3Embedding, phrase: Phrase) -> Detections:
        examples = [*phrase.boxes, *phrase.outside]
        boxes = torch.stack([_parts(box, embedding.transform) for box in examples] or [_NOWHERE])
        if not examples:
            boxes = boxes[:0]
        middle, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        labels = torch.tensor([1] * len(phrase.boxes) + [0] * len(phrase.outside))
        return detect(
            self.network,
            embedding.levels,
            self._words(phrase),
            torch.cat([middle, extent], dim=1).to(self.device),
            labels.to(self.device),
        )

    def _words(self, phrase: Phrase) -> Words:
        """What a phrase says; the text encoder reads each once."""
        text = phrase.text.strip()
        if not text and not phrase.boxes:
            raise PromptError("a phrase", repr(phrase.text), "say what to look for")
        text = text or VISUAL
        if text not in self._read:
            if not self.tokens.fits(text):
                raise PromptError("a phrase of at most 30 parts of words", repr(text), "shorten it")
            self._read[text] = read(self.network, self.tokens([text]).to(self.device))
            while len(self._read) > _PHRASES_KEPT:
                self._read.popitem(last=False)
        return self._read[text]

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        """See `SliceModel`: every slice fills the input, whatever its pixels."""
        return {"resized": self.card.preprocessing.input_transform(*shape, pixel).resized}

    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> Sam3Embedding:
        """See `SliceModel`."""
        if tensors.keys() != set(LEVELS):
            raise ValueError("made by another kind of model")
        transform = self.card.preprocessing.input_transform(*shape, pixel)
        return Sam3Embedding(tuple(tensors[name].to(self.device) for name in LEVELS), transform)


_NOWHERE = torch.zeros(4)


def _parts(box: Bounds, transform: InputTransform) -> Tensor:
    """Corners in parts of the slice: a box of pixels reaches to the far edge of its last ones."""
    rows, columns = transform.original
    x0, y0, x1, y1 = box
    return torch.tensor([x0 / columns, y0 / rows, (x1 + 1) / columns, (y1 + 1) / rows])


def _pixels(box: Tensor, transform: InputTransform) -> Bounds:
    """The inverse of `_parts`."""
    rows, columns = transform.original
    x0, y0, x1, y1 = box.tolist()
    return x0 * columns, y0 * rows, x1 * columns - 1, y1 * rows - 1


def _overlaps(boxes: Tensor, one: Tensor) -> Tensor:
    """(N,) IoU of (N, 4) boxes with one."""
    low, high = boxes[:, :2].maximum(one[:2]), boxes[:, 2:].minimum(one[2:])
    both = (high - low).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1) + (one[2:] - one[:2]).prod()
    return both / (areas - both).clamp(min=1e-12)
