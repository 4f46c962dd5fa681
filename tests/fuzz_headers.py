"""Changes bytes of small valid files and reads them: an image or one of our errors, nothing else.

The process may take only so much memory (RLIMIT_AS), so a header that is believed too early ends in an
error, not in a swapping machine; the peak is printed. A crash or a hang ends the process: the file that
did it lies in the folder given.

For longer than the tests do it:
`python tests/fuzz_headers.py FOLDER --examples 5000 --families nifti nrrd`.
"""

from __future__ import annotations

import argparse
import gzip
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

sys.path.insert(0, str(Path(__file__).parent))

from formats.helpers import GRIDS, random_voxels, write_dicom_series, write_nifti
from promptseg import read
from promptseg.errors import PromptsegError

MEMORY = 2 << 30
HEADER = 1024


@dataclass
class Seed:
    """A valid file: its name, its bytes, what must lie beside it, and whether it is gzipped."""

    name: str
    content: bytes
    beside: dict[str, bytes]
    zipped: bool = False

    def write(self, folder: Path, content: bytes) -> Path:
        path = folder / self.name
        path.write_bytes(gzip.compress(content, 1) if self.zipped else content)
        for name, other in self.beside.items():
            (folder / name).write_bytes(other)
        return path


def seed_of(path: Path, *beside: str, zipped: bool = False) -> Seed:
    content = path.read_bytes()
    others = {name: path.with_name(name).read_bytes() for name in beside}
    return Seed(path.name, gzip.decompress(content) if zipped else content, others, zipped)


def seeds(folder: Path) -> dict[str, Seed]:
    """One valid file of every family, by name."""
    voxels, colours = random_voxels(), random_voxels((40, 50, 3), np.uint8)
    itk = sitk.GetImageFromArray(voxels)
    write_nifti(folder / "a.nii", GRIDS["oblique"])
    write_nifti(folder / "a.nii.gz", GRIDS["sheared"])
    write_nifti(folder / "b.nii", GRIDS["oblique"], kind=nib.Nifti2Image)
    nib.save(nib.Nifti1Pair(voxels.T, np.eye(4)), folder / "a.hdr")
    nib.save(nib.AnalyzeImage(voxels.T, np.eye(4)), folder / "b.hdr")
    nib.save(nib.MGHImage(voxels.T, np.eye(4)), folder / "a.mgz")
    nrrd.write(str(folder / "a.nrrd"), voxels.T, {"space": "LPS", "encoding": "raw"})
    nrrd.write(str(folder / "b.nrrd"), voxels.T, {"spacings": [1, 2, 3]}, index_order="F")
    sitk.WriteImage(itk, str(folder / "a.mha"))
    sitk.WriteImage(itk, str(folder / "a.mhd"))
    np.savez(folder / "a.npz", imgs=voxels, spacing=[1.0, 2, 3])
    for ending in ("png", "jpg", "tif", "bmp", "webp"):
        PilImage.fromarray(colours).save(folder / f"a.{ending}")
    made = {
        "nifti": seed_of(folder / "a.nii"),
        "nifti-gz": seed_of(folder / "a.nii.gz", zipped=True),
        "nifti2": seed_of(folder / "b.nii"),
        "pair": seed_of(folder / "a.hdr", "a.img"),
        "analyze": seed_of(folder / "b.hdr", "b.img"),
        "mgz": seed_of(folder / "a.mgz", zipped=True),
        "afni": _afni(voxels),
        "nrrd": seed_of(folder / "a.nrrd"),
        "nrrd-gz": seed_of(folder / "b.nrrd"),
        "mha": seed_of(folder / "a.mha"),
        "mhd": seed_of(folder / "a.mhd", "a.raw"),
        "npz": seed_of(folder / "a.npz"),
        "dicom": seed_of(write_dicom_series(folder / "ct", GRIDS["plain"])[0]),
        **{e: seed_of(folder / f"a.{e}") for e in ("png", "jpg", "tif", "bmp", "webp")},
    }
    try:
        import tifffile
    except ImportError:
        return made
    tifffile.imwrite(folder / "a.svs", random_voxels((90, 80, 3), np.uint8), tile=(16, 16))
    tifffile.imwrite(folder / "b.tif", random_voxels((9, 8), np.float64))
    return {**made, "slide": seed_of(folder / "a.svs"), "tif-f8": seed_of(folder / "b.tif")}


def _afni(voxels: Any) -> Seed:
    fields: list[tuple[str, str, list[Any]]] = [
        ("integer", "DATASET_RANK", [3, 1]),
        ("integer", "DATASET_DIMENSIONS", [7, 6, 5]),
        ("float", "DELTA", [1.0, 2.0, 3.0]),
        ("float", "IJK_TO_DICOM_REAL", [1.0, 0, 0, 5, 0, 2, 0, 6, 0, 0, 3, 7]),
        ("integer", "BRICK_TYPES", [1]),
        ("float", "BRICK_FLOAT_FACS", [0.5]),
    ]
    text = "\n".join(
        f"type = {kind}-attribute\nname = {name}\ncount = {len(values)}\n "
        f"{' '.join(map(str, values))}\n"
        for kind, name, values in fields
    )
    text += "\ntype = string-attribute\nname = BYTEORDER_STRING\ncount = 10\n'LSB_FIRST~\n"
    return Seed("a+orig.HEAD", text.encode(), {"a+orig.BRIK": voxels.astype("<i2").tobytes()})


_TELLING = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80")
_WORDS = (b"999999999", b"-1", b"0", b"nan", b"1e308", b"\n", b"\n\n", b" ", b"3 3 3 3")


def changed(content: bytes) -> st.SearchStrategy[bytes]:
    """The same file with some bytes of its header overwritten or put in, or cut short."""
    place = st.integers(0, min(len(content), HEADER) - 1)
    piece = st.one_of(st.sampled_from(_TELLING + _WORDS), st.binary(min_size=1, max_size=8))
    edits = st.lists(st.tuples(place, piece, st.booleans()), min_size=1, max_size=4)

    def apply(edits: list[tuple[int, bytes, bool]], end: int | None) -> bytes:
        made = bytearray(content)
        for at, new, inserted in edits:
            made[at : at + (0 if inserted else len(new))] = new
        return bytes(made[:end])

    return st.builds(apply, edits, st.one_of(st.none(), st.integers(1, len(content))))


def fuzz(seed: Seed, folder: Path, examples: int) -> tuple[int, int]:
    """Read changed files; returns how many were read and how many refused."""
    outcome = {True: 0, False: 0}

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(changed(seed.content))
    def once(content: bytes) -> None:
        path = seed.write(folder, content)
        for frame in (None, 1):
            try:
                read(path, frame=frame)
                outcome[True] += 1
            except PromptsegError:
                outcome[False] += 1

    run: Callable[[], None] = once
    run()
    return outcome[True], outcome[False]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the file just read lies")
    parser.add_argument("--families", nargs="+", help="names of families; all if none")
    parser.add_argument("--examples", type=int, default=40)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory() as made:
        families = seeds(Path(made))
    for seed in families.values():
        assert read(seed.write(chosen.folder, seed.content)) is not None  # imports what it needs
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in chosen.families or families:
        print(name, end=" ", flush=True)
        read_well, refused = fuzz(families[name], chosen.folder, chosen.examples)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) >> 10
        print(f"read {read_well} refused {refused} peak {peak} MiB", flush=True)


if __name__ == "__main__":
    main()
