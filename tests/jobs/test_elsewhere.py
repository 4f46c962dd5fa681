"""Machines of a cluster that do not share the folder of the output, or the one that work began in."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg import Segmenter
from promptseg.cli.main import main
from promptseg.curate.options import CurateJob
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateJob
from promptseg.inference.predictor import Predictor
from promptseg.jobs import image_task
from promptseg.jobs.convert import ConvertJob
from promptseg.jobs.elsewhere import from_folder, origin
from promptseg.segment.options import SegmentJob
from promptseg.work import Inline, late

OURS = ("results.csv", "progress.html", "measurements.csv")


class OwnDisk(Inline):
    """In place of a cluster: a machine whose files are not seen here, or late."""

    hidden: ClassVar[list[tuple[Path, Path]]] = []
    asked: ClassVar[list[dict[str, Any]]] = []
    output: ClassVar[Path]

    def __init__(self, address: str, make: Any, make_hand: Any = None, **how: Any) -> None:
        self.asked.append({"make": make, "make_hand": make_hand, **how})
        super().__init__(lambda: make(1))

    def each(self, tasks: Iterable[Any]) -> Iterator[Any]:
        for task, result, error in super().each(tasks):
            for path in [p for p in self.output.rglob("*") if p.is_file()]:
                if path.name not in OURS:
                    away = self.output.parent / "own disk" / str(len(self.hidden))
                    self.hidden.append((path, away))
                    path.rename(away)
            yield task, pickle.loads(pickle.dumps(result)), error

    @classmethod
    def show(cls) -> None:
        """Storage has caught up."""
        for path, away in cls.hidden:
            path.parent.mkdir(parents=True, exist_ok=True)
            away.rename(path)
        cls.hidden.clear()


@pytest.fixture
def slept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A cluster of one machine with a disk of its own, and how long its results were waited for."""
    (tmp_path / "own disk").mkdir()
    OwnDisk.hidden.clear()
    OwnDisk.asked.clear()
    OwnDisk.output = tmp_path / "out"
    predictor = BrightPredictor()
    monkeypatch.setattr("promptseg.work.cluster.OnCluster", OwnDisk)
    monkeypatch.setattr(Predictor, "load", lambda *_: predictor)
    monkeypatch.setattr(image_task, "load_for", lambda _: Segmenter(predictor))
    waited: list[float] = []
    monkeypatch.setattr(late.time, "sleep", waited.append)
    return waited


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two scans, their masks in a folder of their own, and lists of them."""
    for name in ("scans", "masks"):
        (tmp_path / "in" / name).mkdir(parents=True)
    for k in range(2):
        values = np.random.default_rng(k).integers(0, 60, (2, 24, 30)).astype(np.int16)
        values[:, 4 + k : 14 + k, 6:20] += 150
        labels = (values > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(values.T, np.eye(4)), tmp_path / f"in/scans/{k}.nii.gz")
        nib.save(nib.Nifti1Image(labels.T, np.eye(4)), tmp_path / f"in/masks/{k}.nii.gz")
    (tmp_path / "in" / "scans.csv").write_text("image\nscans/0.nii.gz\nscans/1.nii.gz\n")
    (tmp_path / "in" / "masks.csv").write_text("mask\nmasks/0.nii.gz\nmasks/1.nii.gz\n")
    return tmp_path / "in"


SEGMENT = ("segment", "--box", "5,3,21,18@1=block", "--no-overlay")
COMMANDS = {
    "segment a list": (*SEGMENT, "-i", "scans.csv"),
    "segment a folder": (*SEGMENT, "-i", "scans"),
    "segment without names": (*SEGMENT, "-i", "scans", "--deidentify"),
    "embed a list": ("embed", "-i", "scans.csv"),
    "embed a folder": ("embed", "-i", "scans"),
    "convert a list": ("convert", "--suffix", "nrrd", "-i", "masks.csv"),
    "convert a folder": ("convert", "--suffix", "nrrd", "-i", "masks"),
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest, scans: Path, tmp_path: Path) -> list[str]:
    words = [str(scans / w) if scans.joinpath(w).exists() else w for w in COMMANDS[request.param]]
    return [*words, "-o", str(tmp_path / "out"), "--quiet", "--cluster", "head:1"]


def test_results_that_are_never_seen_here_are_an_error(
    command: list[str], slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "expected results where this machine sees them" in said
    assert "nor of 1 others" in said
    assert "storage that all machines share; the same command goes on" in said
    assert sum(slept) > 60
    OwnDisk.show()
    left = sorted(p for p in OwnDisk.output.rglob("*") if p.name not in OURS)
    assert left, "they were done there"


def test_results_that_are_seen_late_are_waited_for(
    command: list[str], slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            OwnDisk.show()

    monkeypatch.setattr(late.time, "sleep", sleep)
    assert main(command) == 0
    assert len(slept) == 3
    if command[0] == "segment":
        assert len((OwnDisk.output / "measurements.csv").read_text().splitlines()) == 3


def test_what_an_earlier_run_left_is_not_taken_for_a_result(
    scans: Path, tmp_path: Path, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks of other prompts lie here; the machine overwrites those on its own disk."""
    given = ["-i", str(scans / "scans"), "-o", str(tmp_path / "out"), "--quiet", "--no-overlay"]
    assert main(["segment", *given, "--box", "5,3,21,19@1"]) == 0
    kept = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.nii.gz*")}
    each = OwnDisk.each

    def put_back(self: OwnDisk, tasks: Iterable[Any]) -> Iterator[Any]:
        for done in each(self, tasks):
            for path, content in kept.items():
                path.write_bytes(content)
            yield done

    OwnDisk.each = put_back  # type: ignore[method-assign]
    try:
        again = [*given, "--box", "5,3,21,18@1", "--overwrite", "--cluster", "head:1"]
        assert main(["segment", *again]) == 2
        assert "expected results where this machine sees them" in capsys.readouterr().err
    finally:
        OwnDisk.each = each  # type: ignore[method-assign]


