"""The main job: an image, prompts and a model go in; a segmentation on the image's grid comes out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.geometry import Axis, axis_position
from promptseg.image import Image, Segment, Segmentation
from promptseg.intensity import Intensity, choose_intensity
from promptseg.promptfile import prompts_to_json
from promptseg.prompts import Box, ObjectPrompts, Points, Prompt, group_by_object
from promptseg.segment.measure import measure
from promptseg.segment.options import SegmentOptions, parse_slices
from promptseg.segment.postprocess import fill_holes, largest_component, smooth_across_slices
from promptseg.segment.predictor import Predictor
from promptseg.segment.provenance import describe, object_facts
from promptseg.segment.stack import SliceStack
from promptseg.segment.volume import PropagationRule, SliceMasks, inside, propagate_box

__all__ = ["Segmenter", "load"]

log = logging.getLogger("promptseg")


def load(
    model: str | Path = "lite-medsam",
    *,
    device: str = "auto",
    threads: int | None = None,
    quiet: bool = True,
) -> Segmenter:
    """A model ready to segment.

    Args:
        model: a name (see `promptseg models`) or a checkpoint file.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: CPU threads; PROMPTSEG_THREADS if not given.
        quiet: no progress bar while weights are fetched.

    Raises:
        ModelError: unknown model or unusable checkpoint.
        AssetError: weights that cannot be obtained.
    """
    from promptseg.runtime import set_threads

    set_threads(threads)
    return Segmenter(Predictor.load(model, device, quiet))


class Segmenter:
    """Segments images with one model.

    The embeddings of the last image stay in memory, so that a second prompt on it is quick.

    Args:
        predictor: the model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._last: SliceStack | None = None

    def segment(
        self,
        image: Image,
        *prompts: Prompt,
        options: SegmentOptions | None = None,
        progress: Callable[[int, str], None] | None = None,
        **changes: Any,
    ) -> Segmentation:
        """Segment every prompted object of `image`.

        Args:
            image: picture or volume.
            prompts: boxes and clicks; those with one name make one object. Without any, those the
                file carries are used.
            options: how; see `SegmentOptions`.
            progress: called with the number of slices encoded and the object at work.
            changes: single options, over `options`: `segment(image, box, window="lung")`.

        Returns:
            One layer per object on the image's grid, with names, predicted IoU and measurements.

        Raises:
            PromptError: a prompt outside the image, or of a kind the model does not take.
            InputError: an option that does not fit the image.
        """
        options = replace(options or SegmentOptions(), **changes)
        clock = time.perf_counter()
        objects = group_by_object(prompts or image.source.prompts, image.geometry, options.axis)
        for entry in objects:
            self.predictor.require(entry.kinds, options.force)
        options = replace(options, axis=_common_axis(objects, options))
        axis = options.axis
        limits = parse_slices(options.slices, image.geometry.slice_count(axis))
        _check_range(objects, axis, limits)
        intensity = self.intensity(image, options)
        notes = list(image.source.notes)
        if intensity.guessed:
            notes.append(
                f"the file does not say its modality: {intensity.rule}; "
                "set --modality or --window if that is wrong"
            )
        for note in notes:
            log.warning("%s: %s", image.name, note)
        timings = {"prepare_s": time.perf_counter() - clock}

        clock = time.perf_counter()
        name_at_work = ""
        batch = options.batch or (8 if self.predictor.device.type == "cuda" else 1)
        stack = self._stack_of(image, axis, intensity, batch)
        encoded_before = stack.encoded
        if progress:
            stack.on_encoded = lambda done: progress(done - encoded_before, name_at_work)
        segments = []
        for label, entry in enumerate(objects, start=1):
            name_at_work = entry.name
            found = self._follow(stack, entry, options, limits)
            segments.append(_to_segment(entry.name, label, found, image, axis, options))
            if segments[-1].is_empty:
                log.warning("%s: nothing was found for %r", image.name, entry.name)
        timings["segment_s"] = time.perf_counter() - clock
        timings["slices_encoded"] = stack.encoded - encoded_before
        stack.on_encoded = None

        name = image.source.path.name if image.source.path else None
        provenance = describe(
            image,
            self.predictor,
            intensity,
            prompts_to_json(objects, axis, name),
            options.to_json(),
            notes,
            timings,
        )
        result = Segmentation(segments, image.geometry, image.source, provenance, image)
        provenance["objects"] = object_facts(result)
        return result

    def _stack_of(self, image: Image, axis: Axis, intensity: Intensity, batch: int) -> SliceStack:
        """The slices of `image`; those of the last call, with their embeddings, if it is the same."""
        last = self._last
        if (
            last is None
            or last.image is not image
            or (last.axis, last.intensity) != (axis, intensity)
        ):
            last = SliceStack(image, axis, intensity, self.predictor, batch)
        last.batch = batch
        self._last = last
        return last

    def intensity(self, image: Image, options: SegmentOptions) -> Intensity:
        """How the values of `image` become the 0..255 this model expects."""
        keep = self.predictor.card.keep_8bit
        return choose_intensity(image, options.modality, options.window, keep)

    def _follow(
        self,
        stack: SliceStack,
        entry: ObjectPrompts,
        options: SegmentOptions,
        limits: tuple[int, int],
    ) -> SliceMasks:
        """Masks of one object on every slice it reaches; the union over its prompts."""
        names = (f.name for f in fields(PropagationRule))
        rule = PropagationRule(**{name: getattr(options, name) for name in names})
        found = SliceMasks()
        for seed in _seeds(entry, stack.axis, limits):
            prediction = self.predictor.decode(
                stack.embedding(seed.slice),
                boxes=[seed.box.xyxy] if seed.box else None,
                points=([seed.points.xy], [seed.points.labels]) if seed.points else None,
            )
            mask = inside(prediction.masks[0], seed.bounds)
            found.add(seed.slice, mask, float(prediction.iou[0]))
            if len(stack) > 1 and options.propagate == "box":
                rest = propagate_box(stack, seed.slice, mask, rule, *seed.reach, seed.bounds)
                for index, other in rest.masks.items():
                    found.add(index, other, rest.quality[index])
        return found


