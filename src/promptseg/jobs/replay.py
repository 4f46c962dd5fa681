"""Doing an earlier run again from its provenance, and saying whether it came out the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, ModelError, PromptsegError
from promptseg.formats.text import read_text
from promptseg.image import Image, Segmentation
from promptseg.inference.predictor import Predictor
from promptseg.jobs.existing import read_segmentation
from promptseg.parsing import parse_json

__all__ = ["check_same_weights", "compare", "read_provenance"]

log = logging.getLogger("promptseg")

_ALIKE = 0.999  # DSC that other versions or machines must reach


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance of an earlier run.

    Raises:
        InputError: not readable, not a provenance of promptseg, or that of a session.
    """
    try:
        content = parse_json(read_text(path))
    except OSError as error:
        raise InputError("a provenance file", f"{path} ({error.strerror})") from error
    except ValueError as error:
        raise InputError("a provenance file in JSON", f"{path} ({str(error)[:100]})") from None
    if not _is_provenance(content):
        raise InputError(
            "the provenance of a segmentation", str(path), "name the JSON beside a mask"
        )
    if "session" in content:
        raise InputError(
            "the provenance of one run",
            f"{path} of a session, whose steps followed one another",
            "resume the session file instead",
        )
    found: dict[str, Any] = content
    return found


def _is_provenance(content: Any) -> bool:
    """Whether parsed JSON has what a replay needs."""
    parts = ("software", "options", "model", "input")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), dict) for k in parts):
        return False
    hashes = (
        content.get("masks_sha256"),
        content["model"].get("weights_sha256"),
        content["input"].get("voxels_sha256"),
    )
    return all(isinstance(value, str) for value in hashes)


def check_same_weights(earlier: dict[str, Any], predictor: Predictor, image: Image) -> None:
    """Refuse to replay with other weights or on another image.

    Raises:
        ModelError: other weights.
        InputError: another image.
    """
    wanted = earlier["model"]["weights_sha256"]
    if predictor.weights_sha256 != wanted:
        raise ModelError(
            f"weights with sha256 {wanted[:12]}...",
            f"{predictor.weights_sha256[:12]}... in {predictor.weights}",
            "name the file of the earlier run with --model",
        )
    if image.sha256() != earlier["input"]["voxels_sha256"]:
        raise InputError("the image of the earlier run", f"{image.name} with other voxels")


def compare(earlier: dict[str, Any], path: Path, result: Segmentation) -> str:
    """One line on whether a replay gave the same masks; what differs is logged as a warning.

    Args:
        earlier: the provenance that was replayed.
        path: its file, beside the earlier mask.
        result: what the replay gave.
    """
    if result.sha256() == earlier["masks_sha256"]:
        return "the same masks, bit for bit"
    now, then = (
        {**run["software"], **{k: run["model"].get(k) for k in ("engine", "threads")}}
        for run in (result.provenance, earlier)
    )
    changed = [f"{k} {then.get(k)} -> {v}" for k, v in now.items() if then.get(k) != v]
    said = f"other masks than the earlier run ({', '.join(changed) or 'same versions'})"
    lowest = _lowest_dsc(earlier, path, result)
    if lowest is not None:
        said += f", DSC at least {lowest:.4f}"
        if lowest < _ALIKE:
            said += f", below {_ALIKE}"
    log.warning("replay: %s", said)
    return said


def _lowest_dsc(earlier: dict[str, Any], path: Path, result: Segmentation) -> float | None:
    """Lowest DSC of the objects against the earlier mask, if that file is still there."""
    output = earlier.get("output")
    if result.image is None or not isinstance(output, str):
        return None
    try:
        before = read_segmentation(path.with_name(Path(output).name), result.image)
        scores = []
        for segment in result.segments:
            a, b = before[segment.name], result[segment.name]
            total = int(a.sum()) + int(b.sum())
            scores.append(2 * int((a & b).sum()) / total if total else 1.0)
    except (PromptsegError, KeyError, ValueError):
        return None
    return min(scores, default=None)
