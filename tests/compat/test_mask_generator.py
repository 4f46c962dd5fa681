"""Automatic masks: the official ones with MobileSAM's weights, and the functions behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from promptseg import compat
from promptseg.compat.masks import (
    coco_rle,
    crop_boxes,
    mask_boxes,
    mask_of_rle,
    non_maximum_suppression,
    point_grid,
    rle_of_mask,
    without_small_regions,
)
from promptseg.errors import InputError

DISC = (
    "TX1=\\16K4L4M2M4M2N2N2O0O2N2O0O2O0O2O000O2O000000000000000000000001N10001N101N101N2N101N2N2"
    "N3L3N3L4L5JkT1"
)
CORNER = "02nbj1"


def outlines(records: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    """What identifies a record apart from pixels that waver."""
    return [(*r["point_coords"][0], *r["crop_box"], r["predicted_iou"]) for r in records]


@pytest.mark.peer
@pytest.mark.weights
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"points_per_side": 4, "pred_iou_thresh": 0.7, "stability_score_thresh": 0.8},
        {
            "points_per_side": 3,
            "points_per_batch": 5,
            "pred_iou_thresh": 0.6,
            "stability_score_thresh": 0.7,
            "crop_n_layers": 1,
            "output_mode": "uncompressed_rle",
        },
    ],
    ids=["plain", "crops"],
)
def test_records_are_the_official_ones(
    ours: compat.Sam, official: Any, peer: Any, polyp: NDArray[np.uint8], options: dict[str, Any]
) -> None:
    mine = compat.SamAutomaticMaskGenerator(ours, **options).generate(polyp)
    theirs = peer.SamAutomaticMaskGenerator(official, **options).generate(polyp)
    assert len(theirs) > 2
    np.testing.assert_allclose(outlines(mine), outlines(theirs), atol=1e-3)
    for one, other in zip(mine, theirs, strict=True):
        assert one.keys() == other.keys()
        a, b = one["segmentation"], other["segmentation"]
        if isinstance(a, dict):
            assert a["size"] == b["size"]
            a, b = mask_of_rle(a), mask_of_rle(b)
        assert (a != b).sum() <= 2  # pixels whose logit is zero to 1e-4
        assert one["area"] == a.sum()
        assert np.abs(np.subtract(one["bbox"], other["bbox"])).max() <= 1
        assert one["stability_score"] == pytest.approx(other["stability_score"], abs=1e-3)


def test_small_regions_are_removed_from_every_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = compat.build_sam_vit_t()
    generator = compat.SamAutomaticMaskGenerator(
        model, points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0,
        min_mask_region_area=30, output_mode="coco_rle",
    )  # fmt: skip
    image = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    blobs = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(3, 64, 80)), (0, 2, 2))
    logits = torch.from_numpy(100 * blobs.astype(np.float32))

    def predict_torch(clicks: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
        n = len(clicks)
        return logits.expand(n, -1, -1, -1), torch.full((n, 3), 0.9), torch.zeros(0)

    monkeypatch.setattr(generator.predictor, "set_image", lambda image: None)
    monkeypatch.setattr(generator.predictor, "predict_torch", predict_torch)
    records = generator.generate(image)
    assert 1 <= len(records) <= 3
    for record in records:
        assert isinstance(record["segmentation"]["counts"], str)
    generator.output_mode = "binary_mask"
    for record in generator.generate(image):
        mask = record["segmentation"]
        for part in (mask, ~mask):
            regions, count = ndimage.label(part, np.ones((3, 3)))
            assert count == 1 or np.bincount(regions.ravel())[1:].min() >= 30


def test_grids_and_modes_are_checked() -> None:
    model = compat.build_sam_vit_t()
    with pytest.raises(InputError, match="either points_per_side or point_grids"):
        compat.SamAutomaticMaskGenerator(model, None)
    with pytest.raises(InputError, match="either points_per_side or point_grids"):
        compat.SamAutomaticMaskGenerator(model, 4, point_grids=[point_grid(2)])
    with pytest.raises(InputError, match="an output_mode out of binary_mask"):
        compat.SamAutomaticMaskGenerator(model, output_mode="png")


def test_run_lengths_there_and_back() -> None:
    rng = np.random.default_rng(3)
    for mask in (rng.random((7, 5)) > 0.5, np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        rle = rle_of_mask(mask)
        assert sum(rle["counts"]) == mask.size
        assert sum(rle["counts"][1::2]) == mask.sum()
        np.testing.assert_array_equal(mask_of_rle(rle), mask)
    assert rle_of_mask(np.array([[1, 0], [1, 1]], bool)) == {"size": [2, 2], "counts": [0, 2, 1, 1]}


def test_compressed_run_lengths_are_those_of_pycocotools() -> None:
    """Strings written down from pycocotools 2.0.11."""
    disc = np.hypot(*(np.indices((60, 90)) - [[[30]], [[45]]])) < 25
    assert coco_rle(rle_of_mask(disc)) == {"size": [60, 90], "counts": DISC}
    corner = np.zeros((300, 200), bool)
    corner[:2, :1] = True
    assert coco_rle(rle_of_mask(corner))["counts"] == CORNER


def test_boxes_of_masks() -> None:
    masks = torch.zeros(3, 20, 30, dtype=torch.bool)
    masks[0, 3:9, 4:21] = True
    masks[2, 19, 29] = True
    assert mask_boxes(masks).tolist() == [[4, 3, 20, 8], [0, 0, 0, 0], [29, 19, 29, 19]]
    assert mask_boxes(masks[:0]).shape == (0, 4)


def test_the_best_of_boxes_that_overlap_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 10]])
    assert non_maximum_suppression(boxes, np.array([0.5, 0.9, 0.7, 0.5]), 0.7) == [1, 2]
    assert non_maximum_suppression(boxes, np.array([0.5, 0.4, 0.7, 0.5]), 0.9) == [2, 0, 1]
    assert non_maximum_suppression(np.zeros((2, 4)), np.ones(2), 0.5) == [0, 1]
    assert non_maximum_suppression(np.zeros((0, 4)), np.zeros(0), 0.5) == []


def test_crops_cover_the_picture() -> None:
    crops = crop_boxes((300, 451), 2, 512 / 1500)
    assert [layer for _, layer in crops] == [0] + [1] * 4 + [2] * 16
    assert crops[0] == ((0, 0, 451, 300), 0)
    for layer in (1, 2):
        covered = np.zeros((300, 451), bool)
        for (x0, y0, x1, y1), own in crops:
            if own == layer:
                covered[y0:y1, x0:x1] = True
        assert covered.all()


def test_points_are_the_centres_of_cells() -> None:
    np.testing.assert_allclose(
        point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    )


def test_holes_are_filled_and_islands_dropped() -> None:
    mask = np.zeros((30, 30), bool)
    mask[5:20, 5:20] = True
    mask[8, 8] = False
    mask[25, 25] = True
    cleaned, changed = without_small_regions(mask, 4)
    assert changed
    assert cleaned[8, 8]
    assert not cleaned[25, 25]
    assert without_small_regions(cleaned, 4)[1] is False
    tiny = np.zeros((30, 30), bool)
    tiny[3, 3] = tiny[9, 9] = tiny[9, 10] = True
    cleaned, _ = without_small_regions(tiny, 50)
    assert cleaned.sum() == 2
    empty, changed = without_small_regions(np.zeros((5, 5), bool), 4)
    assert not empty.any()
    assert not changed
