"""Rare files that were once read wrongly or refused."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np

from formats.helpers import edit_dicom, write_dicom_series
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.geometry import Geometry
from promptseg.image import Image


def test_a_cropped_seg_nrrd_lies_where_it_was_cut_from(tmp_path: Path) -> None:
    """3D Slicer writes the part of the grid that has segments, and says where its corner is."""
    shape, spacing = (6, 8, 10), (0.5, 2.0, 3.0)
    image = Image(
        np.arange(480, dtype=np.int16).reshape(shape), Geometry.from_spacing(shape, spacing), "CT"
    )
    whole = np.zeros(shape, np.uint8)
    whole[2:4, 3:6, 5:9] = 1
    whole[3, 4, 6] = 2
    z, y, x = 2, 3, 5
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag(spacing),
        "space origin": np.array([x * spacing[0], y * spacing[1], z * spacing[2]]),
        **{f"Segment{k}_ID": f"s{k}" for k in range(2)},
        **{f"Segment{k}_Name": name for k, name in enumerate(("organ", "lesion"))},
        **{f"Segment{k}_LabelValue": str(k + 1) for k in range(2)},
        **{f"Segment{k}_Layer": "0" for k in range(2)},
    }
    path = tmp_path / "cropped.seg.nrrd"
    nrrd.write(str(path), whole[2:4, 3:6, 5:9].T, header)
    found = read_masks(path, image)
    assert [s.name for s in found.segments] == ["organ", "lesion"]
    for value, segment in enumerate(found.segments, start=1):
        np.testing.assert_array_equal(segment.mask(shape), whole == value)


def test_a_slope_of_zero_is_taken_as_one_and_said(tmp_path: Path) -> None:
    stored = np.arange(4 * 6 * 8, dtype=np.int16).reshape(4, 6, 8)
    files = write_dicom_series(tmp_path, np.diag([1.0, 1.0, 2.0]), stored=stored, intercept=-10.0)
    plain = read(tmp_path).voxels.copy()
    for file in files:
        edit_dicom(file, RescaleSlope="0")
    image = read(tmp_path)
    np.testing.assert_array_equal(image.voxels, plain)
    assert any("RescaleSlope is 0 in 4 of 4 slices: taken as 1" in n for n in image.source.notes)
