"""A SAM with memory: prompts as the SAM answers them, and what follows an object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage

from architectures import build_as
from promptseg.assets.store import locate
from promptseg.errors import ModelError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import build_network, identify, open_checkpoint, read_checkpoint
from promptseg.models.families import family_named
from promptseg.models.families.sam2.build import PLAIN
from promptseg.models.families.sam2.memory_begin import begin_with, under_sam2_names
from promptseg.models.families.sam2.memory_file import memory_alone
from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.model import Sam2Model
from promptseg.models.families.sam2.network import Features, Memory
from promptseg.models.preprocess import Preprocessing
from promptseg.models.protocol import SlicePrompt
from promptseg.prompts import Box
from promptseg.runtime.rewrite import FusedMemorySam
from promptseg.segment.segmenter import Segmenter
from runtime.small import tiny
from small_memory_sam import SIZE, small_memory_sam, small_network

CPU = torch.device("cpu")
PICTURE = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's network is a small one."""
    card = CARDS["promptseg-memory"]
    small_card = replace(card, build="small-memory", preprocessing=Preprocessing(SIZE, "imagenet"))
    build_as(monkeypatch, PLAIN, {"small-memory": small_network})
    monkeypatch.setitem(CARDS, card.name, small_card)


@pytest.mark.parametrize(
    "prompt",
    [
        SlicePrompt((10, 12, 70, 60)),
        SlicePrompt(xy=((30, 40),), labels=(1,)),
        SlicePrompt((10, 12, 70, 60), ((30, 40), (50, 20)), (1, 0)),
        SlicePrompt((10, 12, 70, 60), mask=np.arange(90 * 120).reshape(90, 120) % 7 > 3),
    ],
)
def test_prompts_are_answered_as_by_the_sam(prompt: SlicePrompt) -> None:
    sam = tiny(4)
    card = replace(CARDS["mobile-sam"], preprocessing=Preprocessing(SIZE, "imagenet"))
    expected, found = (
        family_named(family).model(replace(card, family=family), network, CPU)
        for family, network in (("sam", sam), ("sam2", small_memory_sam(sam)))
    )
    answers = [m.decode(m.encode([PICTURE])[0], [prompt]) for m in (expected, found)]
    torch.testing.assert_close(answers[1].logits, answers[0].logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(answers[1].iou, answers[0].iou, rtol=1e-4, atol=1e-4)


def test_embeddings_are_those_of_the_sam_and_come_back_from_a_store() -> None:
    sam = tiny(4)
    card = replace(CARDS["promptseg-memory"], preprocessing=Preprocessing(SIZE, "imagenet"))
    model = Sam2Model(card, small_memory_sam(sam), CPU)
    (embedding,) = model.encode([PICTURE])
    (one,) = family_named("sam").model(replace(card, family="sam"), sam, CPU).encode([PICTURE])
    assert embedding.tensors().keys() == one.tensors().keys()
    torch.testing.assert_close(embedding.tensors()["features"], one.tensors()["features"])
    again = model.unpack(one.tensors(), (90, 120))
    box = SlicePrompt((10, 12, 70, 60))
    found = [model.decode(each, [box]).logits for each in (again, embedding)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="another kind"):
        model.unpack({"coarse": torch.zeros(1)}, (90, 120))


def test_what_memory_says_is_a_box_and_a_mask_or_that_it_is_not_there() -> None:
    network = small_memory_sam()
    features = Features.of_one_level(torch.randn(1, 256, 16, 16))
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 64:160, 96:192] = 1
    seen = network.take(features, mask)
    memory = Memory([(network.remember(features.coarse, seen, True), 0)], [(seen.pointer, 0)], 1)
    guess = torch.full((1, 1, 32, 32), -4.0)
    guess[..., 8:20, 12:24] = 4
    network._guess = lambda coarse, memory: guess  # type: ignore[method-assign]
    look = network.look(features, memory)
    assert look.clicks is not None
    assert look.presence is not None
    places, labels = look.clicks
    assert labels.tolist() == [[2, 3]]
    assert places[0].flatten().tolist() == pytest.approx([96, 64, 191, 159], abs=4)
    assert float(look.presence) == pytest.approx(4)
    assert not torch.equal(look.features.coarse, features.coarse)
    network._guess = lambda coarse, memory: -guess.abs()  # type: ignore[method-assign]
    look = network.look(features, memory)
    assert look.clicks is not None
    assert look.clicks[1].tolist() == [[-1, -1]]
    assert float(network.propagate(features, memory).presence) < 0
    assert float(network.propagate(features, memory).logits.max()) < 0


@pytest.mark.parametrize(("grown", "chosen"), [(1, "decoder"), (8, "guess")])
def test_where_the_decoder_makes_something_else_of_it_the_guess_counts(
    grown: int, chosen: str
) -> None:
    network = small_memory_sam()
    features = Features.of_one_level(torch.randn(1, 256, 16, 16))
    guess = torch.full((1, 1, 32, 32), -4.0)
    guess[..., 8:20, 12:24] = 4  # rows 16 to 40, columns 24 to 48 of the masks
    network._guess = lambda coarse, memory: guess  # type: ignore[method-assign]
    decoded = torch.full((1, 1, 64, 64), -9.0)
    decoded[..., 16 - grown : 40 + grown, 24 - grown : 48 + grown] = 9
    network.masks_of = lambda *asked: (decoded, torch.full((1, 1), 0.7))  # type: ignore[method-assign]
    nothing = Memory([(torch.zeros(1, 32, 16, 16), 0)], [(torch.zeros(1, 256), 1)], 1)
    seen = network.propagate(features, nothing)
    wide = torch.nn.functional.interpolate(guess, size=(64, 64), mode="bilinear")
    expected = decoded if chosen == "decoder" else wide
    assert torch.equal(seen.logits, expected)
    assert float(seen.iou) == pytest.approx(0.7)
    assert float(seen.presence) == pytest.approx(4)


