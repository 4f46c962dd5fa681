"""A start for a training of memory: prompts as promptseg-lite or mobile-sam answers them.

    python recipes/memory/start.py -i data/clips -o data/start.safetensors

What frames are compared by are the main directions of the encoder's features on some frames of the
clips (recipes/memory/clips.py), scaled to one variance. Before anything is learnt, a mask is carried
over to what looks alike on the next frame (`promptseg.models.families.sam2.memory_begin`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptseg.formats import read
from promptseg.intensity import choose_intensity
from promptseg.models.cards import find_card
from promptseg.models.checkpoint import open_checkpoint
from promptseg.models.families.sam2.memory_begin import QUARTERS, begin_with
from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.model import Sam2Model
from promptseg.train.release import write_safetensors

NARROW, CHANNELS = 64, 256


def main_directions(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N, C) features -> (count, C) main directions, scaled to a variance of 1, and the (C,) mean."""
    mean = features.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(features.T))
    largest = values.argsort(descending=True)[:count]
    return (vectors[:, largest] / values[largest].clamp(min=1e-6).sqrt()).T, mean


def main(words: Sequence[str] | None = None) -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", "--input", type=Path, required=True, help="clips")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .safetensors file")
    parser.add_argument(
        "--model", default="promptseg-lite", help="or mobile-sam, or a file of them"
    )
    parser.add_argument("--frames", type=int, default=16, help="that directions are found on")
    arguments = parser.parse_args(words)
    _, _, tensors = open_checkpoint(arguments.model)

    def start(directions: Tensor, mean: Tensor) -> MemorySam:
        torch.manual_seed(0)
        return begin_with(MemorySam(), tensors, directions, mean)

    network = start(torch.zeros(0, CHANNELS), torch.zeros(CHANNELS))
    model = Sam2Model(find_card("promptseg-memory"), network, torch.device("cpu"))
    files = sorted(arguments.input.glob("*/*/frames/0000.png"))
    chosen = np.random.default_rng(0).permutation(len(files))[: arguments.frames]
    found = []
    for number in chosen:
        image = read(files[number])
        intensity = choose_intensity(image, keep_8bit=model.card.keep_8bit)
        (embedding,) = model.encode([intensity.apply(image.slice(0))])
        found.append(embedding.view().flatten(1).T.clone())
    network = start(*main_directions(torch.cat(found), NARROW - QUARTERS))
    write_safetensors(arguments.output, network.state_dict(), {"made_from": arguments.model})


if __name__ == "__main__":
    main()
