"""Tasks that talk to the server in a thread and touch the scene in the thread of the application.

A task is a generator. It yields what is to be done in the thread, a function without arguments, and is
sent what that returned; everything else in it runs where `poll` is called, which a timer of the
application does. So no MRML node is ever touched from the thread, and nothing waits for the network.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Generator, Optional

__all__ = ["Task", "Worker"]

Task = Generator[Callable[[], Any], Any, None]


class Worker:
    """One task after the other.

    Args:
        failed: told of what a task raised.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._tasks: Deque[Task] = deque()
        self._now: Optional[Task] = None
        self._thread: Optional[threading.Thread] = None
        self._answer: Any = None
        self._error: Optional[Exception] = None

    @property
    def busy(self) -> bool:
        """Whether a task is at work, or waits."""
        return self._now is not None or bool(self._tasks)

    @property
    def wanted(self) -> bool:
        """Whether another task waits for the one that is at work."""
        return bool(self._tasks)

    def add(self, task: Task) -> None:
        """Do this after what was added before."""
        self._tasks.append(task)

    def clear(self) -> None:
        """Forget what waits, and the task at work; an answer that is under way is dropped."""
        self._tasks.clear()
        if self._now is not None:
            self._now.close()
            self._now = None

    def poll(self) -> None:
        """Go on as far as there are answers. Call it often, from the application's thread."""
        while self._thread is None or not self._thread.is_alive():
            answer, error = self._answer, self._error
            fresh = self._thread is None
            self._thread = self._answer = self._error = None
            if self._now is None:
                if not self._tasks:
                    return
                self._now, fresh = self._tasks.popleft(), True
            task = self._now
            try:
                if fresh:
                    do = next(task)
                else:
                    do = task.throw(error) if error is not None else task.send(answer)
            except StopIteration:
                self._ended(task)
                continue
            except Exception as problem:
                self._ended(task)
                self._failed(problem)
                continue
            if self._now is task:
                self._begin(do)

    def drain(self, seconds: float = 60.0) -> None:
        """Poll until nothing is left to do.

        Raises:
            TimeoutError: that takes longer.
        """
        end = time.monotonic() + seconds
        while self.busy:
            self.poll()
            if time.monotonic() > end:
                raise TimeoutError(f"tasks are not done after {seconds:g} s")
            time.sleep(0.005)

    def _ended(self, task: Task) -> None:
        if self._now is task:
            self._now = None

    def _begin(self, do: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                self._answer = do()
            except Exception as error:
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
