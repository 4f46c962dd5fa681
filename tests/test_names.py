"""Names are text wherever they go: headers, terminals, spreadsheets, pages."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import example, given, settings
from hypothesis import strategies as st

from formats.helpers import corner_mask, segmentation_of, write_dicom_series
from promptseg import read
from promptseg.cli.main import main
from promptseg.formats.masks import read_masks
from promptseg.image import Image
from promptseg.names import for_csv, for_header, for_markdown, for_terminal, from_csv
from promptseg.progress import step_progress
from promptseg.provenance import Provenance

EVIL = [
    "a\rspace: scanner-xyz",
    "line\u2028separator",
    "next\x85line",
    "\x0bvertical\x0c",
    "\x1b]0;title\x07 red \x1b[31m",
    "new\nline:=x",
    "back\\nslash",
    "=HYPERLINK(0)",
    "[bold]no markup[/]",
    "right \u202eto left",
]
text = st.text(st.characters(), max_size=20)
strange = st.text(st.sampled_from("=+-@\t\r'1.e9\x1b\n\u2028|<`\\[a\ud800"), max_size=12)


@settings(deadline=None, derandomize=True)
@given(cell=text | strange)
@example(cell="'=1")
def test_cells_are_no_formulas_and_come_back(cell: str) -> None:
    written = for_csv(cell)
    assert from_csv(written) == cell
    begins = written[:1] in tuple("=+-@\t\r") and len(written) > 1
    assert not begins or re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?|[+-](inf|nan)", written, re.I)


@pytest.mark.parametrize("cell", ["-3.5", "+2", "-1e-7", "-inf", "nan", "liver", "-", ""])
def test_numbers_and_plain_names_stay_as_they_are(cell: str) -> None:
    assert for_csv(cell) == cell


@settings(deadline=None, derandomize=True)
@given(value=text | strange)
def test_a_terminal_shows_and_does_not_obey(value: str) -> None:
    shown = for_terminal(value)
    assert all(c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160) for c in shown)
    shown.encode("utf-8")
    assert for_terminal("Läsion 肝臓") == "Läsion 肝臓"


@settings(deadline=None, derandomize=True)
@given(value=text | strange)
def test_a_header_keeps_its_lines(value: str) -> None:
    written = for_header(value)
    assert written.count("\n") == value.count("\n")
    assert len(written.splitlines() or [""]) <= value.count("\n") + 1
    written.encode("utf-8")


def test_markdown_has_no_marks_of_its_own() -> None:
    assert for_markdown("a|b <script>\n`x` [y](z)") == "a\\|b &lt;script> \\`x\\` \\[y\\](z)"


@pytest.mark.parametrize("name", EVIL)
def test_any_name_makes_files_that_everybody_can_read(tmp_path: Path, name: str) -> None:
    pixels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    image = Image.from_array(pixels, spacing=(1, 1, 1))
    masks = segmentation_of(image, {name: corner_mask(), "liver": ~corner_mask()})
    masks.provenance = Provenance(created="now")
    path = masks.save(tmp_path / "m.seg.nrrd")
    header = nrrd.read_header(str(path))
    assert {k for k in header if k.startswith("Segment1")} == {
        f"Segment1_{k}" for k in ("ID", "Name", "LabelValue", "Layer")
    }
    assert "space" not in header or header["space"] == "left-posterior-superior"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), masks.labels())
    back = read_masks(path)
    assert back.sha256() == masks.sha256()
    assert back.names[1] == (name if for_header(name) == for_header(back.names[1]) else "")
    for ending in ("nii.gz", "npz"):
        other = read_masks(masks.save(tmp_path / f"m.{ending}"))
        assert other.names == {1: name, 2: "liver"}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("ending", ["m.dcm", "m.rtstruct.dcm"])
def test_any_name_makes_dicom(tmp_path: Path, name: str, ending: str) -> None:
    write_dicom_series(tmp_path / "ct", np.eye(3))
    image = read(tmp_path / "ct")
    path = segmentation_of(image, {name: corner_mask()}).save(tmp_path / ending)
    ds = pydicom.dcmread(path)
    texts = [
        str(element.value) for element in ds.iterall() if element.VR in ("LO", "ST", "SH", "UT")
    ]
    assert not any(c < " " and c != "\n" for one in texts for c in one)
    assert read_masks(path, image).segments[0].crop.any()


def test_the_command_line_shows_names_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "\x1b[31mred\x1b[0m"
    pixels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    masks = segmentation_of(Image.from_array(pixels), {name: corner_mask()})
    masks.provenance = Provenance(created="now")
    path = masks.save(tmp_path / "m.nii.gz")
    assert main(["convert", "-i", str(path), "-o", str(tmp_path / "n\x1b.nrrd")]) == 0
    assert main(["convert", "-i", str(tmp_path / "no\x1b.nrrd"), "-o", str(path)]) == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "1 \\x1b[31mred\\x1b[0m: " in said.out
    assert read_masks(path).names == {1: name}


def test_markup_in_a_file_name_is_no_markup_of_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with step_progress("a[/b] [bold]: slices", 2) as update:
        update(1, "[/]")
    assert "a[/b] [bold]: slices" in capsys.readouterr().err


def test_a_table_of_times_is_no_formula() -> None:
    from promptseg.timing.render import as_csv
    from promptseg.timing.table import StudyTable, Times

    row = Times("=1+1", "@expert", manual=2.0)
    table = StudyTable("+study", (row,), (), None, False)
    lines = list(csv.reader(io.StringIO(as_csv([table]))))
    assert lines[1][:1] == ["'+study"]
    assert "'=1+1" in lines[1]
    assert "'@expert" in lines[1]
