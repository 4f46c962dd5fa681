"""A session on a video in plain values: what there is, when each object is there, and its masks."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from promptseg.errors import PromptError
from promptseg.formats.colours import COLOURS
from promptseg.prompts import Box, Mask, PlacedPrompt, Points
from promptseg.segment.video.masks import Packed
from promptseg.serve.video.steps import ClipObject, place_of
from promptseg.serve.video.work import VideoWork

__all__ = ["masks_facts", "timeline_facts", "video_facts"]

_UNKNOWN, _ABSENT, _UNSCORED, _LOWEST = 0, 1, 2, 3
_LEVELS = 252
_MOST_FRAMES = 256


def video_facts(work: VideoWork) -> dict[str, Any]:
    """Return all facts but pictures, masks and time line; frames are counted as in the whole video."""
    clip, step = work.clip, work.step
    card = clip.segmenter.predictor.card
    numbers = clip.frames.numbers
    tracking = work.tracking
    writing = work.writing
    return {
        "session": work.id,
        "revision": work.revision,
        "path": work.path,
        "model": card.name,
        "prompts": sorted(card.prompts),
        "low_quality": card.low_quality,
        "remembers": _remembers(work),
        "clip": clip.facts(),
        "objects": [_object(work, k, one) for k, one in enumerate(step.objects)],
        "current": step.current,
        "steps": [one.action for one in work.history],
        "position": work.position,
        "changed": [[numbers[a], numbers[b]] for a, b in step.changed],
        "tracking": None
        if tracking is None
        else {"objects": tracking.names, "done": tracking.visits[0], "of": tracking.visits[1]},
        "writing": None if writing is None else {"done": writing[0], "of": writing[1]},
        "warning": work.warning,
    }


def timeline_facts(work: VideoWork) -> dict[str, Any]:
    """Return one byte for every object and frame, as base64 of a zlib stream: see docs/server.md."""
    low = work.clip.segmenter.predictor.card.low_quality
    numbers = work.clip.frames.numbers
    objects = []
    for one in work.step.objects:
        line = np.zeros(len(numbers), np.uint8)
        for place, packed in work.shown(one).items():
            line[place] = _level(packed)
        there = line >= _LOWEST
        doubtful = there & ((line - _LOWEST) / _LEVELS < low)
        objects.append(
            {
                "name": one.name,
                "line": base64.b64encode(zlib.compress(line.tobytes(), 1)).decode("ascii"),
                "prompted": sorted({numbers[place_of(p)] for p in one.prompts}),
                "pending": sorted({numbers[place_of(p)] for p in one.pending}),
                "doubtful": int(doubtful.sum()),
            }
        )
    return {"revision": work.revision, "places": len(numbers), "objects": objects}


def masks_facts(work: VideoWork, frame: int, count: int) -> dict[str, Any]:
    """Return the masks on `count` frames: `{"object", "region", "bits", ...}` each, as in changes.

    Raises:
        PromptError: frames that are none of the chosen ones.
    """
    frames = work.clip.frames
    first = frames.place(frame, "masks")
    if not 1 <= count <= _MOST_FRAMES:
        raise PromptError(f"1 to {_MOST_FRAMES} frames at a time", str(count), "ask for fewer")
    found: dict[str, list[dict[str, Any]]] = {}
    for place in range(first, min(first + count, len(frames))):
        here = []
        for one in work.step.objects:
            packed = work.on(one.name, place)
            if packed is not None:
                here.append({"object": one.name, **_mask(packed)})
        found[str(frames.numbers[place])] = here
    return {"revision": work.revision, "frames": found}


def _mask(packed: Packed) -> dict[str, Any]:
    top, bottom, left, right = packed.box
    presence = None if packed.presence is None else 1 / (1 + np.exp(-packed.presence))
    return {
        "region": [[top, bottom], [left, right]],
        "bits": base64.b64encode(packed.bits).decode("ascii"),
        "area": 0 if packed.is_empty else int(packed.crop().sum()),
        "predicted_iou": None if packed.iou is None or packed.is_empty else round(packed.iou, 4),
        "presence": None if presence is None else round(float(presence), 4),
    }


def _level(packed: Packed) -> int:
    """A mask as a byte of the time line."""
    if packed.is_empty:
        return _ABSENT
    if packed.iou is None:
        return _UNSCORED
    return _LOWEST + round(_LEVELS * min(max(packed.iou, 0.0), 1.0))


def _object(work: VideoWork, number: int, one: ClipObject) -> dict[str, Any]:
    numbers = work.clip.frames.numbers
    shown = work.shown(one)
    filled = [packed for packed in shown.values() if not packed.is_empty]
    scores = [packed.iou for packed in filled if packed.iou is not None]
    low = work.clip.segmenter.predictor.card.low_quality
    return {
        "name": one.name,
        "label": number + 1,
        "colour": list(COLOURS[number % len(COLOURS)]),
        "followed": one.propagated,
        "frames": len(filled),
        "absent": sum(p.is_empty and p.presence is not None for p in shown.values()),
        "predicted_iou": round(float(np.mean(scores)), 4) if scores else None,
        "doubtful": sum(score < low for score in scores),
        "waiting": len({place_of(p) for p in one.pending}),
        "prompts": [{"frame": numbers[place_of(p)], **_shown(p)} for p in one.prompts],
    }


def _shown(prompt: PlacedPrompt) -> dict[str, Any]:
    if isinstance(prompt, Points):
        pairs = zip(prompt.xy, prompt.labels, strict=True)
        return {"kind": "point", "points": [[*xy, label] for xy, label in pairs]}
    if isinstance(prompt, Mask):
        return {"kind": "absent"}
    if isinstance(prompt, Box):
        return {"kind": "box", "box": list(prompt.xyxy)}
    return {"kind": prompt.kind}


def _remembers(work: VideoWork) -> bool:
    """Whether objects are propagated with a memory."""
    card, asked = work.clip.segmenter.predictor.card, work.clip.options.propagate
    return (asked or card.propagate) == "memory"
