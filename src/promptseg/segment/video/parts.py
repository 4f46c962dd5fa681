"""Parts of a long run: what it has found so far, on the disk, so that a killed one goes on from there.

A part holds the masks of a few frames. The state names how many parts count, and holds what the
tracker needs to go on after them: it is written last, whole or not at all. A part beyond that number is
of a run that was killed in between, and is written again.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InterruptedRunError, OutputError, interruption_behind
from promptseg.formats.files import atomic_path
from promptseg.formats.own_folder import OwnFolder
from promptseg.segment.video.masks import FrameMasks

__all__ = ["FOLDER", "Parts"]

FOLDER = ".promptseg-parts"


class Parts:
    """Parts of one run in its output folder.

    Args:
        own: the output folder.
        request: hash of all that the results depend on.
    """

    def __init__(self, own: OwnFolder, request: str) -> None:
        self.own, self.request, self.count = own, request, 0
        self.folder = own.root / FOLDER

    def recall(self, masks: FrameMasks, overwrite: bool = False) -> dict[str, NDArray[Any]] | None:
        """Put the masks of an earlier run back, and give the state it was in; None if there is none.

        Args:
            masks: filled.
            overwrite: whether parts of another run are dropped; else they are a reason to stop.

        Raises:
            OutputError: parts of a run of other prompts, options, weights or input.
        """
        try:
            state = _load(self.folder / "state.npz")
            if state["request"].tobytes() != self.request.encode():
                raise _OtherRunError
            for number in range(int(state["parts"])):
                masks.put(_load(self._part(number)))
        except FileNotFoundError:
            return None
        except _OtherRunError:
            if not overwrite:
                raise OutputError(
                    "a folder without an unfinished run of another request",
                    str(self.own.root),
                    "repeat that command to finish it, begin anew with --overwrite, or name another "
                    "folder",
                ) from None
            self.clear()
            return None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, IndexError) as error:
            raise OutputError(
                "parts of an unfinished run that can be read",
                f"{self.folder} ({error})",
                "begin anew with --overwrite" if not overwrite else "remove that folder",
            ) from None
        self.count = int(state["parts"])
        return {key: value for key, value in state.items() if key not in ("request", "parts")}

    def keep(
        self, masks: Mapping[str, NDArray[Any]], state: Mapping[str, NDArray[Any]], done: int
    ) -> None:
        """Write one more part, and the state after it.

        Args:
            masks: of the part, see `FrameMasks.as_arrays`.
            state: of the tracker.
            done: frames so far; `recall` gives it back under this name.
        """
        self.own.claim(f"{FOLDER}/*.npz")
        _save(self._part(self.count), masks)
        self.count += 1
        about = {
            "request": np.frombuffer(self.request.encode(), np.uint8),
            "parts": np.array(self.count),
            "done": np.array(done),
        }
        _save(self.folder / "state.npz", {**state, **about})

    @contextmanager
    def taken_up(self) -> Iterator[None]:
        """Let whoever hears of an interruption inside know that the run goes on from its parts.

        Raises:
            InterruptedRunError: an interruption of a run that has parts.
        """
        try:
            yield
        except (KeyboardInterrupt, Exception) as error:
            is_interruption = isinstance(error, KeyboardInterrupt) or interruption_behind(error)
            if self.count and is_interruption:
                raise InterruptedRunError from None
            raise

    def clear(self) -> None:
        """Remove them."""
        self.own.remove(FOLDER)
        self.count = 0

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"


class _OtherRunError(Exception):
    """Parts that were not made for this request."""


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}
