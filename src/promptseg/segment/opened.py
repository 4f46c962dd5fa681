"""Images opened for a model: what is done once for an image, and not for every prompt on it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Lock

from promptseg.errors import InputError, PromptError
from promptseg.geometry import Axis
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity, choose_intensity
from promptseg.notes import ENGINE, Note
from promptseg.segment.options import SliceOptions

__all__ = [
    "Recent",
    "intensity_for",
    "notes_on",
    "open_image",
    "require_contrast",
    "require_fit",
]

log = logging.getLogger("promptseg")


def open_image(
    predictor: Predictor,
    image: Image,
    axis: Axis,
    options: SliceOptions,
    store: EmbeddingStore | None = None,
) -> EmbeddedImage:
    """Return an image ready for prompts: its intensity rule chosen, nothing encoded yet.

    Args:
        predictor: the model.
        image: 2D image or volume.
        axis: the axis slices are taken along.
        options: modality, window and batch.
        store: where embeddings are kept on disk, if anywhere.

    Raises:
        InputError: an option that does not fit the image, or an image of one value.
    """
    intensity = intensity_for(predictor, image, options)
    require_contrast(image)
    asked = (options.modality, options.window)
    batch = options.batch or predictor.batch
    embedded = EmbeddedImage(image, axis, intensity, predictor, batch, store=store, asked=asked)
    for note in notes_on(embedded):
        log.warning("%s: %s", image.name, note)
    return embedded


def intensity_for(predictor: Predictor, image: Image, options: SliceOptions) -> Intensity:
    """Choose the rule by which the values of an image become the 0..255 that a model expects."""
    return choose_intensity(image, options.modality, options.window, predictor.card.keep_8bit)


def notes_on(embedded: EmbeddedImage) -> list[Note]:
    """Return what a person should know about an image and how it is shown to the model."""
    verdict = embedded.predictor.verdict
    given_up = verdict.given_up if verdict else ""
    engine = [Note(given_up, ENGINE)] if given_up else []
    card = embedded.predictor.card
    unseen = (
        f"no weights of {card.name} have been seen by its authors here: untested with real ones"
    )
    untested = [Note(unseen)] if card.untested else []
    return [
        *map(Note, embedded.image.source.notes),
        *embedded.intensity.notes(),
        *engine,
        *untested,
    ]


def require_fit(embedded: EmbeddedImage, predictor: Predictor, options: SliceOptions) -> None:
    """Refuse options other than those that an image was opened with.

    Raises:
        InputError: another model, modality or window.
        PromptError: another axis.
    """
    if embedded.predictor is not predictor:
        raise InputError(
            f"an image opened for {predictor.card.name}",
            f"one opened for {embedded.predictor.card.name}",
            "open it with this segmenter",
        )
    for name, known, asked in zip(
        ("modality", "window"), embedded.asked, (options.modality, options.window), strict=True
    ):
        if asked not in (None, known):
            raise InputError(
                f"{name} {known or 'of its own'}, as the image was opened",
                asked,
                f"open it with {name}={asked!r}",
            )
    if options.axis not in (None, embedded.axis):
        raise PromptError(
            f"slices along {embedded.axis}, as the image was opened",
            f"axis {options.axis}",
            f"open it with axis={options.axis!r}",
        )


@dataclass
class Recent:
    """The image that was opened last, so that a second prompt on it is quick; for any threads."""

    _last: EmbeddedImage | None = None
    _lock: Lock = field(default_factory=Lock)

    def open(
        self,
        predictor: Predictor,
        image: Image,
        axis: Axis,
        options: SliceOptions,
        store: EmbeddingStore | None,
    ) -> EmbeddedImage:
        """Open an image, unless it is the last one and asked for in the same way: then return that
        again.
        """
        with self._lock:
            last = self._last
        if (
            last is None
            or last.image is not image
            or (last.axis, last.asked) != (axis, (options.modality, options.window))
            or last.batch != (options.batch or predictor.batch)
            or last.predictor is not predictor
        ):
            last = open_image(predictor, image, axis, options, store)
            with self._lock:
                self._last = last
        return last


def require_contrast(image: Image) -> None:
    """Refuse an image of one value.

    Raises:
        InputError: it is one.
    """
    low = image.voxels.min()
    if low == image.voxels.max():
        raise InputError(
            "an image with more than one value",
            f"every voxel of {image.name} is {low}",
            "check that it is the right file",
        )
