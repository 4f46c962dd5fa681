"""SAM 2's parts and the following of an object on our engines, beside the official eager code.

One process; contenders take turns, call by call, under the same random weights. On a shared machine
wall time says little, so what is reported is processor time of all threads (with one thread, what a
quiet machine takes), and what share of a core the process had. The following: a box on the middle of
100 made slices of 512 x 512, up and then down. Of these `--frames` are done, which is scaled to all and
said; `--frames 100` does all. Engines in bfloat16 are left out where the processor has no instructions
for it: there they take ten times as long, and say nothing.

    taskset -c 1 python benchmarks/sam2.py --model medsam2 --threads 1 -o result.md
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

SLICES = 100
_FILLING = 7  # followed slices until memory is full
_BOX = (150.0, 150.0, 360.0, 360.0)
_SIDE = 512
CONFIGS = {"medsam2": "sam2.1/sam2.1_hiera_t", "sam2.1-t": "sam2.1/sam2.1_hiera_t"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=list(CONFIGS), default="medsam2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="*", help="(default: those the processor is made for)")
    parser.add_argument(
        "--follow", nargs="*", help="engines that follow (default: the last of them)"
    )
    parser.add_argument(
        "--frames", type=int, default=13, help="of the 100 slices, for each contender"
    )
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    arguments = parser.parse_args()
    if not _FILLING + 2 <= arguments.frames <= SLICES:
        parser.error(f"expected --frames from {_FILLING + 2} to {SLICES}, got {arguments.frames}")
    arguments.engines = arguments.engines or default_engines()
    arguments.follow = arguments.engines[-1:] if arguments.follow is None else arguments.follow
    torch.set_num_threads(arguments.threads)
    wall, processor = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        measured = _measured(arguments)
    share = (time.process_time() - processor) / (time.perf_counter() - wall)
    report = _report(arguments, *measured, share)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def default_engines() -> list[str]:
    """The engines that this processor is made for; those in bfloat16 last."""
    from promptseg.runtime.machine import has_bfloat16

    plain = ["eager", "openvino"]
    return [*plain, *(f"{name}-bf16" for name in plain)] if has_bfloat16() else plain


def _measured(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, float]]:
    """Processor seconds by contender and part, and of 100 slices by contender."""
    from promptseg.models.families.sam2.build import SHAPES, build_sam2
    from promptseg.runtime.engines import engine_named
    from promptseg.runtime.rewrite import prepare_sam2
    from promptseg.runtime.runner import Sam2Runner

    shape = SHAPES[arguments.model]
    torch.manual_seed(0)
    network = build_sam2(arguments.model).eval().requires_grad_(False)
    official = _official(arguments.model, shape.image_size)
    official.load_state_dict(network.state_dict())
    fast = prepare_sam2(network, torch.device("cpu"))
    runners = {
        name: Sam2Runner(fast, engine_named(name), arguments.threads, f"{arguments.model}rnd")
        for name in arguments.engines
    }
    picture = torch.rand(1, 3, shape.image_size, shape.image_size) * 2 - 1
    calls = {"official": _official_calls(official, fast, picture)}
    calls |= {name: _own_calls(runner, picture) for name, runner in runners.items()}
    times: dict[str, Any] = {name: {part: [] for part in own} for name, own in calls.items()}
    for number in range(-1, arguments.rounds):  # the first warms up
        for name, own in calls.items():
            for part, call in own.items():
                seconds = _processor_seconds(call)
                if number >= 0:
                    times[name][part].append(seconds)
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    followed = {"official": _official_follows(official, arguments.frames)}
    for name in arguments.follow:
        followed[name] = _own_follows(runners[name], arguments.model, arguments.frames)
        print(f"{name} has followed", file=sys.stderr)
    return times, followed


def _processor_seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _official(model: str, size: int) -> Any:
    from models.sam2_peer import official_sam2

    feat = [size // 16, size // 16]
    changes: dict[str, Any] = {"image_size": size}
    for attention in ("self_attention", "cross_attention"):
        changes[f"memory_attention__layer__{attention}__feat_sizes"] = feat
    return official_sam2(CONFIGS[model], **changes)


def _official_calls(official: Any, fast: Any, picture: Tensor) -> dict[str, Callable[[], Any]]:
    levels = official.forward_image(picture)
    _, features, positions, sizes = official._prepare_backbone_features(levels)
    memory = fast.full_memory()
    tokens = torch.cat([memory.maps, memory.pointers], dim=1).transpose(0, 1)
    places = torch.cat([memory.places, memory.times], dim=1).transpose(0, 1)
    count = memory.pointers.shape[1]
    coarse = features[-1].permute(1, 2, 0).view(1, -1, *sizes[-1])
    finer = [f.permute(1, 2, 0).view(1, -1, *s) for f, s in zip(features, sizes, strict=True)][:-1]
    corners, labels = _corners(picture.shape[-1])
    clicks = {"point_coords": corners, "point_labels": labels.int()}
    return {
        "encoder": lambda: official.forward_image(picture),
        "memory attention": lambda: official.memory_attention(
            curr=features[-1:],
            curr_pos=positions[-1:],
            memory=tokens,
            memory_pos=places,
            num_obj_ptr_tokens=count,
        ),
        "decoder": lambda: official._forward_sam_heads(
            backbone_features=coarse, point_inputs=clicks, high_res_features=finer
        ),
    }


def _own_calls(runner: Any, picture: Tensor) -> dict[str, Callable[[], Any]]:
    network = runner.asked
    features, memory = network.encode(picture), runner.network.full_memory()
    corners = _corners(picture.shape[-1])
    return {
        "encoder": lambda: network.encode(picture),
        "memory attention": lambda: network.condition(features.coarse, memory),
        "decoder": lambda: network.see(features, corners),
    }


def _corners(size: int) -> tuple[Tensor, Tensor]:
    return torch.tensor([[[0.3, 0.3], [0.7, 0.7]]]) * size, torch.tensor([[2, 3]])


def _slices() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:_SIDE, :_SIDE]
    found = []
    for z in range(SLICES):
        inside = (y - 256) ** 2 + (x - 256) ** 2 < (100 - abs(z - SLICES // 2)) ** 2
        values = np.where(inside, 170, 60) + rng.normal(0, 15, inside.shape)
        found.append(values.clip(0, 255).astype(np.uint8))
    return found


class _Frames:
    """Slices, encoded one by one; the middle one is kept, as it is asked for twice."""

    pixel = (1.0, 1.0)

    def __init__(self, model: Any) -> None:
        self.predictor, self.slices = model, _slices()
        self.kept: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.slices)

    def embedding(self, index: int, towards: int | None = None) -> Any:
        if index not in self.kept:
            middle = {k: v for k, v in self.kept.items() if k == SLICES // 2}
            self.kept = {**middle, index: self.predictor.encode([self.slices[index]])[0]}
        return self.kept[index]

    def hold(self, frames: Any) -> None:
        """The middle one is held anyway."""


def _own_follows(runner: Any, model: str, slices: int) -> float:
    from promptseg.models.cards import find_card
    from promptseg.models.families.sam2.model import Sam2Model
    from promptseg.models.protocol import SlicePrompt

    own = Sam2Model(find_card(model), runner.asked, torch.device("cpu"))
    memory = own.memory(_Frames(own))
    middle = SLICES // 2
    first = _processor_seconds(lambda: memory.prompt(middle, SlicePrompt(_BOX)))
    ways = [(range(middle + 1, min(SLICES, middle + slices)), False)]
    if slices == SLICES:
        ways.append((range(middle - 1, -1, -1), True))
    each: list[float] = []
    for way, down in ways:
        memory.forget()
        for frame in way:
            each.append(_processor_seconds(lambda f=frame, d=down: memory.propagate(f, d)))
    return _scaled(first, each) if slices < SLICES else first + sum(each)


def _scaled(first: float, each: list[float]) -> float:
    """Two ways from the middle: memory fills on both, then every slice costs the same."""
    return first + 2 * sum(each[:_FILLING]) + median(each[_FILLING:]) * (SLICES - 2 * _FILLING - 1)


def _official_follows(official: Any, slices: int) -> float:
    from models.sam2_peer import official_frames

    images = torch.rand(slices, 3, official.image_size, official.image_size) * 2 - 1
    state = official_frames(official, images, _SIDE)
    start = time.process_time()
    official.add_new_points_or_box(state, 0, 0, box=np.array(_BOX, np.float32))
    first = time.process_time() - start
    marks = [time.process_time()]
    for _ in official.propagate_in_video(state):
        marks.append(time.process_time())
    return _scaled(first, list(np.diff(marks))[1:])


def _report(
    arguments: argparse.Namespace,
    times: dict[str, Any],
    followed: dict[str, float],
    share: float,
) -> str:
    from promptseg.runtime.machine import describe_machine, version_of

    machine = describe_machine()
    lines = [
        f"# {arguments.model}, {arguments.threads} threads ({date.today()})",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {', '.join(machine['instructions'])}; "
        f"torch {torch.__version__}, OpenVINO {version_of('openvino')}. Load at the end: "
        f"{os.getloadavg()[0]:.0f}; this process had {share:.0%} of a core. Random weights. Processor "
        f"time, {arguments.rounds} rounds in one "
        "process, contenders in turn: median (fastest-slowest) in ms; in brackets, times as quick as "
        "the official code in eager float32. Memory attention looks at 7 maps and 15 pointers. 100 "
        f"slices: {arguments.frames} were done by each; scaled to 100.",
        "",
        "| contender | encoder | memory attention | decoder | 100 slices, s |",
        "|---|---|---|---|---|",
    ]
    base = times["official"]
    for name, own in times.items():
        cells = [name]
        for part, seconds in own.items():
            low, middle, high = (1e3 * t for t in (min(seconds), median(seconds), max(seconds)))
            ratio = median(base[part]) / median(seconds)
            cells.append(f"{middle:.0f} ({low:.0f}-{high:.0f}) [{ratio:.1f}]")
        whole = followed.get(name)
        cells.append(f"{whole:.0f} [{followed['official'] / whole:.1f}]" if whole else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
