"""A whole slide of 60,000 x 60,000 pixels in the page: time of tiles and prompts, memory of the server.

The slide is made here, tile by tile, so that making it takes little memory either: a pyramid of tiles
with dark nuclei on stained tissue, whose places are known. The server runs in a process of its own, as
`promptseg serve` starts it, and is asked as the page asks: an overview, a way over the slide at all
zooms, boxes and clicks on single nuclei at the full resolution, on tissue at coarse zooms, an object
over several regions, undo, GeoJSON. Times are from the request to the whole answer, outline included.

    python benchmarks/serve_slide.py -o benchmarks/results/DATE_serve_slide.md
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import tempfile
import time
import zlib
from collections.abc import Iterator
from datetime import date
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from serve_latency import Link, server, share

from promptseg.runtime.machine import describe_machine

TILE = 512
MICRONS = 0.25
VARIANTS = 24
LIMIT_S, LIMIT_BYTES = 3.0, 2 << 30  # what is wanted
STAIN = np.array([[236, 208, 222], [120, 78, 150]], np.float32)  # of tissue, of nuclei
GLASS = 244


class Nucleus(NamedTuple):
    """An ellipse in a tile: centre, half axes along x and y."""

    x: float
    y: float
    along: float
    down: float


def variants(seed: int) -> tuple[NDArray[np.uint8], list[list[Nucleus]]]:
    """Tiles of tissue (variant, 512, 512, 3), the last one empty glass, and the nuclei on each."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((TILE, TILE), dtype=np.float32)
    pictures, places = [], []
    for _ in range(VARIANTS):
        waves = np.sin(x * 2 * np.pi / 128) + np.cos(y * 2 * np.pi / 256)  # alike at all edges
        picture = STAIN[0] + 5 * waves[..., None] + rng.normal(0, 4, (TILE, TILE, 1))
        nuclei = []
        for column in range(4):
            for row in range(4):
                along, down = rng.uniform(18, 42, 2)
                centre = rng.uniform(50, 78, 2) + np.array([128 * column, 128 * row])
                nucleus = Nucleus(*centre.tolist(), float(along), float(down))
                inside = _inside(nucleus, x, y)
                picture[inside] = STAIN[1] + rng.normal(0, 6, (int(inside.sum()), 1))
                nuclei.append(nucleus)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
        places.append(nuclei)
    pictures.append(np.full((TILE, TILE, 3), GLASS, np.uint8))
    return np.stack(pictures), places


