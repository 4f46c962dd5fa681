"""The main job: an image, prompts and a model go in; a segmentation on the image's grid comes out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, PromptError
from promptseg.formats.promptfile import prompts_to_json
from promptseg.geometry import Axis
from promptseg.image import Image, Segment, Segmentation
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.inference.stack import SliceStack
from promptseg.intensity import Intensity, choose_intensity
from promptseg.models.cards import AUTO
from promptseg.models.choose import choose
from promptseg.models.protocol import Correction, SliceMasks, Tracker
from promptseg.notes import Note
from promptseg.prompts import ObjectPrompts, Prompt, group_by_object
from promptseg.provenance import Corrected
from promptseg.result import Result
from promptseg.segment.assemble import segment_of, slices_of
from promptseg.segment.choices import propagation_rule, resolved
from promptseg.segment.follow import seeds_of
from promptseg.segment.options import SegmentOptions, SliceOptions, parse_slices
from promptseg.segment.projection import kinds_of
from promptseg.segment.provenance import describe
from promptseg.segment.slice_to_slice import SliceToSlice, gathered

__all__ = ["Segmenter", "load"]

log = logging.getLogger("promptseg")


def load(
    model: str | Path = "lite-medsam",
    *,
    device: str = "auto",
    threads: int | None = None,
    engine: str | None = None,
    quiet: bool = True,
    embeddings: str | Path | None = None,
    embeddings_limit: float = 10.0,
    modality: str | None = None,
    prompts: Collection[str] = ("box",),
) -> Segmenter:
    """A model ready to segment.

    Args:
        model: a name (see `promptseg models`), a checkpoint file, NAME=FILE, or "auto" for the model
            at hand that did best (docs/recommend.md).
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: CPU threads; PROMPTSEG_THREADS if not given.
        engine: what executes the model (docs/engines.md); PROMPTSEG_ENGINE, then "auto", if not given.
        quiet: no progress bar while weights are fetched.
        embeddings: folder where embeddings are kept for later processes (docs/embeddings.md).
        embeddings_limit: GiB that may be kept there.
        modality: of the images, for "auto".
        prompts: kinds of prompts that will be given, for "auto".

    Raises:
        ModelError: unknown model or unusable checkpoint.
        AssetError: weights that cannot be obtained.
    """
    from promptseg.runtime import set_threads

    set_threads(threads)
    store = None if embeddings is None else EmbeddingStore(Path(embeddings), embeddings_limit)
    choice = choose(prompts, modality) if model == AUTO else None
    if choice:
        log.warning("auto chose %s", choice)
    predictor = Predictor.load(choice.model if choice else model, device, quiet, engine)
    predictor.choice = choice
    return Segmenter(predictor, store)


class Segmenter:
    """Segments images with one model.

    The embeddings of the last image stay in memory, so that a second prompt on it is quick.

    Args:
        predictor: the model.
        embeddings: where embeddings are kept on disk, if anywhere.
    """

    def __init__(self, predictor: Predictor, embeddings: EmbeddingStore | None = None) -> None:
        self.predictor, self.embeddings = predictor, embeddings
        self._last: SliceStack | None = None

    def segment(
        self,
        image: Image,
        *prompts: Prompt,
        options: SegmentOptions | None = None,
        progress: Callable[[int, str], None] | None = None,
        **changes: Any,
    ) -> Result:
        """Segment every prompted object of `image`.

        Args:
            image: picture or volume.
            prompts: boxes, clicks, masks and markers; those with one name make one object. Without
                any, those the file carries are used.
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
        run, segments = self.answered(image, prompts, options, progress)
        return self._finish(image, run, segments)

    def answered(
        self,
        image: Image,
        prompts: Iterable[Prompt],
        options: SegmentOptions,
        progress: Callable[[int, str], None] | None = None,
    ) -> tuple[_Run, list[Segment]]:
        """`segment` without the record of what made the masks, for one click of many."""
        given = tuple(prompts) or image.source.prompts
        run = self._prepare(image, given, options, progress)
        seeds = [seeds_of(entry, run.options.axis, run.limits) for entry in run.objects]
        conditions = [replace(s, object=n) for n, each in enumerate(seeds) for s in each]
        tracked = run.tracker.track(run.stack, conditions, run.turn_to)
        masks = gathered(tracked, len(seeds))
        segments = []
        for label, (entry, starts, found) in enumerate(
            zip(run.objects, seeds, masks, strict=True), start=1
        ):
            prompted = {s.slice for s in starts if not s.interpolated}
            clicked = {s.slice for s in starts if s.box is None and s.mask is None}
            segments.append(self._assembled(entry.name, label, found, run, prompted, clicked))
            if segments[-1].is_empty:
                log.warning("%s: nothing was found for %r", image.name, entry.name)
        run.stack.on_encoded = None
        return run, segments

    def correct(
        self,
        image: Image,
        segmentation: Segmentation,
        *prompts: Prompt,
        options: SegmentOptions | None = None,
        progress: Callable[[int, str], None] | None = None,
        **changes: Any,
    ) -> Result:
        """Correct objects of an existing segmentation with clicks, boxes or masks on any slice.

        Only what the prompts change is computed again; see `promptseg.segment.correct`.

        Args:
            image: the image that was segmented.
            segmentation: its objects so far, from here or from a file
                (`promptseg.jobs.existing.read_segmentation`). It is left as it is.
            prompts: named after the objects they correct; a name may be left out where there is one.
            options: how; see `SegmentOptions`.
            progress: called with the number of slices encoded and the object at work.
            changes: single options, over `options`.

        Returns:
            A new segmentation with all objects.

        Raises:
            PromptError: a prompt for an object there is not, outside the image, or of a kind the model
                does not take; a segmentation on another grid.
        """
        if not segmentation.geometry.agrees_with(image.geometry):
            raise PromptError(
                "a segmentation on the image's own grid",
                f"one of shape {segmentation.geometry.shape}, image {image.geometry.shape}, or at "
                "another place",
                "resample it to the image first",
            )
        options = replace(options or SegmentOptions(), **changes)
        run, segments = self.corrected(image, segmentation, prompts, options, progress)
        earlier = segmentation.provenance
        before = Corrected(
            output=earlier.output,
            created=earlier.created,
            prompts=earlier.prompts,
            corrects=None if earlier.corrects is None else earlier.corrects.to_json(),
        )
        return self._finish(image, run, segments, before)

    def corrected(
        self,
        image: Image,
        segmentation: Segmentation,
        prompts: Iterable[Prompt],
        options: SegmentOptions,
        progress: Callable[[int, str], None] | None = None,
    ) -> tuple[_Run, list[Segment]]:
        """`correct` without the record of what made the masks, for one click of many."""
        named = [_named(p, segmentation) for p in prompts]
        run = self._prepare(image, named, options, progress)
        segmentation = _along(segmentation, run.options.axis)
        corrections = {entry.name: entry for entry in run.objects}
        segments = []
        for old in segmentation.segments:
            entry = corrections.get(old.name)
            if entry is None:
                segments.append(old)
                continue
            run.turn_to(run.objects.index(entry))
            correction = Correction(
                entry,
                slices_of(old, image, run.options.axis),
                old.prompted,
                old.clicked,
                run.limits,
                run.options.agreement,
            )
            found = run.tracker.correct(run.stack, correction)
            prompted = {*old.prompted, *entry.slices}
            clicked = {*old.clicked} - (entry.slices - entry.clicked)
            segments.append(self._assembled(old.name, old.label, found, run, prompted, clicked))
        run.stack.on_encoded = None
        return run, segments

    def _prepare(
        self,
        image: Image,
        prompts: Iterable[Prompt],
        options: SegmentOptions,
        progress: Callable[[int, str], None] | None,
    ) -> _Run:
        """Check everything there is to check before the first slice is encoded."""
        clock = time.perf_counter()
        objects = group_by_object(prompts, image.geometry, options.axis)
        axis = _common_axis(objects, options)
        options = resolved(replace(options, axis=axis), self.predictor.card)
        mode = str(options.propagate)
        spreads = image.geometry.slice_count(options.axis) > 1 and mode != "none"
        for entry in objects:
            self.predictor.require(entry.kinds, options.force)
        if spreads:
            self.predictor.require(kinds_of(mode), options.force)
        limits = parse_slices(options.slices, image.geometry.slice_count(options.axis))
        _check_range(objects, options.axis, limits)
        intensity = self.intensity(image, options)
        notes = [*map(Note, image.source.notes), *intensity.notes()]
        if self._last is None or self._last.image is not image:  # once per image, not per prompt
            _require_contrast(image)
            for note in notes:
                log.warning("%s: %s", image.name, note)
        batch = options.batch or self.predictor.batch
        stack = self._stack_of(image, options.axis, intensity, batch)
        run = _Run(
            objects=objects,
            options=options,
            limits=limits,
            tracker=SliceToSlice(propagation_rule(options) if spreads else None),
            intensity=intensity,
            notes=notes,
            stack=stack,
            encoded_before=stack.encoded,
            recalled_before=stack.recalled,
            prepare_s=time.perf_counter() - clock,
        )
        stack.on_encoded = progress and (
            lambda done: progress(done - run.encoded_before, run.at_work)
        )
        return run

    def _assembled(
        self,
        name: str,
        label: int,
        found: SliceMasks,
        run: _Run,
        prompted: Iterable[int],
        clicked: Iterable[int],
    ) -> Segment:
        low, image = self.predictor.card.low_quality, run.stack.image
        segment = segment_of(name, label, found, image, run.options, low, prompted, clicked)
        if segment.doubtful:
            log.warning(
                "%s: low confidence in %r (predicted IoU %.2f): look at it",
                run.stack.image.name,
                name,
                segment.predicted_iou,
            )
        return segment

    def _finish(
        self,
        image: Image,
        run: _Run,
        segments: list[Segment],
        corrects: Corrected | None = None,
    ) -> Result:
        """The segments with what made them."""
        timings = {
            "prepare_s": run.prepare_s,
            "segment_s": time.perf_counter() - run.started,
            "slices_encoded": run.stack.encoded - run.encoded_before,
            "slices_recalled": run.stack.recalled - run.recalled_before,
        }
        name = image.source.path.name if image.source.path else None
        result = Result(segments, image.geometry, image.source, image=image)
        facts = describe(
            result,
            image,
            self.predictor,
            run.intensity,
            prompts_to_json(run.objects, run.options.axis, name),
            run.options.to_json(),
            run.notes,
            timings,
        )
        result.provenance = replace(facts, corrects=corrects)
        return result

    def _stack_of(self, image: Image, axis: Axis, intensity: Intensity, batch: int) -> SliceStack:
        """The slices of `image`; those of the last call, with their embeddings, if it is the same."""
        last = self._last
        if (
            last is None
            or last.image is not image
            or (last.axis, last.intensity) != (axis, intensity)
        ):
            last = SliceStack(image, axis, intensity, self.predictor, batch, store=self.embeddings)
        last.batch = batch
        self._last = last
        return last

    def intensity(self, image: Image, options: SliceOptions) -> Intensity:
        """How the values of `image` become the 0..255 this model expects."""
        keep = self.predictor.card.keep_8bit
        return choose_intensity(image, options.modality, options.window, keep)


