"""Requests of nnInteractive's remote protocol, answered by one of our sessions.

The protocol knows one object at a time, arrays without orientation, and one answer per request: an
answer waits so long for the other slices, and what comes later travels with the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptError, UnsupportedPromptError
from promptseg.geometry import AXES, Axis, Geometry, axis_position
from promptseg.image import Image, Segment
from promptseg.prompts import Box, Box3D, Mask, Points, Prompt
from promptseg.segment.projection import spread_points
from promptseg.serve.changes import changed
from promptseg.serve.desk import Desk
from promptseg.serve.lease import Lease
from promptseg.serve.users import caller
from promptseg.serve.work import Work

__all__ = ["Answer", "RemoteClient", "capabilities"]

log = logging.getLogger("promptseg.serve")

BUDGET_S = 30.0
_NAME = "object 1"
_POINTS_OF_A_SCRIBBLE = 3
_LOPSIDED = 1.2  # voxels this much longer along one axis tell which way the slices were taken

Region = tuple[slice, ...]
Answer = tuple[bool, tuple[Region, NDArray[np.bool_]] | None]
"""Whether anything was done, and where the object differs from what the client has."""


def capabilities(desk: Desk) -> dict[str, Any]:
    """Return the abilities of the first model, in the protocol's words."""
    card = desk.segmenter(None).predictor.card
    takes = {kind: kind in card.prompts for kind in ("box", "point", "mask")}
    size = card.preprocessing.size
    return {
        "supported_interactions": {
            "points": takes["point"],
            "scribble": takes["point"],
            "lasso": takes["mask"],
            "bbox2d": takes["box"],
            "bbox3d": takes["box"],
        },
        "channel_mapping": {
            "initial_seg": 0,
            **{name: [1 + 2 * k, 2 + 2 * k] for k, name in enumerate(_CHANNELS)},
        },
        "num_interaction_channels": 1 + 2 * len(_CHANNELS),
        "supports_initial_label": True,
        "supports_zero_shot_label_refinement": False,
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": 1.0,
        "inference_session_version": "2.6.0",
        "patch_size": [1, size, size],
        "license": card.licence,
        "supports_undo": True,
        "do_autozoom": False,
    }


_WHOLE = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_CHANNELS = ("bbox", "points", "scribble", "lasso")


