"""The folder of a collection: whether it may be written, and what of an earlier one has to go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from promptseg.curate.options import CurateJob
from promptseg.curate.parts import FACTS, SHARDS, Part
from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.parsing import parse_json
from promptseg.work.shards import is_record

__all__ = ["PREFLIGHT", "STATISTICS", "check_folder", "remove_others", "take_for_reports"]

STATISTICS = ("statistics.csv", "statistics.md", "modalities.png")
PREFLIGHT = ("preflight.md", "preflight.json", "sheet.png", "sizes.png")
"""Reports on a collection, which may be written into its folder."""

_REQUEST = "request.json"
_FILES = (
    *("collection.json", "samples.jsonl", "manifest.csv", "summary.md"),
    *("exclusions.csv", "look_alikes.csv", "held_out.txt", "notes.csv"),
)
_OF_A_PART = {"request", "bytes", "samples", "cases", "excluded"}


def check_folder(job: CurateJob) -> None:
    """Refuse a folder with something else in it; write down what this run is going to make.

    Raises:
        OutputError: other files, the folder of another verb, a collection of other data or options,
            files of others in the place of ours, or no folder to write to.
    """
    folder = job.output
    own = OwnFolder(folder)
    own.take("curate", SHARDS, FACTS, *_FILES, *STATISTICS, *PREFLIGHT)
    path = folder / FACTS / _REQUEST
    reads = Reads([job.held_out, job.splits, job.config])
    check_outputs([path, *(folder / name for name in _FILES)], overwrite=True, reads=reads)
    request = json.loads(json.dumps(job.request(), default=str))
    earlier = None
    with suppress(OSError, ValueError):
        said = parse_json(path.read_text(encoding="utf-8"))
        earlier = said if isinstance(said, dict) else None
    if earlier != request and not job.overwrite:
        if earlier is None and not own.is_ours and folder.exists() and any(folder.iterdir()):
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
    if earlier is not None and not own.is_ours:
        _adopt(own)
    own.check(SHARDS, FACTS, *_FILES)
    alone = job.shard is None and job.cluster is None
    (own.claim if alone else own.claim_ahead)(f"{FACTS}/{_REQUEST}", *_FILES)
    if earlier != request:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")


def take_for_reports(folder: Path, names: Sequence[str]) -> None:
    """List reports that are about to be written, into a collection or a folder of reports alone.

    Raises:
        OutputError: the folder of another verb, or files of others in their place.
    """
    own = OwnFolder(folder)
    own.take("curate", *STATISTICS, *PREFLIGHT)
    own.claim(*names)


def remove_others(root: Path, parts: Sequence[Part]) -> None:
    """Take away shards of an earlier collection in the folder, and what shares said of their work.

    Args:
        root: of the collection.
        parts: that it has now.
    """
    own = OwnFolder(root)
    now = {path.relative_to(root).as_posix() for p in parts for path in (p.shard, p.facts)}
    now |= {f"{FACTS}/{_REQUEST}", *_FILES}
    made = (name for name in own.known if name.startswith((f"{SHARDS}/", f"{FACTS}/")))
    own.remove(*(name for name in made if name not in now), *filter(is_record, own.known))


def _adopt(own: OwnFolder) -> None:
    """List the files of a collection from before there were lists, each known by what it says."""
    names = [name for name in _FILES if (own.root / name).exists()]
    for facts in (own.root / FACTS).glob("*.json"):
        said = None
        with suppress(OSError, ValueError):
            said = json.loads(facts.read_text(encoding="utf-8"))
        if facts.name == _REQUEST:
            names.append(f"{FACTS}/{_REQUEST}")
        elif isinstance(said, dict) and said.keys() >= _OF_A_PART:
            names += [f"{FACTS}/{facts.name}", f"{SHARDS}/{facts.stem}.zip"]
    own.claim(*names, taken=True)
