"""The model of every card, the tests' own double, and a family of another kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from conformance import model_suite as suite
from conformance.model_suite import *  # noqa: F403 - the tests of the suite
from fakes import BrightModel, BrightPredictor
from promptseg.errors import InputError, PromptError, UnsupportedPromptError
from promptseg.inference.predictor import Predictor
from promptseg.models.card import ModelCard
from promptseg.models.cards import CARDS
from promptseg.models.families import FAMILIES, families, family_named
from promptseg.models.families.sam.build import Sam
from promptseg.models.families.sam2.build import PLAIN, SHAPES
from promptseg.models.families.sam2.network import Sam2Steps
from promptseg.models.families.sam3.tracker_network import tracker_of
from promptseg.models.protocol import SliceModel, SlicePrompt
from pyramid import CARD, build_pyramid
from runtime.small import plain, tiny
from small_memory_sam import small_memory_sam
from small_sam2 import small_plain, small_sam2
from small_sam3 import SHAPE as SMALL_SAM3

CPU = torch.device("cpu")

SMALL: dict[str, Callable[[], Sam | Sam2Steps]] = {
    "memory-sam": small_memory_sam,
    "build_lite_medsam": lambda: tiny(1),
    "build_mobile_sam": lambda: tiny(4),
    "build_sam_vit_b": lambda: plain(160),
    "build_sam_vit_l": lambda: plain(160),
    "build_sam_vit_h": lambda: plain(160),
    **{
        build: partial(small_sam2, dated_pointers=shape.dated_pointers)
        for build, shape in SHAPES.items()
    },
    **{build: small_plain for build in PLAIN if build.startswith("efficienttam")},
    "sam3": lambda: tracker_of(SMALL_SAM3, seeded=True),
}
"""A small network of each build, with random weights."""
LARGER_SAM2 = (
    *(f"{version}-{size}" for version in ("sam2", "sam2.1") for size in "sbl"),
    *("efficienttam-s", "-512"),
)
"""Cards that differ from those of the least in their build alone: their small networks are the same."""


POINTING = [name for name, card in CARDS.items() if "text" not in card.prompts]
"""Those that take words have tests of their own: tests/models/test_sam3_model.py."""


def small_network(build: str) -> Sam | Sam2Steps:
    """The same whenever it is made."""
    torch.manual_seed(0)  # also of what is no parameter
    return SMALL[build]()


def small_card(card: ModelCard, network: Sam | Sam2Steps) -> ModelCard:
    own = isinstance(network, Sam2Steps)
    size = network.image_size if own else network.prompt_encoder.image_size
    return replace(card, preprocessing=replace(card.preprocessing, size=size))


def as_it_is(name: str) -> SliceModel:
    network = small_network(CARDS[name].build)
    card = small_card(CARDS[name], network)
    return family_named(card.family).model(card, network, CPU)


def made_ready(name: str, folder: Path) -> Predictor:
    network = small_network(CARDS[name].build)
    weights = folder / "weights.pth"
    weights.write_bytes(b"")
    return Predictor.of_network(small_card(CARDS[name], network), network, CPU, weights, "eager")


@pytest.fixture(
    scope="module",
    params=[
        *(f"predictor {name}" for name in POINTING if not name.endswith(LARGER_SAM2)),
        "network lite-medsam",
        "network sam-vit-b",
        "network sam2.1-t",
        "bright",
        "bright predictor",
        "pyramid",
    ],
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SliceModel:
    kind, _, name = request.param.partition(" ")
    if kind == "pyramid":
        import pyramid

        return pyramid.FAMILY.model(CARD, build_pyramid(), CPU)
    if kind == "bright":
        return BrightPredictor() if name else BrightModel()
    return as_it_is(name) if kind == "network" else made_ready(name, tmp_path_factory.mktemp("w"))


def test_every_card_belongs_to_a_family_that_knows_it() -> None:
    assert [c.name for f in families() for c in f.cards] == list(CARDS)
    for name in FAMILIES:
        assert {card.family for card in family_named(name).cards} <= {name}  # specialists have none


@pytest.mark.parametrize("name", POINTING)
def test_kinds_a_card_does_not_list_are_refused(name: str, tmp_path: Path) -> None:
    predictor = made_ready(name, tmp_path)
    missing = {"box", "point", "mask"} - predictor.card.prompts
    predictor.require(set(predictor.card.prompts))
    for kind in missing:
        with pytest.raises(UnsupportedPromptError, match=f"got a {kind}; use --model"):
            predictor.require({kind})
        predictor.require({kind}, force=True)


def test_prompts_side_by_side_are_the_same_prompts(tmp_path: Path) -> None:
    predictor = made_ready("mobile-sam", tmp_path)
    (embedding,) = predictor.encode([suite.slice_of()])
    boxes = [(1.0, 2, 30, 31), (5.0, 5, 20, 20)]
    points = ([[(9, 9)], [(10, 10)]], [[1], [0]])
    mask_prompts = predictor.decode(embedding, boxes=boxes).logits
    found = predictor.decode(embedding, boxes=boxes, points=points, mask_logits=mask_prompts)
    typed = [
        SlicePrompt(box, ((n, n),), (label,), logits=mask_prompt[None])
        for box, n, label, mask_prompt in zip(boxes, (9, 10), (1, 0), mask_prompts, strict=True)
    ]
    assert suite.same(found, predictor.decode(embedding, typed))
    for wrong in ({}, {"boxes": boxes, "mask_logits": mask_prompts[:1]}):
        with pytest.raises(PromptError, match="the same number of objects"):
            predictor.decode(embedding, **wrong)


def test_a_network_without_a_rewrite_runs_as_it_is_and_on_no_engine(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    sam = small_network("build_sam_vit_b")
    assert isinstance(sam, Sam)
    sam.image_encoder = torch.nn.Sequential(sam.image_encoder)  # a type that has none
    card = small_card(CARDS["sam-vit-b"], sam)
    predictor = Predictor.of_network(card, sam, CPU, weights, "auto")
    assert (predictor.engine, predictor.runner, predictor.parallel) == ("eager", None, 1)
    known = made_ready("sam-vit-b", tmp_path)
    suite.assert_close(
        *(
            p.decode(p.encode([suite.slice_of()])[0], [suite.ASKED["box"]])
            for p in (predictor, known)
        )
    )
    with pytest.raises(InputError, match=r"engine eager for sam-vit-b.*got 'openvino'; leave"):
        Predictor.of_network(card, sam, CPU, weights, "openvino")
