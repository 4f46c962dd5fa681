"""One request to segment or correct, checked before the first slice is encoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from promptseg.errors import InputError, PromptError
from promptseg.geometry import Axis
from promptseg.inference.embedded import EmbeddedImage, Visit
from promptseg.models.protocol import ConditioningPrompt, Resumable
from promptseg.prompts import ObjectPrompts, Prompt, group_by_object
from promptseg.segment.choices import resolved
from promptseg.segment.conditioning import conditioning_prompts
from promptseg.segment.options import SegmentOptions, parse_slices
from promptseg.segment.projection import MEMORY, kinds_of
from promptseg.segment.starting import require_startable, started
from promptseg.segment.trackers import tracker_for

__all__ = ["Run", "axis_of_run"]

Progress = Callable[[int, str], None]


def axis_of_run(prompts: Iterable[Prompt], asked: Axis | None = None) -> Axis:
    """Return the axis slices are taken along: the one asked for, else that of the prompts, else z.

    Prompts without an axis take it over.

    Raises:
        PromptError: prompts on slices along different axes, or along another than is asked for.
    """
    axes = {axis for p in prompts if (axis := p.axis) is not None}
    if len(axes | ({asked} if asked else set())) > 1:
        beside = f"leave out the axis {asked}, or give the prompts along it" if asked else ""
        raise PromptError(
            "prompts on slices of one axis",
            " and ".join(sorted(axes | ({asked} if asked else set()))),
            beside or "run once per axis",
        )
    return asked or (axes.pop() if axes else "z")


@dataclass
class Run:
    """One request, checked: what to do, on what, and what happened so far.

    Attributes:
        objects: the prompts by object, placed.
        options: with the model's own choices and the run's axis where the user made none.
        axis: the axis slices are taken along.
        limits: first and last slice that may change.
        tracker: how objects reach other slices.
        visit: the slices.
        starting: the slices as the model sees them that makes of prompts the masks which objects start
            with; None where the model itself answers them.
        prepare_s: seconds it took to get here.
        at_work: the object at work.
        started: when work began, by `time.perf_counter`.
    """

    objects: list[ObjectPrompts]
    options: SegmentOptions
    axis: Axis
    limits: tuple[int, int]
    tracker: Resumable
    visit: Visit
    prepare_s: float
    at_work: str = ""
    started: float = field(default_factory=time.perf_counter)
    starting: EmbeddedImage | None = None

    @classmethod
    def prepare(
        cls,
        embedded: EmbeddedImage,
        prompts: Sequence[Prompt],
        options: SegmentOptions,
        progress: Progress | None,
        clock: float,
        starting: EmbeddedImage | None = None,
    ) -> Run:
        """Check everything there is to check about prompts on an image.

        Args:
            embedded: the image.
            prompts: for it.
            options: how.
            progress: called with the number of slices encoded and the object at work.
            clock: when the request came.
            starting: the image as another model sees it that starts the objects.

        Raises:
            PromptError: a prompt outside the image or the slices of the run, along another axis, or of
                a kind the model does not take.
            InputError: an option that does not fit the image.
        """
        geometry, card = embedded.image.geometry, embedded.predictor.card
        axis = axis_of_run(prompts, embedded.axis)
        objects = group_by_object(prompts, geometry, axis)
        options = resolved(replace(options, axis=axis), card)
        spreads = len(embedded) > 1 and options.propagate != "none"
        answering = embedded if starting is None else starting
        if starting is not None:
            name, remembers = starting.predictor.card.name, options.propagate == MEMORY
            require_startable(objects, name, len(embedded), remembers)
        if len(embedded) > 1 and any(entry.texts for entry in objects):
            _check_link(options, card.name, starting)
        for entry in objects:
            answering.predictor.require(entry.kinds, options.force)
        if spreads:
            embedded.predictor.require(kinds_of(str(options.propagate)), options.force)
        limits = parse_slices(options.slices, len(embedded))
        _check_range(objects, axis, limits)
        run = cls(
            objects,
            options,
            axis=axis,
            limits=limits,
            tracker=tracker_for(
                embedded.predictor, options, len(embedded) > 1, embedded.image.kind == "video"
            ),
            visit=embedded.visit(),
            prepare_s=time.perf_counter() - clock,
            starting=starting,
        )
        if progress:
            run.visit.on_encoded = lambda done: progress(done, run.at_work)
        return run

    @property
    def timings(self) -> dict[str, float]:
        """Return the seconds so far, and how many slices were encoded or read from the disk."""
        return {
            "prepare_s": self.prepare_s,
            "segment_s": time.perf_counter() - self.started,
            "slices_encoded": self.visit.encoded,
            "cache_hits": self.visit.cache_hits,
            "slices_recalled": self.visit.cache_hits,  # its old name, until the next version
        }

    def conditioning(self, number: int) -> list[ConditioningPrompt]:
        """Return the conditioning prompts of an object: where it starts, and with what."""
        found = conditioning_prompts(self.objects[number], self.axis, self.limits)
        return found if self.starting is None else started(found, self.starting.visit())

    def turn_to(self, number: int) -> None:
        """Say which object is at work."""
        self.at_work = self.objects[number].name


def _check_link(options: SegmentOptions, name: str, starting: EmbeddedImage | None) -> None:
    """Refuse to link by propagation what words find, where it would not be done.

    Raises:
        InputError: another model finds it, or nothing is propagated.
    """
    if options.link != "propagation":
        return
    if starting is not None:
        raise InputError(
            f"objects that the memory of {name} links, where another model finds them",
            "--link propagation",
            f"leave it out, or leave out {starting.predictor.card.name}, which starts",
        )
    if options.propagate == "none":
        raise InputError(
            f"a way to propagate for --link propagation, which {name} does not choose by itself",
            "--propagate none",
            "name one, such as --propagate box, or leave --link out",
        )


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
