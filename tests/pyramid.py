"""A family of networks of another kind than SAM: three levels of features, oblong input, no rewrite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.card import ModelCard
from promptseg.models.preprocess import Preprocessing, resize_bilinear
from promptseg.models.protocol import Embedding, Family, Prediction, SlicePrompt

INPUT = (48, 64)  # rows and columns, whatever the slice
LOW = (24, 32)  # of the logits

CARD = ModelCard(
    name="pyramid-net",
    title="a made-up network with a pyramid of features",
    build="build_pyramid",
    preprocessing=Preprocessing(64, "minmax", "squash"),
    prompts=frozenset({"box", "point", "mask"}),
    modalities="none",
    weights="pyramid-net",
    licence="none",
    source="the tests",
    citation="none",
    weak_at="everything",
    family="pyramid",
)


class PyramidNet(nn.Module):
    """Three levels by strided means; the finest one keeps the brightness as its first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Conv2d(given, made, 1) for given, made in ((1, 5), (5, 7), (7, 11))
        )
        self.sharpness = nn.Parameter(torch.tensor(40.0))

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, 1, 48, 64) in 0..1 -> (B, 6, 24, 32), (B, 7, 12, 16), (B, 11, 6, 8)."""
        fine = F.avg_pool2d(x, 2)
        first = self.levels[0](fine)
        second = self.levels[1](F.avg_pool2d(first, 2))
        third = self.levels[2](F.avg_pool2d(second, 2))
        return [torch.cat([fine, first], 1), second, third]

    def decode(self, features: Sequence[Tensor], boxes: Tensor, mask_prompts: Tensor) -> Tensor:
        """(N, 1, 24, 32) logits: what is brighter than half, inside the box, drawn to the hint.

        Args:
            features: of one slice.
            boxes: (N, 4) XYXY on the grid of the logits.
            mask_prompts: (N, 1, 24, 32) logits; 0 where nothing is known.
        """
        y = torch.arange(LOW[0]).view(1, 1, -1, 1)
        x = torch.arange(LOW[1]).view(1, 1, 1, -1)
        x0, y0, x1, y1 = boxes.view(-1, 4, 1, 1, 1).unbind(1)
        inside = (x >= x0 - 0.5) & (x <= x1 + 0.5) & (y >= y0 - 0.5) & (y <= y1 + 0.5)
        bright = (features[0][:, :1] - 0.5) * self.sharpness + 0.01 * features[2].mean()
        return torch.where(inside, bright + 0.1 * mask_prompts, torch.full_like(bright, -20.0))


@dataclass(frozen=True)
class PyramidEmbedding:
    """Three tensors of three shapes."""

    levels: tuple[Tensor, ...]
    original: tuple[int, int]

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for level in self.levels)

    def tensors(self) -> dict[str, Tensor]:
        return {f"level{k}": level for k, level in enumerate(self.levels)}

    def view(self) -> Tensor:
        return self.levels[0][0]


class PyramidModel:
    """One prompt of any kind becomes a box; clicks outside are cut out."""

    def __init__(self, card: ModelCard, network: PyramidNet, device: torch.device) -> None:
        self.card, self.network, self.device = card, network, device
        self.encoded = 0

    @torch.inference_mode()
    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        found: list[Embedding] = []
        for each in slices:
            self.encoded += 1
            gray = each if each.ndim == 2 else each.mean(-1).astype(np.uint8)
            x = torch.from_numpy(resize_bilinear(gray, *INPUT)).float()[None, None] / 255
            levels = tuple(self.network.encode(x))
            found.append(PyramidEmbedding(levels, (each.shape[0], each.shape[1])))
        return found

    @torch.inference_mode()
    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        assert isinstance(embedding, PyramidEmbedding)
        rows, columns = embedding.original
        scale = np.array([LOW[1] / columns, LOW[0] / rows])
        boxes = np.tile([0.0, 0.0, LOW[1] - 1, LOW[0] - 1], (len(prompts), 1))
        mask_prompts = torch.zeros(len(prompts), 1, *LOW)
        for k, prompt in enumerate(prompts):
            if prompt.box is not None:
                boxes[k] = np.array(prompt.box) * np.tile(scale, 2)
            elif prompt.xy:
                inside = [
                    xy for xy, label in zip(prompt.xy, prompt.labels, strict=True) if label > 0
                ]
                if inside:
                    middle = np.array(inside).mean(0) * scale
                    boxes[k] = [*(middle - 6), *(middle + 6)]
            if prompt.mask is not None:
                drawn = torch.from_numpy(prompt.mask.astype(np.float32))[None, None]
                mask_prompts[k] = F.interpolate(drawn, LOW, mode="area")[0] * 20 - 10
            elif prompt.logits is not None:
                mask_prompts[k] = prompt.logits[0]
        logits = self.network.decode(
            embedding.levels, torch.from_numpy(boxes).float(), mask_prompts
        )
        masks = F.interpolate(logits, embedding.original, mode="bilinear")[:, 0] > 0
        return Prediction(logits, masks.numpy(), np.full(len(prompts), 0.8, np.float32))

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        return {"input": list(INPUT)}

    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> Embedding:
        if tensors.keys() != {"level0", "level1", "level2"}:
            raise ValueError("made by another kind of model")
        return PyramidEmbedding(tuple(tensors[k] for k in sorted(tensors)), shape)


class PyramidFamily:
    """As a folder in `promptseg.models.families` would have it."""

    cards = (CARD,)
    unused: tuple[str, ...] = ()
    extra = ""

    def claims(self, names: Iterable[str]) -> bool:
        return all(n.removeprefix("net.").startswith(("levels.", "sharpness")) for n in names)

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix("net."): tensor for name, tensor in tensors.items()}

    def network(self, build: str) -> nn.Module:
        assert build == CARD.build
        return build_pyramid()

    def model(self, card: ModelCard, network: Any, device: torch.device) -> PyramidModel:
        return PyramidModel(card, network, device)


def build_pyramid() -> PyramidNet:
    return PyramidNet().eval().requires_grad_(False)


FAMILY: Family = PyramidFamily()
