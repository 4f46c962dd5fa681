"""The module of 3D Slicer on real MRML: segments are, voxel for voxel, what promptseg itself answers.

Slicer reads the volumes, and turns left-handed ones round; prompts lie in space. `slicer-core` has MRML
without Slicer:

    python -m venv MRML && MRML/bin/pip install slicer-core pytest
    PROMPTSEG_SLICER_PYTHON=MRML/bin/python python -m pytest tests/apps
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

import promptseg
from fakes import ball
from formats.helpers import GRIDS, ORIGIN
from promptseg.formats.masks import read_masks
from promptseg.segment.segmenter import Segmenter
from promptseg.serve.desk import Desk
from promptseg.serve.limits import Limits
from serve.conftest import TOKEN, Running
from serve.fake_server import OPTIONS, bright

TEST = (
    Path(__file__).resolve().parents[2]
    / "apps/slicer/PromptSeg/Testing/Python/PromptSegMrmlTest.py"
)
SHAPE = (18, 40, 44)
A, B = ball(SHAPE, (9, 20, 12), 6), ball(SHAPE, (8, 21, 31), 6)
Prompt = dict[str, Any]


@pytest.fixture(scope="module")
def python() -> str:
    """A Python with MRML in it."""
    named = os.environ.get("PROMPTSEG_SLICER_PYTHON")
    if named:
        return named
    if importlib.util.find_spec("slicer") is None:
        pytest.skip(
            "no MRML here: pip install slicer-core in a venv that PROMPTSEG_SLICER_PYTHON names"
        )
    return sys.executable


def write_volume(path: Path, grid: str, seed: int) -> None:
    """Two noisy balls in Hounsfield-like units, on a grid of `GRIDS`, by SimpleITK or nibabel."""
    noise = np.random.default_rng(seed).normal(0, 45, SHAPE)
    values = np.where(A | B, 210, 40) + noise
    matrix = GRIDS[grid]
    if path.name.endswith(".nii.gz"):
        affine = np.diag([-1.0, -1, 1, 1]) @ np.block([[matrix, ORIGIN[:, None]], [0, 0, 0, 1]])
        nib.save(nib.Nifti1Image(values.astype(np.int16).T, affine), path)
        return
    image = sitk.GetImageFromArray(values.astype(np.int16))
    spacing = np.linalg.norm(matrix, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(ORIGIN.tolist())
    image.SetDirection((matrix / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))


THROUGH = {"kind": "box", "object": "Liver", "axis": "z", "low": [5, 13, 9], "high": [19, 27, 9]}
THROUGH |= {"top": 14, "bottom": 4}
ROI = {"kind": "roi", "object": "tumour", "axis": "y", "low": [24, 14, 2], "high": [38, 28, 14]}
SLICE = {"kind": "box", "object": "Liver", "axis": "z", "low": [5, 13, 9], "high": [19, 27, 9]}
CLICKS = {"kind": "points", "object": "Liver", "axis": "z", "points": [[31, 21, 9], [30, 20, 9]]}
FROM_SIDE = {"kind": "points", "object": "Liver", "axis": "x", "points": [[12, 24, 9]]}
LINES = {
    "kind": "lines", "object": "node", "axis": "z",
    "lines": [
        [[25, 21, k], [37, 21, k]] for k in (5, 11)
    ] + [[[31, 15, k], [31, 27, k]] for k in (5, 11)],
}  # fmt: skip
CASES: dict[str, tuple[str, str, list[Prompt]]] = {
    "oblique.nrrd": ("oblique", "CT", [THROUGH, ROI, LINES]),
    "left-handed.nrrd": ("oblique left-handed", "CT", [SLICE, CLICKS, FROM_SIDE]),
    "coronal.nii.gz": ("oblique coronal", "MR", [THROUGH, CLICKS]),
    "sagittal.nii.gz": ("sagittal", "MR", [SLICE, ROI]),
}


def answer(session: promptseg.Session, prompt: Prompt) -> None:
    """The prompt in promptseg's own words."""
    name, axis = prompt["object"], prompt["axis"]
    low, high = prompt.get("low"), prompt.get("high")
    if prompt["kind"] == "points":
        k = "xyz".index(axis)
        plane = [n for n in range(3) if n != k]
        points = [[p[n] for n in plane] for p in prompt["points"]]
        index = prompt["points"][0][k]
        session.add(
            promptseg.Points(tuple(map(tuple, points)), (1,) * len(points), index, name, axis), name
        )
    elif prompt["kind"] == "lines":
        for k in sorted({line[0][2] for line in prompt["lines"]}):
            here = [
                tuple(tuple(end[:2]) for end in line) for line in prompt["lines"] if line[0][2] == k
            ]
            session.add(promptseg.Marker(here[0], here[1], k, name, axis), name)
    elif prompt["kind"] == "roi":
        session.add(promptseg.Box3D((*low, *high), name, axis), name)
    elif "top" in prompt:
        bounds = (*low[:2], prompt["bottom"], *high[:2], prompt["top"])
        session.add(promptseg.Box3D(bounds, name, axis), name)
    else:
        session.add(promptseg.Box((*low[:2], *high[:2]), low[2], name, axis), name)


