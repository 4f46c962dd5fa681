"""Simulated users of one slice: where they click, and how they correct (MedicoSAM, section II-E).

A first click lies inside the object. A correction is a click inside the missing region (positive) and
one inside the false region (negative). Without a random generator each is the deepest point of its
region: the pixel farthest from everything outside, where an unhurried person would click. With one it
is any pixel of the region, as the paper samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.errors import InputError
from promptseg.models.protocol import Embedding, SlicePrompt
from promptseg.prompts import box_of_mask

if TYPE_CHECKING:
    from promptseg.inference.predictor import Predictor
    from promptseg.simulate.first import FirstPrompt

__all__ = ["Click", "Round", "correction_clicks", "first_click", "interactive_rounds"]


class Click(NamedTuple):
    """A click on a slice.

    Attributes:
        x: column, in pixels.
        y: row, in pixels.
        label: 1 inside the object, 0 outside.

    Examples:
        >>> from promptseg.simulate import Click
        >>> Click(x=12, y=40, label=0)  # outside the object
        Click(x=12, y=40, label=0)
    """

    x: int
    y: int
    label: int


class Round(NamedTuple):
    """The result of one round, as the user sees it.

    Attributes:
        mask: (rows, columns) boolean.
        iou: the model's own estimate of its IoU.

    Examples:
        >>> import numpy as np
        >>> from promptseg.simulate import Round
        >>> Round(np.eye(3, dtype=bool), iou=0.8).iou
        0.8
    """

    mask: NDArray[np.bool_]
    iou: float


def first_click(mask: NDArray[np.bool_], rng: np.random.Generator | None = None) -> Click:
    """Choose the pixel on which a user clicks first to point at an object.

    Args:
        mask: (rows, columns) boolean mask of the object.
        rng: None takes the deepest pixel, the one farthest from everything outside of the object and
            from the border of the slice; a generator draws any pixel of the object, all alike probable
            (MedicoSAM, section II-E).

    Returns:
        The pixel as a positive click, x and y counted from 0.

    Raises:
        InputError: the mask is empty.

    Examples:
        >>> import numpy as np
        >>> from promptseg.simulate import first_click
        >>> mask = np.zeros((9, 9), bool)
        >>> mask[2:7, 3:8] = True
        >>> first_click(mask)  # the deepest pixel
        Click(x=5, y=4, label=1)
    """
    if not mask.any():
        raise InputError("an object to click on", "an empty mask", "leave this slice out")
    return _click_in(mask, 1, rng)


def correction_clicks(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> list[Click]:
    """Return clicks that correct a prediction: one where it misses the object, one where it is too
    much.

    Args:
        truth: (rows, columns) boolean.
        prediction: of the same shape.
        rng: draws any pixel of each region in place of the deepest one.

    Returns:
        The positive click, then the negative one, each only if its region has a pixel.

    Raises:
        InputError: the shapes differ.

    Examples:
        >>> import numpy as np
        >>> from promptseg.simulate import correction_clicks
        >>> truth, found = np.zeros((2, 9, 9), bool)
        >>> truth[3:6, 1:4] = True  # missed
        >>> found[3:6, 6:9] = True  # too much
        >>> correction_clicks(truth, found)
        [Click(x=2, y=4, label=1), Click(x=7, y=4, label=0)]
    """
    if truth.shape != prediction.shape:
        raise InputError(f"a prediction of shape {truth.shape}", f"{prediction.shape}")
    regions = ((truth & ~prediction, 1), (prediction & ~truth, 0))
    return [_click_in(region, label, rng) for region, label in regions if region.any()]


def interactive_rounds(
    predictor: Predictor,
    embedding: Embedding,
    truth: NDArray[np.bool_],
    first: FirstPrompt,
    rounds: int = 8,
    rng: np.random.Generator | None = None,
    previous_mask: bool = True,
) -> Iterator[Round]:
    """Segment one object as an annotator who knows the true mask: a first prompt, then corrections.

    A round of corrections adds a positive click where the mask misses the object and a negative one
    where it goes beyond it (`correction_clicks`; MedicoSAM, section II-E). The model is then asked
    again with all clicks so far, and with the box if the first prompt was one. Where the mask has no
    error left, the round yields it unchanged.

    Args:
        predictor: the model.
        embedding: the slice as `predictor.encode` returns it.
        truth: (rows, columns) boolean mask of the object, of the shape of the slice.
        first: the first prompt, from `first_prompt`.
        rounds: the number of rounds of corrections after the first prompt.
        rng: None clicks on the deepest pixel of each error; a generator draws any pixel of it.
        previous_mask: also give the mask logits of the round before as a mask prompt, where the model
            takes masks.

    Yields:
        The mask and its predicted IoU, rounds + 1 times: after the first prompt, then after each round.

    Raises:
        UnsupportedPromptError: the model was not trained for boxes or clicks that are needed here.

    Examples:
        >>> import numpy as np
        >>> import promptseg
        >>> from promptseg.simulate import first_prompt, generator, interactive_rounds
        >>> pixels = np.zeros((64, 64), np.uint8)
        >>> pixels[20:40, 16:30] = 200
        >>> predictor = promptseg.load("mobile-sam").predictor
        >>> (embedding,) = predictor.encode([pixels])
        >>> first = first_prompt("box", pixels > 0, generator(0))
        >>> rounds = list(interactive_rounds(predictor, embedding, pixels > 0, first, rounds=2))
        >>> (len(rounds), rounds[0].mask.shape)
        (3, (64, 64))
    """
    predictor.require(
        ({"box"} if first.box else set()) | ({"point"} if first.clicks or rounds else set())
    )
    has_mask = previous_mask and "mask" in predictor.card.prompts
    clicks = list(first.clicks)
    found: Round | None = None
    logits = None
    for _ in range(rounds + 1):
        if found is not None:
            corrections = correction_clicks(truth, found.mask, rng)
            if not corrections:
                yield found
                continue
            clicks += corrections
        xy, labels = tuple((c.x, c.y) for c in clicks), tuple(c.label for c in clicks)
        prompt = SlicePrompt(first.box, xy, labels, logits=logits)
        prediction = predictor.decode(embedding, [prompt])
        logits = prediction.logits if has_mask else None
        found = Round(prediction.masks[0], float(prediction.iou[0]))
        yield found


def _click_in(
    region: NDArray[np.bool_], label: int, rng: np.random.Generator | None = None
) -> Click:
    """A click in a region that is not empty."""
    if rng is not None:
        y, x = np.unravel_index(rng.choice(np.flatnonzero(region)), region.shape)
    else:
        y, x = _deepest(region)
    return Click(int(x), int(y), label)


def _deepest(region: NDArray[np.bool_]) -> tuple[int, int]:
    """(row, column) of the pixel farthest from the outside, to which the border of the slice counts.

    Of equally deep pixels the first in reading order is taken.
    """
    box = box_of_mask(region)
    assert box, "callers check for an empty region"
    left, top, right, bottom = box
    # A ring of outside around the bounding box is enough: nothing beyond it is nearer.
    ringed = np.pad(region[top : bottom + 1, left : right + 1], 1)
    depth = ndimage.distance_transform_edt(ringed)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return top + int(y), left + int(x)
