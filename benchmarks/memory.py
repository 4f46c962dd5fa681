"""Peak memory and time of `promptseg segment` on a made 512 x 512 x 200 CT.

python benchmarks/memory.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (200, 512, 512)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.nii.gz"
        _make(scan)
        command = [
            *(sys.executable, "-m", "promptseg", "segment", "-i", str(scan)),
            *("-o", str(Path(folder) / "mask.nii.gz"), "--box", "150,150,360,360@100=body"),
            *("--modality", "CT"),
        ]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        took = time.perf_counter() - start
        mask = np.asarray(nib.load(Path(folder) / "mask.nii.gz").dataobj)
        found = int(mask.any(axis=(0, 1)).sum())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    size = f"{SHAPE[1]} x {SHAPE[2]} x {SHAPE[0]} CT, {found} slices segmented"
    print(f"| {size} | {peak:.2f} GiB | {took:.0f} s |")


def _make(path: Path) -> None:
    """A tapering cylinder in noise, through all slices."""
    rng = np.random.default_rng(0)
    y, x = np.indices(SHAPE[1:]) - 256
    values = np.empty(SHAPE, np.int16)
    for k in range(SHAPE[0]):
        inside = x**2 + y**2 < (100 - 0.2 * abs(k - 100)) ** 2
        values[k] = np.where(inside, 120, -80) + rng.normal(0, 15, SHAPE[1:])
    values[0, 0, 0] = -1000
    nib.save(nib.Nifti1Image(values.T, np.diag([0.8, 0.8, 1.5, 1])), path)


if __name__ == "__main__":
    main()
