"""The record of what made a result: old and newer files, and what of it may be shown."""

from __future__ import annotations

import json
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import BrightPredictor, ball
from promptseg.errors import InputError
from promptseg.formats.deidentify import discreet
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.notes import Note
from promptseg.prompts import Box
from promptseg.provenance import (
    Conversion,
    Corrected,
    InputFacts,
    IntensityFacts,
    ModelFacts,
    ObjectFacts,
    PreprocessingFacts,
    Provenance,
)
from promptseg.provenance.record import Record
from promptseg.result import Result
from promptseg.segment.segmenter import Segmenter

RECORDS: tuple[type[Record], ...] = (
    *(Provenance, InputFacts, ModelFacts, IntensityFacts, PreprocessingFacts),
    *(ObjectFacts, Corrected, Conversion),
)

OLD: dict[str, Any] = {  # as version 0.1.0 wrote it, before there were records
    "software": {"promptseg": "0.1.0", "python": "3.11.2", "torch": "2.13.0"},
    "created": "2026-01-02T03:04:05+00:00",
    "notice": "research software, not a medical device",
    "input": {
        "path": "/data/Doe/scan.nii.gz",
        "format": "nifti",
        "modality": "CT",
        "shape": [5, 6, 7],
        "spacing": [0.5, 0.5, 2.0],
        "unit": "mm",
        "orientation": "LPS",
        "voxels_sha256": "ab" * 32,
    },
    "model": {
        "name": "lite-medsam",
        "weights": "jdoe.pth",
        "weights_sha256": "cd" * 32,
        "licence": "Apache-2.0",
        "citation": "Ma et al.",
        "device": "cpu",
        "engine": "eager float32 on cpu",
    },
    "intensity": {
        "modality": "CT",
        "rule": "window",
        "lower": None,
        "upper": 240,
        "guessed": False,
    },
    "preprocessing": {"size": 256, "scaling": "unit"},
    "prompts": {
        "image": "scan.nii.gz",
        "axis": "z",
        "objects": [{"name": "liver", "boxes": [{"xyxy": [1, 2, 3, 4], "slice": 0}]}],
    },
    "options": {"axis": "z", "window": None, "margin": 0.1},
    "notes": ["1 file was ignored: Doe.txt"],
    "timings": {"segment_s": 1.5, "slices_encoded": 3},
    "objects": [
        {
            "label": 1,
            "name": "liver",
            "predicted_iou": None,
            "low_confidence": False,
            "prompted_slices": [0],
            "voxels": 12,
            "volume_ml": 0.1,
            "long_axis": None,
        }
    ],
    "masks_sha256": "ef" * 32,
    "command": {"input": "/data/Doe/scan.nii.gz", "output": "/out/liver.nii.gz", "axis": "z"},
    "output": "liver.nii.gz",
    "overlap": "keep",
}


BOX = Box((18, 14, 30, 26), 10)


def scan() -> Image:
    values = np.where(ball((20, 40, 48), (10, 20, 24), 6), 200, 0).astype(np.uint8)
    values[0, 0, 0] = 255
    return Image(values, Geometry.from_spacing(values.shape), "CT")


def bright_ball() -> Result:
    return Segmenter(BrightPredictor()).segment(scan(), BOX)


def test_an_old_file_is_read_and_written_as_it_was() -> None:
    found = Provenance.from_json(OLD)
    assert found.to_json() == OLD
    assert found.input == InputFacts(
        **{**OLD["input"], "shape": (5, 6, 7), "spacing": (0.5, 0.5, 2)}
    )
    assert found.objects is not None
    assert found.objects[0].measurements["volume_ml"] == 0.1
    assert found.model is not None
    assert found.model.threads is None


def test_fields_of_a_later_version_are_kept_and_private() -> None:
    later = json.loads(json.dumps(OLD))
    later["site"] = "hospital"
    later["input"]["scanner"] = "room 3"
    later["objects"][0]["surgeon"] = "Doe"
    found = Provenance.from_json(later)
    assert found.to_json() == later
    for word in ("hospital", "room 3", "surgeon"):
        assert word not in json.dumps(found.public().to_json())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": 3}, "input: a JSON object, got 3"),
        ({"input": {"shape": [1, "x"]}}, "input: shape: a whole number, got"),
        ({"model": {"threads": True}}, "model: threads: a whole number, got True"),
        ({"objects": [[]]}, "objects: a JSON object, got"),
        ({"prompts": {"objects": "none"}}, "prompts: the content of a prompt file"),
        ({"session": "box"}, "session: a list, got 'box'"),
    ],
)
def test_a_field_of_another_form_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        Provenance.from_json({**OLD, **change})


def test_nothing_is_shown_but_what_is_listed() -> None:
    """Every field of every record holds a secret: only listed ones may be seen, and all are known."""
    shown = {
        InputFacts: {"path"},
        ModelFacts: {"weights"},
        Corrected: {"output", "prompts", "corrects"},
        Conversion: {"path"},
        Provenance: set(),
    }
    for kind in RECORDS:
        private = {f.name for f in fields(kind)} - set(kind.public_fields) - {"more"}
        assert private == shown.get(kind, set()), kind
        assert set(kind.public_fields) <= {f.name for f in fields(kind)}, kind
    text = json.dumps(Provenance.from_json(OLD).public().to_json())
    for secret in ("Doe", "/data", "/out", "jdoe", "scan"):
        assert secret not in text
    for fact in ("liver", "lite-medsam", "cd" * 32, "0.1.0", "volume_ml", "xyxy"):
        assert fact in text


