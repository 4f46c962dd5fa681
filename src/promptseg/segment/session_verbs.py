"""Shorthands of a session, one for each kind of prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from promptseg.image import Segment
from promptseg.prompts import Box, Box3D, Marker, Mask, Points, Prompt
from promptseg.prompts.markers import Line
from promptseg.prompts.text import text_of

__all__ = ["PromptVerbs"]


class PromptVerbs(ABC):
    """Methods that add a prompt of one kind each, all by way of `add`."""

    @abstractmethod
    def add(
        self,
        prompt: Prompt,
        object: str | None = None,
        *,
        spread: bool = True,
        at: int | None = None,
    ) -> Segment | None:
        """See `promptseg.segment.session.Session.add`."""

    def add_box(
        self, xyxy: Sequence[float], slice: int | None = None, object: str | None = None
    ) -> Segment:
        """Add a box on a slice for an object, by default the current one; return the object's new
        masks.

        Raises:
            PromptError: outside the image, or of a kind the model was not trained for.
        """
        return self._answered(Box(tuple(xyxy), slice), object)  # type: ignore[arg-type]

    def add_box3d(self, bounds: Sequence[float], object: str | None = None) -> Segment:
        """Add a 3D box for an object without any mask yet; as `add_box`."""
        return self._answered(Box3D(tuple(bounds)), object)  # type: ignore[arg-type]

    def add_point(
        self,
        xy: Sequence[float],
        positive: bool = True,
        slice: int | None = None,
        object: str | None = None,
    ) -> Segment:
        """Add a click inside (or, not `positive`, outside) an object; as `add_box`."""
        click = Points((tuple(xy),), (int(positive),), slice)  # type: ignore[arg-type]
        return self._answered(click, object)

    def add_mask(
        self,
        mask: ArrayLike,
        slice: int | None = None,
        object: str | None = None,
        as_drawn: bool = True,
    ) -> Segment:
        """Add a mask on a slice: the answer there (brushed by hand), or a mask prompt for the model."""
        return self._answered(Mask(np.asarray(mask), slice, as_drawn=as_drawn), object)

    def add_marker(
        self,
        long: Line,
        short: Line | None = None,
        slice: int | None = None,
        object: str | None = None,
    ) -> Segment | None:
        """Add the axis lines of an object on one slice, two ends (x, y) each.

        Returns:
            The object's new masks, or None while another slice has to be marked (see `waiting`).

        Raises:
            PromptError: lines outside the image, or an object that has other prompts already.
        """
        return self.add(Marker(long, short, slice), object)

    def add_text(self, phrase: str, object: str | None = None) -> Segment:
        """Find what a phrase names, on every slice; all of it is one new object, named after it.

        What is found on neighbouring slices is linked, and a slice between is filled in; see
        docs/words.md. Nothing found is an empty object. Further prompts correct it.

        Args:
            phrase: words, as `--text` takes them.
            object: its name, if another than that of what it names.

        Raises:
            PromptError: an unknown word, with the nearest that is known, or what is there already.
            UnsupportedPromptError: a model that takes no words; one that does is named.
        """
        return self._answered(text_of(phrase, object), object)

    def _answered(self, prompt: Prompt, object: str | None) -> Segment:
        """`add` for prompts that are answered at once: all but marker lines."""
        segment = self.add(prompt, object)
        assert segment is not None
        return segment
