"""Steps of a session on a video for which no model is asked: names, removal, the ends of tracking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from promptseg.errors import PromptError
from promptseg.parsing import name_fault
from promptseg.prompts import PlacedPrompt
from promptseg.serve.video.steps import ClipObject, Step, changed_places, ranges_of
from promptseg.serve.video.tracking import Tracking

__all__ = [
    "added",
    "free_name",
    "fresh",
    "known",
    "removed",
    "renamed",
    "reset",
    "stopped",
    "tracked",
]

_MOST_OBJECTS = 255


def known(step: Step, name: str) -> ClipObject:
    """Return the object of this name.

    Raises:
        PromptError: there is none.
    """
    one = step.object(name)
    if one is None:
        raise PromptError("an object of the session", repr(name)[:100])
    return one


def fresh(step: Step, name: str) -> ClipObject:
    """Return a new object, if there is room for one more and a file can hold its name.

    Raises:
        PromptError: too many objects, or a name that no file could hold.
    """
    if len(step.objects) >= _MOST_OBJECTS:
        raise PromptError(f"at most {_MOST_OBJECTS} objects", "one more", "remove one")
    if fault := name_fault(name):
        raise PromptError("a name that a file can hold", fault, "choose another name")
    return ClipObject(name)


def free_name(history: Sequence[Step]) -> str:
    """Return a name that no object ever had."""
    taken = {name for step in history for name in step.names}
    return next(f"object {k}" for k in range(1, len(taken) + 2) if f"object {k}" not in taken)


def added(step: Step, name: str) -> Step:
    """Return the step with a new object, which has no prompts and is current.

    Raises:
        PromptError: a name that is taken or cannot be written.
    """
    name = _new_name(step, name)
    return Step(f"new: {name}", step.with_object(fresh(step, name)), name)


def renamed(step: Step, name: str, new: str) -> Step:
    """Return the step with an object, and its prompts, under another name.

    Raises:
        PromptError: no such object, or a name that is taken or cannot be written.
    """
    old, new = known(step, name), _new_name(step, new)
    prompts = tuple(cast("PlacedPrompt", replace(cast("Any", p), name=new)) for p in old.prompts)
    one = replace(old, name=new, prompts=prompts)
    objects = tuple(one if o is old else o for o in step.objects)
    return Step(f"{name} is called {new}", objects, new if step.current == name else step.current)


def removed(step: Step, name: str) -> Step:
    """Return the step without an object; if that was current, the last one is.

    Raises:
        PromptError: no such object.
    """
    old = known(step, name)
    objects = tuple(o for o in step.objects if o is not old)
    current = step.current
    if current == name:
        current = objects[-1].name if objects else None
    return Step(f"removed {name}", objects, current)


def reset(step: Step, name: str | None) -> Step:
    """Return the step with one object without prompts and masks, or without any object.

    Raises:
        PromptError: no such object.
    """
    if name is None:
        return Step("reset")
    known(step, name)
    return Step(f"reset {name}", step.with_object(ClipObject(name)), name)


def tracked(step: Step, tracking: Tracking) -> Step:
    """Return the step after a tracking that came to its end, with the frames that corrections
    changed.
    """
    objects = tuple(tracking.done.get(one.name, one) for one in step.objects)
    changed: set[int] = set()
    for one in tracking.corrected:
        changed.update(changed_places(one.masks, tracking.done[one.name].masks))
    said = []
    if tracking.fresh:
        said.append(f"tracked {_listed(one.name for one in tracking.fresh)}")
    if tracking.corrected:
        names = _listed(one.name for one in tracking.corrected)
        frames = "1 frame" if len(changed) == 1 else f"{len(changed)} frames"
        said.append(f"corrected {names}: {frames} changed")
    return Step("; ".join(said), objects, step.current, ranges_of(sorted(changed)))


def stopped(step: Step, tracking: Tracking, how: str) -> Step | None:
    """Return the step after a tracking that did not end; None where it has found nothing yet."""
    found = tracking.so_far()
    if not found:
        return None
    objects = tuple(found.get(one.name, one) for one in step.objects)
    return Step(f"tracking {_listed(found)} {how}", objects, step.current)


def _new_name(step: Step, name: str) -> str:
    name = name.strip()
    if not name or step.object(name) is not None:
        raise PromptError("a name no object has yet", repr(name)[:100], "choose another name")
    if fault := name_fault(name):
        raise PromptError("a name that a file can hold", fault, "choose another name")
    return name


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
