"""A server as output: what it did not store is kept, and only `segment` writes there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicomweb_servers import Reply, stub
from fakes import BrightPredictor, ball
from formats.helpers import GRIDS, write_dicom_series
from promptseg.cli.main import main
from promptseg.errors import OutputError
from promptseg.formats.files import check_output
from promptseg.formats.masks import read_masks
from promptseg.formats.own_folder import OwnFolder
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.segment.segmenter import Segmenter

ADDRESS = "dicomweb://127.0.0.1:9/dicom-web"


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        "promptseg.jobs.segment.load_for", lambda _: Segmenter(BrightPredictor(200))
    )
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize("status", [409, 500, 503])
def test_a_result_that_is_not_stored_is_kept(
    status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = (5, 32, 32)
    mask = ball(shape, (2, 16, 16), 5)
    stored = np.where(mask, 1200, 900).astype(np.int16)
    stored[0, 0, :2] = 0, 1224
    write_dicom_series(tmp_path / "ct", GRIDS["oblique"], stored=stored)
    with stub() as server:
        server.replies["GET /studies"] = Reply(body=b"[]")
        server.replies["POST /studies"] = Reply(status)
        code = main(
            [
                *("segment", "-i", str(tmp_path / "ct"), "-o", server.address, "--quiet"),
                *("--box=11,11,21,21@2=ball", "--window=400/0"),
            ]
        )
    said = capsys.readouterr().err
    assert code == 2
    kept = [p for p in (tmp_path / "home" / "unsent").iterdir() if p.suffix == ".dcm"]
    assert len(kept) == 1
    assert f"note: the result is kept in {kept[0]}" in said
    assert kept[0].stat().st_mode & 0o077 == 0, "for its user alone"
    assert str(pydicom.dcmread(kept[0]).Modality) == "SEG"
    (found,) = read_masks(kept[0]).segments
    assert (found.name, int(found.crop.sum())) == ("ball", int(mask.sum()))


@pytest.mark.parametrize(
    "use",
    [
        lambda path: check_output(path, overwrite=True),
        lambda path: check_output(path / "embedding", overwrite=True),
        OwnFolder,
        EmbeddingStore,
    ],
)
@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}/studies/1.2"])
def test_an_address_is_no_folder(
    use: Callable[[Path], object], address: str, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=r"of this machine, got dicomweb://127.* segment -o"):
        use(Path(address))
    assert not any(Path.cwd().iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ["embed", "-i", "a.nii", "-o", ADDRESS],
        ["convert", "-i", "a.nii", "-o", ADDRESS],
        ["curate", "-i", ".", "-o", ADDRESS],
        ["evaluate", "-i", ".", "-o", ADDRESS],
        ["export", "--model", "lite-medsam", "--format", "onnx", "-o", ADDRESS],
        ["train", "-i", ".", "-o", ADDRESS],
    ],
)
def test_verbs_that_write_files_refuse_an_address(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert "error: expected" in capsys.readouterr().err
    assert not [p for p in Path.cwd().iterdir() if p.name.startswith("dicomweb")]
