"""Memory of single cases, beside what is estimated for them before they are begun.

    python benchmarks/case_memory.py -o benchmarks/results/DATE_case_memory.md

    python benchmarks/case_memory.py --cases 3 4     some of them

Each case in a process of its own, on a CPU with one thread: what the process holds with its model, and
the peak beyond that while it reads, computes and writes; segmented, or scored against a label image, or
made into the samples of a collection.
"""

from __future__ import annotations

import argparse
import json
import os
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
    verb: str = "segment"

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        with_what = "" if self.verb == "curate" else f", {self.model}, {self.engine}"
        return f"{self.verb}: {size} {self.dtype} {self.ending}{with_what}"


CASES = (
    Made((20, 512, 512), "int16", ".nii.gz", slices=20),
    Made((20, 512, 512), "int16", ".nii.gz", "mobile-sam"),
    Made((20, 512, 512), "int16", ".nii.gz", engine="openvino"),
    Made((200, 512, 512), "int16", ".nii.gz"),
    Made((200, 512, 512), "int16", ".nrrd"),
    Made((200, 512, 512), "float32", ".nii.gz"),
    Made((3000, 4000, 3), "uint8", ".png"),
    Made((200, 512, 512), "int16", ".nii.gz", slices=8, verb="evaluate"),
    Made((200, 512, 512), "int16", ".nii.gz", slices=200, verb="curate"),
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


def make_dataset(path: Path) -> Path:
    """The folder of a case with its labels."""
    import SimpleITK as sitk  # noqa: N813

    folder = path.parent / "data"
    folder.mkdir()
    image = sitk.ReadImage(str(path))
    path.rename(folder / f"a_image{''.join(path.suffixes)}")
    sitk.WriteImage(sitk.Cast(image > 100, sitk.sitkUInt8), str(folder / "a_label.nii.gz"), True)
    return folder


def scored(folder: Path, case: Made) -> tuple[Any, Any]:
    """The task of scoring a case, and what it needs."""
    from promptseg.evaluate.options import EvaluateJob
    from promptseg.jobs.evaluation_setup import begin

    how = {"device": "cpu", "threads": 1, "engine": case.engine, "quiet": True}
    job = EvaluateJob(
        input=folder, output=folder.parent / "out", model=(case.model,), pictures=False, **how
    )
    begun = begin(job, {})
    (task,) = begun.plan.tasks()
    return task, begun.evaluator


def curated(folder: Path) -> tuple[Any, Any]:
    """The task of making samples of a case."""
    from promptseg.curate.options import ConversionOptions
    from promptseg.curate.parts import parts_of_dataset
    from promptseg.datasets import open_datasets

    (dataset,) = open_datasets(folder)
    (part,) = parts_of_dataset(dataset, folder.parent / "out", ConversionOptions())
    return part, None


def segmented(path: Path, case: Made) -> tuple[Any, Any]:
    """The task of segmenting a case, and what it needs."""
    from promptseg.formats.outputs import Reads
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
    return ImageTask(job, typed_prompts(job), "case"), tools_for(job, None, Reads([]))


def measured(path: Path, case: Made) -> dict[str, int]:
    """Bytes of one case in this process."""
    from promptseg.work.footprint import process_bytes

    if case.verb == "segment":
        task, tools = segmented(path, case)
    else:
        task, tools = scored(path, case) if case.verb == "evaluate" else curated(path)
    held = _resident()
    estimate = task.memory()
    task.do(tools)
    models = () if case.verb == "curate" else (case.model,)
    return {
        "held": held,
        "held_estimate": process_bytes(models, case.engine),
        "peak": _peak() - held,
        "estimate": estimate,
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    """Bytes at the peak of this program; what getrusage says begins with the peak of its parent."""
    said = Path("/proc/self/status").read_text()
    return (
        int(next(line for line in said.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--do", nargs=2, metavar=("CASE", "PATH"))
    parser.add_argument("--cases", type=int, nargs="+", default=range(len(CASES)))
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
    for number in options.cases:
        case = CASES[number]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"scan{case.ending}"
            make(case, path)
            path = path if case.verb == "segment" else make_dataset(path)
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
