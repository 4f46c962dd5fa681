"""Prompts of a session, and what they mean beside those that were given before."""

from __future__ import annotations

from collections.abc import Sequence

from promptseg.errors import PromptError
from promptseg.geometry import Axis
from promptseg.prompts import Box, Box3D, Marker, Mask, PlacedPrompt, Points, Text

__all__ = ["along", "axis_of", "clicks_again", "drawn_empty", "kind_of", "only_markers"]


def only_markers(name: str, prompts: Sequence[PlacedPrompt], do: str) -> None:
    """Refuse what cannot be combined with marker lines."""
    other = next((p for p in prompts if not isinstance(p, Marker)), None)
    if other is not None:
        raise PromptError(f"marker lines alone for {name!r}", f"a {kind_of(other)} too", do)


def kind_of(prompt: PlacedPrompt) -> str:
    """Return the name that a prompt's kind has in the list of steps."""
    return "marker" if isinstance(prompt, Marker) else prompt.kind


def drawn_empty(earlier: Sequence[PlacedPrompt], new: Sequence[PlacedPrompt]) -> list[PlacedPrompt]:
    """Return the empty masks drawn earlier on slices without new prompts: the object is not there."""
    asked = {p.slice for p in new if not isinstance(p, Box3D)}
    drawn = [p for p in earlier if isinstance(p, Mask) and p.as_drawn and p.slice not in asked]
    return [p for p in drawn if not p.pixels.any()]


def clicks_again(
    earlier: Sequence[PlacedPrompt], new: Sequence[PlacedPrompt]
) -> list[PlacedPrompt]:
    """Return the clicks given before on the slices that are clicked now: the model sees all of them.

    All since the last box or mask on the slice, which answered it afresh, or words, which answered all
    slices afresh.
    """
    clicked = {p.slice for p in new if isinstance(p, Points)}
    again: list[PlacedPrompt] = []
    for prompt in earlier:
        if isinstance(prompt, Box | Mask):
            again = [p for p in again if isinstance(p, Points) and p.slice != prompt.slice]
        elif isinstance(prompt, Text):
            again = []
        elif isinstance(prompt, Points) and prompt.slice in clicked:
            again.append(prompt)
    return again


def axis_of(prompts: Sequence[PlacedPrompt], default: Axis) -> Axis:
    """Return the axis of the slices that the last of some prompts lies on."""
    return (prompts[-1].axis if prompts else None) or default


def along(prompts: Sequence[PlacedPrompt], axis: Axis, default: Axis) -> list[PlacedPrompt]:
    """Return the prompts that lie on slices along an axis."""
    return [p for p in prompts if (p.axis or default) == axis]