class RemoteClient:
    """One client with its lease and, once it has sent one, its image.

    Args:
        desk: where sessions are opened.
        lease: how long it lasts.
        budget: seconds an answer waits for the other slices.
    """

    def __init__(self, desk: Desk, lease: Lease, budget: float = BUDGET_S) -> None:
        self.desk, self.lease, self.budget = desk, lease, budget
        self.work: Work | None = None
        self.owner = caller().name
        self._sent: Segment | None = None
        self._waiting: list[Prompt] = []
        self._positions: list[int] = []

    def act(self) -> None:
        """Record an action of the user, so that neither lease runs out."""
        self.lease.act()
        if self.work is not None:
            self.work.lease.act()

    def touch(self) -> None:
        """Record a sign of life of the client."""
        self.lease.touch()
        if self.work is not None:
            self.work.lease.touch()

    def close(self) -> None:
        """Close the session of a client that has gone."""
        if self.work is not None:
            self.desk.close(self.work.id)
            self.work = None

    def set_image(self, array: NDArray[Any], spacing: Any) -> tuple[int, ...]:
        """Begin on an image.

        Args:
            array: [1 or 3, a, b, c]; one channel, or colours.
            spacing: of a, b and c, in mm; None if not known.

        Returns:
            The shape that was sent.

        Raises:
            InputError: another array, or spacing.
        """
        if array.ndim != 4 or array.shape[0] not in (1, 3):
            raise InputError(
                "an image [1, a, b, c], or [3, a, b, c] in colour", f"shape {array.shape}"
            )
        if array.dtype == bool:
            array = array.view(np.uint8)
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                raise InputError("finite voxel values", "NaN or infinity", "replace them first")
            array = array.astype(np.float32, copy=False)
        voxels = (
            array[0] if array.shape[0] == 1 else np.ascontiguousarray(np.moveaxis(array, 0, -1))
        )
        image = Image(voxels, _grid(array.shape[1:], spacing))
        self.close()
        options = replace(self.desk.options, axis=_axis_of_stack(image.geometry))
        self.work = self.desk.open_image(image, options=options)
        intensity = self.work.session.embedded.intensity
        guess = "guessed " if intensity.guessed else ""
        log.info("a client's image: %s%s, %s", guess, intensity.modality, intensity.rule)
        self._sent, self._waiting, self._positions = None, [], []
        return array.shape

    def set_target(self, shape: Any, dtype: Any) -> None:
        """Check the buffer that the client fills.

        Raises:
            InputError: not of the image's shape, or not of whole numbers.
        """
        wanted = list(self._require().session.geometry.shape)
        if shape != wanted:
            raise InputError(f"a target buffer of shape {wanted}", repr(shape)[:100])
        if dtype not in _WHOLE:
            raise InputError("a target buffer of bool or whole numbers", repr(dtype)[:40])
        self._sent = None

    def reset(self) -> None:
        """Forget the object and its prompts; the client has emptied its buffer."""
        work = self._require()
        work.change(lambda: work.session.set_image(work.session.embedded))
        self._sent, self._waiting, self._positions = None, [], []

    def point(self, at: Any, include: bool, run: bool) -> Answer:
        """Prompt with a click.

        Raises:
            PromptError: outside the image, or not taken by the model.
        """
        session = self._require().session
        index = _numbers(at, 3)
        axis = session.axis
        rest = [v for k, v in enumerate(index) if k != axis_position(axis)]
        slice_ = round(index[axis_position(axis)])
        click = Points(((rest[1], rest[0]),), (int(include),), slice_, _NAME, axis)
        return self._do([click], run)

    def box(self, pairs: Any, include: bool, run: bool) -> Answer:
        """Prompt with a box: half-open pairs, of which one of length 1 makes it a rectangle on a slice.

        Raises:
            PromptError: outside the image, empty, around what is not meant, or not taken.
        """
        session = self._require().session
        if not include:
            raise UnsupportedPromptError(
                "boxes around the object", "one around something else", "click there instead"
            )
        bounds = _pairs(pairs, session.geometry.shape)
        flat = [axis for axis, (low, high) in zip(AXES, bounds, strict=True) if high - low == 1]
        if not flat:
            low, high = ([b[k] - k for b in reversed(bounds)] for k in (0, 1))
            return self._do([Box3D((*low, *high), _NAME, session.axis)], run)  # type: ignore[arg-type]
        axis = session.axis if session.axis in flat else flat[0]
        (y0, y1), (x0, x1) = (b for a, b in zip(AXES, bounds, strict=True) if a != axis)
        slice_ = bounds[axis_position(axis)][0]
        return self._do([Box((x0, y0, x1 - 1, y1 - 1), slice_, _NAME, axis)], run)

    def scribble(self, mask: NDArray[Any], at: Any, include: bool, run: bool) -> Answer:
        """Prompt with a stroke: clicks along it, on every slice it lies on."""

        def clicks(pixels: NDArray[np.bool_], slice_: int, axis: Axis) -> Prompt:
            xy = spread_points(pixels, _POINTS_OF_A_SCRIBBLE)
            return Points(tuple(xy), (int(include),) * len(xy), slice_, _NAME, axis)

        return self._drawn(mask, at, run, clicks)

    def lasso(self, mask: NDArray[Any], at: Any, include: bool, run: bool) -> Answer:
        """Prompt with an outlined area: a mask of the object, or of what is not part of it."""
        work = self._require()

        def area(pixels: NDArray[np.bool_], slice_: int, axis: Axis) -> Prompt:
            if include:
                return Mask(pixels, slice_, _NAME, axis)
            segment = work.masks.get(_NAME)
            geometry = work.session.geometry
            if segment is None:
                raise PromptError(
                    "an object to take a part away from", "none yet", "begin inside it"
                )
            rest = segment.on_slice(slice_, geometry, axis) & ~pixels
            return Mask(rest, slice_, _NAME, axis, as_drawn=True)

        return self._drawn(mask, at, run, area)

    def initial(self, mask: NDArray[Any], run: bool) -> Answer:
        """Begin with a mask; all prompts are forgotten. The client's buffer holds it already."""
        work = self._require()
        if mask.shape != work.session.geometry.shape:
            raise InputError(
                f"a mask of shape {work.session.geometry.shape}", f"shape {mask.shape}"
            )

        def do() -> None:
            work.session.set_image(work.session.embedded)
            work.session.put(mask, _NAME)

        work.change(do)
        self._waiting, self._positions = [], []
        self._sent = work.masks.get(_NAME)
        return run, None

    def predict(self) -> Answer:
        """Run the prompts that wait; return all that has changed since the last answer."""
        waiting, self._waiting = self._waiting, []
        work = self._require()
        before = work.propagating
        ran, difference = self._run(waiting) if waiting else self._answer()
        return ran and bool(waiting or before or difference), difference

    def undo(self) -> Answer:
        """Take the last interaction back; as often as there are any."""
        work = self._require()
        if self._waiting:
            self._waiting.pop()
            return True, None
        if not self._positions:
            return False, None
        position = self._positions.pop()

        def do() -> None:
            work.session.position = position

        work.change(do)
        return self._answer()

    def _drawn(
        self,
        mask: NDArray[Any],
        at: Any,
        run: bool,
        made: Callable[[NDArray[np.bool_], int, Axis], Prompt],
    ) -> Answer:
        """A mask that was drawn, slice by slice along the axis it is flat along."""
        session = self._require().session
        full = _placed(mask, at, session.geometry.shape)
        extents = [len(np.flatnonzero(full.any(axis=_others(k)))) for k in range(3)]
        if not extents[0]:
            raise PromptError("something drawn", "an empty mask", "draw on the image")
        flat = [axis for axis, extent in zip(AXES, extents, strict=True) if extent == 1]
        axis = session.axis if session.axis in flat or not flat else flat[0]
        along = axis_position(axis)
        drawn = np.flatnonzero(full.any(axis=_others(along)))
        return self._do([made(np.take(full, k, along), int(k), axis) for k in drawn], run)

    def _do(self, prompts: Sequence[Prompt], run: bool) -> Answer:
        if not run:
            self._waiting += prompts
            return False, None
        waiting, self._waiting = self._waiting, []
        return self._run([*waiting, *prompts])

    def _run(self, prompts: Sequence[Prompt]) -> Answer:
        work, begun = self._require(), time.monotonic()
        position = work.session.position
        try:
            for prompt in prompts:
                work.prompt(prompt, _NAME)
        finally:
            if work.session.position != position:
                self._positions.append(position)
        return self._answer(self.budget - (time.monotonic() - begun))

    def _answer(self, budget: float | None = None) -> Answer:
        """What the client does not have yet, after waiting as long as is left for an answer.

        Raises:
            PromptsegError: the other slices could not be answered; what there is of the answer is
                in the next one.
        """
        work = self._require()
        work.wait(max(0.0, self.budget if budget is None else budget))
        work.require_propagated()
        now = work.masks.get(_NAME)
        difference = changed(self._sent, now)
        self._sent = now
        return True, difference

    def _require(self) -> Work:
        if self.work is None:
            raise InputError("an image", "none yet", "send it with set_image")
        return self.work


