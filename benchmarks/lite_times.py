"""What promptseg-lite costs beside its better starts: encoding an image once, then every prompt.

    python benchmarks/lite_times.py --engine openvino --threads 1 -o result.md

The three models take turns in one process, in every round. lite-medsam takes no clicks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from promptseg.inference.predictor import Predictor
from promptseg.models.protocol import SlicePrompt
from promptseg.runtime.device import set_threads
from promptseg.runtime.machine import describe_machine, version_of
from promptseg.runtime.measure import interleaved, spread

MODELS = ("promptseg-lite", "mobile-sam", "lite-medsam")
SHAPE = (512, 512)
BOX = SlicePrompt(box=(100, 120, 300, 310))
CLICK = SlicePrompt(xy=((200, 210),), labels=(1,))


def row(name: str, models: list[Predictor], calls: list[Callable[[], Any]], rounds: int) -> str:
    """Time one call of every model, in turns; ratios are to the first."""
    interleaved(calls, 2)
    times = iter(interleaved(calls, rounds))
    taken = dict(zip((model.card.name for model in models), times, strict=True))
    base = median(taken[MODELS[0]])
    cells = [
        f"{spread(taken[m])} ({median(taken[m]) / base:.2f})" if m in taken else "" for m in MODELS
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    options = parser.parse_args()
    set_threads(options.threads)
    machine = describe_machine()
    image = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
    models = [Predictor.load(name, "cpu", True, options.engine) for name in MODELS]
    seen = [model.encode([image])[0] for model in models]
    clicked = [k for k, model in enumerate(models) if "point" in model.card.prompts]
    asked = {
        "encoding, once": [lambda m=m: m.encode([image]) for m in models],
        "a box": [lambda m=m, s=s: m.decode(s, [BOX]) for m, s in zip(models, seen, strict=True)],
        "a click": [lambda m=models[k], s=seen[k]: m.decode(s, [CLICK]) for k in clicked],
    }
    lines = [
        f"# promptseg-lite beside its starts, {options.threads} threads ({date.today()})",
        "",
        f"{machine['processor']}, {machine['cores']} cores; engine {options.engine}, torch "
        f"{torch.__version__}, openvino {version_of('openvino')}. An image of {SHAPE[0]} x {SHAPE[1]} "
        f"pixels; {options.rounds} interleaved rounds, median (fastest-slowest) in ms, and the time "
        f"in {MODELS[0]}'s.",
        "",
        f"| | {' | '.join(MODELS)} |",
        "|---" * (1 + len(MODELS)) + "|",
    ]
    with torch.inference_mode():
        for name, calls in asked.items():
            own = models if len(calls) == len(models) else [models[k] for k in clicked]
            lines.append(row(name, own, calls, options.rounds))
    report = "\n".join(lines)
    print(report)
    if options.output:
        options.output.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
