"""Objects followed with memory: real bank and tracker, with a network whose masks are known."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as PilImage

import promptseg
from conformance.bright_memory import BrightNetwork, bright_memory
from fakes import BrightPredictor
from promptseg.cli.main import main
from promptseg.errors import InputError, ModelError, UnsupportedPromptError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity
from promptseg.jobs.export import export_model
from promptseg.models.card import ModelCard
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2 import build
from promptseg.models.preprocess import Preprocessing
from promptseg.models.protocol import ConditioningPrompt, Resumable
from promptseg.prompts import Box, Box3D, Mask, Points
from promptseg.runtime.machine import version_of
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session
from promptseg.segment.volume import PropagationRule
from promptseg.segment.with_memory import WithMemory
from small_sam2 import SHAPE as SMALL
from small_sam2 import small_sam2

SHAPE = (12, 24, 40)
BOX = (5, 6, 12, 14)
AS_IT_IS = Intensity("US", "unchanged")


def truth() -> np.ndarray:
    """A block that moves to the right, one pixel a slice, and is not there on slices 6 and 7."""
    mask = np.zeros(SHAPE, dtype=bool)
    for k in set(range(SHAPE[0])) - {6, 7}:
        mask[k, 6:15, 3 + k : 11 + k] = True
    return mask


def image(mask: np.ndarray, moving: bool = False) -> Image:
    voxels = np.where(mask, 200, 20).astype(np.uint8)
    grid = Geometry.pixels(mask.shape) if moving else Geometry.from_spacing(mask.shape)
    return Image(voxels, grid, "US", video=moving)


def network(segmenter: Segmenter) -> BrightNetwork:
    found = segmenter.predictor.model.network  # type: ignore[attr-defined]
    assert isinstance(found, BrightNetwork)
    return found


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter(bright_memory())


def test_memory_is_the_models_own_choice(segmenter: Segmenter) -> None:
    result = segmenter.segment(image(truth()), Box(BOX, 2, "block"))
    assert result.provenance.options is not None
    assert result.provenance.options["propagate"] == "memory"


def test_an_object_of_a_volume_ends_where_it_vanishes(segmenter: Segmenter) -> None:
    found = segmenter.segment(image(truth()), Box(BOX, 2, "block"))["block"]
    np.testing.assert_array_equal(found[:6], truth()[:6])
    assert not found[6:].any()


def test_an_object_of_a_video_comes_back(segmenter: Segmenter) -> None:
    found = segmenter.segment(image(truth(), moving=True), Box(BOX, 2, "block"))["block"]
    np.testing.assert_array_equal(found, truth())


@pytest.mark.parametrize("start", [0, 5, 11])
def test_it_is_followed_to_both_sides_of_any_slice(segmenter: Segmenter, start: int) -> None:
    mask = truth()
    mask[6], mask[7] = np.roll(mask[5], 1, 1), np.roll(mask[5], 2, 1)
    box = (3 + start, 6, 10 + start, 14)
    found = segmenter.segment(image(mask), Box(box, start, "block"))["block"]
    np.testing.assert_array_equal(found, mask)


def test_every_kind_of_prompt_starts_an_object(segmenter: Segmenter) -> None:
    mask = truth()
    prompts = [
        Box(BOX, 2, "box"),
        Points(((8.0, 9.0),), (1,), 3, "click"),
        Mask(mask[4], 4, "drawn", as_drawn=True),
        Mask(mask[4], 4, "hint"),
        Box3D((3, 6, 1, 16, 14, 4), "room"),
    ]
    result = segmenter.segment(image(mask), *prompts)
    for name in ("box", "click", "drawn", "hint"):
        np.testing.assert_array_equal(result[name][:6], mask[:6])
    np.testing.assert_array_equal(result["room"][1:5], mask[1:5])
    assert not result["room"][5:].any()


def test_what_lies_between_two_prompted_slices_is_found_from_either(segmenter: Segmenter) -> None:
    """The way up ends on slice 6; the way down from slice 10 goes as far as there is something."""
    mask = truth()
    prompts = [Box(BOX, 2, "block"), Box((13, 6, 20, 14), 10, "block")]
    found = segmenter.segment(image(mask), *prompts)["block"]
    np.testing.assert_array_equal(found, mask)


def test_two_boxes_of_one_object_meet_without_a_hole(segmenter: Segmenter) -> None:
    """Where nothing reaches, a way ends; it does not take the first slice that the next box reaches."""
    mask = np.zeros((16, 24, 40), dtype=bool)
    mask[:6, 4:10, 4:12] = mask[10:, 14:20, 24:34] = True
    boxes = [
        Box3D((4, 4, 0, 11, 9, 5), "lesion"),
        Box3D((24, 14, 10, 33, 19, 15), "lesion"),
    ]
    found = segmenter.segment(image(mask), *boxes)["lesion"]
    np.testing.assert_array_equal(found, mask)


def test_what_one_way_rejects_is_left_to_the_other(segmenter: Segmenter) -> None:
    """From below slice 5 has grown too much, from above it is as large as slice 6."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 6:15, 3:11] = mask[5:, 6:15, 3:35] = True
    prompts = [Box((3, 6, 10, 14), 2, "block"), Box((3, 6, 34, 14), 9, "block")]
    found = segmenter.segment(image(mask), *prompts)["block"]
    np.testing.assert_array_equal(found, mask)


