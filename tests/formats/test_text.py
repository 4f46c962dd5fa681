"""One rule for links, encodings and names, in every reader of text or folders."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import dataset_makers as make
from formats.helpers import GRIDS, random_voxels, write_dicom_series
from promptseg.cli.options import _read_config
from promptseg.datasets import DatasetOptions, open_datasets
from promptseg.datasets.description import read_json
from promptseg.datasets.files import named_file
from promptseg.datasets.manifest import read_manifest
from promptseg.datasets.splits import read_splits
from promptseg.errors import InputError
from promptseg.formats import read
from promptseg.formats.files import files_below
from promptseg.formats.promptfile import read_prompt_file
from promptseg.formats.text import decoded, read_text

NAME = "Läsion, links"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
PROMPTS = {"objects": [{"name": NAME, "boxes": [{"xyxy": [1, 2, 3, 4]}]}]}
MANIFEST = f'dataset,patient,case\nct,p1,"{NAME}"\n'


def prompt_name(path: Path) -> str:
    return str(read_prompt_file(path)[0].prompts[0].name)


READERS: dict[str, tuple[str, str, Any]] = {
    "prompts": ("p.json", json.dumps(PROMPTS, ensure_ascii=False), prompt_name),
    "dataset.json": (
        "dataset.json",
        json.dumps({"name": NAME}, ensure_ascii=False),
        lambda path: read_json(path)["name"],
    ),
    "config": ("c.yaml", f'output: "{NAME}"\n', lambda path: _read_config(path)["output"]),
    "splits": (
        "s.csv",
        f'dataset,case,part\nct,"{NAME}",test\n',
        lambda path: next(iter(read_splits(path)))[1],
    ),
    "manifest": ("m.csv", MANIFEST, lambda path: read_manifest(path)[0].case),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_of_text_takes_every_encoding(
    tmp_path: Path, reader: str, encoding: str, ends: str
) -> None:
    name, text, read_name = READERS[reader]
    path = tmp_path / name
    path.write_bytes(text.replace("\n", ends).encode(encoding))
    assert read_name(path) == NAME


@pytest.mark.parametrize("reader", READERS)
def test_other_encodings_are_refused_by_their_place(tmp_path: Path, reader: str) -> None:
    name, text, read_name = READERS[reader]
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Exception, match=r"no UTF-8 in line \d.*save it as UTF-8"):
        read_name(path)


def test_line_ends_of_old_systems() -> None:
    assert decoded(b"a\rb\r\nc\n") == "a\nb\nc\n"


def test_text_without_a_mark_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert read_text(tmp_path / "a") == ""


# ------------------------------------------------------------------------------ links


def test_links_in_and_out_of_a_folder_are_followed_alike(tmp_path: Path) -> None:
    """A series of links, and a link to the folder of another disk."""
    write_dicom_series(tmp_path / "real", GRIDS["plain"])
    (tmp_path / "links").mkdir()
    for path in sorted((tmp_path / "real").iterdir()):
        (tmp_path / "links" / path.name).symlink_to(path)
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "ct").symlink_to(tmp_path / "real")
    for folder in ("links", "outer"):
        np.testing.assert_array_equal(
            read(tmp_path / folder).voxels, random_voxels().astype(int) - 1024
        )


def test_a_file_that_several_names_lead_to_is_met_once(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    (tmp_path / "ct" / "0_latest.dcm").symlink_to(paths[-1])
    (tmp_path / "ct" / "again").symlink_to(tmp_path / "ct")
    assert read(tmp_path / "ct").geometry.shape == (5, 6, 7)
    assert files_below(tmp_path / "ct") == sorted(paths)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    (tmp_path / "ct" / "gone").symlink_to(tmp_path / "nowhere")
    (note,) = read(tmp_path / "ct").source.notes
    assert "gone (a link to nothing)" in note


def nnunet(root: Path) -> Path:
    make.nnunet(root)
    return root / "labelsTs"


def pictures(root: Path) -> Path:
    make.picture_folder(root)
    return root / "masks"


def pairs(root: Path) -> Path:
    make.volume_pairs(root)
    return root


def patterns(root: Path) -> Path:
    make.picture_folder(root)
    make.described(root, image_files="images/{case}.png", label_files="masks/{case}.png")
    return root / "masks"


LAYOUTS = {"nnunet": nnunet, "pictures": pictures, "pairs": pairs, "patterns": patterns}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_follows_links_and_misses_none(tmp_path: Path, layout: str) -> None:
    folder = LAYOUTS[layout](tmp_path / "data")
    before = [case.name for case in open_datasets(tmp_path / "data")[0].cases]
    moved = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".json")
    for path in moved:
        outside = tmp_path / "elsewhere" / path.name
        outside.parent.mkdir(exist_ok=True)
        path.rename(outside)
        path.symlink_to(outside)
    (dataset,) = open_datasets(tmp_path / "data")
    assert [case.name for case in dataset.cases] == before
    dataset.cases[0].load()
    (tmp_path / "elsewhere" / moved[0].name).unlink()
    with pytest.raises(InputError, match=rf"{moved[0].name}: a link to nothing"):
        open_datasets(tmp_path / "data", DatasetOptions(keep_going=True))


def test_a_dataset_keeps_the_name_of_its_link(tmp_path: Path) -> None:
    make.picture_folder(tmp_path / "disk7" / "a81f")
    (tmp_path / "ultrasound").symlink_to(tmp_path / "disk7" / "a81f")
    assert open_datasets(tmp_path / "ultrasound")[0].name == "ultrasound"


@pytest.mark.parametrize("said", ["../a.png", "x/../../a.png", "/etc/hostname", "..\\a.png"])
def test_names_in_files_never_lead_out(tmp_path: Path, said: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="inside the dataset's folder"):
        named_file(tmp_path / "in", said, "dataset.json")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_names_in_files_are_found_in_every_form(tmp_path: Path, form: str, separator: str) -> None:
    stored = tmp_path / "images" / unicodedata.normalize(form, "Köpfe 1.png")
    stored.parent.mkdir()
    stored.touch()
    for said in ("NFC", "NFD"):
        name = unicodedata.normalize(said, f"images{separator}Köpfe 1.png")
        assert named_file(tmp_path, name, "dataset.json") == stored


def test_cases_are_paired_whatever_form_their_names_have(tmp_path: Path) -> None:
    """Images from one system, masks that a Mac has packed."""
    make.png(tmp_path / "images" / unicodedata.normalize("NFC", "Röntgen 1.png"), make.gray())
    make.png(tmp_path / "masks" / unicodedata.normalize("NFD", "Röntgen 1.png"), make.labels())
    (dataset,) = open_datasets(tmp_path)
    assert [case.name for case in dataset.cases] == [unicodedata.normalize("NFC", "Röntgen 1")]


@pytest.mark.parametrize("ending", [".PNG", ".Png"])
def test_endings_in_capitals_are_endings(tmp_path: Path, ending: str) -> None:
    make.picture_folder(tmp_path)
    for path in (tmp_path / "images").iterdir():
        os.rename(path, path.with_suffix(ending))
    assert len(open_datasets(tmp_path)[0].cases) == 2
