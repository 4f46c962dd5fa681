"""Words in sessions: objects like any others, which clicks and boxes correct."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from conformance.other_kinds import BrightVocabulary, BrightWords
from fakes import BrightPredictor, ball
from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.formats.dicom_seg.codes import meaning_of
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.prompts import Box, Text
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal

SHAPE = (20, 40, 48)
A, B = ball(SHAPE, (10, 20, 12), 5), ball(SHAPE, (10, 20, 36), 5)


def session_of(model: BrightWords, modality: str = "CT", **options: object) -> Session:
    values = np.where(A, 200, 0) + np.where(B, 255, 0)
    image = Image(values.astype(np.uint8), Geometry.from_spacing(SHAPE, (1.0, 1.0, 2.0)), modality)
    how = SegmentOptions(
        **{"min_iou": 0, "min_area": 0, "propagate": "box", "window": "minmax", **options}
    )
    return Session(Segmenter(Predictor(model, Path("none.pt"), "0" * 64)), image, how)


@pytest.fixture
def session() -> Session:
    return session_of(BrightVocabulary())


def test_words_begin_an_object_that_prompts_correct_and_undo_takes_back(session: Session) -> None:
    session.new_object("other")
    found = session.add_text("light patches")
    assert session.objects == ["other", "light patches"]
    np.testing.assert_array_equal(session.result()["light patches"], A | B)
    assert found.words is not None
    assert found.words.text == "light patches"
    assert sorted(found.words.scores) == list(range(20))
    session.add_point((36, 20), slice=10, positive=False)
    corrected = session.result()
    assert not corrected["light patches"][10, 20, 36]
    np.testing.assert_array_equal(corrected["light patches"][10] & A[10], A[10])
    (entry,) = (corrected.provenance.prompts or {})["objects"]
    assert (entry["text"], len(entry["points"])) == ("light patches", 1)
    (fact,) = corrected.provenance.objects or ()
    assert fact.words is not None
    assert (corrected.provenance.session or ())[1:] == (
        "text on light patches",
        "point on light patches",
    )
    assert session.undo()
    np.testing.assert_array_equal(session.result()["light patches"], A | B)
    assert session.undo()
    assert session.objects == ["other"]


@pytest.mark.parametrize("at", [None, 12])
def test_one_slice_comes_first_and_the_others_when_it_is_spread(
    session: Session, at: int | None
) -> None:
    first = session.add(Text("bright"), spread=False, at=at)
    assert first is not None
    only = np.zeros(SHAPE, bool)
    only[at or 9] = (A | B)[at or 9]
    np.testing.assert_array_equal(first.mask(SHAPE), only)
    assert session.unspread == ["bright"]
    session.add_point((36, 20), slice=at or 9, positive=False)  # spreads what came before
    whole = session.result()["bright"]
    assert (whole & A).sum() > 0.95 * A.sum()  # a correction that spreads loses corners of A
    assert not whole[at or 9, 20, 36]
    with pytest.raises(PromptError, match="a slice from 0 to 19, got 20"):
        session.add(Text("liver"), spread=False, at=20)


def test_what_is_refused_leaves_the_session_as_it_was(session: Session) -> None:
    session.add_text("bright", "patches")
    before = session.step
    for phrase, name, said in (
        ("brigth one", None, "the nearest is 'bright'"),
        ("light patch", None, "means bright, as 'patches' does; correct that object"),
        ("liver", "patches", "an object that has no mask yet, got 'patches', which has one"),
        ("bright [+1,1,9,9@3]", None, "words alone"),
        (" ", None, "a phrase"),
    ):
        with pytest.raises((PromptError, UnsupportedPromptError), match=said):
            session.add_text(phrase, name)
        assert session.step is before
    lines = session_of(BrightVocabulary())
    lines.add_marker(((7, 20), (17, 20)), slice=9, object="liver")
    with pytest.raises(PromptError, match="marker lines alone"):
        lines.add_text("liver")
    with pytest.raises(PromptError, match="one object for all that a phrase names"):
        session_of(BrightVocabulary(), instances=True).add_text("bright")
    boxes = Session(Segmenter(BrightPredictor()), session.image)
    with pytest.raises(UnsupportedPromptError, match="use --model promptseg-words"):
        boxes.add_text("bright")


def test_what_is_not_there_is_an_empty_object_and_is_said(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "promptseg"):
        assert session.add_text("spleen").is_empty
    assert "nothing was found for 'spleen' (highest score 0.00" in caplog.text
    assert session.notes_on("spleen") == [
        "nothing was found for 'spleen' (highest score 0.00, counted above 0.50)"
    ]
    session.add(Box((7, 15, 17, 25), slice=10, name="spleen"))  # begins it anew
    np.testing.assert_array_equal(session.result()["spleen"], A)
    assert session.notes_on("spleen") == []
    session.add_text("liver")
    (note,) = session.notes_on("liver")
    assert "was trained to find 'liver' in MR, not in CT" in note


def test_journal_and_file_keep_words_and_what_was_found_by_them(
    session: Session, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "work.jsonl")
    session.add(Text("LIV", name="organ"), spread=False)
    journal.write(session)
    session.spread()
    session.rename_object("organ", "a")
    journal.write(session)
    again = Session(session.segmenter, session.image, Journal(journal.path).options())
    Journal(journal.path).resume(again)
    saved = Session.resume(session.save(tmp_path / "work.npz"), session.segmenter, session.image)
    for other in (again, saved):
        assert other.step.prompts["a"] == session.step.prompts["a"]
        there = other.step.objects["a"]
        assert there is not None
        assert there.words is not None
        assert (there.words.code, there.words.meaning) == ("10200004", "Liver")
        np.testing.assert_array_equal(there.mask(SHAPE), B)
        assert meaning_of(there.name, there.words.code).type.meaning == "Liver"
        assert json.dumps(other.result().provenance.to_json())
    resumed = Session(session.segmenter, session.image, session.options)
    first = Journal(tmp_path / "begun.jsonl")
    session.undo()
    session.undo()
    session.add(Text("LIV"), spread=False, at=10)
    first.write(session)
    Journal(first.path).resume(resumed)  # as after a crash
    assert resumed.spread() == ["LIV"]
    np.testing.assert_array_equal(resumed.result()["LIV"], B)


def test_slices_along_another_axis_and_a_2d_image() -> None:
    along_x = session_of(BrightVocabulary())
    along_x.add(Text("bright", axis="x"))
    np.testing.assert_array_equal(along_x.result()["bright"], A | B)
    flat = Session(
        along_x.segmenter,
        Image((A[10] * 200).astype(np.uint8), Geometry.pixels(SHAPE[1:]), "US"),
        SegmentOptions(window="minmax", min_area=0),
    )
    flat.add(Text("bright"), spread=False)
    assert flat.unspread == []
    np.testing.assert_array_equal(flat.result()["bright"], A[10])
