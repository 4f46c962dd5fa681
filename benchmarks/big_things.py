"""Memory of big single things: a CT of 1024 x 1024 x 1000, a slide by tiles, a long video.

    python benchmarks/big_things.py -o benchmarks/results/DATE_big_things.md
    python benchmarks/big_things.py --ct 512,512,200 --slide 20000,16000 --frames 500     a small try

The model finds what is bright and has no network (tests/fakes.py): what is measured is what reading,
following and writing hold in memory. Each thing is made in a temporary folder (the CT takes 2 GB
there, a slide of 100,000 x 80,000 about as much) and done in a process of its own; the peak is of that
process, beside what the voxels themselves take. A CT larger than the memory that is free is refused
before it is read, and said so here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np


def make_ct(path: Path, shape: tuple[int, ...]) -> None:
    """An int16 NIfTI with a bright ball, written slice by slice."""
    import nibabel as nib

    x, y, z = shape
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header.set_sform(np.eye(4), 1)
    rows, columns = np.ogrid[:y, :x]
    rng = np.random.default_rng(0)
    noise = rng.integers(-80, 0, (y, x)).astype(np.int16)
    radius = min(shape) // 8
    with path.open("wb") as stream:
        stream.write(header.binaryblock)
        stream.write(b"\0" * (352 - stream.tell()))
        for k in range(z):
            values = np.roll(noise, k, 0)
            rest = radius**2 - (k - z // 2) ** 2
            if rest > 0:
                values[(rows - y // 2) ** 2 + (columns - x // 2) ** 2 <= rest] = 300
            stream.write(values.tobytes())


def make_slide(path: Path, width: int, height: int) -> None:
    """A tiled pyramid, each tile made when it is written."""
    import tifffile

    rng = np.random.default_rng(0)
    plain = rng.integers(20, 60, (512, 512, 3)).astype(np.uint8)

    def tiles(wide: int, high: int) -> Any:
        for row in range(-(-high // 512)):
            for column in range(-(-wide // 512)):
                tile = plain
                if row == high // 1024 and column == wide // 1024:
                    tile = plain.copy()
                    tile[100:400, 100:400] = 230
                yield tile

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        wide, high = width, height
        levels = 0
        while True:
            writer.write(
                tiles(wide, high),
                shape=(high, wide, 3),
                dtype=np.uint8,
                tile=(512, 512),
                photometric="rgb",
                compression="jpeg",
                subfiletype=1 if levels else 0,
            )
            levels += 1
            if max(wide, high) < 2048:
                return
            wide, high = -(-wide // 4), -(-high // 4)


def make_video(path: Path, frames: int) -> None:
    """A bright block that moves, 640 x 480, encoded frame by frame."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for k in range(frames):
            pixels = np.full((480, 640, 3), 30, np.uint8)
            left = 100 + k % 300
            pixels[200:280, left : left + 90] = 230
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def do(what: str, path: Path, out: Path) -> dict[str, Any]:
    """Do a thing in this process; seconds, and bytes at the peak and before."""
    before = _peak()
    begun = time.perf_counter()
    found = {"ct": of_ct, "slide": of_slide, "video": of_video}[what](path, out)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "before": before, "peak": _peak(), "found": found}


def stub(threshold: int) -> Any:
    """A model that finds what is bright; unlike that of the tests it forgets what it was shown."""
    from fakes import BrightPredictor

    class Forgetting(BrightPredictor):
        def encode(self, *given: Any, **more: Any) -> Any:
            found = super().encode(*given, **more)
            self.encoded.clear()
            return found

    return Forgetting(threshold)


def of_ct(path: Path, out: Path) -> str:
    """A box on the middle slice, followed up and down."""
    import nibabel as nib

    from promptseg import Segmenter
    from promptseg.errors import PromptsegError
    from promptseg.jobs import segment

    x, y, z = nib.load(path).shape
    r = min(x, y, z) // 8 + 3
    box = f"{x // 2 - r},{y // 2 - r},{x // 2 + r},{y // 2 + r}@{z // 2}=ball"
    segment.load_for = lambda _: Segmenter(stub(200))
    try:
        made = segment.segment_file(_job(path, out.with_suffix(".nii.gz"), box, window="400/100"))
    except PromptsegError as error:
        return f"refused: {error}"
    (entry,) = made.provenance.objects or ()
    return f"{entry.measurements['voxels']:,} voxels found"


def of_slide(path: Path, out: Path) -> str:
    """Every tile, one after the other, with a box around each."""
    from promptseg import Box, Segmenter
    from promptseg.errors import PromptsegError
    from promptseg.formats.slide import tiles

    segmenter = Segmenter(stub(100))
    count = empty = pixels = 0
    for _, tile in tiles(path):
        count += 1
        high, wide = tile.geometry.shape
        try:
            found = segmenter.segment(tile, Box((0, 0, wide - 1, high - 1)))
        except PromptsegError:  # of one value
            empty += 1
            continue
        pixels += sum(int(one.crop.sum()) for one in found.segments)
    return f"{count:,} tiles ({empty:,} of one value), {pixels:,} pixels found"


def of_video(path: Path, out: Path) -> str:
    """A box on the first frame, followed through all."""
    from promptseg import Segmenter
    from promptseg.jobs.video import job as video_job
    from promptseg.jobs.video import segment_video

    video_job.load_prompted = lambda _: Segmenter(stub(100))
    segment_video(_job(path, out, "98,198,192,282@0=block"))
    return "followed"


def _job(path: Path, out: Path, box: str, **more: Any) -> Any:
    from promptseg.segment.options import SegmentJob

    return SegmentJob(input=path, output=out, box=(box,), quiet=True, threads=1, **more)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ct", default="1024,1024,1000", help="x,y,z")
    parser.add_argument("--slide", default="100000,80000", help="width,height")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--only", choices=("ct", "slide", "video"))
    parser.add_argument("--do", nargs=3, metavar=("WHAT", "PATH", "OUT"))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.do:
        what, path, out = options.do
        print(json.dumps(do(what, Path(path), Path(out))))
        return
    shape = tuple(map(int, options.ct.split(",")))
    width, height = map(int, options.slide.split(","))
    things = {
        "ct": (f"CT of {' x '.join(map(str, shape))}", 2 * int(np.prod(shape)), "scan.nii"),
        "slide": (f"slide of {width:,} x {height:,}", 3 * width * height, "slide.tif"),
        "video": (f"video of {options.frames:,} frames", 3 * 480 * 640 * options.frames, "v.webm"),
    }
    lines = [
        f"# Memory of big single things ({time.strftime('%Y-%m-%d')})",
        "",
        f"A stub in place of a model; {_memory():.0f} GiB of memory on this machine.",
        "",
        "| what | its pixels, GiB | at the peak, GiB | before, GiB | s | |",
        "|---|---|---|---|---|---|",
    ]
    for what, (title, size, name) in things.items():
        if options.only not in (None, what):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            if what == "ct":
                make_ct(path, shape)
            elif what == "slide":
                make_slide(path, width, height)
            else:
                make_video(path, options.frames)
            words = [sys.executable, __file__, "--do", what, path, Path(folder) / "out"]
            done = subprocess.run(
                list(map(str, words)),
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        peak, before = found["peak"] / 2**30, found["before"] / 2**30
        cells = f"{size / 2**30:.2f} | {peak:.2f} | {before:.2f} | {found['seconds']:.0f}"
        lines.append(f"| {title} | {cells} | {found['found']} |")
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _memory() -> float:
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2**30


if __name__ == "__main__":
    main()
