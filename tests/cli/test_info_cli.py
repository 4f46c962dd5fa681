"""`promptseg info` as a person or a script sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from dicomweb_servers import stub
from formats.helpers import GRIDS, random_voxels, write_dicom_series, write_nifti
from promptseg.cli.main import main
from promptseg.cli.preview import preview_picture
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.intensity import Intensity

AS_IS = Intensity("unknown", "as is")
STUDY = "1.2.3"


def info(*arguments: object) -> int:
    return main(["info", *map(str, arguments)])


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dicom_series(
        tmp_path / "s", GRIDS["plain"], uid="1.2.3.44", SeriesDescription="[red]a\x1b"
    )
    assert info(tmp_path / "s") == 0
    lines = dict(
        line.split(maxsplit=1)
        for line in capsys.readouterr().out.splitlines()
        if " of " not in line
    )
    assert {
        k: lines[k].strip() for k in ("kind", "modality", "size", "spacing", "orientation")
    } == {
        "kind": "volume",
        "modality": "CT",
        "size": "7 x 6 x 5",
        "spacing": "0.8 x 0.9 x 2.5 mm",
        "orientation": "LPS",
    }
    assert lines["identifying"].strip() == "SeriesDescription, PatientID"
    assert lines["series"].strip() == "1.2.3.44  CT, 5 slices, [red]a?"


def test_several_series_are_listed_by_endings_that_choose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = ["1.2.840.999.1", "1.2.841.999.1", "1.2.840.999.12"]
    for k, uid in enumerate(uids):
        write_dicom_series(tmp_path / str(k), GRIDS["plain"], uid=uid, seed=k)
    assert info(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    endings = [line.split()[1] for line in lines if line.startswith("series")]
    assert len(endings) == 3
    for uid, ending in zip(uids, endings, strict=True):
        assert info(tmp_path, "--series", ending, "--json") == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert f"series {uid} chosen out of 3" in notes
    assert info(tmp_path, "--preview", tmp_path / "p.png") == 2
    assert "got 3 series of images" in capsys.readouterr().err
    assert not (tmp_path / "p.png").exists()


def test_a_study_on_a_server_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with stub() as server:
        entry = {"00080060": "CT", "0008103E": "a", "00201209": 5}
        server.list_series(STUDY, {"0020000E": "1.2.3.4", **entry}, {"0020000E": "1.2.3.5"})
        assert info(f"{server.address}/studies/{STUDY}", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == f"{server.address}/studies/{STUDY}"
    assert facts["identifying_fields"] is None
    assert [(s["uid"], s["modality"], s["files"]) for s in facts["series"]] == [
        ("1.2.3.4", "CT", 5),
        ("1.2.3.5", "", None),
    ]


def test_the_preview_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write_nifti(tmp_path / "a.nii", GRIDS["plain"]), tmp_path / "new" / "p.png"
    assert info(path, "--preview", out, "--json") == 0
    json.loads(capsys.readouterr().out)
    assert PilImage.open(out).format == "PNG"
    before = out.read_bytes()
    assert info(path, "--preview", out) == 2
    assert "exists" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert info(path, "--preview", out, "--overwrite") == 0
    assert info(path, "--preview", tmp_path / "p.jpg") == 2
    assert info(tmp_path / "none.nii", "--preview", tmp_path / "q.png") == 2
    assert not (tmp_path / "q.png").exists()


def panels(picture: PilImage.Image) -> list[np.ndarray]:
    """What differs from the gray of the sheet, left to right: the three panels of a volume."""
    pixels = np.asarray(picture)[:386].astype(int)
    return [pixels[:, 6 + k * 386 : 386 + k * 386] for k in range(3)]


def test_a_volume_is_shown_in_three_planes_in_true_proportions_and_radiological() -> None:
    """The head end at the top, front at the top of axial slices, the right side on the left."""
    voxels = np.zeros((20, 40, 60), np.uint8)
    voxels[15:, :, :30] = 250  # towards the head (z), on the right (x)
    image = Image(voxels, Geometry.from_spacing(voxels.shape, (2.0, 2.0, 4.0)), "MR")
    axial, coronal, sagittal = panels(preview_picture(image, AS_IS))
    shape = [np.argwhere((p != 20).any(-1)) for p in (axial, coronal, sagittal)]
    width_height = [np.ptp(s, axis=0)[::-1] + 1 for s in shape]
    for found, true in zip(width_height, [(120, 80), (120, 80), (80, 80)], strict=True):
        assert found[0] / found[1] == pytest.approx(true[0] / true[1], rel=0.02)
    bright = np.argwhere((coronal > 200).all(-1))
    assert np.median(bright, axis=0)[0] < 190  # above the middle
    assert np.median(bright, axis=0)[1] < 190  # left of it


def test_pictures_and_films_are_shown_as_they_are() -> None:
    colours = np.zeros((10, 20, 3), np.uint8)
    colours[:, 10:] = 255, 0, 0
    shown = np.asarray(preview_picture(Image.from_array(colours), AS_IS))
    assert shown.shape[1] == 780
    assert (shown[6:300, 500:760] == (255, 0, 0)).all()
    film = random_voxels((5, 10, 20), np.uint8)
    film[2] = 255
    image = Image(film, Geometry.pixels(film.shape), "US", moving=True)
    assert (np.asarray(preview_picture(image, AS_IS))[50:350, 50:700] == 255).all()


def test_it_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PilImage.fromarray(random_voxels((10, 20), np.uint8)).save(path)
    heavy = ("torch", "SimpleITK", "highdicom", "transformers", "scipy")
    program = (
        "import sys; from promptseg.cli.main import main; "
        f"main(['info', {str(path)!r}, '--preview', {str(tmp_path / 'p.png')!r}]); "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
