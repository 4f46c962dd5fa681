"""A session in plain values: the image, its grid, objects, steps and what a person should know."""

from __future__ import annotations

from typing import Any

import numpy as np

from promptseg._version import __version__
from promptseg.errors import InputError, PromptError, UnsupportedPromptError
from promptseg.formats.colours import COLOURS
from promptseg.geometry import AXES, opposite
from promptseg.image import MODALITIES, Image, Segment
from promptseg.intensity import WINDOWS
from promptseg.prompts import Box, Box3D, Marker, Mask, PlacedPrompt, Points, Prompt, Text
from promptseg.prompts.mask import from_rle
from promptseg.prompts.text import text_of
from promptseg.provenance import DISCLAIMER
from promptseg.segment.asked_words import words_known
from promptseg.segment.opened import notes_on
from promptseg.segment.session_prompts import axis_of
from promptseg.serve.desk import Desk
from promptseg.serve.results import mask_endings
from promptseg.serve.users import caller
from promptseg.serve.web.bodies import Prompting
from promptseg.serve.work import Work

__all__ = ["colour_of", "image_facts", "object_facts", "prompt_of", "server_facts", "session_facts"]

_LONGEST_WORDS = 1000


def server_facts(desk: Desk) -> dict[str, Any]:
    """Return the models, windows, formats and limits of a server."""
    limits, who = desk.limits, caller()
    return {
        "version": __version__,
        "user": {"name": who.name, "role": who.role},
        "notice": DISCLAIMER,
        "folder": desk.folder is not None,
        "models": [
            {
                "name": name,
                "title": segmenter.predictor.card.title,
                "prompts": sorted(segmenter.predictor.card.prompts),
                "licence": segmenter.predictor.card.licence,
                "modalities": segmenter.predictor.card.modalities,
                "weak_at": segmenter.predictor.card.weak_at,
                "low_quality": segmenter.predictor.card.low_quality,
                "words": words_known(segmenter.predictor),
                "engine": segmenter.predictor.engine,
                "device": str(segmenter.predictor.device),
            }
            for name, segmenter in desk.models.items()
        ],
        "modalities": list(MODALITIES),
        "windows": {name: {"width": w.width, "level": w.level} for name, w in WINDOWS.items()},
        "endings": {kind: mask_endings(kind) for kind in ("picture", "volume")},
        "layered": {kind: mask_endings(kind, layers=True) for kind in ("picture", "volume")},
        "colours": [list(colour) for colour in COLOURS],
        "limits": {
            "sessions": limits.sessions,
            "upload_bytes": limits.upload_bytes,
            "session_bytes": limits.session_bytes,
            "idle_s": limits.idle_s,
            "liveness_s": limits.liveness_s,
        },
    }


def session_facts(work: Work, since: int = 0) -> dict[str, Any]:
    """Return all of a session but voxels and masks; only those steps that have changed since a
    revision.
    """
    session, step = work.session, work.session.step
    steps_from, steps = work.steps_since(since)
    return {
        "session": work.id,
        "revision": work.revision,
        "path": work.path,
        "model": session.segmenter.predictor.card.name,
        "image": image_facts(work),
        "objects": [object_facts(work, name) for name in session.objects],
        "current": step.current,
        "steps_from": steps_from,
        "steps": steps,
        "position": session.position,
        "following": session.unspread if work.propagating else [],
        "encoded": {axis: len(opened.cached) for axis, opened in session.opened.items()},
        "times": work.times.facts,
        "warning": work.warning,
    }


def image_facts(work: Work) -> dict[str, Any]:
    """Return the facts about the image and its grid; found once, as all voxels are looked at."""
    if work.image_facts is None:
        work.image_facts = _image_facts(work)
    return work.image_facts


