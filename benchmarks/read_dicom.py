"""Time and peak memory of reading a made 512 x 512 x 300 CT series, beside SimpleITK's own reader.

python benchmarks/read_dicom.py

Each reading is a fresh process; the two readers take turns. Memory is touched and given back before
each one: a virtual machine that must ask its host for pages takes longer for that than for reading,
whoever's turn it is. Memory is the peak of the process less
what it had after its imports, in units of the array.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE = (300, 512, 512)
ROUNDS = 15
_COMMON = """
import json, resource, sys, time
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{imports}
before, start = peak(), time.perf_counter()
{reading}
took = time.perf_counter() - start
print(json.dumps({{"seconds": took, "kilobytes": peak() - before, "sum": total(image)}}))
"""
READERS = {
    "promptseg": _COMMON.format(
        imports="from promptseg.formats import read\nimport promptseg.formats.dicom\n"
        "total = lambda image: int(image.voxels.sum(dtype='int64'))",
        reading="image = read(sys.argv[1])",
    ),
    "SimpleITK": _COMMON.format(
        imports="import SimpleITK as sitk\n"
        "total = lambda image: int(sitk.GetArrayViewFromImage(image).sum(dtype='int64'))",
        reading="reader = sitk.ImageSeriesReader()\n"
        "reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1]))\n"
        "image = reader.Execute()",
    ),
}


def main() -> None:
    array = np.prod(SHAPE) * 2 / 1024
    found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder))
        os.sync()  # what is still being written would slow the readers
        for k in range(ROUNDS + 1):
            for name, script in READERS.items():
                result = _run(script, folder)
                if k:  # the first round fills the cache of the disk
                    found[name].append(result)
    assert len({run["sum"] for runs in found.values() for run in runs}) == 1
    print("| reader | seconds (median) | slowest | peak memory, arrays |")
    print("|---|---|---|---|")
    for name, runs in found.items():
        times = [run["seconds"] for run in runs]
        memory = median(run["kilobytes"] for run in runs) / array
        print(f"| {name} | {median(times):.2f} | {max(times):.2f} | {memory:.2f} |")
    pairs = zip(*found.values(), strict=True)
    ratio = median(ours["seconds"] / other["seconds"] for ours, other in pairs)
    print(f"\nmedian of the ratios, round by round: {ratio:.2f}")


def _run(script: str, folder: str) -> dict[str, float]:
    touch = f"import numpy; numpy.ones({4 * np.prod(SHAPE)}, numpy.int16)"
    subprocess.run([sys.executable, "-c", touch], check=True)
    command = [sys.executable, "-c", script, folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _make(folder: Path) -> None:
    rng = np.random.default_rng(0)
    series, study = generate_uid(), generate_uid()
    for k in range(SHAPE[0]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
            CTImageStorage,
            generate_uid(),
        )
        path = folder / f"{k:04}.dcm"
        ds = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = series, study, study
        ds.Modality, ds.InstanceNumber, ds.PatientID = "CT", k + 1, "made"
        ds.Rows, ds.Columns = SHAPE[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], "1"
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [-180, -180, k]
        ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
        for extra in range(60):  # as many elements as scanners write
            ds.add_new((0x0019, 0x1000 + extra), "LO", f"private {extra}")
        ds.add_new((0x0019, 0x0010), "LO", "BENCHMARK")
        ds.PixelData = rng.integers(0, 2500, SHAPE[1:]).astype("<i2").tobytes()
        ds.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    main()
