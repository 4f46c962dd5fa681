"""Steps of a session that no prompt makes: masks from elsewhere, other names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.image import Segment
from promptseg.parsing import name_fault
from promptseg.segment.measure import Measurements
from promptseg.segment.step import Step, label_for

if TYPE_CHECKING:
    from promptseg.segment.session import Session

__all__ = ["renamed", "with_mask"]


def with_mask(session: Session, mask: NDArray[np.bool_], name: str) -> Step:
    """Return the next step, in which an object has a mask from elsewhere; no mask, where that is empty.

    Raises:
        PromptError: a mask on another grid.
    """
    geometry, step = session.geometry, session.step
    if mask.shape != geometry.shape:
        wanted = f"a mask on the image's own grid, {geometry.shape}"
        raise PromptError(wanted, f"one of {mask.shape}", "resample it first")
    segment = None
    if mask.any():
        segment = Segment.from_mask(name, label_for(name, step), mask)
        segment.measurements = Measurements(segment, geometry, session.axis)
    objects, prompts = {**step.objects, name: segment}, {**step.prompts, name: ()}
    return Step(f"mask of {name}", objects, prompts, name)


def renamed(session: Session, name: str, new: str) -> Step:
    """Return the next step, in which an object has another name.

    Raises:
        PromptError: a name that is taken or that no file could hold, or prompts that are not spread.
    """
    step, waiting = session.step, session.unspread
    if not new or new in step.objects:
        raise PromptError("a name no object has yet", repr(new), "choose another name")
    if fault := name_fault(new):
        raise PromptError("a name that a file can hold", fault, "choose another name")
    if waiting:
        raise PromptError(
            "objects whose prompts have reached all slices",
            f"{waiting[0]!r}, which is still being propagated",
            "wait, or cancel it",
        )

    def called(key: str) -> str:
        return new if key == name else key

    objects = {
        called(key): replace(s, name=called(key)) if s is not None and key == name else s
        for key, s in step.objects.items()
    }
    prompts = {
        called(key): tuple(replace(p, name=called(key)) for p in given)
        for key, given in step.prompts.items()
    }
    current = None if step.current is None else called(step.current)
    return Step(f"rename {name} to {new}", objects, prompts, current)
