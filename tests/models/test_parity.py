"""Our LiteMedSAM against another distribution's network under the same real weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from models.peer import official_lite_medsam
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import build_network, read_checkpoint
from promptseg.runtime import prepare

pytestmark = [pytest.mark.weights, pytest.mark.peer]

BOXES = torch.tensor([[30.0, 40.0, 180.0, 200.0], [5.5, 10.0, 250.0, 240.25]])


@pytest.fixture(scope="module")
def official(lite_medsam_weights: Path) -> Any:
    return official_lite_medsam(lite_medsam_weights)


@pytest.fixture(scope="module")
def slices() -> torch.Tensor:
    rng = np.random.default_rng(0)
    noise = rng.random((2, 3, 256, 256), dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, 0, 6, 6))
    smooth -= smooth.min()
    return torch.from_numpy(smooth / smooth.max())


@pytest.mark.slow
@pytest.mark.parametrize("prepared", [False, True], ids=["plain", "prepared"])
@torch.inference_mode()
def test_mask_logits_agree(
    official: Any, slices: torch.Tensor, lite_medsam_weights: Path, prepared: bool
) -> None:
    card = CARDS["lite-medsam"]
    ours = build_network(card, read_checkpoint(lite_medsam_weights), lite_medsam_weights)
    if prepared:
        ours = prepare(ours, torch.device("cpu"))
    reference = official.image_encoder(slices)
    embedding = ours.encode(slices)
    assert (embedding - reference).norm() / reference.norm() < 1e-5
    logits, quality = ours.decode(embedding, boxes=BOXES)
    assert (logits - official(slices, BOXES.numpy())).abs().max() < 1e-4
    assert quality.shape == (2, 1)


@torch.inference_mode()
def test_every_prompt_is_encoded_alike(official: Any, lite_medsam_weights: Path) -> None:
    ours = build_network(
        CARDS["lite-medsam"], read_checkpoint(lite_medsam_weights), lite_medsam_weights
    ).prompt_encoder
    points = (
        torch.tensor([[[30.0, 40.0], [99.0, 7.0]]]).expand(2, -1, -1),
        torch.tensor([[1.0, 0.0]] * 2),
    )
    masks = torch.linspace(-5, 5, 256 * 256).view(1, 1, 256, 256).expand(2, -1, -1, -1)
    for given in ({"points": points}, {"boxes": BOXES}, {"points": points, "boxes": BOXES},
                  {"boxes": BOXES, "masks": masks}, {"masks": masks}):  # fmt: skip
        arguments = {"points": None, "boxes": None, "masks": None, **given}
        for mine, theirs in zip(
            ours(**arguments), official.prompt_encoder(**arguments), strict=True
        ):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours.dense_position(), official.prompt_encoder.get_dense_pe())


@torch.inference_mode()
def test_the_whole_way_from_a_picture_to_its_mask(official: Any, lite_medsam: Predictor) -> None:
    """The official preprocessing written out again, on a 2D image that is not square."""
    from PIL import Image
    from torch.nn import functional as F

    rng = np.random.default_rng(1)
    picture = ndimage.gaussian_filter(rng.random((300, 451)), 9)
    picture = ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)
    box = np.array([60.0, 40.0, 300.0, 220.0])

    scale = 256 / 451
    small = Image.fromarray(picture).resize((256, round(300 * scale)), Image.Resampling.BILINEAR)
    values = np.asarray(small, dtype=np.float32)
    values = (values - values.min()) / (values.max() - values.min())
    padded = np.zeros((256, 256), dtype=np.float32)
    padded[: values.shape[0]] = values
    tensor = torch.from_numpy(np.repeat(padded[None, None], 3, axis=1))
    logits = official(tensor, (box * scale)[None])[:, :, : values.shape[0]]
    expected = F.interpolate(logits, size=(300, 451), mode="bilinear")[0, 0] > 0

    found = lite_medsam.decode(lite_medsam.encode([picture])[0], boxes=[box]).masks[0]
    different = (found ^ expected.numpy()).sum()
    assert expected.sum() > 1000
    assert different <= 2  # pixels whose logit is zero to 1e-4
