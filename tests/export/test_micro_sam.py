"""micro-sam itself, from the registry, loads what `promptseg export --for micro-sam` writes.

Asked for by `PROMPTSEG_MICROSAM=PYTHON`, a Python of an environment of its own: `pip install --no-deps
micro-sam==1.8.14 torch-em segment-anything-py mobilesam-mirror`, then what these miss to be imported
(docs/tools.md). The viewers are not needed, nor is torchvision.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export import micro_sam_masks
from promptseg.cli.main import main
from promptseg.inference.predictor import Predictor
from promptseg.models.families.sam import build_mobile_sam
from promptseg.models.families.sam.build import build_sam_vit_b
from promptseg.models.heads.semantic.decoder import Decoder2d

PYTHON = os.environ.get("PROMPTSEG_MICROSAM", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON, reason="PROMPTSEG_MICROSAM names no Python that has micro-sam"),
]

BOXES = np.array([[60.0, 40, 139, 119], [150, 100, 229, 159]])
POINTS = np.array([[100.0, 80], [190, 130]])


def scene() -> NDArray[np.uint8]:
    """A disc and a plate on noise."""
    rows, columns = np.mgrid[:200, :260]
    picture = np.random.default_rng(0).normal(70, 8, (200, 260))
    picture[(rows - 80) ** 2 + (columns - 100) ** 2 < 38**2] += 110
    picture[102:158, 152:228] += 70
    return np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def micro_sam(*words: str) -> None:
    hidden = {"PYTHONPATH", "PYTHONHOME"}
    run = subprocess.run(
        [PYTHON, micro_sam_masks.__file__, *words],
        capture_output=True,
        text=True,
        timeout=1800,
        env={k: v for k, v in os.environ.items() if k not in hidden},
    )
    assert run.returncode == 0, run.stderr[-3000:]


def both(kind: str, model: str, tmp_path: Path) -> tuple[Predictor, dict[str, NDArray[np.float32]]]:
    """Our predictor, and micro-sam's answers by the file that we have put in its place."""
    name = model.partition("=")[0]
    asked = ["export", "--model", model, "--for", "micro-sam", "-o", str(tmp_path / "there")]
    assert main([*asked, "--quiet"]) == 0
    (weights,) = (tmp_path / "there").glob("*.pth")
    assert weights.stem == name
    np.save(tmp_path / "image.npy", scene())
    np.savez(tmp_path / "prompts.npz", boxes=BOXES, points=POINTS, labels=np.ones(2, int))
    micro_sam(kind, str(weights), str(tmp_path))
    with np.load(tmp_path / "answers.npz") as archive:
        answers = {name: archive[name] for name in archive.files}
    return Predictor.load(model, "cpu", engine="eager"), answers


def same(ours: NDArray[np.bool_], theirs: NDArray[np.generic]) -> float:
    """IoU of two masks."""
    other = theirs.squeeze() > 0
    return float((ours & other).sum() / max(1, (ours | other).sum()))


def compare(ours: Predictor, theirs: dict[str, NDArray[np.float32]], apart: float) -> None:
    picture = theirs["picture"].astype(np.uint8)
    stretched = scene().astype(np.float32) - scene().min((0, 1))
    stretched *= 255 / stretched.max((0, 1))
    assert np.abs(picture - stretched).max() <= 1, "it stretches every channel, and rounds down"
    (embedding,) = ours.encode([picture])
    features = embedding.tensors()["features"].numpy()
    np.testing.assert_allclose(features, theirs["features"], atol=1e-4, rtol=1e-4)
    for k, box in enumerate(BOXES):
        answer = ours.decode(embedding, boxes=box[None])
        logits = answer.logits[0, 0].numpy()
        np.testing.assert_allclose(logits, theirs[f"logits{k}"], atol=apart, rtol=1e-3)
        assert answer.masks[0].any()
        assert same(answer.masks[0], theirs[f"raw{k}"]) > 0.999
        assert same(answer.masks[0], theirs[f"box{k}"]) > 0.999
        clicked = ours.decode(embedding, points=(POINTS[k][None, None], np.ones((1, 1))))
        assert same(clicked.masks[0], theirs[f"point{k}"]) > 0.999


@pytest.mark.weights
def test_a_mobile_sam_gives_our_masks_in_micro_sam(tmp_path: Path) -> None:
    ours, theirs = both("vit_t", "mobile-sam", tmp_path)
    compare(ours, theirs, 1e-2)
    rows, columns = np.mgrid[:200, :260]
    disc = (rows - 80) ** 2 + (columns - 100) ** 2 < 38**2
    assert same(disc, theirs["box0"]) > 0.9, "and they are masks of something"


def test_promptseg_lite_gives_our_masks_in_micro_sam(tmp_path: Path) -> None:
    ours, theirs = both("vit_t", "promptseg-lite", tmp_path)
    compare(ours, theirs, 1e-2)


def test_a_vit_b_gives_our_masks_in_micro_sam(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_sam_vit_b()
    for name, parameter in network.named_parameters():
        if "mask_decoder" in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.08)
    file = tmp_path / "mine.pth"
    torch.save(network.state_dict(), file)
    ours, theirs = both("vit_b", f"medicosam-vit-b={file}", tmp_path)
    compare(ours, theirs, 1e-2)


def test_micro_sam_loads_a_semantic_head_as_its_decoder_state(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = Decoder2d(256, 4).eval()
    for module in decoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    state = build_mobile_sam().state_dict()
    from promptseg.models.cards import CARDS
    from promptseg.models.official import official_tensors

    whole = official_tensors(state, CARDS["mobile-sam"])
    content = {"model_state": whole, "decoder_state": decoder.state_dict()}
    torch.save(content, tmp_path / "both.pt")
    embedding = torch.randn(1, 256, 64, 64)
    np.save(tmp_path / "embedding.npy", embedding.numpy())
    micro_sam("vit_t", str(tmp_path / "both.pt"), str(tmp_path), "decoder")
    with torch.inference_mode():
        expected = decoder.out_conv(decoder.decode(embedding))
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), expected.numpy(), atol=1e-4, rtol=1e-4
    )