def _grid(shape: tuple[int, ...], spacing: Any) -> Geometry:
    if spacing is None:
        return Geometry.pixels(shape)
    sizes = _numbers(spacing, 3)
    if min(sizes) <= 0:
        raise InputError("spacing above 0", repr(spacing)[:100])
    return Geometry.from_spacing(shape, sizes[::-1])


def _axis_of_stack(geometry: Geometry) -> Axis:
    """The axis slices were taken along, as nobody says: the longest voxels, else the first."""
    by_axis = list(zip(geometry.spacing[::-1], AXES, strict=True))
    longest = max(size for size, _ in by_axis)
    if longest < _LOPSIDED * sorted(size for size, _ in by_axis)[1]:
        return "z"
    return next(axis for size, axis in by_axis if size == longest)


def _numbers(values: Any, count: int) -> list[float]:
    good = isinstance(values, list) and len(values) == count
    if not good or not all(type(v) in (int, float) and abs(v) < 1e9 for v in values):
        raise InputError(f"{count} numbers", repr(values)[:100])
    return [float(v) for v in values]


def _pairs(pairs: Any, shape: Sequence[int]) -> list[tuple[int, int]]:
    """Half-open pairs inside a shape."""
    good = isinstance(pairs, list) and len(pairs) == 3
    if not good or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise PromptError("a box of three pairs", repr(pairs)[:100])
    found = [(round(a), round(b)) for a, b in (_numbers(p, 2) for p in pairs)]
    if not all(0 <= a < b <= n for (a, b), n in zip(found, shape, strict=True)):
        raise PromptError(f"pairs [first, end) within {list(shape)}", repr(pairs)[:100])
    return found


def _placed(mask: NDArray[Any], at: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of a part of the image, or of all of it, on all of it."""
    pixels: NDArray[np.bool_] = np.asarray(mask != 0)
    if at is None:
        if pixels.shape != shape:
            raise InputError(f"a mask of shape {shape}", f"shape {pixels.shape}")
        return pixels
    region = tuple(slice(a, b) for a, b in _pairs(at, shape))
    wanted = tuple(r.stop - r.start for r in region)
    if pixels.shape != wanted:
        raise InputError(f"a mask of shape {wanted}, as its box", f"shape {pixels.shape}")
    full = np.zeros(shape, dtype=bool)
    full[region] = pixels
    return full


def _others(k: int) -> tuple[int, ...]:
    return tuple(j for j in range(3) if j != k)
