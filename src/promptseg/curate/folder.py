"""The folder of a collection: whether it may be written, and what of an earlier one has to go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from promptseg.curate.options import CurateJob
from promptseg.curate.parts import FACTS, SHARDS, Part
from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path, check_output
from promptseg.parsing import parse_json

__all__ = ["check_folder", "remove_others"]

_REQUEST = "request.json"


def check_folder(job: CurateJob) -> None:
    """Refuse a folder with something else in it; write down what this run is going to make.

    Raises:
        OutputError: other files, a collection of other data or options, or no folder to write to.
    """
    folder = job.output
    if folder.exists() and not folder.is_dir():
        raise OutputError("a folder for the collection", f"{folder}: a file", "name a folder")
    path = folder / FACTS / _REQUEST
    check_output(path, overwrite=True)
    request = json.loads(json.dumps(job.request(), default=str))
    earlier = None
    with suppress(OSError, ValueError):
        said = parse_json(path.read_text(encoding="utf-8"))
        earlier = said if isinstance(said, dict) else None
    if earlier != request and not job.overwrite:
        if earlier is None and folder.exists() and any(folder.iterdir()):
            raise OutputError(
                "a new folder", f"{folder} with other files", "name another, or --overwrite"
            )
        if earlier is not None:
            changed = [
                f"{key} {earlier.get(key)!r} (now {request.get(key)!r})"
                for key in {**request, **earlier}
                if earlier.get(key) != request.get(key)
            ]
            raise OutputError(
                "a new folder, or a collection of the same options",
                f"{folder}: made with {', '.join(changed[:4])}",
                "name another folder, or --overwrite",
            )
    if earlier != request:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")


def remove_others(root: Path, parts: Sequence[Part]) -> None:
    """Take away shards of an earlier collection in the folder.

    Args:
        root: of the collection.
        parts: that it has now.
    """
    ours = {_REQUEST, *(path.name for part in parts for path in (part.shard, part.facts))}
    for path in [*(root / SHARDS).glob("*.zip"), *(root / FACTS).glob("*.json")]:
        if path.name not in ours:
            path.unlink()
