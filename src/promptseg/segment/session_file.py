"""A session as a file: JSON with packed masks, in an npz."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from promptseg.formats.archive import damaged, open_archive
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.promptfile import prompts_along
from promptseg.formats.zipping import Deflated, deflated, write_npz
from promptseg.geometry import Axis
from promptseg.image import Segment, Segmentation
from promptseg.parsing import parse_json
from promptseg.prompts import PlacedPrompt, group_by_object
from promptseg.provenance import Provenance
from promptseg.segment.choices import resolved
from promptseg.segment.provenance import describe
from promptseg.segment.session_steps import NOTHING, checked, facts_of, restored, step_entry

if TYPE_CHECKING:
    from promptseg.segment.session import Session

__all__ = ["load_into", "provenance_of", "save"]

_LONGEST_TEXT = 1 << 28  # bytes


def save(session: Session, path: Path, overwrite: bool) -> Path:
    """Write every step of a session; see `Session.save`."""
    check_outputs([path], overwrite, Reads([session.image.source.path]))
    masks: dict[str, Deflated] = {}
    kept: dict[int, tuple[Segment, Deflated]] = {}
    numbers: dict[int, int] = {}  # one entry per segment, however many steps hold it

    def number_of(segment: Segment) -> int:
        number = numbers.setdefault(id(segment), len(numbers))
        if id(segment) not in kept:
            known = session.deflated.get(id(segment))
            bits = known[1] if known else deflated(np.packbits(segment.crop))
            kept[id(segment)] = (segment, bits)
            masks[f"mask_{number}"] = bits
        return number

    before, steps = NOTHING, []
    for step in session.history:
        steps.append(step_entry(step, before, session.axis, number_of))
        before = step
    content = {**facts_of(session), "position": session.position, "steps": steps}
    text = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    with atomic_path(path, overwrite) as temporary, temporary.open("wb") as stream:
        write_npz(stream, {"session": deflated(text), **masks})
    session.deflated = kept
    return path


def load_into(session: Session, path: Path) -> None:
    """Fill a fresh session from a file; see `Session.resume`."""
    with open_archive(path, "session file") as archive:
        try:
            content = parse_json(archive.take("session", _LONGEST_TEXT).tobytes())
        except ValueError as error:
            raise damaged(path, "session file", str(error)) from None
        restored(
            session,
            path,
            checked(content, path),
            lambda number, size: archive.take(f"mask_{number}", size),
        )


def provenance_of(session: Session, found: Segmentation) -> Provenance:
    """Return the provenance of a session's masks: as of any other run, with the steps taken."""
    segmenter = session.segmenter
    options = resolved(session.options, segmenter.predictor.card)
    prompts = [p for segment in found.segments for p in session.step.prompts[segment.name]]
    by_axis: dict[Axis, list[PlacedPrompt]] = {}
    for prompt in prompts:
        by_axis.setdefault(prompt.axis or session.axis, []).append(prompt)
    objects = [
        (axis, entry)
        for axis, some in by_axis.items()
        for entry in group_by_object(some, session.geometry, axis, mixed=True)
    ]
    return describe(
        found,
        session.image,
        predictor=segmenter.predictor,
        intensity=session.embedded.intensity,
        prompts=prompts_along(objects, session.axis, session.image.name),
        options=options.to_json(),
        notes=session.image.source.notes,
        session=[step.action for step in session.history[1 : session.position + 1]],
    )