def test_memory_that_has_learnt_nothing_looks_where_it_looks_alike() -> None:
    """What attention brings from a map differs inside of what was remembered and outside of it."""
    network = small_memory_sam()
    features = torch.randn(1, 256, 16, 16, generator=torch.Generator().manual_seed(1))
    own = network.compared(features)
    layer = network.memory_attention.layers[0].cross_attn_image
    map_ = torch.cat([own, torch.zeros_like(own)], dim=1)
    q = layer.q_proj(network.memory_attention.layers[0].norm2(own.flatten(2).transpose(1, 2)))
    k = layer.k_proj(map_.flatten(2).transpose(1, 2))
    likest = (q @ k.transpose(1, 2))[0].argmax(1)
    assert float((likest == torch.arange(256)).float().mean()) > 0.95


def test_memory_that_has_learnt_nothing_carries_a_mask_over_to_where_it_looks_alike() -> None:
    """Features that have moved by a cell; the mask, whose edges lie on quarters of cells, follows."""
    network = small_memory_sam()
    features = torch.randn(1, 256, 16, 16, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 48:152, 72:168] = 1  # in cells of 16: 3 to 9.5, 4.5 to 10.5
    seen = network.take(Features.of_one_level(features), mask)
    memory = Memory([(network.remember(features, seen, True), 0)], [(seen.pointer, 1)], 1)
    for cells in (0, 1):
        guess = network.guess(features.roll(cells, dims=3), memory)[0, 0] > 0
        moved = mask[0, 0, 4::8, 4::8].roll(2 * cells, dims=1) > 0
        assert float(2 * (guess & moved).sum() / (guess.sum() + moved.sum())) > 0.9


def test_its_file_is_known_by_structure_and_loaded_strictly(small: None, tmp_path: Path) -> None:
    network = small_memory_sam()
    path = tmp_path / "mine.safetensors"
    save_file(network.state_dict(), path)
    assert identify(read_checkpoint(path), path).name == "promptseg-memory"
    card, _, tensors = open_checkpoint(f"promptseg-memory={path}")
    again = build_network(card, tensors, path)
    assert isinstance(again, MemorySam)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())
    predictor = Predictor.load(f"promptseg-memory={path}")
    assert isinstance(predictor.model.network, FusedMemorySam)
    less = {k: v for k, v in network.state_dict().items() if not k.startswith("presence.")}
    save_file(less, path)
    with pytest.raises(ModelError, match="closest to promptseg-memory"):
        build_network(card, read_checkpoint(path), path)


def test_the_memory_of_the_package_is_on_its_promptseg_lite() -> None:
    _, _, lite = open_checkpoint("promptseg-lite")
    card, file, tensors = open_checkpoint("promptseg-memory")
    assert file.stat().st_size < 1e6
    for name, value in under_sam2_names(lite).items():
        torch.testing.assert_close(tensors[name], value, rtol=0, atol=0)
    assert isinstance(build_network(card, tensors, file), MemorySam)
    assert card.trained_on == CARDS["promptseg-lite"].trained_on


def test_a_memory_alone_comes_back_with_its_base(tmp_path: Path) -> None:
    torch.manual_seed(0)
    _, _, lite = open_checkpoint("promptseg-lite")
    whole = begin_with(MemorySam(), lite, torch.zeros(0, 256), torch.zeros(256)).state_dict()
    path = tmp_path / "alone.safetensors"
    save_file(memory_alone(whole), path)
    again = read_checkpoint(path)
    assert again.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(again[name].float(), value.float(), rtol=1e-3, atol=1e-6)
    other = {n: v + 1 if n.startswith("image_encoder.") else v for n, v in whole.items()}
    with pytest.raises(ModelError, match="a memory on promptseg-lite, got one on other weights"):
        memory_alone(other)


def test_a_memory_made_on_another_encoder_is_refused(tmp_path: Path) -> None:
    bundled = load_file(str(locate("promptseg-memory")))
    path = tmp_path / "other.safetensors"
    save_file({**bundled, "base_encoder_sha256": torch.zeros(32, dtype=torch.uint8)}, path)
    with pytest.raises(ModelError, match="on those of another image encoder"):
        open_checkpoint(f"promptseg-memory={path}")


def test_the_memory_of_the_package_follows_a_thing_that_moves() -> None:
    """A disc on a texture, fifteen frames from one box."""
    rng = np.random.default_rng(0)
    texture = 60 + 30 * ndimage.zoom(rng.random((24, 32)), 8, order=1)
    y, x = np.mgrid[:192, :256]
    discs = np.stack([np.hypot(y - 60 - 5 * k, x - 60 - 9 * k) < 22 for k in range(15)])
    frames = np.where(discs, 200, texture).astype(np.uint8)
    image = Image(frames, Geometry.pixels(frames.shape), "endoscopy", video=True)
    segmenter = Segmenter(Predictor.load("promptseg-memory", "cpu", True, "eager"))
    found = segmenter.segment(image, Box((38, 38, 82, 82), 0), window="minmax")["object"]
    assert 2 * (found & discs).sum() / (found.sum() + discs.sum()) > 0.9