def test_relative_paths_need_the_folder_they_begin_in(
    scans: Path, tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source in ("scans.csv", "scans"):
        main([*SEGMENT, "-i", str(scans / source), "-o", "masks", "--cluster", "head:1"])
        main(["embed", "-i", f"in/{source}", "-o", str(tmp_path / "kept"), "--cluster", "head:1"])
    main([*COMMANDS["convert a list"][:-1], "in/masks.csv", "-o", "out", "--cluster", "head:1"])
    assert len(OwnDisk.asked) == 5
    for how in OwnDisk.asked:
        assert isinstance(how["look"](), str)
        assert how["look"].args[0] == how["make"].args[0] == str(tmp_path)
        absent = pickle.loads(pickle.dumps(how["look"]))
        monkeypatch.setattr(os.path, "isdir", lambda path: Path(path) != tmp_path)
        for made in (absent, how["make"], how["make_hand"]):  # of nodes that join later, too
            if made is not None:
                with pytest.raises(InputError, match=f"the folder {tmp_path} on every machine"):
                    made()
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)


def test_absolute_paths_and_addresses_need_no_folder(tmp_path: Path) -> None:
    ends: dict[str, Any] = {"cluster": "auto", "output": tmp_path / "out"}
    here = tmp_path / "in"

    def segmenting(**more: Any) -> SegmentJob:
        return SegmentJob(**{"input": here, **ends, **more})

    jobs: list[tuple[Callable[[], Any], bool]] = [
        (segmenting, False),
        (lambda: segmenting(input=Path("s3://bucket/in"), config=Path("job.yaml")), False),
        (lambda: segmenting(input=Path("dicomweb://host/studies?Modality=CT")), False),
        (lambda: segmenting(model=f"mobile-sam={here}/a.pt"), False),
        (lambda: segmenting(model="mobile-sam=a.pt"), True),
        (lambda: segmenting(start_model="a.pt"), True),
        (lambda: segmenting(mask=Path("labels.nii.gz")), True),
        (lambda: segmenting(output=Path("out"), cluster=None), False),
        (lambda: ConvertJob(input=here, **ends), False),
        (lambda: ConvertJob(input=here, reference=Path("ct"), **ends), True),
        (lambda: CurateJob(input=(here, here), **ends), False),
        (lambda: CurateJob(input=(here, Path("more")), **ends), True),
        (lambda: EvaluateJob(input=here, model=("mobile-sam",), **ends), False),
        (lambda: EvaluateJob(input=here, model=("mobile-sam", "mine.pt"), **ends), True),
    ]
    assert [origin(make()) for make, _ in jobs] == [
        os.getcwd() if relative else "" for _, relative in jobs
    ]
    assert from_folder("", int, "7") == from_folder(os.getcwd(), int, "7") == 7
