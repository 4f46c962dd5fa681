"""What a click costs besides the network: clicks of a session on an MR of 160 x 256 x 256.

The first prompt opens the image (intensity bounds, embeddings). Every further click should cost what
its decoder calls cost: this takes the time of the network out and shows what is left.

    python benchmarks/clicks.py --model mobile-sam -o benchmarks/results/DATE_clicks.txt
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import promptseg
from promptseg.models.protocol import SliceModel
from promptseg.runtime.machine import describe_machine
from promptseg.runtime.measure import spread

SHAPE = (160, 256, 256)
CENTRE = (80, 128, 120)
RADII = (24, 40, 36)
BOX = (84.0, 88.0, 156.0, 168.0)
_LIMIT_MS = 30


class Timed:
    """A model that knows how long it has taken."""

    def __init__(self, model: SliceModel) -> None:
        self.model, self.card, self.device = model, model.card, model.device
        self.seconds, self.decoded, self.encoded = 0.0, 0, 0

    def encode(self, slices: Sequence[Any], *how: Any) -> Any:
        """Timed."""
        start = time.perf_counter()
        found = self.model.encode(slices, *how)
        self.seconds += time.perf_counter() - start
        self.encoded += len(slices)
        return found

    def decode(self, *asked: Any) -> Any:
        """Timed."""
        start = time.perf_counter()
        found = self.model.decode(*asked)
        self.seconds += time.perf_counter() - start
        self.decoded += 1
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def scan() -> promptseg.Image:
    """An ellipsoid in noise, as 16-bit MR."""
    z, y, x = np.ogrid[tuple(slice(n) for n in SHAPE)]
    far = sum(((v - c) / r) ** 2 for v, c, r in zip((z, y, x), CENTRE, RADII, strict=True))
    noise = np.random.default_rng(0).normal(0, 40, SHAPE)
    voxels = np.clip(np.where(far <= 1, 900, 300) + noise, 0, None).astype(np.int16)
    return promptseg.Image.from_array(voxels, "MR", (1.0, 1.0, 1.2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="text file for the report")
    parser.add_argument("--model", default="mobile-sam")
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clicks", type=int, default=12)
    arguments = parser.parse_args()
    segmenter = promptseg.load(
        arguments.model, threads=arguments.threads, engine=arguments.engine, quiet=False
    )
    timed = Timed(segmenter.predictor.model)
    segmenter.predictor.model = timed  # type: ignore[assignment]
    options = promptseg.SegmentOptions(slices="70:90")
    session = promptseg.Session(segmenter, scan(), options)
    rows = [_timed(timed, lambda: session.add_box(BOX, slice=CENTRE[0]))]
    rng = np.random.default_rng(1)
    for number in range(arguments.clicks):
        k = CENTRE[0] + int(rng.integers(-6, 7))
        inside = number % 2 == 0
        xy = (CENTRE[2] + float(rng.integers(-9, 9)), 128.0) if inside else (40.0, 40.0)
        rows.append(_timed(timed, lambda xy=xy, k=k, i=inside: session.add_point(xy, i, slice=k)))
    lines = [
        f"{date.today()}, {describe_machine()['processor']}, {arguments.threads} threads, "
        f"{arguments.model}, {segmenter.predictor.engine}, MR of {SHAPE}",
        "",
        "prompt     total, ms  network, ms  rest, ms  encoded  decoded",
    ]
    for number, (total, network, encoded, decoded) in enumerate(rows):
        name = f"click {number}" if number else "box"
        lines.append(
            f"{name:<8}{1e3 * total:>12.1f}{1e3 * network:>13.1f}{1e3 * (total - network):>10.1f}"
            f"{encoded:>9}{decoded:>9}"
        )
    rest = [total - network for total, network, *_ in rows[1:]] or [0.0]
    lines += [
        "",
        f"clicks after the first prompt, besides the network: median {spread(rest)} ms, limit "
        f"{_LIMIT_MS} ms: {'kept' if 1e3 * median(rest) < _LIMIT_MS else 'NOT KEPT'}",
    ]
    report = "\n".join(lines)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def _timed(model: Timed, do: Any) -> tuple[float, float, int, int]:
    before, start = (model.seconds, model.encoded, model.decoded), time.perf_counter()
    do()
    total = time.perf_counter() - start
    return (
        total,
        model.seconds - before[0],
        model.encoded - before[1],
        model.decoded - before[2],
    )


if __name__ == "__main__":
    main()
