"""Algorithm 1 of MedicoSAM written down line by line, one object at a time, for comparison.

It shares nothing with the package but the network and the numbers drawn: no batching, plain loops,
NumPy for everything that is not the network.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch


def pixel(region: np.ndarray, u: float) -> tuple[int, int] | None:
    """x, y of the region's pixel number floor(u * n) in reading order."""
    places = np.argwhere(region)
    if len(places) == 0:
        return None
    y, x = places[min(math.floor(u * len(places)), len(places) - 1)]
    return int(x), int(y)


def surroundings(m: np.ndarray, height: int, width: int) -> np.ndarray:
    """Background in the object's box enlarged by a quarter of its longer side, within the image."""
    ys, xs = np.nonzero(m)
    reach = max(1, max(np.ptp(ys) + 1, np.ptp(xs) + 1) // 4)
    region = np.zeros_like(m)
    for y in range(max(0, ys.min() - reach), min(height, ys.max() + reach + 1)):
        for x in range(max(0, xs.min() - reach), min(width, xs.max() + reach + 1)):
            region[y, x] = not m[y, x]
    return region


def algorithm_1(sam: Any, batch: Any, u: Any, h: dict[str, Any], semantic: Any = None) -> Any:
    """The list L as (kind, loss) in order, for hyperparameters `h`."""
    side, grid = sam.prompt_encoder.image_size, batch.masks.shape[-1]
    embeddings = sam.image_encoder(batch.slices)  # line 3
    losses = []  # 4
    found: Any = None
    logits: Any = None
    for k in range(len(batch.masks)):  # 5
        image = int(batch.owner[k])
        height, width = (int(n) for n in batch.extent[image])
        m = batch.masks[k].numpy()
        inside = np.zeros_like(m)
        inside[:height, :width] = True
        to_input = lambda xy: [(v + 0.5) * side / grid - 0.5 for v in xy]  # noqa: E731
        points, labels, box, mask_prompt = [], [], None, None  # 6
        if u.box[k] < h["p_box"]:  # 7-8
            x0, y0, x1, y1 = (float(v) for v in batch.boxes[k])  # 9
            reach = h["distortion"] * side / 1024
            move = [float(d) * reach for d in u.distortion[k]]
            if h["sign"] == "either":
                move = [2 * d - reach for d in move]
            half = ((x1 - x0) / 2, (y1 - y0) / 2)
            move = [max(d, -half[i % 2]) for i, d in enumerate(move)]
            right, below = width * side / grid - 1, height * side / grid - 1
            box = [
                max(x0 - move[0], 0),
                max(y0 - move[1], 0),
                min(x1 + move[2], max(right, x1)),
                min(y1 + move[3], max(below, y1)),
            ]
        else:
            points.append(to_input(pixel(m, float(u.point[k]))))  # 11
            labels.append(1)
        for j in range(h["n_steps"] + 1):  # 22
            if j:
                r = u.clicks[k, j - 1]
                missing, false = m & ~found, ~m & found
                if h["points"]:
                    number = h["points"][int(u.count[j - 1] * len(h["points"]))]
                    for c in range(number):
                        x, y = pixel(missing | false, float(r[c])) or pixel(m, float(r[c]))
                        points.append(to_input((x, y)))
                        labels.append(int(m[y, x]))
                else:
                    positive = pixel(missing, float(r[0])) or pixel(m, float(r[0]))  # 23
                    points.append(to_input(positive))
                    labels.append(1)
                    negative = pixel(false, float(r[1])) or pixel(
                        surroundings(m, height, width), float(r[1])
                    )  # 24
                    points.append(to_input(negative) if negative else [0.0, 0.0])
                    labels.append(0 if negative else -1)
                mask_prompt = None  # 26
                if u.mask[k, j - 1] < h["p_mask"]:  # 25, 27
                    mask_prompt = logits.detach()  # 28
            with torch.set_grad_enabled(torch.is_grad_enabled() and (h["learn"] or j == 0)):
                sparse, dense = sam.prompt_encoder(  # 12
                    (torch.tensor([points]).float(), torch.tensor([labels]).float())
                    if points
                    else None,
                    None if box is None else torch.tensor([box]).float(),
                    mask_prompt,
                )
            single = len(points) == 1 and box is None and mask_prompt is None  # 13
            masks, ious = sam.mask_decoder(
                embeddings[image : image + 1],
                sam.prompt_encoder.dense_position(),
                sparse,
                dense,
                single,
            )  # 14, 17
            best = int(ious[0].argmax())  # 15
            logits = masks[:, best : best + 1]
            predicted = ious[0, best]
            fine = logits
            if fine.shape[-1] != grid:
                fine = torch.nn.functional.interpolate(fine, (grid, grid), mode="bilinear")
            fine = fine[0, 0]
            found = (fine.detach().numpy() > 0) & inside
            losses.append(("mask", loss_mask(fine, m, height, width, h["loss"])))  # 18
            if h["iou_loss"]:
                i = (found & m).sum() / (found | m).sum()  # 19
                losses.append(("iou", (predicted - float(i)) ** 2))  # 20-21
    if semantic is not None:  # 30
        for image in range(len(batch.extent)):
            height, width = (int(n) for n in batch.extent[image])
            fine = semantic(embeddings[image : image + 1])
            if fine.shape[-1] != grid:
                fine = torch.nn.functional.interpolate(fine, (grid, grid), mode="bilinear")
            union = batch.union[image].numpy()  # 31
            losses.append(
                ("semantic", loss_mask(fine[0, 0], union, height, width, h["loss"]))
            )  # 32-33
    return losses


def loss_mask(logits: torch.Tensor, m: np.ndarray, height: int, width: int, kind: str) -> Any:
    """MedSAM, equations 1 to 3, over the part of the grid that is image."""
    s = torch.sigmoid(logits[:height, :width])
    g = torch.from_numpy(m[:height, :width]).to(s.dtype)
    dice = 1 - 2 * (g * s).sum() / ((g**2).sum() + (s**2).sum())
    if kind == "dice":
        return dice
    return dice - (g * torch.log(s) + (1 - g) * torch.log(1 - s)).mean()
