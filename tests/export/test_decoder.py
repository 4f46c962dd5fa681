"""The exported decoder's network, before any export: SAM's labels, SAM's answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from promptseg.export.decoder import PromptedDecoder
from promptseg.models.families.sam import Sam
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.vit import ViT
from promptseg.runtime import prepare

SIZE, SIDE = 64, 16  # of the input, and of the mask logits

BOX = torch.tensor([[10.0, 12, 40, 33], [5, 5, 20, 60]])
CLICKS = torch.tensor([[[20.0, 18], [50, 44]], [[31, 30], [2, 7]]])
KINDS = torch.tensor([[1.0, 0], [1, 1]])
NOWHERE = torch.zeros(2, 1, 2)
PAD = torch.full((2, 1), -1.0)
CORNERS = torch.tensor([[2.0, 3]]).expand(2, -1)


@pytest.fixture(scope="module")
def network() -> Sam:
    torch.manual_seed(3)
    encoder = ViT(48, depth=2, heads=3, whole=(1,), image_size=SIZE, window=3)
    return Sam(encoder, PromptEncoder(SIZE, grid=4)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    return torch.randn(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4)) * 5


def both(network: Sam, prompt: dict[str, Any], *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Logits of `Sam.decode` and of the exported decoder: single answer and candidates together."""
    embedding = torch.randn(1, 256, 4, 4, generator=torch.Generator().manual_seed(5))
    single, candidates = (network.decode(embedding, **prompt, multimask=m) for m in (False, True))
    expected = (torch.cat(pair, dim=1) for pair in zip(single, candidates, strict=True))
    found = PromptedDecoder(prepare(network, torch.device("cpu")))(embedding, *given)
    return (*expected, *found)


@pytest.mark.parametrize(
    "kind", ["box", "clicks", "box and clicks", "box and mask", "clicks, mask"]
)
def test_every_prompt_is_answered_as_by_the_network(
    network: Sam, masks: torch.Tensor, kind: str
) -> None:
    prompt: dict[str, Any] = {}
    points, labels = [], []
    if "clicks" in kind:
        prompt["points"] = (CLICKS, KINDS)
        points, labels = [CLICKS], [KINDS]
    if "box" in kind:
        prompt["boxes"] = BOX
        points, labels = [*points, BOX.view(2, 2, 2)], [*labels, CORNERS]
    else:
        points, labels = [*points, NOWHERE], [*labels, PAD]
    if "mask" in kind:
        prompt["masks"] = masks
    has_mask = torch.full((2,), float("mask" in kind))
    logits, iou, found, quality = both(
        network, prompt, torch.cat(points, 1), torch.cat(labels, 1), masks, has_mask
    )
    assert found.shape == (2, 4, SIDE, SIDE)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
    torch.testing.assert_close(quality, iou, rtol=1e-4, atol=1e-5)


def test_has_mask_counts_object_by_object_and_padding_has_no_place(
    network: Sam, masks: torch.Tensor
) -> None:
    decoder = PromptedDecoder(prepare(network, torch.device("cpu")))
    embedding = torch.randn(1, 256, 4, 4, generator=torch.Generator().manual_seed(5))
    points, labels = torch.cat([CLICKS, NOWHERE], 1), torch.cat([KINDS, PAD], 1)

    def ask(k: slice, has: list[float], xy: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = decoder(embedding, xy[k], labels[k], mask[k], torch.tensor(has))[0]
        return answer

    together = ask(slice(None), [0, 1], points, masks)
    moved = points.clone()
    moved[:, 2] = 33
    for k, has in enumerate((0.0, 1.0)):
        one = slice(k, k + 1)
        torch.testing.assert_close(ask(one, [has], moved, masks), together[one])
    ignored = ask(slice(0, 1), [0], points, masks.fill_(float("nan")))
    torch.testing.assert_close(ignored, together[:1])