def write_case(
    folder: Path, file: str, modality: str, prompts: list[Prompt], segmenter: Segmenter
) -> dict[str, NDArray[np.bool_]]:
    """What the scene is asked, and what it should have in the end."""
    stem = file.partition(".")[0]
    image = promptseg.read(folder / file, modality=modality)
    ras = np.diag([-1.0, -1, 1])
    matrix = np.block(
        [[ras @ image.geometry.matrix, (ras @ image.geometry.origin)[:, None]], [0, 0, 0, 1]]
    )
    case = {"file": file, "modality": modality, "prompts": prompts, "matrix": matrix.tolist()}
    (folder / f"{stem}.json").write_text(json.dumps(case))
    session = promptseg.Session(segmenter, image, replace(OPTIONS, modality=modality))
    for prompt in prompts:
        answer(session, prompt)
    masks = {s.name: s.mask(image.geometry.shape) for s in session.result().segments}
    np.savez(folder / f"{stem}.npz", **masks)
    return masks


def run(python: str, address: str, folder: Path, only: str = "") -> None:
    """The test of the scene."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"PROMPTSEG_SERVER": address, "PROMPTSEG_CASES": str(folder)}
    done = subprocess.run(
        [python, "-m", "unittest", "-v", *(["-k", only] if only else []), TEST.stem],
        cwd=TEST.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert "skipped" not in done.stderr


@pytest.mark.slow
def test_on_a_scene(python: str, server: Running, tmp_path: Path) -> None:
    for number, (file, (grid, modality, prompts)) in enumerate(CASES.items()):
        write_volume(tmp_path / file, grid, number)
        masks = write_case(tmp_path, file, modality, prompts, bright())
        assert all(mask.any() for mask in masks.values())
    run(python, f"http://127.0.0.1:{server.client.port}/?token={TOKEN}", tmp_path)
    for file, (_, _, prompts) in CASES.items():
        stem = file.partition(".")[0]
        there = read_masks(
            tmp_path / "written" / f"{stem}.seg.nrrd", promptseg.read(tmp_path / file)
        )
        with np.load(tmp_path / f"{stem}.npz") as expected:
            assert {s.name for s in there.segments} == {p["object"] for p in prompts}
            for segment in there.segments:
                np.testing.assert_array_equal(
                    segment.mask(there.geometry.shape), expected[segment.name]
                )


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Of a desk with the model that comes along, for the test below; else the bright one."""
    found = Desk({"bright": bright()}, None, Limits(), OPTIONS, encode=False)
    yield found
    found.stop()


@pytest.mark.slow
@pytest.mark.data
def test_real_images_and_the_model_that_comes_along(
    python: str, server: Running, desk: Desk, data_root: Path, tmp_path: Path
) -> None:
    segmenter = promptseg.load("promptseg-lite", quiet=True)
    desk.models = {"promptseg-lite": segmenter}
    ct = nib.load(data_root / "volume/ct__totalseg_example_auto/example_ct_sm_image.nii.gz")
    labels = nib.load(data_root / "volume/ct__totalseg_example_auto/example_ct_sm_label.nii.gz")
    liver = np.asarray(labels.dataobj) == 5
    mr = nib.load(data_root / "volume/mr__acdc_cardiac/patient101_ED_image.nii.gz")
    cavity = np.asarray(nib.load(
        data_root / "volume/mr__acdc_cardiac/patient101_ED_label.nii.gz").dataobj) == 3  # fmt: skip
    for name, source, target, turned in (("ct", ct, liver, True), ("mr", mr, cavity, False)):
        values = np.asarray(source.dataobj).astype(np.int16)
        ijk = np.argwhere(target)
        first, last = (int(v) for v in np.percentile(ijk[:, 2], (40, 60)))
        first, last = max(first, last - 8), last
        middle = (first + last) // 2
        x0, y0 = ijk[ijk[:, 2] == middle][:, :2].min(0).tolist()
        x1, y1 = ijk[ijk[:, 2] == middle][:, :2].max(0).tolist()
        affine = source.affine.copy()
        if turned:  # the scan as an oblique one
            affine[:3, :3] = GRIDS["oblique"] / [0.8, 0.9, 2.5] @ affine[:3, :3]
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
        box = {"kind": "box", "object": "Liver" if turned else "left ventricle", "axis": "z"}
        box |= {"low": [x0, y0, middle], "high": [x1, y1, middle], "top": last, "bottom": first}
        masks = write_case(tmp_path, f"{name}.nii.gz", name.upper(), [box], segmenter)
        (mask,) = masks.values()
        within = target.T.copy()
        within[:first] = within[last + 1 :] = False
        assert 2 * (mask & within).sum() / (mask.sum() + within.sum()) > 0.5
    address = f"http://127.0.0.1:{server.client.port}/?token={TOKEN}"
    run(python, address, tmp_path, "cases_voxel")