def test_two_things_said_of_one_slice_are_both_remembered(segmenter: Segmenter) -> None:
    mask = truth()
    mask[:, 18:22, 2:30] = True
    prompts = [Box(BOX, 2, "block"), Box((2, 18, 29, 21), 2, "block")]
    found = segmenter.segment(image(mask), *prompts, min_area=0)["block"]
    np.testing.assert_array_equal(found[:6], mask[:6])


def test_a_frame_looks_at_the_nearest_prompted_ones_and_at_six_more(segmenter: Segmenter) -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 6:15, 3:11] = True
    prompts = [Box((3, 6, 10, 14), k, "block") for k in (0, 9, 10, 11)]
    found = segmenter.segment(image(mask), *prompts)["block"]
    np.testing.assert_array_equal(found, mask)
    looked = network(segmenter).looked
    assert looked[0] == (0, 0, 0, 0)
    assert looked[-1] == (0, 0, 0, 0, 6, 5, 4, 3, 2, 1)
    assert len(looked) == 8  # each slice between is followed once


def test_a_correction_lasts(segmenter: Segmenter) -> None:
    """Another correction elsewhere, and undo, leave it as it is."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 6:15, 3:11] = mask[:, 6:15, 20:30] = True
    wanted = mask.copy()
    wanted[:, :, :18] = False
    session = Session(segmenter, image(mask), SegmentOptions(max_growth=99, min_area=0))
    session.add_box((3, 6, 29, 14), slice=0)
    np.testing.assert_array_equal(session.result()["object 1"], mask)
    session.add_point((6, 9), slice=6, positive=False)
    after = session.result()["object 1"]
    np.testing.assert_array_equal(after[6:], wanted[6:])
    np.testing.assert_array_equal(after[0], mask[0])
    session.add_mask(mask[11], slice=11)
    again = session.result()["object 1"]
    np.testing.assert_array_equal(again[6], wanted[6])
    np.testing.assert_array_equal(again[11], mask[11])
    assert session.undo()
    np.testing.assert_array_equal(session.result()["object 1"], after)


def test_a_correction_encodes_what_it_can_change_and_no_more(segmenter: Segmenter) -> None:
    mask = truth()[:6]
    volume = image(mask)
    result = segmenter.segment(volume, Box(BOX, 2, "block"))
    fresh = Segmenter(bright_memory())
    corrected = fresh.correct(volume, result, Points(((8.0, 9.0),), (1,), 3, "block"))
    np.testing.assert_array_equal(corrected["block"], mask)
    assert (
        corrected.provenance.timings["slices_encoded"] == 3
    )  # 3, the settled 2, and 4 that agrees


def test_a_click_far_from_all_prompts_sees_the_last_six_slices_again(segmenter: Segmenter) -> None:
    """They are encoded once more, and nothing else but what the click can change."""
    mask = np.zeros((60, 24, 40), dtype=bool)
    mask[:, 6:15, 3:11] = True
    volume = image(mask)
    result = segmenter.segment(volume, Box((3, 6, 10, 14), 0, "block"))
    fresh = Segmenter(bright_memory())
    corrected = fresh.correct(volume, result, Points(((8.0, 9.0),), (1,), 40, "block"))
    np.testing.assert_array_equal(corrected["block"], mask)
    assert network(fresh).looked[0] == (0, 6, 5, 4, 3, 2, 1)
    # the prompted slice, the last six, the clicked one, and its neighbours, which agree
    assert corrected.provenance.timings["slices_encoded"] == 1 + 6 + 1 + 1
    down = Segmenter(bright_memory())
    above = segmenter.segment(volume, Box((3, 6, 10, 14), 59, "block"))
    down.correct(volume, above, Points(((8.0, 9.0),), (1,), 40, "block"))
    assert network(down).looked[0] == (0, 6, 5, 4, 3, 2, 1)
    alone = Segmenter(bright_memory())
    result.segments[0].prompted = ()  # as of a file that does not say so: the way is not known
    alone.correct(volume, result, Points(((8.0, 9.0),), (1,), 40, "block"))
    assert network(alone).looked[0] == (0,)


def test_a_correction_of_a_video_reaches_past_where_the_object_is_hidden(
    segmenter: Segmenter,
) -> None:
    """Two things, the right one of which was not meant; both are away on frames 6 and 7."""
    both = truth()
    both[:, 18:22, 2:30] = truth().any((1, 2))[:, None, None]
    options = SegmentOptions(max_growth=99, min_area=0)
    session = Session(segmenter, image(both, moving=True), options)
    session.add_box((2, 6, 29, 21), slice=0)
    np.testing.assert_array_equal(session.result()["object 1"], both)
    session.add_point((10, 20), positive=False, slice=3)
    after = session.result()["object 1"]
    np.testing.assert_array_equal(after[2:], truth()[2:])
    np.testing.assert_array_equal(after[0], both[0])
    assert session.undo()
    np.testing.assert_array_equal(session.result()["object 1"], both)


def test_a_frame_corrected_to_nothing_ends_no_object_of_a_video(segmenter: Segmenter) -> None:
    """On frame 7 something else was taken for the object, which is hidden and comes back on 8."""
    shown = truth()
    shown[7, 6:15, 8:16] = True
    video = image(shown, moving=True)
    first = segmenter.segment(video, Box(BOX, 2, "block"))
    np.testing.assert_array_equal(first["block"], shown)
    fixed = segmenter.correct(video, first, Points(((12.0, 9.0),), (0,), 7, "block"))
    np.testing.assert_array_equal(fixed["block"], truth())


@pytest.mark.parametrize("moving", [False, True])
def test_a_run_that_was_put_aside_goes_on_as_if_it_had_not_been(moving: bool) -> None:
    """At every frame the state goes through bytes into another tracker, which does the rest."""
    mask = truth()
    mask[:, 18:22, 2:30] = True
    mask[7:9] = False
    conditions = [
        ConditioningPrompt(3, box=Box((6, 6, 13, 14), 3), reach=(1, 10)),
        ConditioningPrompt(8, box=Box((11, 6, 18, 14), 8), reach=(0, 11), object=1),
        ConditioningPrompt(10, box=Box((2, 18, 29, 21), 10), reach=(0, 11), object=1),
    ]

    def frames() -> Any:
        embedded = EmbeddedImage(image(mask, moving), "z", AS_IT_IS, bright_memory())
        return embedded.visit()

    def tracker(visit: Any) -> WithMemory:
        return WithMemory(visit.predictor.model, None if moving else PropagationRule())

    def told(found: Any) -> list[Any]:
        return [(t.frame, t.object, t.answer.mask.tobytes(), t.answer.iou) for t in found]

    visit = frames()
    assert isinstance(tracker(visit), Resumable)
    whole = [told(found) for found in tracker(visit).begin(visit, conditions)]
    assert len({frame for each in whole for frame, *_ in each}) >= 8
    for stop in range(len(whole) + 1):
        visit = frames()
        first = tracker(visit).begin(visit, conditions)
        done = [told(next(first)) for _ in range(stop)]
        content = io.BytesIO()
        np.savez(content, **first.state())
        visit = frames()
        with np.load(io.BytesIO(content.getvalue()), allow_pickle=False) as state:
            since = {k: state[k] for k in state.files}
        done += [told(found) for found in tracker(visit).begin(visit, conditions, since=since)]
        assert done == whole


def test_more_objects_than_fit_into_memory_are_refused_with_what_to_lower(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptseg.segment.with_memory.available_bytes", lambda: 2 << 20)
    boxes = [Box(BOX, 2, "one"), Box(BOX, 3, "two")]
    segmenter.segment(image(truth()), boxes[0])
    with pytest.raises(InputError, match=r"got 2 objects of about 2 MiB each; propagate fewer"):
        segmenter.segment(image(truth()), *boxes)


def test_memory_of_a_model_without_one_is_refused_by_name() -> None:
    segmenter = Segmenter(BrightPredictor(card="mobile-sam"))
    with pytest.raises(InputError, match=r"a model with memory, such as sam2-t.*for mobile-sam"):
        segmenter.segment(image(truth()), Box(BOX, 2), propagate="memory")
    assert not segmenter.predictor.model.encoded  # type: ignore[attr-defined]


def test_other_modes_work_too(segmenter: Segmenter) -> None:
    for mode in ("box", "box+mask", "points"):
        found = segmenter.segment(
            image(truth()), Box(BOX, 2, "block"), propagate=mode, margin=0.1, margin_pixels=1
        )
        np.testing.assert_array_equal(found["block"][:6], truth()[:6])
    only = segmenter.segment(image(truth()), Box(BOX, 2, "block"), propagate="none")["block"]
    np.testing.assert_array_equal(np.flatnonzero(only.any((1, 2))), [2])


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of a small SAM 2, which is registered as a model."""
    common = {f: getattr(CARDS["sam2.1-t"], f) for f in ModelCard.__dataclass_fields__}
    card = ModelCard(**{
        **common,
        "name": "small-sam2",
        "build": "small",
        "preprocessing": Preprocessing(128, "imagenet", "stretch"),
    })  # fmt: skip
    monkeypatch.setitem(build.SHAPES, "small", SMALL)
    monkeypatch.setitem(CARDS, card.name, card)
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    path = tmp_path / "small.pt"
    tensors = small_sam2().state_dict()
    torch.save({"model": {f"module.{k}": v for k, v in tensors.items()}}, path)
    return path


