"""What one person at the page waits for: the first click on a CT just opened, and every further one.

The server runs in a process of its own, as `promptseg serve` starts it, and is asked as the page asks:
an image is opened, its middle slice is fetched, and a click follows at once, while slices are being
encoded ahead. Then, with all embeddings at hand, boxes and clicks that stay on their slice. Times are
from the request to the whole answer, masks included. Figures count on a machine that does nothing else;
its load is written beside them.

    python benchmarks/serve_latency.py -o benchmarks/results/DATE_serve_latency.md
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

from promptseg import assets
from promptseg.runtime.machine import describe_machine

CLICKS_OF_AN_OBJECT = 9  # after its box
LIMIT_CLICK_MS, LIMIT_FIRST_S = 150, 2.0  # what is wanted on two idle cores


class Link:
    """One connection that stays."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        token = parse_qs(parts.query)["token"][0]
        self.http = http.client.HTTPConnection(parts.netloc, timeout=600)
        self.headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of an answer.

        Raises:
            RuntimeError: it was refused.
        """
        content = None if body is None else json.dumps(body).encode()
        self.http.request(method, path, content, self.headers)
        answer = self.http.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {found[:300]!r}")
        return found


@contextmanager
def server(root: Path, model: str, threads: int | None) -> Iterator[Link]:
    """A server that is ready."""
    asked = ["serve", "--root", str(root), "--port", "0", "--model", model]
    asked += [] if threads is None else ["--threads", str(threads)]
    command = [sys.executable, "-m", "promptseg", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Link(process.stdout.readline().strip())
        finally:
            process.terminate()


def first_clicks(link: Link, name: str, count: int) -> tuple[list[float], list[float]]:
    """Seconds until the slice is there, and from then until the first click on it is answered."""
    shown, answered = [], []
    for _ in range(count):
        begun = time.perf_counter()
        state = json.loads(link.ask("POST", "/api/sessions", {"path": name, "afresh": True}))
        at = f"/api/sessions/{state['session']}"
        depth, rows, columns = state["image"]["shape"]
        link.ask("GET", f"{at}/slices?axis=z&index={depth // 2}&count=1")
        there = time.perf_counter()
        click = {"points": [[columns // 2, rows // 2, 1]], "slice": depth // 2, "spread": False}
        link.ask("POST", f"{at}/prompts", click)
        shown.append(there - begun)
        answered.append(time.perf_counter() - there)
        link.ask("DELETE", at)
    return shown, answered


def clicks(link: Link, name: str, count: int, minutes: float) -> tuple[list[float], list[float]]:
    """Milliseconds of boxes and of clicks after them, once every slice has its embedding."""
    rng = random.Random(3)
    state = json.loads(link.ask("POST", "/api/sessions", {"path": name, "afresh": True}))
    at = f"/api/sessions/{state['session']}"
    depth, rows, columns = state["image"]["shape"]
    while json.loads(link.ask("GET", at))["encoded"].get("z", 0) < depth:
        time.sleep(0.2)
    until = time.monotonic() + 60 * minutes
    boxes: list[float] = []
    found: list[float] = []
    revision = 0
    while not found or (len(found) < count and time.monotonic() < until):
        name = f"object {len(boxes)}"
        x, y = rng.randint(columns // 4, columns // 2), rng.randint(rows // 4, rows // 2)
        right, bottom = x + columns // 5, y + rows // 5
        index = rng.randrange(depth)
        prompts: list[dict[str, Any]] = [{"box": [x, y, right, bottom]}]
        prompts += [
            {"points": [[rng.randint(x, right), rng.randint(y, bottom), number % 2]]}
            for number in range(1, 1 + CLICKS_OF_AN_OBJECT)
        ]
        for prompt in prompts:
            body = {**prompt, "object": name, "slice": index, "spread": False, "since": revision}
            begun = time.perf_counter()
            try:
                revision = json.loads(link.ask("POST", f"{at}/prompts", body))["revision"]
            except RuntimeError:  # nothing there to take away from
                continue
            (boxes if "box" in prompt else found).append(1e3 * (time.perf_counter() - begun))
        link.ask("POST", f"{at}/undo", {"to": 0})  # objects do not gather
    link.ask("DELETE", at)
    return boxes, found


def share(values: list[float], part: float) -> float:
    """The value below which that part lies."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def row(name: str, values: list[float], unit: str, wanted: str, kept: bool | None) -> str:
    """A line of the table."""
    digits = 0 if unit == "ms" else 2
    cells = [f"{v:.{digits}f} {unit}" for v in (median(values), share(values, 0.95), max(values))]
    verdict = "" if kept is None else f"{wanted}: {'kept' if kept else 'missed'}"
    return f"| {name} | {' | '.join(cells)} | {verdict} |"


def main() -> None:
    """Measure, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a volume (default: the demonstration CT)")
    parser.add_argument("--model", default="promptseg-lite")
    parser.add_argument("--threads", type=int, help="of the server; all if not given")
    parser.add_argument("--clicks", type=int, default=300)
    parser.add_argument("--opens", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=30, help="at most, for the clicks")
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    data = asked.data or assets.fetch("demo-ct", quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree if data.is_dir() else shutil.copy
        copy(data, Path(folder) / data.name)
        with server(Path(folder), asked.model, asked.threads) as link:
            info = json.loads(link.ask("GET", "/api/info"))["models"][0]
            load = os.getloadavg()[0]
            shown, first = first_clicks(link, data.name, asked.opens)
            boxes, found = clicks(link, data.name, asked.clicks, asked.minutes)
    machine = describe_machine()
    fast, soon = share(found, 0.95) < LIMIT_CLICK_MS, max(first) < LIMIT_FIRST_S
    rows = [
        (
            f"click, embedding at hand ({len(found)})",
            found,
            "ms",
            f"95 % below {LIMIT_CLICK_MS} ms",
            fast,
        ),
        (f"box, embedding at hand ({len(boxes)})", boxes, "ms", "", None),
        (f"from opening to the slice ({len(shown)})", shown, "s", "", None),
        (
            "from the slice to the first click's answer",
            first,
            "s",
            f"below {LIMIT_FIRST_S:.0f} s",
            soon,
        ),
    ]
    table = "\n".join(row(*values) for values in rows)
    asked.o.write_text(
        f"""# What one person at the page waits for

{date.today()}; {machine["processor"]}, {machine["cores"]} cores, load before {load:.1f}.
{info["name"]}, {info["engine"]}, {asked.threads or "all"} threads; {data.name}; prompts that stay on
their slice.

| | median | 95 % | slowest | wanted |
|---|---|---|---|---|
{table}
"""
    )
    print(asked.o.read_text())


if __name__ == "__main__":
    main()
