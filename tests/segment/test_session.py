"""Interactive sessions."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import BrightPredictor, ball
from promptseg.errors import InputError, OutputError, PromptError, UnsupportedPromptError
from promptseg.formats import memory
from promptseg.formats.promptfile import parse_prompts
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.prompts import Box, Mask, Points
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session

SHAPE = (20, 40, 48)
A, B = ball(SHAPE, (10, 20, 12), 5), ball(SHAPE, (10, 20, 36), 5)
BOX_A, BOX_B = (7, 15, 17, 25), (31, 15, 41, 25)


@pytest.fixture
def image() -> Image:
    values = np.where(A | B, 200, 0).astype(np.uint8)
    values[0, 0, 0] = 255
    return Image(values, Geometry.from_spacing(SHAPE, (1.0, 1.0, 2.0)), "CT")


@pytest.fixture
def session(image: Image) -> Session:
    options = SegmentOptions(min_iou=0, min_area=0, propagate="box")
    return Session(Segmenter(BrightPredictor(card="mobile-sam")), image, options)


def test_objects_are_made_corrected_undone_and_redone(session: Session) -> None:
    session.new_object("a")
    session.add_box(BOX_A, slice=10)
    session.new_object("b")
    session.add_box(BOX_B, slice=10)
    session.add_point((12, 20), slice=10, object="a", positive=True)
    found = session.result()
    np.testing.assert_array_equal(found["a"], A)
    np.testing.assert_array_equal(found["b"], B)
    assert found.names == {1: "a", 2: "b"}
    wrong = session.add_mask(np.zeros(SHAPE[1:], bool), slice=10, object="b")
    assert not wrong.mask(SHAPE)[10].any()
    assert session.undo()
    np.testing.assert_array_equal(session.result()["b"], B)
    assert session.redo()
    assert not session.redo()
    assert not session.result()["b"][10].any()
    session.remove_object("b")
    assert session.objects == ["a"]
    session.undo()
    assert session.objects == ["a", "b"]


def test_undo_to_the_start_and_a_new_step_forgets_what_was_undone(session: Session) -> None:
    session.add_box(BOX_A, slice=10)
    assert session.objects == ["object 1"]
    assert session.undo()
    assert not session.undo()
    with pytest.raises(PromptError, match="at least one prompted object"):
        session.result()
    session.add_box(BOX_B, slice=10)
    assert not session.redo()
    np.testing.assert_array_equal(session.result()["object 1"], B)


def test_a_step_that_fails_changes_nothing(image: Image) -> None:
    session = Session(Segmenter(BrightPredictor()), image)
    session.add_box(BOX_A, slice=10)
    before = session.step
    with pytest.raises(UnsupportedPromptError):
        session.add_point((12, 20), slice=10)
    with pytest.raises(PromptError, match="inside the image"):
        session.add_box((0, 0, 100, 100), slice=10)
    with pytest.raises(PromptError, match="a name no object has yet, got 'object 1'"):
        session.new_object("object 1")
    with pytest.raises(PromptError, match="an object out of object 1, got 'liver'"):
        session.select("liver")
    assert session.step is before


def test_nothing_is_encoded_twice(session: Session) -> None:
    predictor = session.segmenter.predictor
    assert isinstance(predictor, BrightPredictor)
    session.add_box(BOX_A, slice=10)
    count = len(predictor.encoded)
    session.add_point((12, 20), slice=10)
    session.undo()
    session.redo()
    session.new_object()
    session.add_box(BOX_B, slice=10)
    assert len(predictor.encoded) == count


def test_earlier_clicks_of_a_slice_are_shown_to_the_model_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    predictor = session.segmenter.predictor
    decode = predictor.decode

    def spy(embedding, prompts):  # type: ignore[no-untyped-def]
        seen.extend((p.xy, p.labels) for p in prompts if p.xy)
        return decode(embedding, prompts)

    monkeypatch.setattr(predictor, "decode", spy)
    session.add_point((12, 20), slice=10)
    session.add_point((36, 20), slice=10, positive=False)
    assert seen[-1] == (((12.0, 20.0), (36.0, 20.0)), (1, 0))


def test_a_saved_session_goes_on_where_it_stood(
    session: Session, image: Image, tmp_path: Path
) -> None:
    session.new_object("a")
    session.add_box(BOX_A, slice=10)
    session.new_object("b")
    session.add_mask(B[10], slice=10)
    session.new_object("empty")
    session.undo()
    session.undo()
    path = session.save(tmp_path / "work.npz")
    with pytest.raises(OutputError, match="exists"):
        session.save(path)
    session.save(path, overwrite=True)
    fresh = Segmenter(BrightPredictor(card="mobile-sam"))
    again = Session.resume(path, fresh, image)
    assert fresh.predictor.encoded == []  # type: ignore[attr-defined]
    assert again.objects == session.objects
    assert again.result().sha256() == session.result().sha256()
    assert again.options == session.options
    assert again.redo()
    assert again.redo()
    assert again.objects == ["a", "b", "empty"]
    again.add_point((36, 20), slice=10, object="b")
    np.testing.assert_array_equal(again.result()["b"], B)
    assert again.result().segments[0].prompted == (10,)


def test_sessions_of_another_image_or_damaged_ones_are_refused(
    session: Session, image: Image, tmp_path: Path
) -> None:
    session.add_box(BOX_A, slice=10)
    path = session.save(tmp_path / "work.npz")
    other = Image(image.voxels + np.uint8(1), image.geometry, "CT")
    with pytest.raises(InputError, match="the image of the session"):
        Session.resume(path, session.segmenter, other)
    content = path.read_bytes()
    for damaged in (content[:-200], b"", b"no session"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="a complete session file"):
            Session.resume(path, session.segmenter, image)
    with pytest.raises(InputError, match="no such file"):
        Session.resume(tmp_path / "none.npz", session.segmenter, image)
    np.savez(path, session=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(InputError, match="a session of this version"):
        Session.resume(path, session.segmenter, image)


def test_the_result_says_what_made_it(session: Session, tmp_path: Path) -> None:
    session.new_object("a")
    session.add_box(BOX_A, slice=10)
    found = session.result()
    assert found.provenance.prompts["objects"][0]["boxes"][0]["slice"] == 10
    assert found.provenance.session == ("new a", "box on a")
    found.save(tmp_path / "mask.nii.gz")
    assert (tmp_path / "mask.nii.gz.json").exists()


LINES_A = (((7, 20), (17, 20)), ((12, 15), (12, 25)))


def test_marker_lines_are_gathered_until_two_slices_have_them(session: Session) -> None:
    session.new_object("a")
    assert session.waiting == []
    assert session.add_marker(*LINES_A, slice=8) is None
    assert session.waiting == ["a"]
    with pytest.raises(
        PromptError, match=r"at least one prompted object.*mark a second slice of 'a'"
    ):
        session.result()
    assert session.add_marker(((8, 20), (16, 20)), slice=8) is None  # the same slice again
    found = session.add_marker(*LINES_A, slice=12)
    assert found is not None
    assert session.waiting == []
    np.testing.assert_array_equal(found.mask(SHAPE)[8:13], A[8:13])
    assert found.prompted == (8, 12)
    more = session.add_marker(*LINES_A, slice=15)
    assert more is not None
    assert more.label == found.label
    np.testing.assert_array_equal(more.mask(SHAPE)[8:16], A[8:16])
    session.undo()
    np.testing.assert_array_equal(session.result()["a"], found.mask(SHAPE))
    session.undo()
    assert session.waiting == ["a"]


def test_an_object_of_marker_lines_is_corrected_and_others_take_none(session: Session) -> None:
    session.add_marker(*LINES_A, slice=8)
    before = session.step
    with pytest.raises(
        PromptError, match="marker lines alone for 'object 1', got a box too; mark an"
    ):
        session.add_box(BOX_A, slice=10)
    assert session.step is before
    session.add_marker(*LINES_A, slice=12)
    empty = session.add_mask(np.zeros(SHAPE[1:], bool), slice=10)
    assert not empty.mask(SHAPE)[10].any()
    with pytest.raises(PromptError, match="got a mask too; mark a new object, or undo"):
        session.add_marker(*LINES_A, slice=14)
    session.undo()
    assert session.add_marker(*LINES_A, slice=14) is not None


def test_objects_that_wait_are_saved_and_left_out_of_the_result(
    session: Session, image: Image, tmp_path: Path
) -> None:
    session.add_box(BOX_B, slice=10, object="b")
    session.add_marker(*LINES_A, slice=8, object="a")
    assert list(session.result().names.values()) == ["b"]
    assert [o["name"] for o in session.result().provenance.prompts["objects"]] == ["b"]
    again = Session.resume(session.save(tmp_path / "work.npz"), session.segmenter, image)
    assert again.waiting == ["a"]
    found = again.add_marker(*LINES_A, slice=12)
    assert found is not None
    np.testing.assert_array_equal(found.mask(SHAPE)[8:13], A[8:13])


def test_selecting_is_no_step_and_leaves_redo_alone(session: Session) -> None:
    session.add_box(BOX_A, slice=10, object="a")
    session.add_box(BOX_B, slice=10, object="b")
    session.add_mask(B[10], slice=10)
    session.undo()
    session.select("a")
    assert session.step.current == "a"
    assert session.redo()
    assert session.undo()
    assert session.step.current == "a"
    session.undo()
    assert session.objects == ["a"]


def test_a_box_that_found_nothing_is_no_limit_for_the_next(session: Session) -> None:
    assert session.add_box((42, 30, 46, 35), slice=4).is_empty
    found = session.add_box(BOX_A, slice=10)
    np.testing.assert_array_equal(found.mask(SHAPE), A)
    assert found.label == 1
    picture = Image(session.image.voxels[10], Geometry.pixels(SHAPE[1:]), "CT")
    flat = Session(session.segmenter, picture, session.options)
    flat.add_box(BOX_A)
    assert flat.add_mask(np.zeros(SHAPE[1:], bool)).is_empty
    np.testing.assert_array_equal(flat.add_point((36, 20)).mask(SHAPE[1:]), B[10])


def test_an_emptied_slice_stays_empty_when_the_object_starts_again(session: Session) -> None:
    session.add_box(BOX_A, slice=10)
    nothing = np.zeros(SHAPE[1:], bool)
    for k in range(5, 16):
        emptied = session.add_mask(nothing, slice=k)
    assert emptied.is_empty
    found = session.add_box(BOX_A, slice=8).mask(SHAPE)
    assert list(np.flatnonzero(found.any((1, 2)))) == [8]


def test_clicks_before_a_drawn_mask_do_not_come_back(
    session: Session, image: Image, tmp_path: Path
) -> None:
    session.add_box(BOX_A, slice=10)
    session.add_point((12, 20), slice=10, positive=False)
    session.add_mask(A[10], slice=10)
    again = Session.resume(session.save(tmp_path / "work.npz"), session.segmenter, image)
    for one in (session, again):
        found = one.add_point((36, 20), slice=10)
        np.testing.assert_array_equal(found.mask(SHAPE)[10], (A | B)[10])
    assert repr(again.step.prompts) == repr(session.step.prompts)


def test_a_session_may_run_along_another_axis(image: Image, tmp_path: Path) -> None:
    segmenter = Segmenter(BrightPredictor(card="mobile-sam"))
    box = Box((7, 5, 17, 15), 20, axis="y")
    session = Session(segmenter, image, SegmentOptions(axis="y", min_iou=0, min_area=0))
    session.add(box)
    session.add_point((36, 10), slice=20)
    again = Session.resume(session.save(tmp_path / "work.npz"), segmenter, image)
    assert again.step.prompts == session.step.prompts
    again.add_box((7, 5, 17, 15), slice=21)
    assert again.result().segments[0].prompted == (20, 21)
    assert again.result().provenance.options["axis"] == "y"
    assert again.result().provenance.options["propagate"] == "box+mask"


def test_prompts_of_one_object_may_lie_along_every_axis(image: Image, tmp_path: Path) -> None:
    """The bright balls are whole from any side; a click along y corrects what a box along z found."""
    segmenter = Segmenter(BrightPredictor(card="mobile-sam"))
    session = Session(segmenter, image, SegmentOptions(min_iou=0, min_area=0, propagate="box"))
    session.add_box(BOX_A, slice=10)
    found = session.add(Points(((36.0, 10.0),), (1,), 20, axis="y"))  # inside B, from the front
    assert found is not None
    np.testing.assert_array_equal(found.mask(SHAPE)[:, 20], (A | B)[:, 20])
    assert A[found.mask(SHAPE)].sum() == A.sum()
    assert found.prompted == (20,)
    back = session.add_point((36, 20), slice=10)
    assert back.prompted == (10,)
    again = Session.resume(session.save(tmp_path / "work.npz"), segmenter, image)
    assert again.step.prompts == session.step.prompts
    facts = again.result().provenance.prompts
    assert facts is not None
    assert [entry.get("axis", facts["axis"]) for entry in facts["objects"]] == ["z", "y"]
    assert {p.axis for p in parse_prompts(facts).prompts} == {"z", "y"}
    for _ in range(2):
        session.undo()
    np.testing.assert_array_equal(session.result()["object 1"], A)


def test_what_is_spread_later_is_what_would_have_been_at_once(
    session: Session, tmp_path: Path
) -> None:
    at_once = Session(session.segmenter, session.image, session.options)
    wrong = np.zeros(SHAPE[1:], bool)
    wrong[18:22, 10:14] = True
    prompts = (
        Box(BOX_A, 10, "a"),
        Box(BOX_B, 10, "b"),
        Mask(wrong, 12, "a", as_drawn=True),
        Points(((36.0, 20.0),), (1,), 10, "a"),
    )
    for prompt in prompts:
        at_once.add(prompt)
        here = session.add(prompt, spread=False)
        assert here is not None
        assert not session.step.spread
    np.testing.assert_array_equal(session.step.objects["b"].mask(SHAPE)[10], B[10])  # type: ignore[union-attr]
    assert session.step.objects["b"].mask(SHAPE).sum() == B[10].sum()  # type: ignore[union-attr]
    assert session.unspread == ["a", "b"]
    again = Session.resume(session.save(tmp_path / "half.npz"), session.segmenter, session.image)
    for one in (session, again):
        assert one.spread() == ["a", "b"]
        assert one.unspread == []
        assert one.result().sha256() == at_once.result().sha256()
        assert one.step.objects["a"].quality == at_once.step.objects["a"].quality  # type: ignore[union-attr]
        while one.undo() and at_once.undo():
            assert [s and s.crop.sum() for s in one.step.objects.values()] == [
                s and s.crop.sum() for s in at_once.step.objects.values()
            ]
        while at_once.redo():
            pass


def test_a_mask_from_elsewhere_is_corrected_and_saved(session: Session, tmp_path: Path) -> None:
    start = A.copy()
    start[10] |= B[10]
    assert session.put(start, "a") == "a"
    session.add_point((36, 20), slice=10, positive=False)
    wanted = start.copy()
    wanted[10] = A[10]
    np.testing.assert_array_equal(session.result()["a"], wanted)
    again = Session.resume(session.save(tmp_path / "w.npz"), session.segmenter, session.image)
    again.undo()
    np.testing.assert_array_equal(again.result()["a"], start)
    again.put(np.zeros(SHAPE, bool))
    assert again.step.objects == {"a": None}
    with pytest.raises(PromptError, match="on the image's own grid"):
        session.put(np.zeros((2, 2, 2), bool))


@pytest.mark.parametrize("name", ["x" * 5000, "\ud800", ""])
def test_a_name_that_no_prompt_would_take_is_refused_at_once(session: Session, name: str) -> None:
    with pytest.raises(PromptError, match="a name"):
        session.new_object(name)
    assert session.objects == []
    assert session.new_object("ä / ..") == "ä / .."


def test_what_is_not_spread_may_stay_as_it_is_and_names_may_change(session: Session) -> None:
    session.add(Box(BOX_A, 10, "a"), spread=False)
    with pytest.raises(PromptError, match="'a', which is still being propagated; wait, or cancel"):
        session.rename_object("a", "liver")
    session.leave_as_is()
    assert session.spread() == []
    session.rename_object("a", "liver")
    assert session.objects == ["liver"]
    np.testing.assert_array_equal(session.result()["liver"][10], A[10])
    assert session.preview(Box(BOX_B, 10, "liver")) is not None
    assert session.add_box(BOX_A, slice=11).name == "liver"
    session.undo()
    session.undo()
    assert session.objects == ["a"]
    with pytest.raises(PromptError, match="a name no object has yet"):
        session.rename_object("a", "a")


def test_whatever_a_damaged_session_holds_it_is_refused(
    session: Session, image: Image, tmp_path: Path
) -> None:
    session.add_box(BOX_A, slice=10)
    path = session.save(tmp_path / "work.npz")
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(200):
        bytes_ = bytearray(whole)
        bytes_[random.integers(len(bytes_))] ^= int(random.integers(1, 256))
        path.write_bytes(bytes_)
        with contextlib.suppress(InputError):  # or it did not matter
            Session.resume(path, session.segmenter, image)
    with np.load(io.BytesIO(whole)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    content = json.loads(arrays["session"].tobytes())
    for field in ("image", "options", "steps", "position"):
        for value in (None, 7, -1, "x", [], {}, [1], {"axis": "q"}, {"window": 1}):
            changed = json.dumps({**content, field: value}).encode()
            np.savez(path, **{**arrays, "session": np.frombuffer(changed, np.uint8)})
            try:
                again = Session.resume(path, session.segmenter, image)
            except InputError:
                continue
            assert field == "options" or (field, value) == ("position", 1)
            assert again.objects in ([], ["object 1"])


def test_saving_again_packs_new_masks_alone_and_numpy_reads_all(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptseg.segment import session_file

    packed = []
    real = session_file.deflated
    monkeypatch.setattr(session_file, "deflated", lambda a: packed.append(a.nbytes) or real(a))
    session.add_box(BOX_A, slice=10, object="a")
    session.add_box(BOX_B, slice=10, object="b")
    path = session.save(tmp_path / "work.npz")
    assert len(packed) == 3, "two masks and the text"
    session.add_point((36, 20), slice=10, object="a")
    session.save(path, overwrite=True)
    assert len(packed) == 5
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive.files) == ["mask_0", "mask_1", "mask_2", "session"]
        bits = np.unpackbits(archive["mask_0"], count=session.history[1].objects["a"].crop.size)  # type: ignore[union-attr]
    np.testing.assert_array_equal(bits, session.history[1].objects["a"].crop.ravel())  # type: ignore[union-attr]
    again = Session.resume(path, session.segmenter, session.image)
    assert again.result().sha256() == session.result().sha256()


def test_removing_another_object_leaves_the_current_one_current(session: Session) -> None:
    for name in ("a", "b", "c"):
        session.new_object(name)
    session.select("a")
    session.remove_object("b")
    assert session.step.current == "a"
    session.remove_object()
    assert session.step.current == "c"


def test_the_models_work_is_surrounded_by_what_times_it(image: Image) -> None:
    spans: list[str] = []

    @contextlib.contextmanager
    def timed() -> Iterator[None]:
        spans.append("begun")
        yield
        spans.append("done")

    options = SegmentOptions(propagate="box")
    session = Session(Segmenter(BrightPredictor()), image, options, timed=timed)
    session.add_box(BOX_A, slice=10)
    assert spans == ["begun", "done"]
    session.undo()
    session.redo()
    assert len(spans) == 2


def changed_session(path: Path, change: Callable[[dict[str, Any]], None], **arrays: Any) -> None:
    """Another content and other masks in a session file."""
    with np.load(path) as archive:
        found = dict(archive)
    content = json.loads(found["session"].tobytes())
    change(content)
    text = np.frombuffer(json.dumps(content).encode(), np.uint8)
    np.savez_compressed(path, **{**found, "session": text, **arrays})


def test_a_mask_is_no_larger_than_its_object(
    session: Session, image: Image, tmp_path: Path
) -> None:
    session.add_box(BOX_A, slice=10)
    path = session.save(tmp_path / "work.npz")
    changed_session(path, lambda _: None, mask_0=np.zeros(50_000_000, np.uint8))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"at most \d+ bytes for mask_0, got .*50,000,000"):
        Session.resume(path, session.segmenter, image)


def test_masks_that_do_not_fit_into_memory_are_counted_first(
    session: Session, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.add_box(BOX_A, slice=10)
    path = session.save(tmp_path / "work.npz")
    monkeypatch.setattr(memory, "available_bytes", lambda: 1500)
    with pytest.raises(InputError, match="fits into the"):  # the ball alone has over 1,000 voxels
        Session.resume(path, session.segmenter, image)


def test_a_session_nested_without_end_is_damaged(
    session: Session, image: Image, tmp_path: Path
) -> None:
    path = session.save(tmp_path / "work.npz")
    deep = np.frombuffer(b"[" * 100_000 + b"]" * 100_000, np.uint8)
    np.savez(path, session=deep)
    with pytest.raises(InputError, match="nested too deeply"):
        Session.resume(path, session.segmenter, image)