def test_in_dictionaries_only_listed_plain_entries_are_shown() -> None:
    strange = {"axis": {"of": "Doe"}, "window": "400/40", "mood": "Doe", "output": 7}
    found = Provenance(options=strange, command=strange, request=strange, software={"x": "Doe"})
    assert found.public().to_json() == {
        "software": {},
        "options": {"window": "400/40"},
        "command": {"window": "400/40", "output": None},
        "request": {"window": "400/40"},
    }


def test_of_notes_only_those_of_a_known_kind_are_shown() -> None:
    notes = (Note("Doe.txt was ignored"), Note("MR by its values", "intensity"), Note("?", "new"))
    assert Provenance(notes=notes).public().notes == ("MR by its values",)
    assert Note(notes[1]).kind == "intensity"
    assert Provenance(notes=notes).to_json()["notes"] == [str(n) for n in notes]


def test_the_old_way_works_for_one_version() -> None:
    found = Provenance.from_json(OLD)
    with pytest.warns(DeprecationWarning, match=r"provenance\['model'\] is now provenance\.model"):
        assert found["model"]["name"] == "lite-medsam"
    with pytest.warns(DeprecationWarning, match="old way"):
        assert found.get("site", 3) == 3
    with pytest.warns(DeprecationWarning, match="old way"), pytest.raises(KeyError):
        found["site"]


def test_no_fact_is_false() -> None:
    assert not Provenance()
    assert Provenance(notes=())
    assert not Provenance.from_json({})


def test_a_session_describes_its_result_once_and_no_click(monkeypatch: pytest.MonkeyPatch) -> None:
    from promptseg.segment import segmenter as module
    from promptseg.segment import session_file
    from promptseg.segment.session import Session

    made: list[object] = []
    describe = session_file.describe

    def counted(*arguments: Any, **facts: Any) -> Provenance:
        made.append(arguments)
        return describe(*arguments, **facts)

    monkeypatch.setattr(module, "describe", counted)
    monkeypatch.setattr(session_file, "describe", counted)
    session = Session(Segmenter(BrightPredictor()), scan())
    session.add(BOX)
    session.add(BOX)
    assert made == []
    assert session.result().provenance.session == ("box on object 1", "box on object 1")
    assert len(made) == 1


def test_saving_changes_nothing_in_the_result(tmp_path: Path) -> None:

    result = bright_ball()
    before = replace(result.provenance), result.sha256()
    result.save(tmp_path / "a.nii.gz", overlap="later-wins")
    assert (result.provenance, result.sha256()) == before
    written = json.loads((tmp_path / "a.nii.gz.json").read_text())
    assert (written["output"], written["overlap"]) == ("a.nii.gz", "later-wins")
    saved, made = (Provenance.from_json(each) for each in (written, result.provenance.to_json()))
    assert saved == replace(made, output="a.nii.gz", overlap="later-wins", objects=saved.objects)
    placed = [replace(each, value=1) for each in made.objects]  # where the file has them
    assert list(saved.objects) == placed


def test_what_is_said_names_no_file_of_the_patient(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("promptseg")
    with discreet(Path("/data/Doe/scan.nii.gz"), None):
        log.warning("%s: %s", "scan.nii.gz", Note("Doe.txt was ignored"))
        log.warning("%s: %s", "scan.nii.gz", Note("MR by its values", "intensity"))
        log.warning("/data/Doe/scan.nii.gz is odd, myscan.nii.gz is not")
    assert [record.getMessage() for record in caplog.records] == [
        "the image: MR by its values",
        "the image is odd, myscan.nii.gz is not",
        "1 notes on the input are not shown: they may name files or people",
    ]
    log.warning("scan.nii.gz")
    assert caplog.records[-1].getMessage() == "scan.nii.gz"


def test_values_of_numpy_do_not_reach_the_file(tmp_path: Path) -> None:
    """JSON knows no numpy scalar: what measures hands over plain numbers."""

    result = bright_ball()

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(plain(v) for v in value.values())
        if isinstance(value, list):
            return all(plain(v) for v in value)
        return value is None or not isinstance(value, np.generic)

    assert plain(result.provenance.to_json())


@pytest.mark.parametrize(
    ("dtype", "said"),
    [(torch.float32, "float32: another float32 engine"), (torch.bfloat16, "bfloat16: voxels at")],
)
def test_it_says_which_digits_depend_on_the_engine(dtype: torch.dtype, said: str) -> None:
    image = Image(np.eye(20, dtype=np.uint8) * 200, Geometry.pixels((20, 20)), "US")
    predictor = BrightPredictor()
    predictor.dtype = dtype
    result = Segmenter(predictor).segment(image, Box((2, 2, 9, 9)))
    model = result.provenance.model
    assert model is not None
    assert str(model.digits).startswith(said)
    assert ("--engine eager" in str(model.digits)) == (dtype != torch.float32)