def _inside(nucleus: Nucleus, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    distance = ((x - nucleus.x) / nucleus.along) ** 2 + ((y - nucleus.y) / nucleus.down) ** 2
    return np.asarray(distance <= 1)


def plan(side: int, seed: int) -> NDArray[np.int64]:
    """Which variant lies where, (rows, columns) of tiles: an island of tissue on glass."""
    count = ceil(side / TILE)
    rng = np.random.default_rng(seed)
    which = rng.integers(0, VARIANTS, (count, count))
    y, x = (np.indices((count, count)) + 0.5) / count - 0.5
    edge = 0.4 + 0.05 * np.sin(5 * np.arctan2(y, x))
    which[np.hypot(x, y) > edge] = VARIANTS
    return which


def write_slide(path: Path, side: int, seed: int) -> None:
    """A pyramid of halved levels down to one tile."""
    import tifffile

    pictures, _ = variants(seed)
    which = plan(side, seed)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(20):
            size = ceil(side / 2**level)
            per_cm = 1e4 / (MICRONS * 2**level)
            file.write(
                _tiles(pictures, which, level, size),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="adobe_deflate",
                subfiletype=int(level > 0),
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            if size <= TILE:
                break


def _tiles(
    pictures: NDArray[np.uint8], which: NDArray[np.int64], level: int, size: int
) -> Iterator[bytes]:
    """Compressed tiles of a level, row by row; equal ones are compressed once."""
    small = TILE >> level
    shrunk = np.stack(
        [
            np.asarray(Image.fromarray(p).resize((small, small), Image.Resampling.BOX))
            for p in pictures
        ]
    )
    many, known = 1 << level, dict[bytes, bytes]()
    for row in range(ceil(size / TILE)):
        for column in range(ceil(size / TILE)):
            block = np.full((many, many), VARIANTS)
            part = which[row * many : (row + 1) * many, column * many : (column + 1) * many]
            block[: part.shape[0], : part.shape[1]] = part
            key = block.tobytes()
            if key not in known:
                picture = shrunk[block].swapaxes(1, 2).reshape(TILE, TILE, 3)
                if len(known) > 64:
                    known.clear()
                known[key] = zlib.compress(picture.tobytes(), 1)
            yield known[key]


def memory_of(process: int) -> tuple[int, int]:
    """Bytes a process has now, and had at most."""
    found = {}
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found[name] = int(value.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


def processor_seconds(process: int) -> float:
    """What a process has had of the processor."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Asked:
    """A slide that is open on a server, and what its answers took.

    Attributes:
        worked: seconds of the processor that the server had for each prompt.
    """

    def __init__(self, link: Link, name: str, process: int) -> None:
        self.link, self.process, self.worked = link, process, list[float]()
        begun = time.perf_counter()
        self.state = json.loads(link.ask("POST", "/api/slides", {"path": name, "afresh": True}))
        self.opened = time.perf_counter() - begun
        self.at = f"/api/slides/{self.state['session']}"

    def tile(self, zoom: int, column: int, row: int) -> float:
        """Seconds until a tile is there."""
        begun = time.perf_counter()
        self.link.ask("GET", f"{self.at}/tile?zoom={zoom}&column={column}&row={row}")
        return time.perf_counter() - begun

    def prompt(self, **body: Any) -> float:
        """Seconds until the prompt is answered and the outline of its object is there."""
        self.link.http.close()  # the server ends a connection that rests while truth is made
        begun, worked = time.perf_counter(), processor_seconds(self.process)
        self.state = json.loads(self.link.ask("POST", f"{self.at}/prompts", body))
        current = next(o for o in self.state["objects"] if o["name"] == self.state["current"])
        if not current["empty"]:
            self.link.ask("GET", f"{self.at}/outline?version={current['outline']}")
        self.worked.append(processor_seconds(self.process) - worked)
        return time.perf_counter() - begun

    def polygons(self) -> list[Any]:
        """The outline of the current object."""
        current = next(o for o in self.state["objects"] if o["name"] == self.state["current"])
        found = self.link.ask("GET", f"{self.at}/outline?version={current['outline']}")
        return list(json.loads(found)["polygons"])


def iou(polygons: list[Any], nucleus: Nucleus, x: int, y: int) -> float:
    """Overlap of polygons with an ellipse whose tile begins at (x, y), on the pixels around it."""
    from PIL import ImageDraw

    picture = Image.new("1", (TILE, TILE))
    draw = ImageDraw.Draw(picture)
    for outer, *holes in polygons:
        for number, ring in enumerate([outer, *holes]):
            draw.polygon([(a - x - 0.5, b - y - 0.5) for a, b in ring], fill=int(number == 0))
    found = np.asarray(picture)
    down, along = np.indices(found.shape)
    truth = _inside(nucleus, along, down)
    return float((found & truth).sum() / (found | truth).sum())


def prompts(slide: Asked, side: int, seed: int, count: int) -> dict[str, list[float]]:
    """Seconds of boxes and clicks, and overlaps with the nuclei."""
    rng = random.Random(seed)
    _, places = variants(seed)
    which = plan(side, seed)
    tissue = np.argwhere(which < VARIANTS)
    found: dict[str, list[float]] = {k: [] for k in ("box", "click", "further", "coarse", "iou")}
    for number in range(count):
        row, column = tissue[rng.randrange(len(tissue))].tolist()
        nucleus = rng.choice(places[which[row, column]])
        left, top = column * TILE, row * TILE
        x, y = left + nucleus.x, top + nucleus.y
        view = {"view": [x - 600, y - 400, 1200, 800], "zoom": 0, "object": f"nucleus {number}"}
        box = [x - nucleus.along, y - nucleus.down, x + nucleus.along, y + nucleus.down]
        if number % 2:
            found["click"].append(slide.prompt(points=[[x, y, 1]], **view))
        else:
            found["box"].append(slide.prompt(box=box, **view))
            found["iou"].append(iou(slide.polygons(), nucleus, left, top))
        found["further"].append(slide.prompt(points=[[x, y, 1]], **view))
    for number in range(count // 4):
        zoom = 3 + number % 5
        width = 1200 * 2**zoom
        x, y = side * rng.uniform(0.3, 0.7), side * rng.uniform(0.3, 0.7)
        reach = 150 * 2**zoom
        box = [
            max(0, x - reach),
            max(0, y - reach),
            min(side, x + reach) - 1,
            min(side, y + reach) - 1,
        ]
        view = {"view": [x - width / 2, y - width / 3, width, width / 1.5], "zoom": zoom}
        found["coarse"].append(slide.prompt(box=box, object=f"area {number}", **view))
    return found


def over_regions(slide: Asked, side: int) -> tuple[list[float], int]:
    """Seconds of a way of clicks over neighbouring regions on one object, and its regions."""
    x, y, taken = side // 2, side // 2, []
    for _ in range(12):
        view = {"view": [x - 600, y - 400, 1200, 800], "zoom": 0}
        taken.append(slide.prompt(box=[x - 200, y - 150, x + 200, y + 150], object="a way", **view))
        x += 330
    current = next(o for o in slide.state["objects"] if o["name"] == "a way")
    return taken, current["regions"]


def main() -> None:
    """Measure, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--side", type=int, default=60_000, help="pixels of the slide along each side"
    )
    parser.add_argument("--slide", type=Path, help="where it is made, or is already")
    parser.add_argument("--model", default="promptseg-lite")
    parser.add_argument("--threads", type=int, help="of the server; all if not given")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--tiles", type=int, default=400)
    parser.add_argument("--seed", type=int, default=24)
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.slide or Path(folder) / "cases" / "made.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        made = not path.exists()
        if made:
            write_slide(path, asked.side, asked.seed)
        making = time.perf_counter() - begun
        took = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with server(path.parent, asked.model, asked.threads) as link:
            load = [os.getloadavg()[0]]
            process = _server_of(os.getpid())
            before = memory_of(process)[0]
            slide = Asked(link, path.name, process)
            rng = random.Random(asked.seed)
            tiles = [slide.tile(slide.state["slide"]["zooms"] - 1, 0, 0)]
            for number in range(asked.tiles):
                zoom = number % slide.state["slide"]["zooms"]
                across = max(1, asked.side // (TILE << zoom))
                tiles.append(slide.tile(zoom, rng.randrange(across), rng.randrange(across)))
            found = prompts(slide, asked.side, asked.seed, asked.prompts)
            way, regions = over_regions(slide, asked.side)
            begun = time.perf_counter()
            link.ask("POST", f"{slide.at}/undo", {})
            undone = time.perf_counter() - begun
            begun = time.perf_counter()
            saved = len(link.ask("GET", f"{slide.at}/download"))
            saving = time.perf_counter() - begun
            objects = len(slide.state["objects"])
            begun = time.perf_counter()
            link.ask("DELETE", slide.at)
            again = json.loads(link.ask("POST", "/api/slides", {"path": path.name}))
            resumed = time.perf_counter() - begun
            assert len(again["objects"]) == objects
            now, most = memory_of(process)
            load.append(os.getloadavg()[0])
        size = path.stat().st_size
    answers = found["box"] + found["click"] + found["further"] + found["coarse"] + way
    machine = describe_machine()
    kept = "kept" if max(answers) < LIMIT_S else "missed"
    small = "kept" if most < LIMIT_BYTES else "missed"
    rows = [
        _row(f"tile of 512 pixels, all zooms ({len(tiles)})", tiles),
        _row(f"box on a nucleus, a region never seen ({len(found['box'])})", found["box"]),
        _row(f"click on a nucleus, a region never seen ({len(found['click'])})", found["click"]),
        _row(f"further click ({len(found['further'])})", found["further"]),
        _row(f"box at zooms 3 to 7 ({len(found['coarse'])})", found["coarse"]),
        _row(f"box that goes on in the next region ({len(way)}, {regions} regions)", way),
    ]
    written = f"made in {making:.0f} s with {took / 2**20:,.0f} MiB" if made else "made before"
    asked.o.write_text(
        f"""# A whole slide in the page

{date.today()}; {machine["processor"]}, {machine["cores"]} cores, load {load[0]:.0f} to {load[-1]:.0f}.
{asked.model}, {asked.threads or "all"} threads; a slide of {asked.side:,} x {asked.side:,} pixels in
{slide.state["slide"]["zooms"]} levels, {size / 2**20:,.0f} MiB, {written}.

| | median | 95 % | slowest |
|---|---|---|---|
{chr(10).join(rows)}

- Prompts below {LIMIT_S:.0f} s: {kept} ({max(answers):.2f} s at most); of the processor
  they took {median(slide.worked):.2f} s (median), {max(slide.worked):.2f} s at most.
- Memory of the server below 2 GiB: {small} ({most / 2**20:,.0f} MiB at most, {now / 2**20:,.0f} MiB
  in the end, {before / 2**20:,.0f} MiB with the model alone).
- Opening: {slide.opened:.2f} s; opening again with its {objects} objects: {resumed:.2f} s; undo:
  {undone * 1e3:.0f} ms; GeoJSON of all objects, {saved / 1024:,.0f} kB: {saving:.2f} s.
- Boxes on nuclei against the ellipses that were drawn: IoU {median(found["iou"]):.3f} (median).
"""
    )
    print(asked.o.read_text())


def _row(name: str, values: list[float]) -> str:
    cells = [f"{v * 1e3:.0f} ms" for v in (median(values), share(values, 0.95), max(values))]
    return f"| {name} | {' | '.join(cells)} |"


def _server_of(parent: int) -> int:
    """The process that was started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[-1])


if __name__ == "__main__":
    main()
