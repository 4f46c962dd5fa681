"""Time points of a sequence: each is a volume with a session of its own, one open at a time.

The segments of every time point are kept in a sequence node; what was found at one time point prompts
the next, by its box.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import numpy as np

from PromptSegLib.problems import Problem
from PromptSegLib.terms import terminology
from PromptSegLib.worker import Task
from PromptSegLib.workspace import Workspace

__all__ = ["TimeLine"]

_MARGIN = 0.05  # of a box's length, on either side
_PIXELS = 1.0


class TimeLine:
    """Goes through the time points with one workspace.

    Args:
        workspace: on the volume that shows the sequence.
        points: as `mrml.TimePoints`.
        say: shows a line.
    """

    def __init__(self, workspace: Workspace, points: Any, say: Callable[[str], None]) -> None:
        self.workspace, self.points, self.say = workspace, points, say
        self._stop = False
        workspace.moment = lambda: int(points.current)

    def stop(self) -> None:
        """End at the time point that is at work."""
        self._stop = True
        self.workspace.stop_following()

    def go_to(self, index: int) -> Task:
        """Show another time point with its segments, and open it.

        Raises:
            Problem: there is none of that number.
        """
        if not 0 <= index < self.points.count:
            raise Problem(f"expected a time point from 0 to {self.points.count - 1}, got {index}")
        opening = self.workspace.opening
        yield from self.workspace.finish()
        yield from self.workspace.close()
        self.points.keep()
        self.points.show(index)
        yield from self.workspace.open(opening._replace(path=""))

    def carry_on(self, last: Optional[int] = None) -> Task:
        """Segment the time points up to `last` (the end, if not given), each by the one before.

        A segment ends where nothing is found. Segments that a time point has already are corrected by
        nobody: they stay.
        """
        self._stop = False
        end = self.points.count - 1 if last is None else min(last, self.points.count - 1)
        yield from self.workspace.finish()
        while self.points.current < end and not self._stop:
            boxes = self._boxes()
            if not boxes:
                raise Problem("expected a segment at this time point, got none; segment it first")
            segments = self.workspace.segments
            known = {n: self.workspace.segment_of(n) for n in boxes}
            colours = {n: segments.colour(s) for n, s in known.items() if s is not None}
            yield from self.go_to(self.points.current + 1)
            for name, body in boxes.items():
                if self._stop:
                    break
                segment = self.workspace.segment_of(name)
                grid = self.workspace.volume.grid
                if segment is not None and segments.mask(segment, grid).any():
                    continue
                self.say(f"time point {self.points.current + 1} of {self.points.count}: {name}")
                if segment is None:
                    colour = colours.get(name, (255, 255, 0))
                    segment = segments.add(name, colour, terminology(name))
                yield from self.workspace.prompt([body], segment, give_way=False)
        self.points.keep()
        self.say("")

    def _boxes(self) -> Dict[str, Dict[str, Any]]:
        """By object, the prompt for the next time point."""
        found: Dict[str, Dict[str, Any]] = {}
        workspace = self.workspace
        masks = {} if workspace.session is None else workspace.session.masks
        for name, mask in masks.items():
            if not mask.any():
                continue
            volume = mask.reshape(workspace.volume.grid.shape)
            low, high = _around(volume)
            if volume.shape[0] == 1:
                found[name] = {"axis": "z", "slice": 0, "box": [*low[:2], *high[:2]]}
            else:
                found[name] = {"axis": "z", "box3d": [*low, *high]}
        return found


def _around(mask: np.ndarray) -> List[List[float]]:
    """The lowest and highest IJK of a mask, with a margin, within the volume."""
    last = np.array(mask.shape[::-1]) - 1.0
    ijk = np.argwhere(mask)[:, ::-1]
    low, high = ijk.min(axis=0).astype(float), ijk.max(axis=0).astype(float)
    margin = _PIXELS + _MARGIN * (high - low)
    return [np.maximum(low - margin, 0).tolist(), np.minimum(high + margin, last).tolist()]
