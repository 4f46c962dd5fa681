"""Windows and macOS, as far as they can be played here: names, capitals, locks, signals, processes."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from promptseg.errors import InputError, OutputError
from promptseg.evaluate.tasks import _file_name as component
from promptseg.formats import systems
from promptseg.formats.files import atomic_path, check_output
from promptseg.formats.location import address_in
from promptseg.formats.systems import bare_name, clash, ignores_case, is_device, replace
from promptseg.models.cards import model_file
from promptseg.train.stopping import listening


@pytest.mark.parametrize(
    "name", ["CON", "aux.nii.gz", "Nul.png", "com1.dcm", "LPT9", "prn .nrrd", "COM¹.x", "CONIN$"]
)
def test_a_device_is_no_output_on_windows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_device(name)
    check_output(tmp_path / name, overwrite=False)  # here it is a name as any other
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OutputError, match="a device of Windows"):
        check_output(tmp_path / name, overwrite=False)


@pytest.mark.parametrize("name", ["console.png", "com10.nii", "auxiliary", "con-1.zip", "mask.aux"])
def test_other_names_are_not_devices(name: str) -> None:
    assert not is_device(name)


def test_parts_of_results_are_never_devices() -> None:
    assert not is_device(component("CON"))
    assert not is_device(component("aux.1"))
    assert component("console") == "console"


@pytest.mark.parametrize(
    "path",
    [r"C:\data\scan.nii.gz", "data/scan.nii.gz", r"\\server\share\scan.nii.gz", "scan.nii.gz"],
)
def test_the_name_of_a_path_of_any_system(path: str) -> None:
    assert bare_name(path) == "scan.nii.gz"


@pytest.mark.parametrize("path", [PureWindowsPath, PurePosixPath])
def test_addresses_and_drives_are_told_apart(path: type[PureWindowsPath]) -> None:
    assert address_in(path("dicomweb://host:8042/dicom-web")) == "dicomweb://host:8042/dicom-web"
    assert address_in(path(r"C:\out\mask.dcm")) is None
    assert address_in(path("D:mask.dcm")) is None


def test_a_model_may_be_a_file_on_a_drive() -> None:
    name, file = model_file(r"lite-medsam=C:\weights\tuned.pth")
    assert (name, str(file)) == ("lite-medsam", r"C:\weights\tuned.pth")


def test_capitals_count_where_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "not" / "there"
    assert ignores_case(out) is (tmp_path / tmp_path.name.upper()).exists()
    assert not list(tmp_path.iterdir())
    paths = [out / "scan.nii.gz", out / "other.nii.gz", out / "Scan.nii.gz"]
    if not ignores_case(out):
        assert clash(paths, out) is None
    monkeypatch.setattr(systems, "ignores_case", lambda _: True)
    assert clash(paths, out) == (paths[0], paths[2])
    assert clash(paths[:2], out) is None


def locked(monkeypatch: pytest.MonkeyPatch, times: int) -> list[Path]:
    """`os.replace` as on Windows, where somebody has the target open for a while."""
    plain, calls = os.replace, []

    def refuse(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) <= times:
            raise PermissionError(13, "The process cannot access the file")
        plain(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    return calls


def test_a_file_that_is_open_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("new")
    calls = locked(monkeypatch, 3)
    monkeypatch.setattr(sys, "platform", "win32")
    replace(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
    assert len(calls) == 4


def test_a_file_that_stays_open_is_said_and_keeps_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").write_text("old")
    locked(monkeypatch, 10**6)
    with (
        pytest.raises(OutputError, match="The process cannot access the file"),
        atomic_path(tmp_path / "b") as temporary,
    ):
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_text() == "old"


def test_a_training_may_run_in_a_thread_or_where_a_signal_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(signal, "SIGTERM")
    before = signal.getsignal(signal.SIGINT)
    with listening(None):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    faults: list[BaseException] = []

    def work() -> None:
        try:
            with listening(1):
                pass
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not faults


def test_errors_travel_between_spawned_processes() -> None:
    """There is no fork on Windows: what workers raise is pickled."""
    for error in (OutputError("a", "b", "c"), InputError("a", "b")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
