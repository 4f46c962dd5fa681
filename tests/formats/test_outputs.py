"""May this be written? What is read is never written over, whatever stands for its name."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from fakes import BrightPredictor
from promptseg.errors import OutputError
from promptseg.formats import read
from promptseg.formats.detached import belonging_to
from promptseg.formats.files import atomic_path, atomic_paths
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.prompts import Box
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session


def same(a: Path, b: Path) -> None:
    b.write_bytes(a.read_bytes())


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda a, b: b.symlink_to(a),
    "second name": lambda a, b: b.hardlink_to(a),
}


def scan(folder: Path, name: str = "scan.nii.gz") -> Path:
    """A bright block in the dark."""
    voxels = np.full((3, 20, 20), 10, np.int16)
    voxels[:, 5:15, 5:15] = 200
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), folder / name)
    return folder / name


@pytest.mark.parametrize("kind", LINKS)
def test_a_name_that_leads_to_what_is_read_is_refused(kind: str, tmp_path: Path) -> None:
    path, output = scan(tmp_path), tmp_path / "mask.nii.gz"
    LINKS[kind](path, output)
    with pytest.raises(OutputError, match="which is read"):
        check_outputs([output], True, Reads([path]))
    with pytest.raises(OutputError, match="which is read"):
        check_outputs([path], True, Reads([output]))
    output.unlink()
    same(path, output)
    check_outputs([output], True, Reads([path]))  # equal content is nothing to refuse


def test_a_folder_that_is_read_protects_all_it_holds(tmp_path: Path) -> None:
    inside = tmp_path / "series" / "deep" / "slice.dcm"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"x")
    reads = Reads([tmp_path / "series"])
    for name in (inside, tmp_path / "series" / ".." / "series" / "deep" / "slice.dcm"):
        with pytest.raises(OutputError, match="which is read"):
            check_outputs([name], True, reads)
    check_outputs([inside.with_name("mask.dcm")], True, reads)  # new: nothing is lost
    elsewhere = tmp_path / "disk" / "slice.dcm"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"y")
    (tmp_path / "series" / "link").symlink_to(elsewhere.parent)
    with pytest.raises(OutputError, match="which is read"):
        check_outputs([elsewhere], True, Reads([tmp_path / "series"]))


def test_the_files_of_an_image_in_two_are_both_read(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))
    header = (tmp_path / "a.mhd").read_text().replace("a.raw", "b.json")
    (tmp_path / "b.mhd").write_text(header)
    nib.save(nib.Nifti1Pair(np.zeros((4, 3, 2), np.int16), np.eye(4)), tmp_path / "c.img")
    for name in ("d+orig.HEAD", "d+orig.BRIK.gz", "b.json"):
        (tmp_path / name).touch()
    nhdr = "NRRD0004\ntype: short\ndimension: 1\nsizes: 4\nendian: little\nencoding: raw\n"
    (tmp_path / "e.nhdr").write_text(nhdr + "data file: e.png\n")
    pairs = {
        "a.mhd": "a.raw",
        "b.mhd": "b.json",
        "c.hdr": "c.img",
        "c.img": "c.hdr",
        "d+orig.HEAD": "d+orig.BRIK.gz",
        "d+orig.BRIK.gz": "d+orig.HEAD",
        "e.nhdr": "e.png",
    }
    found = {name: [p.name for p in belonging_to(tmp_path / name)] for name in pairs}
    assert found == {name: [other] for name, other in pairs.items()}
    with pytest.raises(OutputError, match="which is read"):
        check_outputs([tmp_path / "b.json"], True, Reads([tmp_path / "b.mhd"]))
    (tmp_path / "f.nhdr").write_text(nhdr + "data file: ../else.raw\n")  # never followed
    assert list(belonging_to(tmp_path / "f.nhdr")) == []


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
@pytest.mark.parametrize(
    "line", [b"\n", b" \n", b"\r\n", b" ", b"data file", b"data file:", b"ElementDataFile = a  "]
)
def test_a_header_of_nothing_but_blanks_costs_no_time(
    tmp_path: Path, name: str, line: bytes
) -> None:
    """While a pattern is looked for, nothing else of a server moves."""
    (tmp_path / name).write_bytes((line * (1 << 16))[: 1 << 16] + b"x")
    begun = time.thread_time()
    list(belonging_to(tmp_path / name))
    assert time.thread_time() - begun < 1


def test_names_of_voxels_are_read_whatever_blanks_surround_them(tmp_path: Path) -> None:
    (tmp_path / "b.raw").touch()
    for name, text in {
        "a.mhd": "NDims = 3\n\n\n \tElementDataFile \t= b.raw \r\n",
        "a.nhdr": "NRRD0004\r\nDATA FILE\t:\tb.raw\t",
        "c.nhdr": "NRRD0004\n\n\n\n datafile:b.raw\n",
    }.items():
        (tmp_path / name).write_bytes(text.encode())
        assert list(belonging_to(tmp_path / name)) == [tmp_path / "b.raw"]
    for nothing in ("LOCAL", "", " ", "../b.raw", "/b.raw"):
        (tmp_path / "a.mhd").write_text(f"ElementDataFile = {nothing}\nb.raw\n")
        assert list(belonging_to(tmp_path / "a.mhd")) == []


def test_the_provenance_beside_a_mask_that_is_read_is_read_too(tmp_path: Path) -> None:
    mask = scan(tmp_path, "mask.nii.gz")
    (tmp_path / "mask.json").write_text("{}")
    check_outputs([tmp_path / "mask.json"], True, Reads([mask]))
    with pytest.raises(OutputError, match="which is read"):
        check_outputs([tmp_path / "mask.json"], True, Reads([], masks=[mask]))


def test_two_outputs_of_one_name_and_a_link_to_nowhere(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="twice"):
        check_outputs([tmp_path / "a.csv", None, tmp_path / "a.csv"], True)
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"):
        check_outputs([tmp_path / "link.png"], False)
    with (
        pytest.raises(OutputError, match="appeared"),
        atomic_path(tmp_path / "link.png", False) as p,
    ):
        p.touch()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("links", [True, False])
def test_what_appears_at_the_place_meanwhile_stays(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:  # as on FAT and some network drives

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    a, b = tmp_path / "a.png", tmp_path / "b.json"

    def write_both() -> None:
        with atomic_paths(a, b, overwrite=False) as (first, second):
            first.write_text("new")
            second.write_text("new")
            b.write_text("mine")

    with pytest.raises(OutputError, match=r"b\.json, which has appeared.*--overwrite"):
        write_both()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"b.json": "mine"}
    with atomic_paths(a, b, overwrite=True) as (first, second):
        first.write_text("new")
        second.write_text("new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.png": "new", "b.json": "new"}
    a.unlink()
    with atomic_path(a, overwrite=False) as first:
        first.write_text("once")
    assert a.read_text() == "once"


def test_python_saves_nothing_over_the_image(tmp_path: Path) -> None:
    path = scan(tmp_path)
    before = path.read_bytes()
    segmenter = Segmenter(BrightPredictor())
    image = read(path, modality="CT")
    result = segmenter.segment(image, Box((4, 4, 16, 16), slice=1))
    with pytest.raises(OutputError, match="which is read"):
        result.save(path, overwrite=True)
    (tmp_path / "session.npz").hardlink_to(path)
    session = Session(segmenter, image)
    with pytest.raises(OutputError, match="which is read"):
        session.save(tmp_path / "session.npz", overwrite=True)
    assert path.read_bytes() == before


def test_a_result_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    image = read(scan(tmp_path), modality="CT")
    result = Segmenter(BrightPredictor()).segment(image, Box((4, 4, 16, 16), slice=1))
    out = tmp_path / "out" / "mask.nii.gz"

    def overlay(path: Path) -> None:
        path.write_text("picture")
        (out.parent / "mask.nii.gz.json").write_text("mine")  # while the files are made

    with pytest.raises(OutputError, match=r"mask\.nii\.gz\.json, which has appeared"):
        result.save(out, also={out.with_name("mask.overlay.png"): overlay})
    assert {p.name: p.read_text() for p in out.parent.iterdir()} == {"mask.nii.gz.json": "mine"}