def _image_facts(work: Work) -> dict[str, Any]:
    image, geometry = work.session.image, work.session.geometry
    embedded = work.session.embedded
    intensity = embedded.intensity
    low, high = float(image.voxels.min()), float(image.voxels.max())
    return {
        "name": image.name,
        "kind": image.kind,
        "shape": list(geometry.shape),
        "colour": image.is_colour,
        "dtype": sent_as(image.voxels.dtype).str.lstrip("<|>="),
        "range": [low, high],
        "spacing": [float(v) for v in geometry.spacing],
        "unit": geometry.unit,
        "origin": [float(v) for v in geometry.origin],
        "matrix": [[float(v) for v in row] for row in geometry.matrix],
        "sides": _sides(image),
        "axis": work.session.axis,
        "modality": intensity.modality,
        "modality_guessed": intensity.guessed,
        "window": {"lower": intensity.lower, "upper": intensity.upper, "rule": intensity.rule},
        "notes": [str(getattr(note, "bare", note)) for note in notes_on(embedded)],
        "sha256": image.sha256(),
    }


def object_facts(work: Work, name: str) -> dict[str, Any]:
    """Return the facts about one object: its place, quality by slice, and prompts."""
    session = work.session
    segment = session.step.objects[name]
    prompts = session.step.prompts[name]
    axis = axis_of(prompts, session.axis)
    found: dict[str, Any] = {
        "name": name,
        "label": None,
        "colour": list(_colour(work, name, segment)),
        "waiting": name in session.waiting,
        "axis": axis,
        "prompts": [{"kind": _kind(p), "axis": p.axis or axis, **_shown(p)} for p in prompts],
    }
    if segment is not None:
        iou = segment.predicted_iou
        low = session.segmenter.predictor.card.low_quality
        found |= {
            "label": segment.label,
            "empty": segment.is_empty,
            "region": [[r.start, r.stop] for r in segment.region],
            "predicted_iou": None if iou is None else round(iou, 4),
            "doubtful": segment.doubtful,
            "quality": {str(k): v for k, v in segment.quality.items()},
            "doubtful_slices": [k for k, v in segment.quality.items() if v < low],
            "prompted": list(segment.prompted),
        }
        if segment.words is not None:
            words = segment.words
            found["words"] = {"text": words.text, "score": round(words.score, 4)}
            found["words"] |= {"code": words.code} if words.code else {}
    return found


def colour_of(values: list[int]) -> tuple[int, int, int]:
    """Check a colour and return it as (red, green, blue).

    Raises:
        InputError: not three numbers from 0 to 255.
    """
    if len(values) != 3 or not all(0 <= v <= 255 for v in values):
        raise InputError("a colour [red, green, blue] from 0 to 255", repr(values)[:60])
    return values[0], values[1], values[2]


def prompt_of(asked: Prompting, work: Work, desk: Desk) -> Prompt:
    """Convert a request to the prompt that it holds.

    Raises:
        PromptError: none or several, or one that makes no sense.
        UnsupportedPromptError: words for a model that takes none; those on the desk that do are named.
    """
    kinds = ("box", "box3d", "points", "mask", "marker", "text")
    given = [kind for kind in kinds if getattr(asked, kind) is not None]
    if len(given) != 1:
        raise PromptError(f"one of {', '.join(kinds)}", " and ".join(given) or "none")
    axis = asked.axis or work.session.axis
    name = asked.object
    if asked.text is not None:
        _require_words(work, desk)
        if len(asked.text) > _LONGEST_WORDS:
            raise PromptError(f"at most {_LONGEST_WORDS} characters", str(len(asked.text)))
        return text_of(asked.text, name, axis)
    if asked.box is not None:
        return Box(tuple(asked.box), asked.slice, name, axis)  # type: ignore[arg-type]
    if asked.box3d is not None:
        return Box3D(tuple(asked.box3d), name, axis)  # type: ignore[arg-type]
    if asked.points is not None:
        if not asked.points or any(len(p) != 3 for p in asked.points):
            raise PromptError("points [x, y, label] and at least one", repr(asked.points)[:100])
        if len(asked.points) > 1000:
            raise PromptError("at most 1000 points at a time", str(len(asked.points)))
        xy = tuple((p[0], p[1]) for p in asked.points)
        labels = tuple(int(p[2]) if p[2] in (0, 1) else -1 for p in asked.points)
        return Points(xy, labels, asked.slice, name, axis)
    if asked.mask is not None:
        shape = work.session.geometry.slice_shape(axis)
        size = asked.mask.get("size")
        rle = asked.mask.get("rle", asked.mask.get("runs"))  # the latter is its old name
        if size != list(shape) or not isinstance(rle, str):
            raise PromptError(
                f"a mask with size {list(shape)} and rle",
                f"size {size!r:.40}",
                "send the whole slice",
            )
        return Mask(from_rle(rle, shape), asked.slice, name, axis, asked.as_drawn)
    return _marker(asked, axis)


