"""From a prompt to the mask on the slice's own grid, with the embedding at hand: what a user waits for.

Engines and the official network take turns in one process. `lite-medsam` gets a box, `sam-vit-b`
(random weights) a click. The official network answers with its own decoder and its
own upsampling of the whole slice.

    python benchmarks/latency.py --threads 1 -o result.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from encoder import _official, _random_weights

from promptseg.inference.predictor import Predictor
from promptseg.models.cards import find_card
from promptseg.models.families.sam.model import SamEmbedding
from promptseg.runtime.device import set_threads
from promptseg.runtime.machine import describe_machine, version_of
from promptseg.runtime.measure import interleaved, spread

_ENGINES = ("eager", "openvino", "openvino-bf16")
_SHAPE = (512, 512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    machine = describe_machine()
    lines = [
        f"# From a prompt to the mask, {arguments.threads} threads ({date.today()})",
        "",
        f"{machine['processor']}, {machine['cores']} cores; torch {torch.__version__}, openvino "
        f"{version_of('openvino')}. A slice of {_SHAPE[0]} x {_SHAPE[1]} pixels, its embedding at "
        f"hand; {arguments.rounds} interleaved rounds, median (fastest-slowest) in ms.",
        "",
        "| model | official | " + " | ".join(_ENGINES) + " |",
        "|---" * (2 + len(_ENGINES)) + "|",
    ]
    with TemporaryDirectory() as folder, torch.inference_mode():
        for model in ("lite-medsam", "sam-vit-b"):
            calls = _calls(model, Path(folder), arguments.threads)
            interleaved(calls, 2)
            times = interleaved(calls, arguments.rounds)
            base = median(times[0])
            cells = [f"{spread(t)}, {base / median(t):.1f} x" for t in times[1:]]
            lines.append(f"| {model} | {spread(times[0])} | {' | '.join(cells)} |")
    report = "\n".join(lines)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def _calls(model: str, folder: Path, threads: int) -> list[Callable[[], Any]]:
    card = find_card(model)
    official = _official(model)
    transform = card.preprocessing.input_transform(*_SHAPE)
    features = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0))
    box = np.array([[100.0, 120, 300, 310]])
    click = ([[(200.0, 210.0)]], [[1]])

    def by_official() -> Any:
        boxes = points = None
        if model == "lite-medsam":
            boxes = torch.from_numpy(transform.scale_xy(box.reshape(1, 2, 2))).reshape(1, 4)
        else:
            points = (
                torch.from_numpy(transform.scale_xy(np.array(click[0]))),
                torch.tensor(click[1]),
            )
        sparse, dense = official.prompt_encoder(points=points, boxes=boxes, masks=None)
        logits, _ = official.mask_decoder(
            image_embeddings=features,
            image_pe=official.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=model != "lite-medsam",
        )
        return transform.restore(logits[:, :1]).numpy() > 0

    calls: list[Callable[[], Any]] = [by_official]
    for engine in _ENGINES:
        predictor = _predictor(model, folder, engine)
        embedding = SamEmbedding(features, transform)
        if model == "lite-medsam":
            calls.append(lambda p=predictor, e=embedding: p.decode(e, boxes=box))
        else:
            calls.append(lambda p=predictor, e=embedding: p.decode(e, points=click))
    return calls


def _predictor(model: str, folder: Path, engine: str) -> Predictor:
    if model == "lite-medsam":
        return Predictor.load(model, "cpu", engine=engine)
    weights = folder / "sam_vit_b_01ec64.pth"
    if not weights.exists():
        torch.save(_random_weights(), weights)
    return Predictor.load(f"{model}={weights}", "cpu", engine=engine)


if __name__ == "__main__":
    main()
