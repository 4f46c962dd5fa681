"""`progress.html`: a page beside the results of a long list, written anew while it is done."""

from __future__ import annotations

import heapq
import html
import time
from collections import deque
from pathlib import Path

from promptseg._version import __version__
from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path
from promptseg.work import Tally

__all__ = ["LivePage"]

_MARK = "<!-- promptseg progress -->"
_EVERY = 10.0  # seconds between two versions
_RECENT = 600.0  # seconds that the present rate is taken over
_SLOWEST = 10
_FAILED = 50
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; color: #222 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .2em .8em .2em 0; vertical-align: top }
th { border-bottom: 1px solid #999 }
progress { width: 100%; height: 1.2em }
"""


class LivePage:
    """Rate, failures, slowest cases and estimated end of a list, for a browser.

    Args:
        path: of the page.
        title: what is being done.
        total: how many cases there are.
        tally: is read when the page is written.

    Raises:
        OutputError: a file of somebody else's is there.
    """

    def __init__(self, path: Path, title: str, total: int, tally: Tally) -> None:
        if path.is_symlink() or (path.exists() and not _is_ours(path)):
            raise OutputError(
                f"no {path.name} of others in the output folder", str(path), "move it away"
            )
        self.path, self.title, self.total, self.tally = path, title, total, tally
        self._begun = time.time()
        self._written = 0.0
        self._ended: deque[float] = deque()
        self._slowest: list[tuple[float, str]] = []
        self._failed: deque[tuple[str, str]] = deque(maxlen=_FAILED)

    def add(self, name: str, seconds: float | None, error: str | None) -> None:
        """Record a case that has ended; write the page anew if that was some time ago.

        Args:
            name: of the case.
            seconds: that it took, if that is known.
            error: why it failed, if so.
        """
        now = time.time()
        self._ended.append(now)
        if error is not None:
            self._failed.append((name, error))
        elif seconds is not None:
            heapq.heappush(self._slowest, (seconds, name))
            if len(self._slowest) > _SLOWEST:
                heapq.heappop(self._slowest)
        if now - self._written >= _EVERY:
            self.write()

    def per_minute(self) -> float:
        """Return the cases per minute over the last ten minutes; 0 if none have ended."""
        now = time.time()
        while self._ended and self._ended[0] < now - _RECENT:
            self._ended.popleft()
        span = min(_RECENT, now - self._begun)
        return 60 * len(self._ended) / span if self._ended and span > 0 else 0.0

    def write(self, over: bool = False) -> None:
        """Write the page.

        Args:
            over: whether nothing follows, so that it need not look for more.

        Raises:
            OutputError: it cannot be written.
        """
        self._written = time.time()
        with atomic_path(self.path) as temporary:
            temporary.write_text(self._html(over), encoding="utf-8")

    def _html(self, over: bool) -> str:
        tally = self.tally
        ended = tally.skipped + tally.done + tally.failed
        rate = self.per_minute()
        facts = {
            "cases": f"{self.total:,}",
            "done before": f"{tally.skipped:,}",
            "done now": f"{tally.done:,}",
            "failed": f"{tally.failed:,}",
            "rate": f"{rate:,.1f} a minute, over the last ten minutes",
            "begun": _clock(self._begun),
            "as of": _clock(self._written),
        }
        if over:
            facts["state"] = "ended" if ended >= self.total else "stopped; the same command goes on"
        elif rate:
            left = 60 * (self.total - ended) / rate
            facts["estimated end"] = f"{_clock(self._written + left)} (in {_span(left)})"
        refresh = "" if over else f'<meta http-equiv="refresh" content="{_EVERY:.0f}">'
        title = html.escape(self.title)
        slow = sorted(self._slowest, reverse=True)
        return "\n".join(
            [
                f'<!doctype html>{_MARK}<html lang="en"><head><meta charset="utf-8">{refresh}',
                f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
                f'<progress max="{max(1, self.total)}" value="{ended}"></progress>',
                _table(("", ""), list(facts.items())),
                "<h2>Slowest cases</h2>",
                _table(("case", "seconds"), [(name, f"{s:.1f}") for s, name in slow]),
                f"<h2>Failures{' (the last 50)' if tally.failed > _FAILED else ''}</h2>",
                _table(("case", "error"), list(self._failed)),
                f"<p>All cases are in the results table. promptseg {__version__}; research "
                "software, not a medical device.</p></body></html>",
            ]
        )


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    if not rows:
        return "<p>none</p>"
    top = "<tr>" + "".join(f"<th>{word}</th>" for word in head) + "</tr>" if any(head) else ""
    body = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{top}{body}</table>"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as stream:
            return _MARK in stream.read(200)
    except (OSError, UnicodeDecodeError):
        return False
