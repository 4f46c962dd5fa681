"""An nnU-Net as a model of classes, and as one that is told by a box."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg import assets
from promptseg.errors import ModelError
from promptseg.models.card import ModelCard
from promptseg.models.families.specialist.build import expected_iou, not_a_box
from promptseg.models.heads.semantic.card import SemanticCard
from promptseg.models.heads.semantic.model import preprocessing_of
from promptseg.models.nnunet.external import Answering
from promptseg.models.nnunet.file import answering, channels_of
from promptseg.models.protocol import Embedding, Prediction, SlicePrompt

__all__ = ["NnunetBoxes", "NnunetClasses", "SliceItself", "box_on", "channels", "spacing_of"]

_LEAST = 1e-7
_FAR = 999  # distance of slices that do not belong together, in pixels, as nnU-Net has it


def channels(slices: Sequence[NDArray[np.uint8]], count: int) -> NDArray[np.float32]:
    """Convert slices to the channels that nnU-Net takes, 0..255; gray slices are repeated where it
    takes three.

    Args:
        slices: (rows, columns[, 3]) each.
        count: 1 or 3.

    Returns:
        (count, slices, rows, columns).
    """
    each = []
    for one in slices:
        wide = one if one.ndim == 3 else np.repeat(one[..., None], count, axis=2)
        if wide.shape[2] != count:  # colours for a network of gray images
            wide = np.rint(wide.mean(axis=2, keepdims=True))
        each.append(np.moveaxis(wide, 2, 0))
    return np.stack(each, axis=1).astype(np.float32)


def box_on(shape: tuple[int, int], box: Sequence[float]) -> NDArray[np.float32]:
    """Draw a box as a picture: 1 inside, 0 elsewhere.

    Args:
        shape: (rows, columns).
        box: XYXY pixel indices, both ends inside.
    """
    rows, columns = (np.arange(n) for n in shape)
    x0, y0, x1, y1 = box
    x0, x1 = np.clip([x0, x1], 0, shape[1] - 1)
    y0, y1 = np.clip([y0, y1], 0, shape[0] - 1)
    down = (rows >= y0 - 0.5) & (rows <= y1 + 0.5)
    across = (columns >= x0 - 0.5) & (columns <= x1 + 0.5)
    found: NDArray[np.float32] = (down[:, None] & across[None]).astype(np.float32)
    return found


def spacing_of(pixel: tuple[float, float], deep: bool) -> tuple[float, float, float]:
    """Return distances of (slices, rows, columns); slices of a volume are assumed as far apart as
    pixels.
    """
    return (min(pixel) if deep else _FAR * max(pixel), pixel[1], pixel[0])


class NnunetClasses:
    """An nnU-Net in place of a `SemanticSam`.

    Args:
        card: what it is.
        program: that answers.
        said: its plans.
        file: of its weights.
        sha256: of that file.
    """

    scaling = "as its plans say"

    def __init__(
        self, card: SemanticCard, program: Answering, said: dict[str, Any], file: Path, sha256: str
    ) -> None:
        self.card, self.weights, self.weights_sha256 = card, file, sha256
        self.preprocessing, self.device = preprocessing_of(card), torch.device("cpu")
        self._program, self._channels = program, channels_of(said)

    @classmethod
    def open(
        cls, card: SemanticCard, file: Path, tensors: Mapping[str, Tensor], device: torch.device
    ) -> NnunetClasses:
        """Open an nnU-Net with the weights of a file.

        Raises:
            ModelError: no nnU-Net, or plans and weights that do not fit.
        """
        program, said = answering(file, tensors, device)
        return cls(card, program, said, file, assets.sha256_of(file))

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return self.card.names

    def on_slices(
        self, slices: Sequence[NDArray[np.uint8]], pixel: tuple[float, float] = (1, 1)
    ) -> Tensor:
        """See `SemanticSam.on_slices`; a stack may have any number of slices."""
        deep = self.card.depth > 1
        together = [slices] if deep else [[one] for one in slices]
        found = [
            self._program.chances(channels(some, self._channels), spacing_of(pixel, deep))
            for some in together
        ]
        return self._logits(np.concatenate(found, axis=1)).transpose(0, 1)

    @contextmanager
    def on_stack(
        self,
        slices: Iterable[NDArray[np.uint8]],
        shape: tuple[int, int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> Iterator[Callable[[int], Tensor]]:
        """Answer about a stack of a volume model, of which a slice at a time is held.

        Args:
            slices: (rows, columns[, 3]) uint8 each.
            shape: number of slices, rows, columns.
            pixel: width and height of pixels.

        Yields:
            Number of a slice -> its (1 + classes, rows, columns) logits, as of `on_slices`.

        Raises:
            ModelError: it has failed.
        """
        drawn = (channels([one], self._channels)[:, 0] for one in slices)
        said = self._program.stack_chances(
            drawn, (self._channels, *shape), spacing_of(pixel, deep=True)
        )
        try:
            yield lambda k: self._logits(said[k])
        finally:
            said.close()

    def _logits(self, said: NDArray[np.float32]) -> Tensor:
        """(1 + classes, ...) probabilities as logits."""
        chances = torch.from_numpy(said)
        if len(chances) != 1 + len(self.classes) or not chances.isfinite().all():
            raise ModelError(
                f"finite chances of {len(self.classes)} classes",
                f"{len(chances) - 1} of {self.card.name} ({self.weights.name})",
                "get the model again",
            )
        return chances.clamp(min=_LEAST).log()

    def of_embeddings(self, embeddings: Tensor, frame: Any) -> Tensor:
        """Refuse: there are no embeddings."""
        raise AssertionError("an nnU-Net has no embeddings")


@dataclass(frozen=True)
class SliceItself:
    """A slice, in place of an embedding.

    Attributes:
        pixels: (rows, columns[, 3]) uint8.
        pixel: width and height of its pixels.
    """

    pixels: Tensor
    pixel: tuple[float, float]

    @property
    def nbytes(self) -> int:
        """See `Embedding`."""
        return self.pixels.nbytes

    def tensors(self) -> dict[str, Tensor]:
        """See `Embedding`."""
        return {"pixels": self.pixels}

    def view(self) -> Tensor:
        """See `Embedding`."""
        wide = self.pixels if self.pixels.ndim == 3 else self.pixels[..., None].expand(-1, -1, 3)
        return wide.permute(2, 0, 1).float()


class _Grid:
    """Logits lie on the slice itself."""

    def masks(self, logits: Tensor) -> Tensor:
        """See `promptseg.models.protocol.prediction.Grid`."""
        return logits[:, 0] > 0


class NnunetBoxes:
    """An nnU-Net whose last channel is a box; a `SliceModel`.

    Args:
        card: what it is.
        program: that answers.
        said: its plans.
    """

    def __init__(self, card: ModelCard, program: Answering, said: dict[str, Any]) -> None:
        self.card, self.device = card, torch.device("cpu")
        self._program, self._channels = program, channels_of(said) - 1

    @classmethod
    def open(
        cls, card: ModelCard, file: Path, tensors: Mapping[str, Tensor], device: torch.device
    ) -> NnunetBoxes:
        """Open an nnU-Net with the weights of a file.

        Raises:
            ModelError: no nnU-Net, or plans and weights that do not fit.
        """
        program, said = answering(file, tensors, device)
        return cls(card, program, said)

    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        """See `SliceModel`: there is nothing to do before a box is known."""
        return [SliceItself(torch.from_numpy(np.array(one)), pixel) for one in slices]

    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        """See `SliceModel`.

        Raises:
            UnsupportedPromptError: anything but boxes alone.
        """
        assert isinstance(embedding, SliceItself), "an embedding of this model"
        if any(prompt.kinds != {"box"} for prompt in prompts):
            raise not_a_box()
        pixels = embedding.pixels.numpy()
        rows, columns = pixels.shape[:2]
        picture = channels([pixels], self._channels)
        found = [torch.zeros(0, 1, rows, columns)]
        for prompt in prompts:
            assert prompt.box is not None
            box = box_on((rows, columns), prompt.box)[None, None]
            spacing = spacing_of(embedding.pixel, deep=False)
            chances = self._program.chances(np.concatenate([picture, box]), spacing)
            found.append(torch.from_numpy(chances[1:2]).clamp(_LEAST, 1 - _LEAST).logit())
        logits = torch.cat(found)
        return Prediction(logits, _Grid().masks(logits).numpy(), expected_iou(logits)[:, 0].numpy())

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        """See `SliceModel`."""
        return {"pixel": list(pixel)}

    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> SliceItself:
        """See `SliceModel`."""
        if tensors.keys() != {"pixels"}:
            raise ValueError("made by another kind of model")
        return SliceItself(tensors["pixels"].cpu(), pixel)
