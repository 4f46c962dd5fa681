"""Throughput of training: images per second, the share of time spent waiting for data, peak memory.

Ours (all objects of an image at once, every round taken back as soon as it is there) beside the plain
way (one object after another, one backward pass through all rounds at the end), on the same images with
the same draws, each in a process of its own, in turns. Losses must agree.

    promptseg curate -i $PROMPTSEG_DATA/picture -o runs/pictures
    python benchmarks/throughput.py -i runs/pictures -o benchmarks/results/2026-11-21_throughput.md
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from promptseg.formats.files import atomic_path
from promptseg.jobs.train import training_images
from promptseg.runtime import choose_device, set_threads
from promptseg.train.objectives import Algorithm1, Batch, Uniforms
from promptseg.train.options import TrainOptions
from promptseg.train.parts import freeze_batch_norm
from promptseg.train.samples import join
from promptseg.train.setting import Learner, StartingWeights, open_parts

WAYS = ("ours", "ours, bf16", "one by one")


def one_object(batch: Batch, k: int) -> Batch:
    """The batch with object k alone."""
    return replace(
        batch,
        masks=batch.masks[k : k + 1],
        boxes=batch.boxes[k : k + 1],
        owner=batch.owner[k : k + 1],
        names=batch.names[k : k + 1],
    )


def go_back(way: str, learner: Learner, batch: Batch, update: int) -> float:
    """Forward and backward of one micro-batch; the mean loss."""
    objective, sam = learner.strategy.objective, learner.sam
    terms = objective.terms(batch.objects, batch.images)
    assert batch.slices is not None
    algorithm: Algorithm1 = learner.algorithm
    device = batch.slices.device.type
    reduced = torch.autocast(device, torch.bfloat16, enabled=way.endswith("bf16"))
    if way == "one by one":
        embeddings = sam.encode(batch.slices)
        total = torch.zeros((), device=batch.slices.device)
        for k in range(batch.objects):
            single = one_object(batch, k)
            u = Uniforms.draw(objective, single.names, 0, update)
            total = total + sum(s.total() for s in algorithm.steps(embeddings, single, u))
        (total / terms).backward()
        return float(total / terms)
    with reduced:
        embeddings = sam.encode(batch.slices)
    leaf = embeddings.detach().requires_grad_(embeddings.requires_grad)
    steps = algorithm.steps(leaf, batch, Uniforms.draw(objective, batch.names, 0, update))
    loss = 0.0
    while True:
        with reduced:
            step = next(steps, None)
        if step is None:
            break
        (step.total() / terms).backward()
        loss += float(step.total()) / terms
    if leaf.grad is not None:
        embeddings.backward(leaf.grad)
    return loss


def measure(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One process: some images after a first one that warms up."""
    set_threads(arguments.threads)
    device = choose_device(arguments.device)
    options = TrainOptions(
        input=arguments.input, output=Path("unused"), model=arguments.model, preset=arguments.preset
    )
    parts = open_parts(options)
    learner = Learner.of(StartingWeights.load(arguments.model, quiet=True), options, device)
    images = training_images(parts, learner, options, StartingWeights.load(arguments.model, True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    learner.sam.train()
    freeze_batch_norm(learner.sam)
    seconds, waited, losses = [], [], []
    for update in range(arguments.images + 1):
        start = time.perf_counter()
        batch = join([images[(update, 0, order[update % len(order)])]]).to(device)
        waited.append(time.perf_counter() - start)
        losses.append(go_back(way, learner, batch, update))
        learner.optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = (
        torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "seconds": seconds[1:],
        "waited": waited[1:],
        "losses": losses[1:],
        "peak_gib": peak / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--model", default="mobile-sam")
    parser.add_argument("--preset", default="medicosam")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--way", choices=WAYS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments)))
        return
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way].append(json.loads(done.stdout))
    write(found, arguments)


def write(found: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> None:
    """The table."""
    plain = median(s for run in found["one by one"] for s in run["seconds"])
    threads = arguments.threads or torch.get_num_threads()
    lines = [
        f"# Training throughput: {arguments.model}, {arguments.preset}",
        "",
        f"{arguments.images} images of {arguments.rounds} processes each, in turns; "
        f"{arguments.device}, {threads} threads; torch {torch.__version__}. Images are read in the "
        "training process itself "
        "here, so that the share of reading is what workers would take over.",
        "",
        "| way | s per image (median) | images/s | ratio to one by one | reading, share | peak GiB | "
        "largest difference of a loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, runs in found.items():
        each = [s for run in runs for s in run["seconds"]]
        share = sum(sum(run["waited"]) for run in runs) / sum(each)
        apart = max(
            abs(a - b)
            for run, other in zip(runs, found["one by one"], strict=True)
            for a, b in zip(run["losses"], other["losses"], strict=True)
        )
        lines.append(
            f"| {way} | {median(each):.2f} ({min(each):.2f}-{max(each):.2f}) | "
            f"{1 / median(each):.3f} | "
            f"{plain / median(each):.2f} | {share:.1%} | {max(r['peak_gib'] for r in runs):.2f} | "
            f"{apart:.1e} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        with atomic_path(arguments.output) as path:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
