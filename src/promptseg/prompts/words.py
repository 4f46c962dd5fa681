"""Words, with or without boxes around examples of what they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from promptseg.geometry import Axis, Geometry
from promptseg.prompts.checks import listed
from promptseg.prompts.planar import Box
from promptseg.terms.words import Words, words_of

__all__ = ["AsWritten", "Text"]


@dataclass(frozen=True)
class Text:
    """A phrase that is looked for on every slice, or boxes around examples, or both.

    Attributes:
        phrase: a short noun phrase in English; may be empty where there is a box.
        boxes: around examples of what is meant; each counts on its own slice.
        outside: as `boxes`, around what is not meant.
        name: of the object; the phrase in the words of the table of terms if not given.
        axis: the axis the slices of the boxes are taken along; None takes the axis of the run.

    Raises:
        PromptError: neither a phrase nor a box, or a phrase of both sides.

    Examples:
        >>> Text("Left_Kidneys").title
        'left kidney'
    """

    kind: ClassVar[str] = "text"
    slice: ClassVar[None] = None

    phrase: str
    boxes: tuple[Box, ...] = ()
    outside: tuple[Box, ...] = ()
    name: str | None = None
    axis: Axis | None = None

    def __post_init__(self) -> None:
        if self.phrase.strip() or not self.boxes:
            words_of(self.phrase)

    @property
    def words(self) -> Words:
        """Return the phrase, taken apart."""
        return words_of(self.phrase) if self.phrase.strip() else Words("")

    @property
    def title(self) -> str:
        """Return the name of its object."""
        return self.name or self.words.name or "like the examples"

    def check(self, geometry: Geometry, axis: Axis = "z") -> Text:
        """Return this prompt, with its boxes placed on a grid.

        Raises:
            PromptError: a box or its slice lies outside the image.
        """
        axis = self.axis or axis
        placed = [tuple(box.check(geometry, axis) for box in each) for each in self._examples]
        return replace(self, boxes=placed[0], outside=placed[1], axis=axis)

    def on_slice(self, index: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the boxes on a slice, XYXY: around examples, and around what is not meant."""
        inside, outside = (
            tuple(box.xyxy for box in each if (box.slice or 0) == index) for each in self._examples
        )
        return inside, outside

    @property
    def _examples(self) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
        return self.boxes, self.outside

    def to_json(self) -> str:
        """Return the words as the command line and prompt files write them, without the name."""
        parts = [self.phrase.strip()]
        for sign, boxes in zip("+-", self._examples, strict=True):
            for box in boxes:
                place = "" if box.slice is None else f"@{box.slice}"
                parts.append(f"[{sign}{listed(box.xyxy)}{place}]")
        return " ".join(part for part in parts if part)


class AsWritten(Text):
    """A phrase that a model is asked for as it is, not in the words of the table of terms.

    Examples:
        >>> Text("urinary bladder").words.name, AsWritten("urinary bladder").words.name
        ('bladder', 'urinary bladder')
    """

    @property
    def words(self) -> Words:
        """Return the phrase, taken apart, under the name that it has."""
        return replace(super().words, as_written=True)
