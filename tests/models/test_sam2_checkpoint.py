"""Checkpoints of SAM 2: what they are, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promptseg import assets
from promptseg.errors import ModelError
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import (
    build_network,
    identify,
    open_checkpoint,
    read_checkpoint,
)
from promptseg.models.families import family_named
from promptseg.models.families.sam2.build import PLAIN, SHAPES, build_sam2
from small_sam2 import small_sam2

PARAMETERS = {"t": 38_962_498, "s": 46_060_194, "b": 80_850_690, "l": 224_446_642}  # SAM 2.1


@pytest.fixture(scope="module")
def tiny() -> dict[str, torch.Tensor]:
    """All tensors of 2.1 tiny, each with one number in memory."""
    with torch.device("meta"):
        shapes = build_sam2("sam2.1-t").state_dict()
    return {name: torch.zeros(1).expand(value.shape) for name, value in shapes.items()}


@pytest.mark.parametrize("size", PARAMETERS)
def test_sizes_are_the_published_ones(size: str) -> None:
    """The paper says 38.9, 46, 80.8 and 224.4 million."""
    with torch.device("meta"):
        network = build_sam2(f"sam2.1-{size}")
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(PARAMETERS[size], rel=1e-3)


def test_every_shape_is_a_card() -> None:
    assert [card.build for card in family_named("sam2").cards] == [*SHAPES, *PLAIN]


@pytest.mark.parametrize("name", ["sam2.1-t", "medsam2"])
def test_official_file_names_tell_models_of_one_architecture_apart(
    tiny: dict[str, torch.Tensor], name: str
) -> None:
    assert identify(tiny, Path("folder", assets.manifest()[name].file)) is CARDS[name]
    with pytest.raises(ModelError, match=r"one model out of sam2\.1-t, medsam2, which share"):
        identify(tiny, Path("folder", "mine.pt"))


def test_other_weights_of_medsam2_are_named(tmp_path: Path) -> None:
    path = tmp_path / "MedSAM2_US_Heart.pt"
    torch.save({"model": build_sam2("medsam2").state_dict()}, path)
    card, file, _ = open_checkpoint(f"medsam2={path}")
    assert (card, file) == (CARDS["medsam2"], path)
    tensors = read_checkpoint(path)
    with pytest.raises(ModelError, match=r"a checkpoint of sam2-t, got .*sam2\.1-t or medsam2"):
        build_network(CARDS["sam2-t"], tensors, path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["detector.backbone.a", "tracker.maskmem_tpos_enc"], "a SAM 3 without the detector"),
        (
            ["detector.backbone.vision_backbone.a", "tracker.multiplex.c"],
            r"SAM 3\.1, whose tracker",
        ),
        (
            ["image_encoder.trunk.pos_embed", "memory_attention.norm.weight"],
            "another image encoder than Hiera or a plain ViT, such as EdgeTAM",
        ),
    ],
)
def test_other_networks_are_refused_by_name(tmp_path: Path, names: list[str], said: str) -> None:
    path = tmp_path / "other.pt"
    torch.save({name: torch.zeros(1) for name in names}, path)
    with pytest.raises(ModelError, match=f"other.pt, .*{said}.*; use one of"):
        read_checkpoint(path)


def test_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.pt"
    torch.save({"model": small_sam2().state_dict()}, path)
    with pytest.raises(ModelError, match=r"closest to (sam2(\.1)?|efficienttam)-\w+, but"):
        open_checkpoint(path)
