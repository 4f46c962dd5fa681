"""npz files: what they promise is compared with what they hold before anything is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from formats.helpers import random_voxels
from promptseg import read
from promptseg.errors import InputError
from promptseg.formats import archive, memory, read_labels
from promptseg.formats.archive import open_archive
from promptseg.formats.masks import read_masks

GRID = {"spacing": np.ones(3), "origin": np.zeros(3), "direction": np.eye(3)}


def header_of(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def with_member(path: Path, name: str, content: bytes) -> Path:
    """A volume with one member made by hand."""
    np.savez(path, imgs=random_voxels(), segs=random_voxels(dtype=np.uint8))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{name}.npy", content)
    return path


@pytest.fixture
def _nothing_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays that are larger than a few bytes are never read."""
    read_array = np.lib.format.read_array

    def careful(stream: Any, **how: Any) -> Any:
        found = read_array(stream, **how)
        assert found.nbytes < 1 << 16
        return found

    monkeypatch.setattr(archive.np.lib.format, "read_array", careful)


def test_arrays_come_as_numpy_reads_them(tmp_path: Path) -> None:
    content = {"a": random_voxels(), "b": np.array(["x", "yz"]), "c": np.asfortranarray(np.eye(3))}
    np.savez_compressed(tmp_path / "a.npz", **content)
    with open_archive(tmp_path / "a.npz") as found:
        assert found.names == list(content)
        for name, expected in content.items():
            assert found.shape(name) == expected.shape
            np.testing.assert_array_equal(found.take(name), expected)
        with pytest.raises(InputError, match=r"the key d, got .* with a, b, c"):
            found.take("d")


@pytest.mark.usefixtures("_nothing_unpacked")
@pytest.mark.parametrize("name", GRID)
def test_a_few_numbers_are_not_a_gigabyte(tmp_path: Path, name: str) -> None:
    path = with_member(tmp_path / "a.npz", name, header_of((1 << 22,)) + bytes(8 << 22))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=f"at most .* bytes for {name}, got .*33,554,432 bytes"):
        read_labels(path)


@pytest.mark.usefixtures("_nothing_unpacked")
def test_boxes_and_names_are_no_gigabyte_either_and_the_rest_is_read(tmp_path: Path) -> None:
    boxes = with_member(tmp_path / "a.npz", "boxes", header_of((1 << 22,)) + bytes(8 << 22))
    assert any("33,554,432 bytes" in note for note in read(boxes).source.notes)
    content = header_of((1,), "<U25000000") + bytes(100_000_000)
    names = with_member(tmp_path / "b.npz", "names", content)
    assert any("100,000,000 bytes" in note for note in read_masks(names).source.notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header_of((1 << 40,)) + bytes(80), "promises 8,796,093,022,208 bytes and has"),
        (header_of((2,)) + bytes(80), "promises 16 bytes and has"),
        (header_of((3,), "|O") + bytes(24), "holds pickled objects"),
        (b"\x93NUMPY\x09\x00" + bytes(80), "complete npz file"),
        (b"no array", "complete npz file"),
        (b"", "complete npz file"),
    ],
)
def test_headers_are_compared_with_what_is_there(tmp_path: Path, content: bytes, said: str) -> None:
    path = with_member(tmp_path / "a.npz", "origin", content)
    with pytest.raises(InputError, match=said), open_archive(path) as found:
        found.take("origin")


def test_a_directory_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    """The directory says that a few hundred bytes unpack to a gigabyte."""
    path = with_member(tmp_path / "a.npz", "big", header_of((1 << 27,)) + bytes(1000))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", (8 << 27) + 128)
    path.write_bytes(content)
    with (
        pytest.raises(InputError, match=r"bytes cannot hold 1,073,741,824 of big"),
        open_archive(path) as found,
    ):
        found.take("big")


def test_what_does_not_fit_into_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", imgs=random_voxels())
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    with pytest.raises(InputError, match="fits into"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_damaged_bytes_are_noticed(tmp_path: Path, place: float) -> None:
    np.savez_compressed(tmp_path / "a.npz", imgs=random_voxels((9, 40, 40)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[200 + int(place * 5000)] ^= 0x10
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="complete npz file"):
        read(tmp_path / "a.npz")
