"""How much memory a conversion takes, and what is refused before it takes any."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from formats.helpers import ORTHOGONAL, write_dicom_series
from promptseg import read
from promptseg.errors import InputError, PromptError
from promptseg.formats import promptfile
from promptseg.formats.masks import read_masks
from promptseg.formats.promptfile import read_prompt_file
from promptseg.jobs.convert import ConvertJob, convert

SHAPE = (150, 256, 256)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve balls in a volume of ten megabytes."""
    z, y, x = np.indices(SHAPE, sparse=True)
    rng = np.random.default_rng(0)
    voxels = np.zeros(SHAPE, np.uint8)
    for label in range(1, 13):
        a, b, c = rng.uniform(30, 120), *rng.uniform(50, 206, 2)
        voxels[(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 < rng.uniform(15, 35) ** 2] = label
    path = tmp_path_factory.mktemp("labels") / "a.nii.gz"
    nib.save(nib.Nifti1Image(voxels.T, np.diag([0.8, 0.8, 2, 1])), path)
    return path


def peak_of(source: Path, output: Path) -> float:
    """The most memory that numpy and Python held, in volumes."""
    tracemalloc.start()
    try:
        convert(ConvertJob(input=source, output=output, quiet=True))
        return tracemalloc.get_traced_memory()[1] / np.prod(SHAPE)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ending", ["nii.gz", "mgz", "npz", "seg.nrrd"])
def test_labels_are_converted_within_three_times_their_size(
    labels: Path, tmp_path: Path, ending: str
) -> None:
    assert peak_of(labels, tmp_path / f"b.{ending}") < 2.8
    assert peak_of(tmp_path / f"b.{ending}", tmp_path / "c.nii.gz") < 2.8
    before, after = read_masks(labels), read_masks(tmp_path / "c.nii.gz")
    for a, b in zip(before.segments, after.segments, strict=True):
        assert (a.label, a.region) == (b.label, b.region)
        np.testing.assert_array_equal(a.crop, b.crop)


def test_dicom_segments_are_never_filled_up(labels: Path, tmp_path: Path) -> None:
    """A DICOM SEG of them: what is held are the parts of the frames that are not empty."""
    folder, step = tmp_path / "ct", np.diag([-0.8, -0.8, 2.0])
    write_dicom_series(folder, step, np.zeros(3), stored=np.zeros(SHAPE, np.int16))
    path = tmp_path / "b.dcm"
    convert(ConvertJob(input=labels, output=path, reference=folder, quiet=True))
    assert peak_of(path, tmp_path / "c.nii.gz") < 2.8


def bomb(path: Path, size: int, gzipped: bool) -> Path:
    """A DICOM file that unpacks to `size` bytes of zeros."""
    ds = pydicom.dcmread(write_dicom_series(path.parent, ORTHOGONAL["plain"])[0])
    for other in path.parent.iterdir():
        other.unlink()
    ds.Rows = ds.Columns = 2
    ds.PixelData = bytes(size)
    if not gzipped:
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    if gzipped:
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return path


@pytest.mark.parametrize("gzipped", [True, False])
def test_small_dicom_files_that_unpack_to_much_are_refused(tmp_path: Path, gzipped: bool) -> None:
    path = bomb(tmp_path / "a.dcm", 80_000_000, gzipped)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a compressed DICOM file of at most [\d,]+ MiB"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 75_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("gzipped", [True, False])
def test_compressed_dicom_files_are_read(tmp_path: Path, gzipped: bool) -> None:
    path = bomb(tmp_path / "a.dcm", 8, gzipped)
    assert read(path).voxels.shape[-2:] == (2, 2)


def test_masks_in_a_prompt_file_are_counted_before_they_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = {"size": [16_384, 16_384], "rle": "0:1", "slice": 0}
    objects = [{"name": f"object {k}", "masks": [mask]} for k in range(100)]
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"objects": objects}))
    monkeypatch.setattr(promptfile, "available_bytes", lambda: 8 << 30)
    monkeypatch.setattr(promptfile, "from_rle", None)  # not reached
    with pytest.raises(PromptError, match=r"masks that fit into the 8\.0 GiB .*100 masks of 25"):
        read_prompt_file(path)


def test_zeros_deflate_as_well_as_is_reckoned() -> None:
    from promptseg.formats.memory import DEFLATE_AT_BEST

    size = 100_000_000
    assert size / len(zlib.compress(bytes(size), 9)) <= DEFLATE_AT_BEST
