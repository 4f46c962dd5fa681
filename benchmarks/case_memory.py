"""Memory of single cases, beside what is estimated for them before they are begun.

    python benchmarks/case_memory.py -o benchmarks/results/DATE_case_memory.md

Each case in a process of its own, on a CPU with one thread: what the process holds with its model, and
the peak beyond that while it reads, computes and writes.
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
from typing import Any, NamedTuple

import numpy as np

MIB = 1 << 20


class Made(NamedTuple):
    """A case: its voxels, the file, the model, and the slices that are segmented."""

    shape: tuple[int, ...]
    dtype: str
    ending: str
    model: str = "promptseg-lite"
    engine: str = "eager"
    slices: int = 1

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"{size} {self.dtype} {self.ending}, {self.model}, {self.engine}"


CASES = (
    Made((20, 512, 512), "int16", ".nii.gz", slices=20),
    Made((20, 512, 512), "int16", ".nii.gz", "mobile-sam"),
    Made((20, 512, 512), "int16", ".nii.gz", engine="openvino"),
    Made((200, 512, 512), "int16", ".nii.gz"),
    Made((200, 512, 512), "int16", ".nrrd"),
    Made((200, 512, 512), "float32", ".nii.gz"),
    Made((3000, 4000, 3), "uint8", ".png"),
)


def make(case: Made, path: Path) -> None:
    """A bright block on every slice."""
    rng = np.random.default_rng(0)
    if case.ending == ".png":
        from PIL import Image

        pixels = rng.integers(20, 80, case.shape).astype(np.uint8)
        pixels[20:60, 20:60] = 250
        Image.fromarray(pixels).save(path)
        return
    import SimpleITK as sitk  # noqa: N813

    voxels = np.broadcast_to(rng.integers(20, 80, case.shape[1:]), case.shape).astype(case.dtype)
    voxels[:, 20:60, 20:60] += 150
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), case.ending.endswith("gz"))


def measured(path: Path, case: Made) -> dict[str, int]:
    """Bytes of one case in this process."""
    from promptseg.formats.outputs import Reads
    from promptseg.jobs.footprint import process_bytes
    from promptseg.jobs.image_task import ImageTask, tools_for
    from promptseg.prompts import typed_prompts
    from promptseg.segment.options import SegmentJob

    last = case.slices - 1
    how: dict[str, Any] = (
        {"box3d": (f"18,18,0,62,62,{last}=block",)} if last else {"box": ("18,18,62,62@0=block",)}
    )
    if case.ending == ".png":
        how = {"box": ("18,18,62,62=block",)}
    job = SegmentJob(
        input=path,
        output=path.with_name(f"out{path.name}"),
        model=case.model,
        engine=case.engine,
        device="cpu",
        threads=1,
        quiet=True,
        propagate=None if last else "none",
        **how,
    )
    tools = tools_for(job, None, Reads([]))
    held = _resident()
    task = ImageTask(job, typed_prompts(job), "case")
    estimate = task.memory()
    task.do(tools)
    return {
        "held": held,
        "held_estimate": process_bytes(job.model, job.engine),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held,
        "estimate": estimate,
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--do", nargs=2, metavar=("CASE", "PATH"))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.do:
        number, path = options.do
        print(json.dumps(measured(Path(path), CASES[int(number)])))
        return
    lines = [
        f"# Memory of cases, and what is estimated ({time.strftime('%Y-%m-%d')})",
        "",
        "MiB, on a CPU with one thread: a process with its model, and a case beyond that; estimates in "
        "brackets.",
        "",
        "| case | slices encoded | its voxels | process | case at the peak |",
        "|---|---|---|---|---|",
    ]
    for number, case in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"scan{case.ending}"
            make(case, path)
            done = subprocess.run(
                [sys.executable, __file__, "--do", str(number), str(path)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            sys.exit(done.stderr)
        found = {k: v // MIB for k, v in json.loads(done.stdout.splitlines()[-1]).items()}
        voxels = int(np.prod(case.shape)) * np.dtype(case.dtype).itemsize // MIB
        process = f"{found['held']} ({found['held_estimate']})"
        at_peak = f"{found['peak']} ({found['estimate']})"
        lines.append(f"| {case} | {case.slices} | {voxels} | {process} | {at_peak} |")
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
