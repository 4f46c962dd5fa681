"""From the prompts of one object to its masks on every slice it reaches."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from promptseg.errors import PromptError
from promptseg.geometry import Axis
from promptseg.prompts import Box, Marker, Mask, ObjectPrompts, Points, box_of_mask
from promptseg.segment.projection import Bounds, logits_of_mask
from promptseg.segment.stack import SliceStack
from promptseg.segment.volume import Answer, PropagationRule, SliceMasks, ask, propagate

__all__ = ["Seed", "answer_seed", "boxes_between", "follow", "seeds_of"]


@dataclass(frozen=True)
class Seed:
    """Where (a part of) an object starts: what was prompted on one slice.

    Attributes:
        slice: the slice.
        box: a rectangle on it.
        points: the clicks on it.
        mask: a mask on it.
        reach: first and last slice it may spread to.
        bounds: XYXY that boxes and masks never leave.
    """

    slice: int
    box: Box | None = None
    points: Points | None = None
    mask: Mask | None = None
    reach: tuple[int, int] = (0, 0)
    bounds: Bounds | None = None


def follow(
    stack: SliceStack,
    entry: ObjectPrompts,
    rule: PropagationRule | None,
    limits: tuple[int, int],
) -> SliceMasks:
    """Masks of one object on every slice it reaches; the union over its seeds.

    Args:
        stack: the slices.
        entry: the object's prompts, placed.
        rule: how masks reach other slices; None leaves every mask on its own slice.
        limits: first and last slice that may be segmented.
    """
    found = SliceMasks()
    for seed in seeds_of(entry, stack.axis, limits):
        answer = answer_seed(stack, seed)
        found.add(seed.slice, answer)
        if rule is None or len(stack) == 1:
            continue
        for step, end in ((1, seed.reach[1]), (-1, seed.reach[0])):
            way = range(seed.slice + step, end + step, step)
            rest = propagate(stack, answer, way, end, rule, seed.bounds)
            for index, mask in rest.masks.items():
                found.add(index, Answer(mask, rest.quality[index]))
    return found


def answer_seed(stack: SliceStack, seed: Seed) -> Answer:
    """The model's answer on the seed's slice; a drawn mask is its own answer."""
    prompt: dict[str, Any] = {}
    if seed.mask is not None:
        if seed.mask.as_drawn:
            return Answer(seed.mask.pixels)
        prompt["mask_logits"] = logits_of_mask(seed.mask.pixels, stack.embedding(seed.slice).frame)
        if "box" in stack.predictor.card.prompts:
            prompt["boxes"] = [box_of_mask(seed.mask.pixels)]
    if seed.box is not None:
        prompt["boxes"] = [seed.box.xyxy]
    if seed.points is not None:
        prompt["points"] = ([seed.points.xy], [seed.points.labels])
    return ask(stack, seed.slice, prompt, bounds=seed.bounds)


def seeds_of(entry: ObjectPrompts, axis: Axis, limits: tuple[int, int]) -> list[Seed]:
    """One seed per box or mask (with the clicks of its slice), or per slice with clicks alone.

    A prompted slice is answered by its own prompts; between two of them the object is what is found
    from either side. Markers give every slice from the first to the last a box of its own.

    Raises:
        PromptError: clicks outside the object alone.
    """
    parts: dict[int, list[Seed]] = defaultdict(list)
    for mask in entry.masks:
        parts[mask.slice or 0].append(Seed(mask.slice or 0, mask=mask))
    for box in entry.boxes:
        parts[box.slice or 0].append(Seed(box.slice or 0, box=box))
    for slice_, points in joined_points(entry.points).items():
        if slice_ not in parts and not any(points.labels):
            raise PromptError(
                f"a box or a click inside {entry.name!r} on slice {slice_}",
                "clicks outside it alone",
                "put them on a slice with a box or a positive click",
            )
        parts[slice_] = [replace(s, points=points) for s in parts[slice_]] or [
            Seed(slice_, points=points)
        ]
    prompted = sorted(parts)
    seeds = []
    for position, slice_ in enumerate(prompted):
        below = prompted[position - 1] + 1 if position else limits[0]
        above = prompted[position + 1] - 1 if position + 1 < len(prompted) else limits[1]
        reach = (max(below, limits[0]), min(above, limits[1]))
        seeds += [replace(s, reach=reach) for s in parts[slice_]]
    for box3d in entry.boxes3d:
        box, first, last_slice = box3d.on_axis(axis)
        reach = (max(first, limits[0]), min(last_slice, limits[1]))
        start = min(max(box.slice or 0, reach[0]), reach[1])
        seeds.append(Seed(start, box=box, reach=reach, bounds=box.xyxy))
    marked = boxes_between(entry.markers)
    seeds += [
        Seed(k, box=b, reach=(k, k)) for k, b in marked.items() if limits[0] <= k <= limits[1]
    ]
    return seeds


def boxes_between(markers: list[Marker]) -> dict[int, Box]:
    """Marker lines -> a box on every slice from the first marked one to the last.

    The three automatic steps of MedSAM's annotation study: rectangles that cover the lines, linear
    interpolation of the rectangles over the slices between, boxes.
    """
    rectangles: dict[int, np.ndarray] = {}
    for marker in markers:
        k, new = marker.slice or 0, np.array(marker.rectangle, dtype=float)
        if k in rectangles:
            old = rectangles[k]
            new = np.concatenate([np.minimum(old[:2], new[:2]), np.maximum(old[2:], new[2:])])
        rectangles[k] = new
    marked = sorted(rectangles)
    if not marked:
        return {}
    slices = range(marked[0], marked[-1] + 1)
    sides = np.stack([rectangles[k] for k in marked])
    between = np.stack([np.interp(slices, marked, side) for side in sides.T], axis=1)
    name, axis = markers[0].name, markers[0].axis
    return {
        k: Box((math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)), k, name, axis)
        for k, (x0, y0, x1, y1) in zip(slices, between.tolist(), strict=True)
    }


def joined_points(points: list[Points]) -> dict[int, Points]:
    """Clicks by slice."""
    found: dict[int, Points] = {}
    for entry in points:
        k = entry.slice or 0
        if k in found:
            entry = replace(entry, xy=found[k].xy + entry.xy, labels=found[k].labels + entry.labels)
        found[k] = entry
    return found
