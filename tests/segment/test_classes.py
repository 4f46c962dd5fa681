"""Classes without prompts: windows, mirror images, stacks, objects, uncertainty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.made_semantic import CARD, write_model
from promptseg.errors import InputError
from promptseg.image import Image
from promptseg.models.heads.semantic.card import ClassFacts, SemanticCard
from promptseg.models.heads.semantic.model import SemanticSam
from promptseg.segment.classes.segmenter import ClassSegmenter, load_classes
from promptseg.segment.classes.windows import Windows, probabilities, uncertainty
from promptseg.segment.options import SegmentOptions


class Bright(SemanticSam):
    """Class 1 from 100, class 2 from 200, pixel by pixel; of a volume, what the slice before shows.

    It remembers the slices it was given.
    """

    def __init__(self, card: SemanticCard = CARD) -> None:
        super().__init__(card, None, torch.device("cpu"), Path("none"), "0" * 64)  # type: ignore[arg-type]
        self.seen: list[list[NDArray[np.uint8]]] = []

    @property
    def encodes_slices_alone(self) -> bool:
        return False

    def on_slices(self, slices: Any, pixel: tuple[float, float] = (1, 1)) -> Tensor:
        self.seen.append(list(slices))
        stack = torch.from_numpy(np.stack([np.atleast_3d(s)[..., 0] for s in slices]).astype(int))
        if self.card.depth > 1:
            stack = torch.cat([stack[:1], stack[:-1]])
        chosen = (stack >= 100).long() + (stack >= 200).long()
        return 20 * torch.nn.functional.one_hot(chosen, 3).permute(0, 3, 1, 2).float()


def scene(*shape: int) -> NDArray[np.uint8]:
    voxels = np.random.default_rng(0).integers(0, 60, shape).astype(np.uint8)
    voxels[..., 5:20, 8:30] = 150
    voxels[..., 10:14, 12:18] = 230
    return voxels


def classes_of(model: Bright, voxels: NDArray[np.uint8], windows: Windows) -> NDArray[np.int64]:
    stack = voxels if voxels.ndim == 3 else voxels[None]
    found = list(probabilities(model, lambda k: stack[k], range(len(stack)), (1, 1), windows))
    assert [k for k, _ in found] == list(range(len(stack)))
    for _, chances in found:
        torch.testing.assert_close(chances.sum(0), torch.ones(chances.shape[1:]))
    return np.stack([chances.argmax(0).numpy() for _, chances in found])


@pytest.mark.parametrize(
    "windows", [Windows(), Windows(16), Windows(16, 0.0), Windows(24, 0.7, True)]
)
@pytest.mark.parametrize("shape", [(50, 70), (3, 40, 33)])
def test_windows_and_mirrors_say_what_whole_slices_do(
    windows: Windows, shape: tuple[int, ...]
) -> None:
    voxels = scene(*shape)
    expected = (voxels >= 100).astype(int) + (voxels >= 200)
    np.testing.assert_array_equal(classes_of(Bright(), voxels, windows).reshape(shape), expected)


def test_windows_are_as_large_as_said_and_cover_everything() -> None:
    model = Bright()
    classes_of(model, scene(50, 70), Windows(16, 0.5))
    assert {one[0].shape for one in model.seen} == {(16, 16)}
    assert len(model.seen) == 6 * 8


def test_where_windows_disagree_the_one_whose_middle_is_nearer_counts_more() -> None:
    class Numbered(Bright):
        def on_slices(self, slices: Any, pixel: tuple[float, float] = (1, 1)) -> Tensor:
            self.seen.append(list(slices))
            logits = torch.zeros(1, 3, *slices[0].shape)
            logits[:, len(self.seen)] = 20
            return logits

    flat = classes_of(Numbered(), np.zeros((16, 24), np.uint8), Windows(16, 0.5))[0]
    assert set(flat[:, :11].ravel()) == {1}
    assert set(flat[:, 13:].ravel()) == {2}


def test_a_stack_thinner_than_the_patch_is_continued_by_its_last_slices() -> None:
    model = Bright(replace(CARD, depth=6, halo=1))
    voxels = scene(3, 40, 33)
    found = classes_of(model, voxels, Windows())
    (given,) = model.seen
    for one, k in zip(given, (0, 0, 1, 2, 2, 2), strict=True):
        np.testing.assert_array_equal(one, voxels[k])
    expected = (voxels >= 100).astype(int) + (voxels >= 200)
    np.testing.assert_array_equal(found, expected[[0, 0, 1]])


def test_patches_of_a_stack_are_joined_without_their_halos() -> None:
    model = Bright(replace(CARD, depth=4, halo=1))
    voxels = scene(7, 40, 33)
    voxels[4] = 0
    found = classes_of(model, voxels, Windows())
    expected = (voxels >= 100).astype(int) + (voxels >= 200)
    np.testing.assert_array_equal(found, expected[[0, 0, 1, 2, 3, 4, 5]])
    assert len(model.seen) == 4


def test_slices_that_patches_share_are_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path, replace(CARD, depth=4, halo=1))
    model = load_classes(tmp_path, device="cpu").model
    assert isinstance(model, SemanticSam)
    assert model.encodes_slices_alone
    voxels = np.random.default_rng(0).integers(0, 255, (5, 40, 33)).astype(np.uint8)
    encoded: list[int] = []
    embed = SemanticSam.embed

    def counted(self: SemanticSam, *given: Any) -> Tensor:
        encoded.append(1)
        return embed(self, *given)

    monkeypatch.setattr(SemanticSam, "embed", counted)
    found = list(probabilities(model, lambda k: voxels[k], range(5), (1, 1), Windows()))
    assert len(encoded) == 5
    for first in (0, 2, 4):  # patches of four slices, whose two in the middle count
        near = [min(max(k, 0), 4) for k in range(first - 1, first + 3)]
        expected = model.on_slices([voxels[k] for k in near]).softmax(1)
        for k in range(first, min(first + 2, 5)):
            assert found[k][0] == k
            torch.testing.assert_close(found[k][1], expected[k - first + 1], rtol=0, atol=1e-5)


def test_uncertainty_is_entropy() -> None:
    chances = torch.tensor([[[1.0, 1 / 3]], [[0.0, 1 / 3]], [[0.0, 1 / 3]]])
    np.testing.assert_array_equal(uncertainty(chances), [[0, 255]])


@pytest.mark.parametrize("shape", [(50, 70), (4, 40, 33)])
def test_classes_become_objects_with_numbers_names_and_colours(shape: tuple[int, ...]) -> None:
    voxels = scene(*shape)
    voxels[..., 10:14, 12:18] = 150  # nothing of the second class
    image = Image.from_array(voxels, "CT", spacing=(1, 1, 2) if len(shape) == 3 else None)
    found = ClassSegmenter(Bright()).segment(
        image, SegmentOptions(window="255/127.5"), uncertain=True
    )
    first, second = found.result.segments
    assert (first.name, first.label, first.colour) == ("disc", 1, (230, 75, 53))
    assert (second.name, second.label, second.is_empty) == ("liver", 2, True)
    np.testing.assert_array_equal(first.mask(shape), voxels >= 100)
    assert found.uncertainty is not None
    assert found.uncertainty.shape == shape
    facts = found.result.provenance
    assert facts.model
    assert facts.model.name == "two-classes"


def test_mirror_images_are_noted_where_classes_have_sides(caplog: pytest.LogCaptureFixture) -> None:
    left = ClassFacts.of("left lung", (1, 2, 3))
    image = Image.from_array(scene(50, 70), "XR")
    for classes, noted in ((CARD.classes, False), ((left, *CARD.classes[1:]), True)):
        caplog.clear()
        segmenter = ClassSegmenter(Bright(replace(CARD, classes=classes)))
        result = segmenter.segment(image, windows=Windows(mirror=True)).result
        assert ("'left lung' into its other side" in caplog.text) == noted
        assert any("other side" in note for note in result.provenance.notes or ()) == noted


def test_slices_along_another_axis_and_in_a_range() -> None:
    voxels = scene(6, 40, 33)
    image = Image.from_array(voxels, "CT", spacing=(1, 1, 2))
    options = SegmentOptions(window="255/127.5", axis="y", slices="6:11")
    (first, second) = ClassSegmenter(Bright()).segment(image, options).result.segments
    inside = np.zeros(voxels.shape, bool)
    inside[:, 6:12] = True
    np.testing.assert_array_equal(
        first.mask(voxels.shape), (voxels >= 100) & (voxels < 200) & inside
    )
    np.testing.assert_array_equal(second.mask(voxels.shape), (voxels >= 200) & inside)


def test_grey_and_colour_are_both_taken(tmp_path: Path) -> None:
    write_model(tmp_path)
    segmenter = load_classes(tmp_path, device="cpu")
    grey = scene(50, 70)
    colour = np.repeat(grey[..., None], 3, axis=2)
    one, other = (segmenter.model.on_slices([v]) for v in (grey, colour))
    torch.testing.assert_close(one, other)
    found = segmenter.segment(Image.from_array(colour, "US")).result
    assert found.names == {1: "disc", 2: "liver"}


def test_an_image_of_one_value_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(InputError, match="more than one value"):
        load_classes(tmp_path, device="cpu").segment(Image.from_array(np.full((9, 9), 3), "US"))
