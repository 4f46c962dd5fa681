"""A session as a file: JSON with packed masks, in an npz."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promptseg.errors import InputError, PromptError
from promptseg.formats.archive import Archive, damaged, open_archive
from promptseg.formats.files import atomic_path
from promptseg.formats.memory import require_memory
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.promptfile import parse_prompts, prompts_along, prompts_to_json
from promptseg.formats.zipping import Deflated, deflated, write_npz
from promptseg.geometry import Axis
from promptseg.image import Segment, Segmentation
from promptseg.parsing import parse_json
from promptseg.prompts import ObjectPrompts, PlacedPrompt, group_by_object, place
from promptseg.provenance import Provenance
from promptseg.segment.choices import resolved
from promptseg.segment.measure import Measurements
from promptseg.segment.options import SegmentOptions
from promptseg.segment.provenance import describe
from promptseg.segment.session_content import ObjectEntry, SessionContent
from promptseg.segment.step import Step

if TYPE_CHECKING:
    from promptseg.segment.session import Session

__all__ = ["load_into", "provenance_of", "save"]

_VERSION = 2

_LONGEST_TEXT = 1 << 28  # bytes


def save(session: Session, path: Path, overwrite: bool) -> Path:
    """Write every step of a session; see `Session.save`."""
    check_outputs([path], overwrite, Reads([session.image.source.path]))
    masks: dict[str, Deflated] = {}
    kept: dict[int, tuple[Segment, Deflated]] = {}
    written: dict[int, dict[str, Any]] = {}  # prompts, which many steps hold
    numbers: dict[int, int] = {}  # one entry per segment, however many steps hold it
    steps = []
    for step in session.history:
        objects: dict[str, Any] = {}
        for name, segment in step.objects.items():
            if segment is None:
                objects[name] = None
                continue
            number = numbers.setdefault(id(segment), len(numbers))
            if id(segment) not in kept:
                known = session.deflated.get(id(segment))
                bits = known[1] if known else deflated(np.packbits(segment.crop))
                kept[id(segment)] = (segment, bits)
                masks[f"mask_{number}"] = bits
            objects[name] = {"mask": number, **_facts(segment)}
        steps.append(
            {
                "action": step.action,
                "current": step.current,
                "objects": objects,
                "prompts": {
                    name: [_once(p, p.axis or session.axis, written) for p in prompts]
                    for name, prompts in step.prompts.items()
                },
                **({} if step.spread else {"spread": False}),
            }
        )
    content = {
        "promptseg_session": _VERSION,
        "image": {"name": session.image.name, "voxels_sha256": session.image.sha256()},
        "model": session.segmenter.predictor.card.name,
        "options": session.options.to_json(),
        "position": session.position,
        "steps": steps,
    }
    text = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    with atomic_path(path, overwrite) as temporary, temporary.open("wb") as stream:
        write_npz(stream, {"session": deflated(text), **masks})
    session.deflated = kept
    return path


def load_into(session: Session, path: Path) -> None:
    """Fill a fresh session from a file; see `Session.resume`."""
    with open_archive(path, "session file") as archive:
        options, history, position = _restored(session, path, archive)
    session.options, session.history, session.position = options, history, position


def _restored(
    session: Session, path: Path, archive: Archive
) -> tuple[SegmentOptions, list[Step], int]:
    """The options, steps and position that a session file holds."""
    content = _read(path, archive)
    if content.image.voxels_sha256 != session.image.sha256():
        raise InputError(
            f"the image of the session, {content.image.name}",
            f"{session.image.name} with other voxels",
            "open the session with its own image",
        )
    shape, axis = session.geometry.shape, content.options.axis or "z"
    entries = [e for step in content.steps for e in step.objects.values() if e is not None]
    _require_masks(entries, shape, path)
    known: dict[int, Segment] = {}
    history = []
    for step in content.steps:
        objects: dict[str, Segment | None] = {}
        for name, entry in step.objects.items():
            if entry is not None and entry.mask not in known:
                segment = _segment(name, entry, archive)
                segment.measurements = Measurements(segment, session.geometry, axis)
                known[entry.mask] = segment
            objects[name] = None if entry is None else known[entry.mask]
        prompts = {name: _placed(session, entries, path) for name, entries in step.prompts.items()}
        spread = step.spread is not False
        history.append(Step(step.action, objects, prompts, step.current, spread))
    return content.options, history, content.position


def _placed(
    session: Session, entries: tuple[dict[str, Any], ...], path: Path
) -> tuple[PlacedPrompt, ...]:
    try:
        found = (prompt for entry in entries for prompt in parse_prompts(entry).prompts)
        return tuple(place(found, session.geometry))
    except PromptError as error:
        raise damaged(path, "session file", str(error)) from None


def provenance_of(session: Session, found: Segmentation) -> Provenance:
    """What made the masks of a session: as of any other run, with the steps taken."""
    segmenter = session.segmenter
    options = resolved(session.options, segmenter.predictor.card)
    prompts = [p for segment in found.segments for p in session.step.prompts[segment.name]]
    by_axis: dict[Axis, list[PlacedPrompt]] = {}
    for prompt in prompts:
        by_axis.setdefault(prompt.axis or session.axis, []).append(prompt)
    objects = [
        (axis, entry)
        for axis, some in by_axis.items()
        for entry in group_by_object(some, session.geometry, axis)
    ]
    return describe(
        found,
        session.image,
        segmenter.predictor,
        session.embedded.intensity,
        prompts_along(objects, session.axis, session.image.name),
        options.to_json(),
        session.image.source.notes,
        session=[step.action for step in session.history[1 : session.position + 1]],
    )


def _facts(segment: Segment) -> dict[str, Any]:
    return {
        "label": segment.label,
        "region": [[r.start, r.stop] for r in segment.region],
        "quality": {str(k): v for k, v in segment.quality.items()},
        "doubtful": segment.doubtful,
        "prompted": list(segment.prompted),
        "clicked": list(segment.clicked),
    }


def _require_masks(entries: list[ObjectEntry], shape: tuple[int, ...], path: Path) -> None:
    """Refuse masks outside the image, or that do not fit into memory, before one is unpacked."""
    for entry in entries:
        inside = len(entry.region) == len(shape) and all(
            r.stop <= n for r, n in zip(entry.region, shape, strict=True)
        )
        if not inside:
            raise damaged(path, "session file", "a mask outside the image")
    sizes = {entry.mask: prod(r.stop - r.start for r in entry.region) for entry in entries}
    require_memory([sum(sizes.values())], 1, path)


def _segment(name: str, entry: ObjectEntry, archive: Archive) -> Segment:
    size = tuple(r.stop - r.start for r in entry.region)
    count = prod(size)
    packed = archive.take(f"mask_{entry.mask}", -(-count // 8))
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise damaged(archive.path, "session file", "a mask of another size")
    crop = np.unpackbits(packed, count=count).view(np.bool_).reshape(size)
    return Segment(
        *(name, entry.label, crop, entry.region, entry.quality),
        doubtful=entry.doubtful,
        prompted=entry.prompted,
        clicked=entry.clicked,
    )


def _once(prompt: PlacedPrompt, axis: Axis, written: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """A prompt file with one prompt: in one file for all, their order would be lost."""
    if id(prompt) not in written:
        entry = ObjectPrompts(str(prompt.name))
        entry.add(prompt)
        written[id(prompt)] = prompts_to_json([entry], axis)
    return written[id(prompt)]


def _read(path: Path, archive: Archive) -> SessionContent:
    text = archive.take("session", _LONGEST_TEXT)
    try:
        content = parse_json(text.tobytes())
    except ValueError as error:
        raise damaged(path, "session file", str(error)) from None
    if not isinstance(content, dict) or content.get("promptseg_session") != _VERSION:
        raise InputError("a session of this version of promptseg", str(path))
    try:
        return SessionContent.checked(content)
    except InputError as error:
        raise damaged(path, "session file", str(error)) from None
