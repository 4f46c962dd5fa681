"""The main job: an image, prompts and a model go in; a segmentation on the image's grid comes out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from promptseg._moved import old_method
from promptseg.errors import InputError, PromptError
from promptseg.formats.promptfile import prompts_to_json
from promptseg.geometry import Axis
from promptseg.image import Image, Segment, Segmentation
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity, choose_intensity
from promptseg.models.cards import AUTO
from promptseg.models.choose import choose
from promptseg.models.protocol import ConditioningPrompt, Correction, SliceMasks
from promptseg.prompts import Points, Prompt, Text, group_by_object
from promptseg.provenance import Corrected
from promptseg.result import Result
from promptseg.segment.assemble import segment_of, slices_of
from promptseg.segment.by_words import found_by_words
from promptseg.segment.multimask import MaskCandidate, multimask_output
from promptseg.segment.opened import Recent, intensity_for, notes_on, open_image, require_fit
from promptseg.segment.options import SegmentOptions, SliceOptions
from promptseg.segment.provenance import describe
from promptseg.segment.run import Run, axis_of_run
from promptseg.segment.slice_to_slice import SliceToSlice, gathered

__all__ = ["Segmenter", "corrected", "load", "named_after", "segmented"]

log = logging.getLogger("promptseg")

_MOST_TOGETHER = 256  # objects whose masks are held as whole slices


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
    start_model: str | Path | None = None,
) -> Segmenter:
    """Load a model, ready to segment.

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
        start_model: another model, which answers the prompts; `model` follows its masks.

    Raises:
        ModelError: unknown model or unusable checkpoint.
        AssetError: weights that cannot be obtained.

    Examples:
        >>> import promptseg
        >>> segmenter = promptseg.load("lite-medsam")  # fetched once, then from the cache
        >>> sorted(segmenter.predictor.card.prompts)
        ['box']
    """
    from promptseg.runtime import set_threads

    set_threads(threads)
    store = None if embeddings is None else EmbeddingStore(Path(embeddings), embeddings_limit)
    choice = choose(prompts, modality) if model == AUTO else None
    if choice:
        log.warning("auto chose %s", choice)
    predictor = Predictor.load(choice.model if choice else model, device, quiet, engine)
    predictor.choice = choice
    starter = None if start_model is None else Predictor.load(start_model, device, quiet, engine)
    return Segmenter(predictor, store, starter=starter)


@dataclass(frozen=True)
class Segmenter:
    """Segments images with one model. It has no state: any number of threads may use it.

    An image given as it is stays open until another one comes, with its embeddings in memory, so that a
    second prompt on it is quick. What must not depend on others opens its image itself (`open`), as
    sessions do.

    Attributes:
        predictor: the model.
        embeddings: where embeddings are kept on disk, if anywhere.
        recent: the image that was given last.
        starter: another model that answers the prompts; the model propagates its masks.

    Examples:
        >>> import numpy as np
        >>> import promptseg
        >>> values = np.zeros((10, 64, 64), np.int16)
        >>> values[3:7, 20:40, 16:30] = 200
        >>> image = promptseg.Image.from_array(values, "CT", spacing=(1, 1, 5))
        >>> segmenter = promptseg.load("lite-medsam")
        >>> result = segmenter.segment(image, promptseg.Box((14, 18, 32, 42), slice=5, name="bright"))
        >>> result["bright"].shape
        (10, 64, 64)
    """

    predictor: Predictor
    embeddings: EmbeddingStore | None = None
    recent: Recent = field(default_factory=Recent, repr=False, compare=False)
    starter: Predictor | None = None

    def open(
        self, image: Image, options: SliceOptions | None = None, **changes: Any
    ) -> EmbeddedImage:
        """Return an image ready for prompts, to be given to `segment` and `correct` in its place.

        Args:
            image: 2D image or volume.
            options: modality, window, axis and batch; prompts and options that come later must fit.
            changes: single options, over `options`.

        Raises:
            InputError: an option that does not fit the image, or an image of one value.
        """
        options = replace(options or SegmentOptions(), **changes)
        return open_image(self.predictor, image, options.axis or "z", options, self.embeddings)

    def segment(
        self,
        image: Image | EmbeddedImage,
        *prompts: Prompt,
        options: SegmentOptions | None = None,
        progress: Callable[[int, str], None] | None = None,
        **changes: Any,
    ) -> Result:
        """Segment every prompted object of `image`.

        Args:
            image: 2D image or volume.
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
        run = self._prepared(image, prompts, options, progress)
        return self._finished(run, segmented(run))

    def correct(
        self,
        image: Image | EmbeddedImage,
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
        given = image.image if isinstance(image, EmbeddedImage) else image
        if not segmentation.geometry.agrees_with(given.geometry):
            raise PromptError(
                "a segmentation on the image's own grid",
                f"one of shape {segmentation.geometry.shape}, image {given.geometry.shape}, or at "
                "another place",
                "resample it to the image first",
            )
        options = replace(options or SegmentOptions(), **changes)
        if self.starter is not None:
            raise InputError(
                "corrections by the model that follows",
                f"{self.starter.card.name} to start",
                "leave out the model that starts",
            )
        if any(isinstance(p, Text) for p in prompts):
            raise PromptError(
                "corrections that point at something", "words", "segment by words anew"
            )
        names = [s.name for s in segmentation.segments]
        named = [named_after(p, names) for p in prompts]
        run = self._prepared(image, named, options, progress)
        before = Corrected.of(segmentation.provenance)
        segments = corrected(run, _along(segmentation, run.axis).segments)
        return self._finished(run, segments, before)

    def multimask_output(
        self,
        image: Image | EmbeddedImage,
        click: Points,
        options: SegmentOptions | None = None,
        **changes: Any,
    ) -> list[MaskCandidate]:
        """Give the masks that one click may mean, a part or the whole, the likeliest first.

        `segment` takes the first. Give the one that was meant as a mask:
        `Mask(candidate.mask, candidate.slice, as_drawn=True)`.

        Args:
            image: 2D image or volume.
            click: one click inside an object.
            options: how; see `SegmentOptions`.
            changes: single options, over `options`.

        Raises:
            PromptError: anything but one click inside, or a model that was not trained for clicks.
        """
        options = replace(options or SegmentOptions(), **changes)
        run = self._prepared(image, [click], options, None)
        (entry,) = run.objects
        answering = run.starting or run.visit.embedded
        return multimask_output(answering, [*entry.planar, *entry.boxes3d][0])

    readings = old_method("readings", "multimask_output")

    def intensity(self, image: Image, options: SliceOptions) -> Intensity:
        """Choose the rule by which the values of `image` become the 0..255 that this model expects."""
        return intensity_for(self.predictor, image, options)

    def _prepared(
        self,
        image: Image | EmbeddedImage,
        prompts: Sequence[Prompt],
        options: SegmentOptions,
        progress: Callable[[int, str], None] | None,
    ) -> Run:
        """A request, checked."""
        clock = time.perf_counter()
        if isinstance(image, EmbeddedImage):
            require_fit(image, self.predictor, options)
            embedded, given = image, prompts or image.image.source.prompts
        else:
            given = prompts or image.source.prompts
            axis = axis_of_run(given, options.axis)
            group_by_object(given, image.geometry, axis)  # what is refused is refused before work
            embedded = self.recent.open(self.predictor, image, axis, options, self.embeddings)
        return Run.prepare(
            embedded, given, options, progress, clock, self._starting(embedded, options)
        )

    def _starting(self, embedded: EmbeddedImage, options: SegmentOptions) -> EmbeddedImage | None:
        """The image as the model sees it that starts the objects."""
        if self.starter is None:
            return None
        image, starter = embedded.image, self.starter
        asked, batch = embedded.asked, options.batch or starter.batch
        intensity = choose_intensity(image, *asked, starter.card.keep_8bit)
        return EmbeddedImage(
            image, embedded.axis, intensity, starter, batch, store=self.embeddings, asked=asked
        )

    def _finished(
        self, run: Run, segments: list[Segment], corrects: Corrected | None = None
    ) -> Result:
        """The segments with what made them."""
        embedded = run.visit.embedded
        image = embedded.image
        name = image.source.path.name if image.source.path else None
        result = Result(segments, image.geometry, image.source, image=image)
        facts = describe(
            result,
            image,
            predictor=self.predictor,
            intensity=embedded.intensity,
            prompts=prompts_to_json(run.objects, run.axis, name),
            options=run.options.to_json(),
            notes=notes_on(embedded),
            timings=run.timings,
            started_by=self.starter,
        )
        result.provenance = replace(facts, corrects=corrects)
        return result


def segmented(run: Run) -> list[Segment]:
    """Segment the objects of a run, none of which has a mask yet.

    Objects that do not depend on each other are done some at a time, and their masks cut out, so that
    the memory they take does not grow with their number.
    """
    if any(entry.texts for entry in run.objects):
        return found_by_words(run)
    starts = [run.conditioning(number) for number in range(len(run.objects))]
    some = _MOST_TOGETHER if isinstance(run.tracker, SliceToSlice) else max(1, len(starts))
    segments: list[Segment] = []
    for first in range(0, len(starts), some):
        own = starts[first : first + some]
        conditions = [replace(s, object=n) for n, each in enumerate(own) for s in each]
        turn_to = partial(_turned, run, first)
        for n, found in enumerate(
            gathered(run.tracker.track(run.visit, conditions, turn_to), len(own))
        ):
            segments.append(_segmented(run, first + n, own[n], found))
    return segments


def _turned(run: Run, first: int, number: int) -> None:
    run.turn_to(first + number)


def _segmented(
    run: Run, number: int, starts: list[ConditioningPrompt], found: SliceMasks
) -> Segment:
    name = run.objects[number].name
    prompted = {s.slice for s in starts if not s.interpolated}
    clicked = {s.slice for s in starts if s.box is None and s.mask is None}
    segment = _assembled(name, number + 1, found, run, prompted, clicked)
    if segment.is_empty:
        log.warning("%s: nothing was found for %r", run.visit.embedded.image.name, name)
    return segment


def corrected(run: Run, before: Iterable[Segment]) -> list[Segment]:
    """Correct objects as a run asks; those without corrections stay as they are."""
    corrections = {entry.name: n for n, entry in enumerate(run.objects)}
    segments = []
    for old in before:
        number = corrections.get(old.name)
        if number is None:
            segments.append(old)
            continue
        run.turn_to(number)
        entry = run.objects[number]
        correction = Correction(
            entry,
            slices_of(old, run.visit.embedded.image, run.axis),
            old.prompted,
            old.clicked,
            run.limits,
            run.options.agreement,
        )
        found = run.tracker.correct(run.visit, correction)
        prompted = {*old.prompted, *entry.slices}
        clicked = {*old.clicked} - (entry.slices - entry.clicked)
        segment = _assembled(old.name, old.label, found, run, prompted, clicked)
        segment.colour, segment.origin, segment.words = old.colour, old.origin, old.words
        segments.append(segment)
    return segments


def _assembled(
    name: str,
    label: int,
    found: SliceMasks,
    run: Run,
    prompted: Iterable[int],
    clicked: Iterable[int],
) -> Segment:
    image, low = run.visit.embedded.image, run.visit.predictor.card.low_quality
    segment = segment_of(
        name,
        label,
        found=found,
        image=image,
        options=run.options,
        low_quality=low,
        prompted=prompted,
        clicked=clicked,
    )
    if segment.doubtful:
        log.warning(
            "%s: low confidence in %r (predicted IoU %.2f): look at it",
            image.name,
            name,
            segment.predicted_iou,
        )
    return segment


def named_after(prompt: Prompt, names: Sequence[str]) -> Prompt:
    """Return the prompt under the name of the object it corrects.

    Raises:
        PromptError: no such object, or no name where there are several.
    """
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
    for segment in segments:
        if segment.words is not None:
            segment.words = replace(segment.words, scores={}, presence={})
    return replace(segmentation, segments=segments)
