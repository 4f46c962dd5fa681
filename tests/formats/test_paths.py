"""Paths that are no files: one clear error at once, whatever they are called."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from formats.helpers import GRIDS, segmentation_of, write_nifti
from promptseg import read
from promptseg.errors import InputError, OutputError
from promptseg.formats import is_dicom_file

ENDINGS = [
    "nii.gz",
    "nii",
    "img",
    "nrrd",
    "mhd",
    "mgz",
    "HEAD",
    "npz",
    "png",
    "tif",
    "svs",
    "dcm",
    "",
]


def refused(path: Path) -> str:
    with pytest.raises(InputError, match=r"^expected ") as error:
        read(path)
    return str(error.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan.{ending}"
    os.mkfifo(path)
    assert "not a file" in refused(path)
    assert not is_dicom_file(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"scan.{ending}")
        assert "not a file" in refused(Path(f"scan.{ending}"))


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_devices_are_refused(device: str) -> None:
    if not Path(device).exists():
        pytest.skip(f"no {device} here")
    refused(Path(device))


@pytest.mark.parametrize(
    "name", ["scan.hdr", "scan.img", "scan.mhd", "scan.nhdr", "scan+orig.HEAD"]
)
def test_the_other_half_is_no_pipe_either(tmp_path: Path, name: str) -> None:
    headers = {
        "scan.nhdr": b"NRRD0004\ndata file: scan.raw\n\n",
        "scan.mhd": b"NDims = 3\nDimSize = 7 6 5\nElementDataFile = scan.raw\n",
    }
    (tmp_path / name).write_bytes(headers.get(name, bytes(348)))
    for other in ("scan.raw", "scan.hdr", "scan.img", "scan+orig.BRIK"):
        if not (tmp_path / other).exists():
            os.mkfifo(tmp_path / other)
    assert "not a file" in refused(tmp_path / name)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_loop_of_links_is_refused(tmp_path: Path, ending: str) -> None:
    first, second = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    first.symlink_to(second)
    second.symlink_to(first)
    assert "symbolic links" in refused(first)


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").symlink_to(tmp_path / "gone.nii")
    assert "no such file" in refused(tmp_path / "a.nii")


def test_a_link_to_an_image_is_followed(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", GRIDS["plain"])
    (tmp_path / "link.nii.gz").symlink_to(path)
    assert read(tmp_path / "link.nii.gz").geometry.shape == (5, 6, 7)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.png", "scan"])
def test_a_folder_with_the_ending_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    refused(tmp_path / name)


@pytest.mark.parametrize("below", ["scan.nii/inside.nii", "scan.nii/"])
def test_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    write_nifti(tmp_path / "scan.nii", GRIDS["plain"])
    path = Path(f"{tmp_path}/{below}")
    if below.endswith("/"):
        assert read(path).geometry.shape == (5, 6, 7)  # pathlib drops the stroke
    else:
        refused(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", GRIDS["plain"])
    path.chmod(0)
    assert "Permission denied" in refused(path)


@pytest.mark.parametrize("make", ["pipe", "link to a device"])
def test_what_is_no_file_is_not_overwritten(tmp_path: Path, make: str) -> None:
    out = tmp_path / "mask.nii.gz"
    os.mkfifo(out) if make == "pipe" else out.symlink_to("/dev/null")
    result = segmentation_of(read(write_nifti(tmp_path / "scan.nii", GRIDS["plain"])))
    with pytest.raises(OutputError, match="device, socket or pipe"):
        result.save(out, overwrite=True)
    assert out.is_fifo() or out.is_symlink()
