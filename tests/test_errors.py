"""Errors and notes as values that code can decide by, and mistakes of ours that stay faults."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from formats.helpers import ORTHOGONAL, write_nifti
from promptseg import read
from promptseg.cli.main import main
from promptseg.errors import (
    ChoiceError,
    InputError,
    MissingPackageError,
    PromptError,
    is_fault,
)
from promptseg.formats import nifti
from promptseg.formats.masks import read_masks
from promptseg.notes import Note, notes_of


@pytest.mark.parametrize(
    "error",
    [
        InputError("a", "b", "c"),
        ChoiceError("one frame", "12", "choose", option="frame", offers="12 frames"),
        MissingPackageError("matplotlib", "for plots", "evaluate"),
        PromptError("a box", "none").at("p.json: objects[0]"),
    ],
)
def test_an_error_comes_whole_out_of_another_process(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_the_innermost_place_of_a_prompt_is_said_once() -> None:
    error = PromptError("a number", "'x'").at("p.json: boxes[1]").at("p.json")
    assert str(error) == "expected p.json: boxes[1]: a number, got 'x'"
    assert error.where == "p.json: boxes[1]"


def test_a_note_keeps_its_kind_and_numbers() -> None:
    note = Note.frame(2, 12, "echo 3")
    again = pickle.loads(pickle.dumps(note))
    for one in (note, again, Note(note)):
        assert one == "frame 2 of 12: echo 3"
        assert (one.kind, one.facts) == ("frame", {"index": 2, "count": 12})
    advised = Note("4 pages", advice="--frame picks one")
    assert (advised, advised.bare) == ("4 pages; --frame picks one", "4 pages")
    assert notes_of(["frame 2 of 12", note, advised], "frame") == [note]


def test_a_mistake_in_our_own_lines_is_no_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_nifti(
        tmp_path / "a.nii.gz", ORTHOGONAL["plain"], voxels=np.eye(4, dtype=np.uint8)[None]
    )
    assert main(["info", str(path)]) == 0
    monkeypatch.setattr(nifti, "voxels_of", None)  # as a wrong name would
    for reading in (read, read_masks):
        with pytest.raises(TypeError) as error:
            reading(path)
        assert is_fault(error.value)
    assert main(["info", str(path)]) == 1
    assert "This is a fault of promptseg" in capsys.readouterr().err


def test_what_a_library_raises_is_a_damaged_file(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", ORTHOGONAL["plain"])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="a readable nifti image") as error:
        read(path)
    assert error.value.__cause__ is not None
    assert not is_fault(error.value.__cause__)
