"""Estimates of time and memory: what is measured of a network, and how it is scaled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from curate.made import make_collection, usual
from promptseg.curate.estimate import Cost, Plan, duration, estimate, measure_network
from promptseg.curate.preflight import PreflightOptions, preflight
from promptseg.errors import InputError
from promptseg.models.families.sam import Sam
from promptseg.models.families.sam.layers import LayerNorm2d
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from small_memory_sam import small_memory_sam
from small_sam2 import small_sam2


class TinyEncoder(torch.nn.Module):
    """(B, 3, 256, 256) -> (B, 256, 64, 64) by one convolution."""

    img_size = 256

    def __init__(self) -> None:
        super().__init__()
        self.patch = torch.nn.Conv2d(3, 256, 4, 4)
        self.norm = LayerNorm2d(256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(self.patch(x))
        return out


def test_measuring_leaves_the_network_as_it_was() -> None:
    network = Sam(TinyEncoder(), PromptEncoder(256)).eval()
    network.prompt_encoder.requires_grad_(False)
    before = {name: p.clone() for name, p in network.named_parameters()}
    cost = measure_network(network, Plan(n_objects=1), patience=0)
    assert not network.training
    assert not any(p.requires_grad for p in network.prompt_encoder.parameters())
    assert all(p.requires_grad for p in network.mask_decoder.parameters())
    for name, parameter in network.named_parameters():
        assert parameter.grad is None
        torch.testing.assert_close(parameter, before[name])
    assert cost.encoder_seconds > 0
    assert cost.round_seconds > 0
    assert cost.objects == 1
    assert cost.weight_bytes == cost.trained_bytes == 4 * sum(p.numel() for p in before.values())
    # the convolution keeps its input, the normalisation at least its output
    assert cost.encoder_bytes >= 4 * (3 * 256**2 + 256 * 64**2)
    frozen = measure_network(network, Plan(n_objects=1, encoder=False), patience=0)
    assert frozen.encoder_bytes == 0
    assert frozen.trained_bytes < cost.trained_bytes
    assert frozen.round_bytes <= cost.round_bytes
    more = measure_network(network, Plan(n_objects=2), patience=0)
    assert 1.8 < more.round_bytes / cost.round_bytes < 2.2


COST = Cost(
    encoder_seconds=2.0,
    round_seconds=0.5,
    objects=5,
    encoder_bytes=1000,
    round_bytes=100,
    weight_bytes=50,
    trained_bytes=40,
    device="a slide rule",
)


def test_the_estimate_adds_up() -> None:
    found = estimate(COST, Plan(n_steps=8, epochs=3, batch_size=2), images=100)
    assert found.seconds_per_image == 2 + 9 * 0.5
    assert found.seconds_per_epoch == 650
    assert found.seconds == 1950
    assert found.peak_bytes == 50 + 3 * 40 + 2 * 1100
    assert estimate(COST, Plan(n_steps=0), 100).seconds_per_image == 2.5
    fewer = estimate(COST, Plan(n_steps=8), 100, objects=1.0)
    assert fewer.seconds_per_image == pytest.approx(2 + 9 * 0.1)
    assert fewer.peak_bytes == 50 + 120 + 1100  # of the image with the most objects
    assert "a slide rule" in str(found)
    assert "32.5 minutes for 3 epochs" in str(found)
    assert json.loads(json.dumps(found.to_json()))["plan"]["n_steps"] == 8


def test_a_clip_is_its_frames_and_stays_whole_in_memory() -> None:
    plan = Plan(n_steps=7, frames=8, batch_size=2)
    found = estimate(COST, plan, images=10)
    assert found.seconds_per_image == 8 * 2 + (8 + 7) * 0.5
    assert found.peak_bytes == 50 + 3 * 40 + 2 * (8 * 1000 + (8 + 2 * 7) * 100)
    assert "per epoch of 10 clips" in str(found)
    with pytest.raises(InputError, match="frames of 1 or more"):
        Plan(frames=0)


def test_a_network_with_memory_is_measured_on_images_and_on_clips() -> None:
    network = small_sam2()
    weights = 4 * sum(p.numel() for p in network.parameters())
    boxed = measure_network(network, Plan(n_objects=2), patience=0)
    followed = measure_network(network, Plan(n_objects=2, frames=4), patience=0)
    assert boxed.weight_bytes == followed.weight_bytes == weights
    # what attention looks at: 7 maps of 8 x 8 places with 16 channels, of 2 objects, four layers
    assert followed.round_bytes > boxed.round_bytes + 4 * 4 * 2 * 7 * 64 * 16
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    frozen = measure_network(network, Plan(n_objects=2, encoder=False, frames=4), patience=0)
    assert frozen.encoder_bytes == 0
    assert frozen.trained_bytes < followed.trained_bytes
    plain = small_memory_sam()
    assert measure_network(plain, Plan(n_objects=2, frames=4), patience=0).round_bytes > 0


def test_more_steps_cost_more() -> None:
    seconds = [estimate(COST, Plan(n_steps=n), 10).seconds for n in (0, 1, 4, 8)]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == 4
    assert len({estimate(COST, Plan(n_steps=n), 10).peak_bytes for n in (0, 8)}) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.25, "1.2 seconds"), (150, "2.5 minutes"), (9000, "2.5 hours"), (216000, "2.5 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.slow
def test_a_real_network_is_measured(tmp_path: Path) -> None:
    make_collection(tmp_path, usual((64, 64)))
    options = PreflightOptions(model="lite-medsam", quiet=True, device="cpu")
    found = preflight(tmp_path, Plan(n_steps=1), options).estimate
    assert found is not None
    assert found.images == 6
    assert found.objects == pytest.approx(8 / 6)
    assert found.peak_bytes > 10**9
    assert found.seconds_per_epoch == pytest.approx(6 * found.seconds_per_image)