@dataclass
class _Run:
    """One request, checked: what to do, on what, and what happened so far."""

    objects: list[ObjectPrompts]
    options: SegmentOptions
    limits: tuple[int, int]
    tracker: Tracker
    intensity: Intensity
    notes: list[Note]
    stack: SliceStack
    encoded_before: int
    recalled_before: int
    prepare_s: float
    at_work: str = ""
    started: float = field(default_factory=time.perf_counter)

    def turn_to(self, number: int) -> None:
        """Say which object is at work."""
        self.at_work = self.objects[number].name


def _named(prompt: Prompt, segmentation: Segmentation) -> Prompt:
    """The prompt under the name of the object it corrects."""
    names = [s.name for s in segmentation.segments]
    if prompt.name in names:
        return prompt
    if prompt.name is None and len(names) == 1:
        return replace(prompt, name=names[0])
    raise PromptError(
        f"a correction of {', '.join(names) or 'an object'}",
        f"one of {prompt.name!r}" if prompt.name else "one without a name",
        "name the object after =",
    )


def _along(segmentation: Segmentation, axis: Axis) -> Segmentation:
    """The segmentation as slices along `axis`: what is known of its slices along another is dropped."""
    options = segmentation.provenance.options
    if options is None or options.get("axis", axis) == axis:
        return segmentation
    segments = [replace(s, prompted=(), clicked=(), quality={}) for s in segmentation.segments]
    return replace(segmentation, segments=segments)


def _require_contrast(image: Image) -> None:
    low = image.voxels.min()
    if low == image.voxels.max():
        raise InputError(
            "an image with more than one value",
            f"every voxel of {image.name} is {low}",
            "check that it is the right file",
        )


def _common_axis(objects: list[ObjectPrompts], options: SegmentOptions) -> Axis:
    axes = {p.axis for entry in objects for p in (*entry.planar, *entry.boxes3d) if p.axis}
    if options.axis != "z":  # z is the default, and need not be what the user asked for
        axes.add(options.axis)
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
