"""Retention of work: sessions that nobody has gone on with for so many days are removed."""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from promptseg.serve.folder import Folder

__all__ = ["keep_for", "remove_old"]

log = logging.getLogger("promptseg.serve")

_PLACE = re.compile(r"[0-9a-f]{24}")
_SESSION = re.compile(r"session(-[0-9a-f]{12}|-[0-9]{10,20})?\.jsonl")
_VIDEO = re.compile(r"(aside-)?video-[0-9a-f]{12}(-[0-9]{10,20})?")
_HOUR = 3600.0
_DAY = 86_400.0


def remove_old(folder: Folder, days: float, open_now: Collection[Path] = ()) -> int:
    """Remove files of sessions that were last written so many days ago; nothing else.

    Sessions on videos are folders of ours. States, notes, logs, results and images stay. What looks
    like ours and is not (a link, another name) stays, too.

    Args:
        folder: that is served.
        days: they are kept.
        open_now: files of sessions that are open.

    Returns:
        How many were removed.
    """
    before, removed = time.time() - days * _DAY, 0
    for place in _entries(folder.own):
        if not (_PLACE.fullmatch(place.name) and place.is_dir(follow_symlinks=False)):
            continue
        for file in _entries(Path(place.path)):
            if _VIDEO.fullmatch(file.name) and file.is_dir(follow_symlinks=False):
                removed += _remove_video(Path(file.path), before, open_now)
                continue
            facts = file.stat(follow_symlinks=False)
            ours = _SESSION.fullmatch(file.name) and stat.S_ISREG(facts.st_mode)
            if ours and facts.st_mtime < before and Path(file.path) not in open_now:
                with suppress(OSError):
                    os.unlink(file.path)
                    removed += 1
    return removed


def _remove_video(folder: Path, before: float, open_now: Collection[Path]) -> int:
    """1 if the session on a video was old and is gone, 0 otherwise."""
    files = _entries(folder)
    newest = max((f.stat(follow_symlinks=False).st_mtime for f in files), default=before)
    if newest >= before or any(Path(f.path) in open_now for f in files):
        return 0
    shutil.rmtree(folder, ignore_errors=True)  # links in it go, what they lead to stays
    return 0 if folder.exists() else 1


def keep_for(
    folder: Folder,
    days: float,
    open_now: Callable[[], Collection[Path]],
    on_removed: Callable[[int], None],
) -> Callable[[], None]:
    """Remove old sessions now, and then every hour; what is returned ends it.

    Args:
        folder: that is served.
        days: sessions are kept.
        open_now: gives the files of sessions that are open.
        on_removed: is told how many were removed, where any were.
    """
    ended = threading.Event()

    def run() -> None:
        while True:
            count = remove_old(folder, days, open_now())
            if count:
                log.info("%d files of sessions older than %g days were removed", count, days)
                on_removed(count)
            if ended.wait(_HOUR):
                return

    threading.Thread(target=run, name="retention", daemon=True).start()
    return ended.set


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []
