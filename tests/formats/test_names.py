"""Names that no file could hold are refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from formats.helpers import corner_mask, random_voxels, write_nifti
from promptseg.cli.main import main
from promptseg.errors import InputError, PromptError
from promptseg.formats.masks import read_masks
from promptseg.geometry import Geometry
from promptseg.image import Segment
from promptseg.jobs import segment
from promptseg.prompts import Box, Box3D, Marker, Mask, Points, group_by_object
from promptseg.prompts.millimetres import Millimetres

GRID = Geometry.from_spacing((5, 6, 7), (1.0, 1.0, 2.0))
BAD = ["half \ud800", "\udcff", "n" * 1_000_000]


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The model is not asked for, let alone run."""
    monkeypatch.setattr(segment, "load_for", None)
    monkeypatch.chdir(tmp_path)
    write_nifti(tmp_path / "a.nii.gz", np.eye(3))


@pytest.mark.parametrize("name", BAD)
def test_objects_of_prompts(name: str) -> None:
    for prompt in (
        Box((1, 1, 3, 3), 2, name),
        Box3D((1, 1, 1, 3, 3, 3), name),
        Points(((1, 1),), (1,), 2, name),
        Mask(np.ones((6, 7), bool), 2, name),
        Marker(((1, 1), (3, 3)), None, 2, name),
        Millimetres("box3d", ((0, 0, 0), (3, 3, 3)), name=name),
    ):
        with pytest.raises(PromptError, match=r"1024 characters, got .{10,80}; correct the name"):
            group_by_object([prompt], GRID)


def test_long_and_foreign_names_are_kept() -> None:
    for name in ("n" * 1024, "\u5de6\u808b", "\U0001fac1", "a\tb"):
        (found,) = group_by_object([Box((1, 1, 3, 3), 2, name)], GRID)
        assert found.name == Segment.from_mask(name, 1, np.ones((1, 1, 1), bool)).name == name


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("ending", ["nii.gz", "seg.nrrd", "npz", "mha", "dcm"])
def test_names_in_a_prompt_file(
    name: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = [{"name": name, "boxes": [{"xyxy": [1, 1, 4, 4], "slice": 2}]}]
    Path("p.json").write_text(json.dumps({"objects": objects}))
    before = sorted(tmp_path.iterdir())
    code = main(["segment", "-i", "a.nii.gz", "-o", f"o.{ending}", "--prompts", "p.json"])
    said = capsys.readouterr().err
    assert code == 2, said
    assert len(said) < 400
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", BAD)
def test_names_in_a_mask_file_and_new_ones(name: str) -> None:
    layers = np.stack([corner_mask(), ~corner_mask()]).astype(np.uint8)
    np.savez("m.npz", segs=layers, names=np.array([name, "b"]))
    with pytest.raises(InputError, match=r"names of objects|bytes for names"):
        read_masks(Path("m.npz"))
    nib.save(nib.Nifti1Image(corner_mask().T.astype(np.uint8), np.eye(4)), "m.nii.gz")
    assert main(["convert", "-i", "m.nii.gz", "-o", "o.nii.gz", "--segments", f"1={name}"]) == 2
    assert not Path("o.nii.gz").exists()


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("n" * 240 + ".nii.gz", []),  # of the overlay's name only the ending is too much
        ("n" * 245 + ".nii.gz", ["--no-overlay"]),  # of the provenance's
        ("n" * 300 + ".nii.gz", ["--no-overlay"]),
        ("n" * 300 + "/o.nii.gz", []),
        ("o/" * 3000 + "o.nii.gz", []),
        ("half \ud800.nii.gz", []),
        ("a\0b.nii.gz", []),
    ],
)
def test_output_names_that_get_too_long_are_known_before_the_work(
    output: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    code = main(["segment", "-i", "a.nii.gz", "-o", output, "--box=1,1,4,4@2", *options])
    assert code == 2
    assert "an output that can be written" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_name_that_is_no_text_is_the_users_right(tmp_path: Path) -> None:
    path = Path(b"\xff.nii.gz".decode(errors="surrogateescape"))
    try:
        nib.save(nib.Nifti1Image(random_voxels().T, np.eye(4)), "b.nii.gz")
        Path("b.nii.gz").rename(path)
    except OSError:
        pytest.skip("file names are text here")
    assert main(["info", str(path)]) == 0
    assert main(["info", str(path), "--json"]) == 0
