"""`SamAutomaticMaskGenerator`: masks of everything, from a grid of clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from promptseg.compat.masks import (
    CropBox,
    coco_rle,
    crop_boxes,
    mask_boxes,
    mask_of_rle,
    non_maximum_suppression,
    point_grid,
    rle_of_mask,
    stability,
    without_small_regions,
)
from promptseg.compat.predictor import SamPredictor
from promptseg.compat.sam import Sam
from promptseg.errors import InputError

__all__ = ["SamAutomaticMaskGenerator"]

_OUTPUTS = ("binary_mask", "uncompressed_rle", "coco_rle")
_EDGE = 20  # pixels from a crop's border within which a mask counts as cut off


@dataclass(frozen=True)
class _Found:
    """One mask; coordinates are those of the whole image."""

    rle: dict[str, Any]
    box: list[int]
    quality: float
    stability: float
    point: list[float]
    crop: CropBox


class SamAutomaticMaskGenerator:
    """Clicks on a grid, keeps the masks that are good and stable, and of duplicates the best.

    Arguments and results are those of the official class; OpenCV and pycocotools are not needed.

    Args:
        model: of `sam_model_registry`.
        points_per_side: clicks along each side; None if `point_grids` says where.
        points_per_batch: clicks decoded at a time: the more, the more memory.
        pred_iou_thresh: predicted IoU above which a mask is kept.
        stability_score_thresh: stability from which on a mask is kept.
        stability_score_offset: how far the threshold of logits is moved for it.
        box_nms_thresh: IoU of boxes above which the worse of two masks of a crop goes.
        crop_n_layers: layers of crops that are searched too, the n-th with 2**n crops a side.
        crop_nms_thresh: as `box_nms_thresh`, between crops; smaller crops win.
        crop_overlap_ratio: overlap of the first layer's crops, as a fraction of the shorter side.
        crop_n_points_downscale_factor: the n-th layer has that to the n-th times fewer clicks a side.
        point_grids: (N, 2) x, y in [0, 1] for each layer, instead of `points_per_side`.
        min_mask_region_area: holes and islands of fewer pixels are removed.
        output_mode: "binary_mask", "uncompressed_rle" or "coco_rle".

    Raises:
        InputError: both or neither of the two grids, or an unknown output mode.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[NDArray[np.float64]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise InputError("either points_per_side or point_grids", "both or neither")
        if output_mode not in _OUTPUTS:
            raise InputError(f"an output_mode out of {', '.join(_OUTPUTS)}", repr(output_mode))
        if points_per_side is not None:
            sides = (
                int(points_per_side / crop_n_points_downscale_factor**layer)
                for layer in range(crop_n_layers + 1)
            )
            point_grids = [point_grid(side) for side in sides]
        assert point_grids is not None
        self.predictor = SamPredictor(model)
        self.point_grids = list(point_grids)
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode

    @torch.no_grad()
    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Return masks of everything that is found in an image.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            One record per mask: `segmentation` ((H, W) boolean, or run lengths), `area` in pixels,
            `bbox` XYWH, `predicted_iou`, `stability_score`, `point_coords` [[x, y]] of its click and
            `crop_box` XYWH of the crop it was found in.

        Raises:
            InputError: not such an image.
        """
        size = (image.shape[0], image.shape[1])
        crops = crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio)
        found = [mask for crop, layer in crops for mask in self._in_crop(image, crop, layer)]
        if len(crops) > 1:
            preferred = [1 / ((m.crop[2] - m.crop[0]) * (m.crop[3] - m.crop[1])) for m in found]
            found = _without_duplicates(found, preferred, self.crop_nms_thresh)
        if self.min_mask_region_area > 0:
            found = self._without_small_regions(found)
        return [self._record(mask) for mask in found]

    def _in_crop(self, image: NDArray[np.uint8], crop: CropBox, layer: int) -> list[_Found]:
        x0, y0, x1, y1 = crop
        self.predictor.set_image(image[y0:y1, x0:x1])
        points = self.point_grids[layer] * (x1 - x0, y1 - y0)
        found = []
        for start in range(0, len(points), self.points_per_batch):
            batch = points[start : start + self.points_per_batch]
            found += self._of_clicks(batch, crop, (image.shape[0], image.shape[1]))
        self.predictor.reset_image()
        return _without_duplicates(found, [m.quality for m in found], self.box_nms_thresh)

    def _of_clicks(
        self, points: NDArray[np.float64], crop: CropBox, size: tuple[int, int]
    ) -> list[_Found]:
        """Masks worth keeping of (N, 2) clicks, x and y in pixels of the crop."""
        x0, y0, x1, y1 = crop
        scaled = self.predictor.transform.apply_coords(points, (y1 - y0, x1 - x0))
        clicks = torch.as_tensor(scaled, dtype=torch.float).to(self.predictor.device)[:, None]
        labels = torch.ones(clicks.shape[:2], dtype=torch.int, device=clicks.device)
        masks, quality, _ = self.predictor.predict_torch(clicks, labels, return_logits=True)
        logits, quality = masks.flatten(0, 1), quality.flatten()
        origin = torch.arange(len(points), device=clicks.device).repeat_interleave(masks.shape[1])

        if self.pred_iou_thresh > 0:
            good = quality > self.pred_iou_thresh
            logits, quality, origin = logits[good], quality[good], origin[good]
        threshold = self.predictor.model.mask_threshold
        stable = stability(logits, threshold, self.stability_score_offset)
        if self.stability_score_thresh > 0:
            good = stable >= self.stability_score_thresh
            logits, quality, origin, stable = (
                logits[good],
                quality[good],
                origin[good],
                stable[good],
            )

        inside = logits > threshold
        boxes = mask_boxes(inside) + torch.tensor([x0, y0, x0, y0], device=inside.device)
        whole = ~_is_cut_off(boxes, crop, size)
        full = F.pad(inside[whole], (x0, size[1] - x1, y0, size[0] - y1))
        return [
            _Found(rle_of_mask(mask), box, score, steady, [x + x0, y + y0], crop)
            for mask, box, score, steady, (x, y) in zip(
                full.cpu().numpy(),
                boxes[whole].tolist(),
                quality[whole].tolist(),
                stable[whole].tolist(),
                points[origin[whole].cpu().numpy()].tolist(),
                strict=True,
            )
        ]

    def _without_small_regions(self, found: list[_Found]) -> list[_Found]:
        """Masks cleaned up; of those that are the same now, one that was clean before stays."""
        cleaned, untouched = [], []
        for entry in found:
            mask, changed = without_small_regions(mask_of_rle(entry.rle), self.min_mask_region_area)
            if changed:
                box = mask_boxes(torch.from_numpy(mask)[None])[0].tolist()
                entry = replace(entry, rle=rle_of_mask(mask), box=box)
            cleaned.append(entry)
            untouched.append(float(not changed))
        threshold = max(self.box_nms_thresh, self.crop_nms_thresh)
        return _without_duplicates(cleaned, untouched, threshold)

    def _record(self, mask: _Found) -> dict[str, Any]:
        convert = {"binary_mask": mask_of_rle, "coco_rle": coco_rle}.get(self.output_mode)
        return {
            "segmentation": convert(mask.rle) if convert else mask.rle,
            "area": sum(mask.rle["counts"][1::2]),
            "bbox": _xywh(mask.box),
            "predicted_iou": mask.quality,
            "point_coords": [mask.point],
            "stability_score": mask.stability,
            "crop_box": _xywh(mask.crop),
        }


def _without_duplicates(
    found: list[_Found], scores: Sequence[float], threshold: float
) -> list[_Found]:
    boxes = np.array([mask.box for mask in found])
    return [found[k] for k in non_maximum_suppression(boxes, np.array(scores), threshold)]


def _is_cut_off(boxes: Tensor, crop: CropBox, size: tuple[int, int]) -> Tensor:
    """(N, 4) boxes -> (N,) whether one comes near a border of the crop that is none of the image."""
    borders = boxes.new_tensor([crop, (0, 0, size[1], size[0])])
    near = (boxes[:, None] - borders).abs() <= _EDGE
    return (near[:, 0] & ~near[:, 1]).any(dim=1)


def _xywh(box: Sequence[int]) -> list[int]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]
