"""The first thing a simulated user does on a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.prompts import box_of_mask
from promptseg.prompts.kinds import Kind
from promptseg.simulate.boxes import Jitter, jittered_box

if TYPE_CHECKING:
    from promptseg.simulate.clicks import Click

__all__ = ["STARTS", "Clicking", "FirstPrompt", "PromptKind", "Start", "first_prompt", "kind_of"]

PromptKind = Literal["box", "jittered-box", "point", "mask", "text"]
Clicking = Literal["random", "deepest"]


class Start(NamedTuple):
    """A kind of prompt that a simulated user may begin with.

    Attributes:
        kind: what a model must be trained for to answer it.
        title: for help texts.
        on_slice: whether a slice by itself can start with it.
    """

    kind: Kind
    title: str
    on_slice: bool = True


STARTS: dict[PromptKind, Start] = {
    "box": Start("box", "box (exact)"),
    "jittered-box": Start("box", "jittered-box"),
    "point": Start("point", "point"),
    "mask": Start("mask", "mask (of the ground truth; starts 3d and video)", on_slice=False),
    "text": Start("text", "text (the object's name; 2d, 3d, video)"),
}
assert tuple(STARTS) == get_args(PromptKind), "one list"


class FirstPrompt(NamedTuple):
    """A box, or clicks; nothing where the object was named.

    Attributes:
        box: XYXY in pixels, both ends inside.
        clicks: on the slice.

    Examples:
        >>> from promptseg.simulate import Click, FirstPrompt
        >>> FirstPrompt(clicks=(Click(12, 40, 1),)).box is None
        True
    """

    box: tuple[float, float, float, float] | None = None
    clicks: tuple[Click, ...] = ()


def kind_of(prompt: PromptKind) -> str:
    """Return the kind of prompt that a model must be trained for to answer this one."""
    return STARTS[prompt].kind


def first_prompt(
    kind: PromptKind,
    mask: NDArray[np.bool_],
    rng: np.random.Generator,
    jitter: Jitter | None = None,
    clicking: Clicking = "random",
) -> FirstPrompt:
    """Return a simulated user's first prompt for an object.

    Args:
        kind: "box" (exact), "jittered-box" or "point".
        mask: (rows, columns) boolean, not empty.
        rng: draws what there is to draw.
        jitter: of the jittered box.
        clicking: on any pixel of the object, or on its deepest one.

    Raises:
        InputError: an empty mask, or a kind that is not a prompt on a slice.

    Examples:
        >>> import numpy as np
        >>> from promptseg.simulate import first_prompt, generator
        >>> mask = np.zeros((64, 64), bool)
        >>> mask[20:40, 16:30] = True
        >>> first_prompt("box", mask, generator(0)).box
        (16, 20, 29, 39)
    """
    if kind == "box":
        box = box_of_mask(mask)
        if box is None:
            raise InputError("an object to draw a box around", "an empty mask")
        return FirstPrompt(box=box)
    if kind == "jittered-box":
        return FirstPrompt(box=jittered_box(mask, rng, jitter))
    if kind == "point":
        from promptseg.simulate.clicks import first_click  # scipy: options alone do without

        return FirstPrompt(clicks=(first_click(mask, rng if clicking == "random" else None),))
    raise InputError("a box, a jittered box or a point on a slice", kind)
