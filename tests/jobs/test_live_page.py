"""The page beside the results of a long list."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from promptseg.errors import OutputError
from promptseg.jobs import live_page
from promptseg.jobs.live_page import LivePage
from promptseg.work import Tally


class Clock:
    """Time that a test moves."""

    now = 1_000_000.0

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> object:
        import time

        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_page, "time", clock)
    return clock


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []

    def handle_data(self, data: str) -> None:
        self.cells.append(data.strip())


def cells(path: Path) -> list[str]:
    parser = _Text()
    parser.feed(path.read_text(encoding="utf-8"))
    return [cell for cell in parser.cells if cell]


def test_rate_end_slowest_and_failures(tmp_path: Path, clock: Clock) -> None:
    tally = Tally(skipped=10)
    page = LivePage(tmp_path / "progress.html", "a <list>", 130, tally)
    for k in range(20):  # one in three seconds: 20 a minute
        clock.now += 3
        tally.done += 1
        page.add(f"case{k}", float(k), None)
    tally.failed += 1
    page.add("bad & worse", None, "expected <this>")
    page.write()
    said = cells(page.path)
    after = dict(pairwise(said))
    assert after["rate"].startswith("21.0 a minute")
    assert "in 5 min" in after["estimated end"], "99 left at 21 a minute"
    slow = said[said.index("seconds") + 1 : said.index("Failures")]
    assert slow[:2] == ["case19", "19.0"]
    assert len(slow) == 20
    assert after["bad & worse"] == "expected <this>"
    assert after["failed"] == "1"
    assert 'http-equiv="refresh"' in page.path.read_text()
    clock.now += 3600
    assert page.per_minute() < 1, "what was long ago does not count"
    page.write(over=True)
    assert "http-equiv" not in page.path.read_text()
    assert "the same command goes on" in page.path.read_text()


def test_it_is_written_now_and_then_and_replaces_its_own_alone(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "progress.html"
    page = LivePage(path, "list", 5, Tally())
    page.add("a", 1.0, None)
    first = path.read_text()
    page.add("b", 1.0, None)
    assert path.read_text() == first
    clock.now += 60
    page.add("c", 1.0, None)
    assert path.read_text() != first
    LivePage(path, "list", 5, Tally())
    path.write_text("<html>mine</html>")
    with pytest.raises(OutputError, match="of others"):
        LivePage(path, "list", 5, Tally())