def _require_words(work: Work, desk: Desk) -> None:
    card = work.session.segmenter.predictor.card
    if "text" in card.prompts:
        return
    able = [n for n, one in desk.models.items() if "text" in one.predictor.card.prompts]
    raise UnsupportedPromptError(
        f"prompts that {card.name} takes ({', '.join(sorted(card.prompts))})",
        "words",
        f"open the image with {' or '.join(able)}"
        if able
        else "start the server with --model promptseg-words, too, and open the image with it",
    )


def _marker(asked: Prompting, axis: Any) -> Marker:
    lines: dict[str, Any] = {}
    for which in ("long", "short"):
        line = (asked.marker or {}).get(which)
        if line is None:
            continue
        good = isinstance(line, list) and len(line) == 2
        if not good or not all(isinstance(e, list) and len(e) == 2 for e in line):
            raise PromptError(f"{which} to be two ends [x, y]", f"{line!r:.100}")
        lines[which] = tuple(map(tuple, line))
    if "long" not in lines:
        raise PromptError("a marker with a long axis", "none")
    return Marker(**lines, slice=asked.slice, name=asked.object, axis=axis)


def sent_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which voxels travel: 8 and 16 bits as they are, anything else as float32."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        return dtype.newbyteorder("<")
    return np.dtype("<f4")


def _sides(image: Image) -> dict[str, list[str]] | None:
    """For slices along every axis, the sides of the patient: left, right, top and bottom."""
    geometry = image.geometry
    if image.kind != "volume" or geometry.unit != "mm":
        return None
    letters = geometry.orientation  # of growing x, y and z
    if letters is None or len(letters) != 3:
        return None
    towards = dict(zip("xyz", letters, strict=True))
    sides: dict[str, list[str]] = {}
    for axis in AXES:
        column, row = (a for a in "xyz" if a != axis)
        right, bottom = towards[column], towards[row]
        sides[axis] = [opposite(right), right, opposite(bottom), bottom]
    return sides


def _colour(work: Work, name: str, segment: Segment | None) -> tuple[int, ...]:
    if name in work.colours:
        return work.colours[name]
    number = segment.label - 1 if segment is not None else work.session.objects.index(name)
    return COLOURS[number % len(COLOURS)]


def _kind(prompt: PlacedPrompt) -> str:
    if isinstance(prompt, Box3D):
        return "box3d"
    return "marker" if isinstance(prompt, Marker) else prompt.kind


def _shown(prompt: PlacedPrompt) -> dict[str, Any]:
    """A prompt for the screen; of a mask only that it is there."""
    if isinstance(prompt, Points):
        points = [[*xy, label] for xy, label in zip(prompt.xy, prompt.labels, strict=True)]
        return {"slice": prompt.slice, "points": points}
    if isinstance(prompt, Box3D):
        return {"box3d": list(prompt.bounds)}
    if isinstance(prompt, Text):
        return {"text": prompt.to_json()}
    if isinstance(prompt, Mask):
        return {"slice": prompt.slice, "as_drawn": prompt.as_drawn}
    if isinstance(prompt, Marker):
        return prompt.to_json()
    return {"slice": prompt.slice, "box": list(prompt.xyxy)}