@dataclass(frozen=True)
class _Seed:
    """Where an object starts: the prompts of one slice, and how far it may reach from there."""

    slice: int
    box: Box | None
    points: Points | None
    reach: tuple[int, int]
    bounds: tuple[float, float, float, float] | None = None


def _seeds(entry: ObjectPrompts, axis: Axis, limits: tuple[int, int]) -> list[_Seed]:
    """One seed per box (with the clicks of its slice), or per slice with clicks alone.

    A prompted slice is answered by its own prompts: what starts on another one ends before it.
    """
    seeds = []
    prompted = sorted({p.slice or 0 for p in entry.planar})
    for position, slice_ in enumerate(prompted):
        boxes: list[Box | None] = [b for b in entry.boxes if b.slice == slice_]
        points = _joined([p for p in entry.points if p.slice == slice_])
        if not boxes and points and not any(points.labels):
            raise PromptError(
                f"a box or a click inside {entry.name!r} on slice {slice_}",
                "clicks outside it alone",
                "put them on a slice with a box or a positive click",
            )
        below = prompted[position - 1] + 1 if position else limits[0]
        above = prompted[position + 1] - 1 if position + 1 < len(prompted) else limits[1]
        reach = (max(below, limits[0]), min(above, limits[1]))
        seeds += [_Seed(slice_, box, points, reach) for box in boxes or [None]]
    for box3d in entry.boxes3d:
        box, first, last = box3d.on_axis(axis)
        reach = (max(first, limits[0]), min(last, limits[1]))
        start = min(max(box.slice or 0, reach[0]), reach[1])
        seeds.append(_Seed(start, box, None, reach, box.xyxy))
    return seeds


def _joined(points: list[Points]) -> Points | None:
    if not points:
        return None
    xy = tuple(p for entry in points for p in entry.xy)
    labels = tuple(v for entry in points for v in entry.labels)
    return replace(points[0], xy=xy, labels=labels)


def _common_axis(objects: list[ObjectPrompts], options: SegmentOptions) -> Axis:
    axes = {p.axis for entry in objects for p in entry.planar if p.axis}
    if len(axes) > 1:
        raise PromptError(
            "prompts on slices of one axis", " and ".join(sorted(axes)), "run once per axis"
        )
    return axes.pop() if axes else options.axis


def _check_range(objects: list[ObjectPrompts], axis: Axis, limits: tuple[int, int]) -> None:
    first, last = limits
    for entry in objects:
        reaches = [(p.slice or 0, p.slice or 0) for p in entry.planar]
        reaches += [b.on_axis(axis)[1:] for b in entry.boxes3d]
        for low, high in reaches:
            if high < first or low > last:
                raise PromptError(
                    f"prompts within the slices {first}:{last}",
                    f"{entry.name!r} on slice {low}",
                    "widen --slices",
                )


def _to_segment(
    name: str, label: int, found: SliceMasks, image: Image, axis: Axis, options: SegmentOptions
) -> Segment:
    """Slice masks -> an object on the image's grid, cleaned up and measured."""
    quality = {k: round(v, 4) for k, v in sorted(found.quality.items())}
    if image.kind == "picture":
        mask = found.masks[0]
        offset = 0
    else:
        first, last = min(found.masks), max(found.masks)
        slices = np.zeros((last - first + 1, *next(iter(found.masks.values())).shape), dtype=bool)
        for k, part in found.masks.items():
            slices[k - first] = part
        mask, offset = np.moveaxis(slices, 0, axis_position(axis)), first
    if options.smooth_slices and image.kind == "volume":
        mask = smooth_across_slices(mask, options.smooth_slices, axis)
    if options.fill_holes:
        mask = fill_holes(mask, axis)
    if options.largest_component:
        mask = largest_component(mask)
    along = axis_position(axis) if image.kind == "volume" else None
    kept = {k: v for k, v in quality.items() if _slice_of(mask, along, k - offset).any()}
    segment = Segment.from_mask(name, label, mask, quality=kept)
    if along is not None:
        region = list(segment.region)
        region[along] = slice(region[along].start + offset, region[along].stop + offset)
        segment.region = tuple(region)
    segment.measurements = measure(segment, image.geometry, axis)
    return segment


def _slice_of(mask: NDArray[np.bool_], along: int | None, index: int) -> NDArray[np.bool_]:
    return mask if along is None else mask[(slice(None),) * along + (index,)]