def test_a_checkpoint_goes_through_the_house(small: Path, tmp_path: Path) -> None:
    """Pictures, volumes, evaluation, an engine; what needs a SAM is refused by name."""
    predictor = Predictor.load(small, "cpu")
    assert (predictor.card.name, predictor.engine) == ("small-sam2", "eager")
    picture = tmp_path / "picture.png"
    PilImage.fromarray(image(truth()).voxels[2]).save(picture)
    data = tmp_path / "data" / "us__block"
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    volume = data / "images" / "p1.nii.gz"
    nib.save(nib.Nifti1Image(image(truth()).voxels.T, np.eye(4)), volume)
    masks = truth().astype(np.uint8).T
    nib.save(nib.Nifti1Image(masks, np.eye(4)), data / "masks" / "p1.nii.gz")
    how = ["--model", str(small), "--quiet", "--device", "cpu"]
    for source, where in ((picture, "5,6,12,14"), (volume, "5,6,12,14@2=block")):
        out = tmp_path / f"mask of {source.name}"
        assert main(["segment", "-i", str(source), "-o", str(out), "--box", where, *how]) == 0
        facts = json.loads(out.with_name(f"{out.name}.json").read_text())
        assert facts["model"]["name"] == "small-sam2"
        assert facts["options"]["propagate"] == "memory"
    out = tmp_path / "rows"
    command = ["evaluate", "-i", str(data), "-o", str(out), "--protocol", "3d", *how]
    assert main(command) == 0
    assert len((out / "rows.csv").read_text().splitlines()) > 1
    fast = Predictor.load(small, "cpu", engine="openvino")
    assert fast.engine == ("openvino" if version_of("openvino") else "eager")
    with pytest.raises(ModelError, match=r"a SAM, which can be exported.*small-sam2"):
        export_model(small, tmp_path / "exported", "openvino")
    with pytest.raises(UnsupportedPromptError, match="a text"):
        promptseg.load(small, device="cpu").predictor.require({"text"})
