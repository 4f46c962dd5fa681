"""Memory of a long video followed with the memory of a SAM 2: whether it stays where it is.

python benchmarks/video_memory.py small --frames 2000 --size 512
python benchmarks/video_memory.py sam2.1-t --frames 200 --size 1024 --bf16
python benchmarks/video_memory.py sam2.1-t --frames 200 --size 1024 --light

Two discs in noise move through a synthetic clip. Everything is done as `promptseg segment` does it:
reading from a file, following, parts on the disk, results. Weights are random, as no real ones can be
here: memory does not depend on them, what is found does.

At 1024 pixels a frame takes some 20 s of one core without AMX: nearly all of it in the image encoder
and in memory attention, which keep nothing. `--light` puts averages in their places, which take and
give what they do: what is kept from frame to frame is the same. What these two parts need while they
run is not in the peaks then.

"Memory in use" is what is resident, with what glibc keeps of what was freed (up to 512 MiB, as
`promptseg.runtime.allocator` tells it); "allocated" is what is asked for and not freed yet.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg.inference.predictor import Predictor
from promptseg.jobs.video import job as video_job
from promptseg.jobs.video import segment_video
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2.build import SHAPES
from promptseg.models.families.sam2.model import Sam2Model
from promptseg.models.families.sam2.network import Features, MemoryTokens, Sam2, Shape
from promptseg.models.families.sam2.trunk import TrunkSize
from promptseg.models.preprocess import Preprocessing
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video.masks import FrameMasks

_PAGE = resource.getpagesize()
_TOLD = (1, 10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 500, 750, 1000, 1250, 1500, 1750, 2000)
_AT_WORK = 32  # embeddings in memory, as many as of medsam2


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("model", choices=["small", "sam2.1-t", "medsam2"])
    asked.add_argument("--frames", type=int, default=200)
    asked.add_argument("--size", type=int, default=512, help="pixels of frames and of the input")
    asked.add_argument("--bf16", action="store_true", help="the network's products in bfloat16")
    asked.add_argument("--light", action="store_true", help="averages for encoder and attention")
    how = asked.parse_args()
    torch.set_num_threads(1)
    predictor = _predictor(how.model, how.size, how.light)
    video_job.load_prompted = lambda job: Segmenter(predictor)
    _watch()
    print(
        "| frames followed | memory in use | peak so far | allocated | of it packed masks |\n"
        "|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mkv"
        _write(clip, how.frames, how.size)
        half = how.size // 2
        boxes = (f"{_box(0, half)}@0=one", f"{_box(1, half)}@0=two")
        job = SegmentJob(
            input=clip, output=Path(folder) / "out", box=boxes, overlay=False, quiet=True
        )
        narrow: Any = contextlib.nullcontext()
        if how.bf16:
            narrow = torch.autocast("cpu", torch.bfloat16)
        start = time.perf_counter()
        with narrow:
            segment_video(job)
        took = time.perf_counter() - start
    light = ", light" if how.light else ""
    print(
        f"\n{how.model}{light}, {how.frames} frames of {how.size} pixels, two objects, {took:.0f} s"
    )


def _watch() -> None:
    """Say how much memory this process has, whenever the masks of a frame have come."""
    told: set[int] = set()
    add = FrameMasks.add

    def added(masks: FrameMasks, *found: Any) -> None:
        add(masks, *found)
        frames = len(masks.found[-1])
        if frames in _TOLD and frames not in told:
            told.add(frames)
            packed = sum(len(p.bits) for each in masks.found for p in each.values())
            sizes = (_in_use(), _peak(), _allocated(), packed)
            in_mib = (f"{size / 2**20:.1f} MiB" for size in sizes)
            print(f"| {frames} | {' | '.join(in_mib)} |", flush=True)

    FrameMasks.add = added  # type: ignore[method-assign]


def _in_use() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _MallInfo(ctypes.Structure):
    """What glibc's `mallinfo2` gives."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks"),
            *("uordblks", "fordblks", "keepcost"),
        )
    ]


def _allocated() -> int:
    """What is asked for and not freed; the rest of what is in use is kept by glibc, or is code."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _MallInfo
    said = mallinfo()
    return int(said.uordblks + said.hblkhd)


class _Light(Sam2):
    """See `--light`."""

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        grey, dim = slices.mean(1, keepdim=True), self.shape.dim
        levels = ((dim // 8, 4), (dim // 4, 8), (dim, 16))
        return Features(*(F.avg_pool2d(grey, by).repeat(1, width, 1, 1) for width, by in levels))

    def condition(self, coarse: Tensor, memory: MemoryTokens) -> Tensor:
        means = [each.mean((1, 2)) for each in memory if each.shape[1]]
        return coarse + 1e-3 * torch.stack([mean.mean() for mean in means]).mean()


def _predictor(name: str, size: int, light: bool) -> Predictor:
    shape = Shape(TrunkSize(8, 1, (1, 1, 3, 1), (3,)), dim=32, memory=16)
    if name != "small":
        shape = SHAPES[name]
    torch.manual_seed(0)
    network = (_Light if light else Sam2)(replace(shape, image_size=size))
    network.eval().requires_grad_(False)
    network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5)  # always there
    card = replace(CARDS["sam2.1-t"], preprocessing=Preprocessing(size, "imagenet", "stretch"))
    model = Sam2Model(card, network, torch.device("cpu"))
    if name == "small":
        (one,) = model.encode([np.zeros((size, size), np.uint8)])
        video_job._EMBEDDING_BYTES = _AT_WORK * one.nbytes
    return Predictor(model, Path("random.pt"), "0" * 64)


def _centre(disc: int, frame: int, half: int) -> tuple[float, float]:
    angle = frame / 40 + disc * np.pi
    return half + 0.5 * half * np.cos(angle), half + 0.5 * half * np.sin(angle)


def _box(disc: int, half: int) -> str:
    x, y = _centre(disc, 0, half)
    reach = half // 5
    return f"{x - reach:.0f},{y - reach:.0f},{x + reach:.0f},{y + reach:.0f}"


def _write(path: Path, count: int, size: int) -> None:
    """Two discs on a circle, in noise that is the same on every frame."""
    half = size // 2
    noise = np.random.default_rng(0).normal(60, 12, (size, size))
    y, x = np.indices((size, size))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for frame in range(count):
            shown = noise.copy()
            for disc in range(2):
                cx, cy = _centre(disc, frame, half)
                shown[(x - cx) ** 2 + (y - cy) ** 2 < (half / 5) ** 2] += 120
            gray = np.clip(shown, 0, 255).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(np.repeat(gray[..., None], 3, 2), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
