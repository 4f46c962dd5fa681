"""Doing an earlier run again from its provenance, and saying whether it came out the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, ModelError, PromptsegError
from promptseg.formats.text import read_text
from promptseg.image import Image, Segmentation
from promptseg.inference.predictor import Predictor
from promptseg.jobs.existing import read_segmentation
from promptseg.parsing import parse_json
from promptseg.provenance import InputFacts, ModelFacts, Provenance
from promptseg.segment.classes.windows import ClassModel

__all__ = [
    "check_same_weights",
    "compare",
    "compared",
    "earlier_mask",
    "parse_provenance",
    "read_provenance",
]

log = logging.getLogger("promptseg")

_ALIKE = 0.999  # DSC that other versions or machines must reach


def read_provenance(path: Path) -> Provenance:
    """Read the provenance of an earlier run.

    Raises:
        InputError: not readable, not a provenance of promptseg, or that of a session.
    """
    try:
        content = parse_json(read_text(path))
    except OSError as error:
        raise InputError("a provenance file", f"{path} ({error.strerror})") from error
    except ValueError as error:
        raise InputError("a provenance file in JSON", f"{path} ({str(error)[:100]})") from None
    found = parse_provenance(content, path)
    if found.software is None or found.options is None or None in _hashes(found):
        raise InputError(
            "the provenance of a segmentation", str(path), "name the JSON beside a mask"
        )
    if found.session is not None:
        raise InputError(
            "the provenance of one run",
            f"{path} of a session, whose steps followed one another",
            "resume the session file instead",
        )
    return found


def parse_provenance(content: Any, path: Path) -> Provenance:
    """Convert the parsed JSON of a file to a provenance.

    Raises:
        InputError: it is of another form, with the field's name.
    """
    try:
        return Provenance.from_json(content)
    except InputError as error:
        raise InputError(
            f"a provenance of promptseg with {error.expected}", f"{error.got} in {path}"
        ) from None


def _hashes(found: Provenance) -> tuple[str | None, str | None, str | None]:
    """Of masks, weights and voxels: what a replay is compared by."""
    model, image = found.model or ModelFacts(), found.input or InputFacts()
    return found.masks_sha256, model.weights_sha256, image.voxels_sha256


def earlier_mask(path: Path) -> Path | None:
    """Return the mask beside a provenance, by the name that this gives it; None if it gives none.

    Raises:
        InputError: as `read_provenance`.
    """
    output = read_provenance(path).output
    return path.with_name(Path(output).name) if output else None


def check_same_weights(
    earlier: Provenance,
    predictor: Predictor | ClassModel,
    image: Image,
    starter: Predictor | None = None,
) -> None:
    """Refuse to replay with other weights or on another image.

    Args:
        earlier: what is replayed.
        predictor: the model.
        image: the image.
        starter: the model that starts the objects, if another one does.

    Raises:
        ModelError: other weights.
        InputError: another image.
    """
    _, weights, voxels = _hashes(earlier)
    began = earlier.started_by.weights_sha256 if earlier.started_by else None
    for one, hash_, option in ((predictor, weights, "model"), (starter, began, "start-model")):
        if one is not None and one.weights_sha256 != hash_:
            raise ModelError(
                f"weights with sha256 {str(hash_)[:12]}...",
                f"{one.weights_sha256[:12]}... in {one.weights}",
                f"name the file of the earlier run with --{option}",
            )
    if image.sha256() != voxels:
        raise InputError("the image of the earlier run", f"{image.name} with other voxels")


def compare(earlier: Provenance, path: Path, result: Segmentation) -> str:
    """Compare a replay with the run it replays, in one line; what differs is logged as a warning.

    Args:
        earlier: the provenance that was replayed.
        path: its file, beside the earlier mask.
        result: what the replay gave.
    """
    return compared(earlier, result.sha256(), result.provenance, lambda: _lowest_dsc(path, result))


def compared(
    earlier: Provenance, masks: str, made: Provenance, lowest_dsc: Callable[[], float | None]
) -> str:
    """Compare as `compare` does, by the hash of the masks.

    Args:
        earlier: the provenance that was replayed.
        masks: hash of the masks of the replay.
        made: the provenance of the replay.
        lowest_dsc: of its objects against the earlier masks; None where these are not there.
    """
    if masks == earlier.masks_sha256:
        return "the same masks, bit for bit"
    now, then = _circumstances(made), _circumstances(earlier)
    changed = [f"{k} {then.get(k)} -> {v}" for k, v in now.items() if then.get(k) != v]
    said = f"other masks than the earlier run ({', '.join(changed) or 'same versions'})"
    lowest = lowest_dsc()
    if lowest is not None:
        said += f", DSC at least {lowest:.4f}"
        if lowest < _ALIKE:
            said += f", below {_ALIKE}"
    log.warning("replay: %s", said)
    return said


def _circumstances(run: Provenance) -> dict[str, Any]:
    """What may make another run give other masks from the same weights and voxels."""
    model = run.model or ModelFacts()
    return {**(run.software or {}), "engine": model.engine, "threads": model.threads}


def _lowest_dsc(path: Path, result: Segmentation) -> float | None:
    """Lowest DSC of the objects against the earlier mask, if that file is still there."""
    mask = earlier_mask(path)
    if result.image is None or mask is None:
        return None
    try:
        before = read_segmentation(mask, result.image)
        scores = []
        for segment in result.segments:
            a, b = before[segment.name], result[segment.name]
            total = int(a.sum()) + int(b.sum())
            scores.append(2 * int((a & b).sum()) / total if total else 1.0)
    except (PromptsegError, KeyError, ValueError):
        return None
    return min(scores, default=None)
