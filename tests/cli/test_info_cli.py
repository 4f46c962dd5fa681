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
from json_answers import answer
from promptseg.cli.main import main
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.intensity import Intensity
from promptseg.jobs.preview import PreviewOptions, _views, preview_picture
from promptseg.prompts import Box, Box3D

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
        notes = answer("info", capsys.readouterr().out)["notes"]
        assert f"series {uid} chosen out of 3" in notes
    assert info(tmp_path, "--preview", tmp_path / "p.png") == 2
    assert "got 3 series of images" in capsys.readouterr().err
    assert not (tmp_path / "p.png").exists()


def test_a_study_on_a_server_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with stub() as server:
        entry = {"00080060": "CT", "0008103E": "a", "00201209": 5}
        server.list_series(STUDY, {"0020000E": "1.2.3.4", **entry}, {"0020000E": "1.2.3.5"})
        assert info(f"{server.address}/studies/{STUDY}", "--json") == 0
    facts = answer("info", capsys.readouterr().out)
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
    """Left to right, the panels of a volume with their frames of ticks."""
    pixels = np.asarray(picture)[..., 0].astype(int)[:-46]  # without the caption
    return np.split(pixels, [440, 880], axis=1)


def extent(panel: np.ndarray, value: int) -> np.ndarray:
    """Width and height of the area of one gray, single pixels of letters left out."""
    there = panel == value
    return np.array([np.ptp(np.nonzero(there.sum(k) > 20)[0]) + 1 for k in (0, 1)])


def test_a_volume_is_shown_in_three_planes_in_true_proportions_and_radiological() -> None:
    """The head end at the top, front at the top of axial slices, the right side on the left."""
    voxels = np.full((20, 40, 60), 60, np.uint8)
    voxels[15:, :, :30] = 250  # towards the head (z), on the right (x)
    image = Image(voxels, Geometry.from_spacing(voxels.shape, (2.0, 2.0, 4.0)), "MR")
    axial, coronal, sagittal = panels(preview_picture(image, AS_IS))
    for found, true in zip(
        (axial, coronal, sagittal), [(120, 80), (120, 80), (80, 80)], strict=True
    ):
        width, height = extent(found, 60)
        assert width / height == pytest.approx(true[0] / true[1], rel=0.02)
    bright = np.argwhere(coronal == 250)
    dark = np.argwhere(coronal == 60)
    assert np.median(bright, axis=0)[0] < dark[:, 0].mean()  # above the middle
    assert np.median(bright, axis=0)[1] < dark[:, 1].mean()  # left of it


def test_which_slices_a_preview_shows() -> None:
    volume = Image(random_voxels((12, 40, 60)), Geometry.from_spacing((12, 40, 60)), "MR")
    thin = Image(random_voxels((4, 40, 60)), Geometry.from_spacing((4, 40, 60)), "MR")
    slab = Image(random_voxels((40, 60, 3)), Geometry.from_spacing((40, 60, 3)), "MR")
    assert [view[0] for view in _views(volume, PreviewOptions(), [])] == ["z", "y", "x"]
    assert _views(thin, PreviewOptions(), []) == [("z", k) for k in range(4)]
    assert _views(slab, PreviewOptions(), []) == [("x", k) for k in range(3)]
    assert _views(volume, PreviewOptions(sheet=4), []) == [("z", k) for k in (0, 4, 7, 11)]
    assert _views(volume, PreviewOptions(slice=3, axis="y"), []) == [("y", 3)]
    boxes = [Box((1, 2, 3, 4), 9), Box((1, 2, 3, 4), 5)]
    assert _views(volume, PreviewOptions(slice=7), boxes) == [("z", 5), ("z", 7), ("z", 9)]
    in_space = [Box3D((10, 4, 2, 20, 8, 6))]
    assert _views(volume, PreviewOptions(), in_space) == [("z", 4), ("y", 6), ("x", 15)]


def test_a_preview_is_as_fine_as_asked() -> None:
    wide = Image(random_voxels((100, 1500), np.uint8), Geometry.pixels((100, 1500)), "XR")
    small = preview_picture(wide, AS_IS).width
    full = preview_picture(wide, AS_IS, PreviewOptions(full_size=True)).width
    assert small < 1000 < 1500 < full
    voxels = np.zeros((100, 1500), np.uint8)
    voxels[10:20, 700:720] = 250
    lit = Image(voxels, Geometry.pixels(voxels.shape), "XR")
    tile = np.asarray(preview_picture(lit, AS_IS, PreviewOptions(tile="700,10,719,19")))
    assert (tile[40:400, 60:900] == 250).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--slice", "3"], "expected --preview for --slice"),
        (["--box", "1,1,2,2@1"], "expected --preview for --box"),
        (["--preview", "--slice", "99"], "a slice from 0 to 4 along z"),
        (["--preview", "--slice", "1", "--sheet", "4"], "expected --slice or --sheet"),
        (["--preview", "--sheet", "0"], "expected --sheet from 1 to 200"),
        (["--preview", "--tile", "0,0,7,5"], "a tile x0,y0,x1,y1 within x 0..6, y 0..5"),
        (["--preview", "--tile", "3,0,1,5"], "a tile x0,y0,x1,y1"),
        (["--preview", "--box", "0,0,7,5@1"], "coordinates inside the image"),
        (["--preview", "--box", "0,0,3,3"], "a slice for a box"),
        (["--preview", "--window", "wide"], "a window WIDTH/LEVEL"),
    ],
)
def test_what_a_preview_refuses(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_nifti(tmp_path / "a.nii", GRIDS["plain"]), tmp_path / "p.png"
    given = [part for o in options for part in ([o, out] if o == "--preview" else [o])]
    assert info(path, *given) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_pictures_and_films_are_shown_as_they_are() -> None:
    colours = np.zeros((10, 20, 3), np.uint8)
    colours[:, 10:] = 255, 0, 0
    shown = np.asarray(preview_picture(Image.from_array(colours), AS_IS))
    assert shown.shape[1] == 966
    assert (shown[40:300, 550:900] == (255, 0, 0)).all()
    film = random_voxels((5, 10, 20), np.uint8)
    film[2] = 255
    image = Image(film, Geometry.pixels(film.shape), "US", video=True)
    assert (np.asarray(preview_picture(image, AS_IS))[60:350, 70:800] == 255).all()


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
