"""Compiled models on disk: made once, checked when read, bounded in size.

One folder an entry, named by the hash of everything it depends on: weights, part, shapes, engine and
its version, machine. A folder appears whole or not at all; a damaged one is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptseg.assets import cache_folder, sha256_of
from promptseg.leftovers import clean, part_name
from promptseg.parsing import parse_json

__all__ = ["CompiledStore"]

log = logging.getLogger("promptseg")

_ENTRY = "entry.json"
_LEFT_OVER_AFTER = 3600  # seconds
_LEFT_OVER = re.compile(r"\.part-\d+-[0-9a-f]{8}")  # of versions before


class CompiledStore:
    """The folder of compiled models.

    Args:
        folder: where they are; `compiled` in the cache folder if not given.
        limit: GiB that may be kept; the least recently used go first.
    """

    def __init__(self, folder: Path | None = None, limit: float = 8.0) -> None:
        self.folder = folder or cache_folder() / "compiled"
        self.limit = limit * 2**30

    def get(self, facts: dict[str, Any], make: Callable[[Path], Path]) -> Path:
        """Return the entry for `facts`, made if it is not there or damaged.

        Args:
            facts: all that it depends on, as plain values. With "" for the hash of "weights" it is
                made for this process alone.
            make: fills an empty folder; returns its main file.

        Returns:
            The main file.
        """
        text = json.dumps(facts, sort_keys=True)
        if facts.get("weights") == "":
            text += secrets.token_hex(8)
        entry = self.folder / hashlib.sha256(text.encode()).hexdigest()
        if (found := self._read(entry)) is not None:
            with contextlib.suppress(OSError):
                os.utime(entry)
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / part_name()
        clean(self.folder)
        part.mkdir()
        try:
            main = make(part)
            files = {p.name: sha256_of(p) for p in sorted(part.iterdir())}
            content = {"facts": facts, "main": main.name, "files": files}
            (part / _ENTRY).write_text(json.dumps(content, indent=1), encoding="utf-8")
            try:
                part.rename(entry)
            except OSError:  # a damaged one, or another process was quicker: as good
                for name in (*files, _ENTRY):
                    os.replace(part / name, entry / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._make_room(entry)
        return entry / main.name

    def _read(self, entry: Path) -> Path | None:
        """The main file of an entry that is whole; None if there is none."""
        try:
            content = parse_json((entry / _ENTRY).read_text(encoding="utf-8"))
            if all(sha256_of(entry / name) == sha for name, sha in content["files"].items()):
                return entry / str(content["main"])
        except FileNotFoundError:
            if not entry.exists():
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        log.warning("the compiled model %s is damaged and is made again", entry.name[:12])
        return None

    def _make_room(self, newest: Path) -> None:
        """Remove the least recently used entries beyond the limit; of each the files it lists."""
        entries = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                used = path.stat().st_mtime
                if _LEFT_OVER.fullmatch(path.name) and not path.is_symlink():
                    if used < time.time() - _LEFT_OVER_AFTER:
                        shutil.rmtree(path, ignore_errors=True)
                elif names := _listed(path):
                    size = sum((path / name).stat().st_size for name in names)
                    entries.append((path == newest, used, size, path, names))
        total = sum(size for _, _, size, _, _ in entries)
        for is_newest, _, size, path, names in sorted(entries):
            if total <= self.limit or is_newest:
                break
            with contextlib.suppress(OSError):
                for name in names:  # what says that they are ours goes last
                    (path / name).unlink(missing_ok=True)
                total -= size
                path.rmdir()


def _listed(entry: Path) -> list[str]:
    """Names of the files of an entry, its own list the last; none if it is no entry of ours."""
    if entry.is_symlink():
        return []
    try:
        content = parse_json((entry / _ENTRY).read_text(encoding="utf-8"))
        facts, files = json.dumps(content["facts"], sort_keys=True), list(content["files"])
        unnamed = content["facts"].get("weights") == ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    ours = unnamed or entry.name == hashlib.sha256(facts.encode()).hexdigest()
    plain = all(isinstance(n, str) and n == Path(n).name and (entry / n).exists() for n in files)
    return [*files, _ENTRY] if ours and plain else []
