"""This version against an earlier one, in the same run: encoder, click, volume, reading, training.

Each job runs in a process of its own that imports the package from one source tree or the other, and
uses only names that both have; processes take turns over several rounds, threads are pinned. Reported:
median and spread of each, and the ratio of the medians (above 1: this version takes longer).

    git worktree add --detach ../before 06e64b7
    python benchmarks/against.py --before ../before -o benchmarks/results/DATE_against.md
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent.parent
_SIDE = 512
_SLICES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--before", type=Path, required=True, help="source tree of the other version"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", nargs="*", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    parser.add_argument("--one", choices=list(JOBS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(JOBS[arguments.one](arguments.threads)))
        return
    trees = {"before": arguments.before.resolve(), "now": HERE}
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(arguments.rounds):
        for job in arguments.jobs:
            for name in sorted(trees, reverse=bool(number % 2)):
                for part, seconds in _child(arguments, job, trees[name]).items():
                    found[part, name] += seconds
                print(f"round {number + 1} of {arguments.rounds}: {job}, {name}", file=sys.stderr)
    report = _report(arguments, trees, found)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def _child(arguments: argparse.Namespace, job: str, tree: Path) -> dict[str, list[float]]:
    threads = str(arguments.threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PROMPTSEG_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads), "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, __file__, "--before", str(tree), "--threads", threads, "--one", job]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    answer: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _times(call: Callable[[], Any], count: int) -> list[float]:
    call()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _scan(slices: int) -> Any:
    """A tapering cylinder in noise, (z, y, x) in Hounsfield units."""
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[:slices, :_SIDE, :_SIDE]
    radius = 100 - 2 * abs(z - slices // 2)
    inside = (y - _SIDE // 2) ** 2 + (x - _SIDE // 2) ** 2 < radius**2
    return (np.where(inside, 120, -80) + rng.normal(0, 15, inside.shape)).astype(np.int16)


def _encode(threads: int) -> dict[str, list[float]]:
    import promptseg

    found = {}
    picture = (_scan(1)[0] + 128).clip(0, 255).astype(np.uint8)
    for engine, count in (("eager", 3), ("openvino", 5)):
        predictor = promptseg.load("lite-medsam", threads=threads, engine=engine).predictor
        found[f"encoder of a slice, {engine}"] = _times(
            lambda p=predictor: p.encode([picture]), count
        )
        (embedding,) = predictor.encode([picture])
        box = np.array([[150.0, 150, 360, 360]])
        found[f"decoder of a box, {engine}"] = _times(
            lambda p=predictor, e=embedding, b=box: p.decode(e, boxes=b).logits, 15
        )
    return found


def _clicks(threads: int) -> dict[str, list[float]]:
    """Clicks of a session after the first prompt: they alternate, so that each is new."""
    import promptseg

    segmenter = promptseg.load("mobile-sam", threads=threads, engine="eager")
    image = promptseg.Image.from_array((_scan(1)[0] + 128).clip(0, 255).astype(np.uint8))
    session = promptseg.Session(segmenter, image)
    session.add_box((150.0, 150.0, 360.0, 360.0))
    places = iter([(200.0 + 3 * n, 240.0 + 2 * n) for n in range(20)])
    return {"click of a session": _times(lambda: session.add_point(next(places), True), 15)}


def _volume(threads: int) -> dict[str, list[float]]:
    import nibabel as nib

    import promptseg

    segmenter = promptseg.load("lite-medsam", threads=threads, engine="openvino")
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.nii.gz"
        nib.save(nib.Nifti1Image(_scan(_SLICES).T, np.diag([0.8, 0.8, 1.5, 1])), scan)

        def run() -> None:
            image = promptseg.read(scan, modality="CT")
            box = promptseg.Box((150, 150, 360, 360), slice=_SLICES // 2, name="body")
            segmenter.segment(image, box).save(Path(folder) / "mask.nii.gz", overwrite=True)

        return {f"volume of {_SLICES} slices, file to file, openvino": _times(run, 2)}


def _reading(_: int) -> dict[str, list[float]]:
    """Images and masks of common formats."""
    import nibabel as nib
    import pydicom
    from PIL import Image as PilImage

    import promptseg
    from promptseg.formats.masks import read_masks

    voxels = _scan(60)
    labels = (voxels > 40).astype(np.uint8)
    affine = np.diag([-0.8, -0.8, 1.5, 1])
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nib.save(nib.Nifti1Image(voxels.T, affine), folder / "scan.nii.gz")
        nib.save(nib.Nifti1Image(labels.T, affine), folder / "mask.nii.gz")
        PilImage.fromarray((voxels[0] + 128).clip(0, 255).astype(np.uint8)).save(folder / "a.png")
        PilImage.fromarray(labels[0]).save(folder / "mask.png")
        series = folder / "series"
        series.mkdir()
        _write_series(pydicom, voxels, series)
        image = promptseg.read(folder / "scan.nii.gz", modality="CT")
        of_series = promptseg.read(series)
        result = promptseg.load("lite-medsam", engine="eager").segment(
            image, promptseg.Box((150, 150, 360, 360), slice=30, name="body"), slices="28:32"
        )
        for ending in ("seg.nrrd", "mha"):
            result.save(folder / f"body.{ending}", overwrite=True)
        of_dicom = promptseg.load("lite-medsam", engine="eager").segment(
            of_series, promptseg.Box((150, 150, 360, 360), slice=30, name="body"), slices="28:32"
        )
        of_dicom.save(folder / "found.dcm")
        jobs: dict[str, tuple[Callable[[], Any], int]] = {
            "read NIfTI": (lambda: promptseg.read(folder / "scan.nii.gz"), 5),
            "read DICOM series": (lambda: promptseg.read(series), 5),
            "read PNG": (lambda: promptseg.read(folder / "a.png"), 20),
            "masks of NIfTI": (lambda: read_masks(folder / "mask.nii.gz", image), 5),
            "masks of seg.nrrd": (lambda: read_masks(folder / "body.seg.nrrd", image), 5),
            "masks of MetaImage": (lambda: read_masks(folder / "body.mha", image), 5),
            "masks of DICOM SEG": (lambda: read_masks(folder / "found.dcm", of_series), 5),
            "masks of PNG": (lambda: read_masks(folder / "mask.png"), 20),
        }
        for job, (call, count) in jobs.items():
            found[job] = _times(call, count)
    return found


def _write_series(pydicom: Any, voxels: Any, folder: Path) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k, pixels in enumerate(voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.PatientID, ds.PatientName, ds.InstanceNumber = "CT", "1", "A^B", k + 1
        ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.StudyID = ""
        ds.PatientBirthDate = ds.PatientSex = ds.ReferringPhysicianName = ""
        ds.SeriesNumber = 1
        ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.8]
        ds.ImagePositionPatient, ds.SliceThickness = [0, 0, 1.5 * k], 1.5
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.PixelData = np.ascontiguousarray(pixels).tobytes()
        ds.save_as(folder / f"{k}.dcm", enforce_file_format=True)


def _training(threads: int) -> dict[str, list[float]]:
    """Seconds an update of `train`: all parts of mobile-sam, two images of two objects."""
    from PIL import Image as PilImage

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        data, collection, run = (Path(name) / part for part in ("data", "collection", "run"))
        for folder in ("images", "masks"):
            (data / folder).mkdir(parents=True)
        for number in range(12):
            y, x = np.ogrid[:256, :256]
            labels = np.zeros((256, 256), np.uint8)
            for label, (cx, cy) in enumerate(rng.integers(60, 200, (2, 2)), 1):
                labels[(x - cx) ** 2 + (y - cy) ** 2 < 30**2] = label
            values = 90 * (labels > 0) + 60 + rng.normal(0, 15, labels.shape)
            picture = values.clip(0, 255).astype(np.uint8)
            PilImage.fromarray(picture).save(data / "images" / f"{number}.png")
            PilImage.fromarray(labels).save(data / "masks" / f"{number}.png")
        cli = [sys.executable, "-m", "promptseg"]
        quiet: Any = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([*cli, "curate", "-i", data, "-o", collection], **quiet)
        options = {
            "model": "mobile-sam", "updates": 3, "batch-size": 2, "n-objects": 2, "n-steps": 2,
            "threads": threads, "validation-images": 1, "report-images": 1, "workers": 0,
            "validate-every": 100,
        }  # fmt: skip
        said = [word for k, v in options.items() for word in (f"--{k}", str(v))]
        subprocess.run([*cli, "train", "-i", collection, "-o", run, *said], **quiet)
        with (run / "train.csv").open(encoding="utf-8") as file:
            speeds = [float(row["images_per_s"]) for row in csv.DictReader(file)]
    return {"training, an update of two images": [2 / speed for speed in speeds[1:]]}


JOBS: dict[str, Callable[[int], dict[str, list[float]]]] = {
    "encode": _encode,
    "clicks": _clicks,
    "volume": _volume,
    "reading": _reading,
    "training": _training,
}


def _report(
    arguments: argparse.Namespace,
    trees: dict[str, Path],
    found: dict[tuple[str, str], list[float]],
) -> str:
    from promptseg.runtime.machine import describe_machine
    from promptseg.runtime.measure import spread

    machine = describe_machine()
    command = ["git", "rev-parse", "--short", "HEAD"]

    def commit(tree: Path) -> str:
        done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    commits = {name: commit(tree) for name, tree in trees.items()}
    lines = [
        f"# {commits['now']} against {commits['before']}, {arguments.threads} threads ({date.today()})",
        "",
        f"{machine['processor']}, {machine['cores']} cores. {arguments.rounds} rounds of processes in "
        "turns; median (fastest-slowest) in ms.",
        "",
        "| job | before | now | ratio |",
        "|---|---|---|---|",
    ]
    for part in dict.fromkeys(part for part, _ in found):
        before, now = found[part, "before"], found[part, "now"]
        ratio = median(now) / median(before)
        lines.append(f"| {part} | {spread(before)} | {spread(now)} | {ratio:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
