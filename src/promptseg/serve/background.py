"""Slices are encoded before anybody asks for them, nearest to where people look first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from promptseg.serve.images import TurnImage
from promptseg.serve.turns import CancelledError, Job, Urgency
from promptseg.serve.work import Work

__all__ = ["Encoder"]

log = logging.getLogger("promptseg.serve")

_PAUSE_S = 0.5


class Encoder:
    """A thread that encodes one slice at a time, of the sessions in turn.

    Args:
        works: gives what is open.
    """

    def __init__(self, works: Callable[[], Sequence[Work]]) -> None:
        self._works = works
        self._something = threading.Event()
        self._stopped = False
        self._failed: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Wake the encoder: there may be something to do."""
        self._something.set()

    def stop(self) -> None:
        """Stop the encoder."""
        self._stopped = True
        self._something.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._stopped:
            self._something.clear()
            done = [self._one(work) for work in self._works() if work.id not in self._failed]
            if not any(done):
                self._something.wait(_PAUSE_S)

    def _one(self, work: Work) -> bool:
        """Encode a slice of a session; False if there is none to encode."""
        axis, near = work.focus
        try:
            image = work.session.embedded_along(axis)
            index = image.next_to_encode(near) if isinstance(image, TurnImage) else None
            if index is None or self._stopped:
                return False
            with work.turns.take(Job(work.id, Urgency.BACKGROUND)):
                image.embedding(index)
        except CancelledError:
            return False
        except Exception:  # whoever prompts the slice is told why
            self._failed.add(work.id)
            log.warning("slices of a session cannot be encoded ahead")
            return False
        work.tell({"type": "encoded", "axis": axis, "slices": len(image.cached), "of": len(image)})
        return True
