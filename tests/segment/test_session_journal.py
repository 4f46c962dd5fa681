"""A session on disk to which every change is added: what it costs, and what a kill leaves."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from promptseg.errors import InputError, OutputError
from promptseg.prompts import Box
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal
from segment.test_session import BOX_A, BOX_B, SHAPE, image, session

__all__ = ["image", "session"]


def resumed(path: Path, like: Session) -> Session:
    journal = Journal(path)
    found = Session(like.segmenter, like.image, journal.options())
    journal.resume(found)
    return found


def same(one: Session, other: Session) -> None:
    """Every step of both, with masks and prompts."""
    assert one.position == other.position
    assert len(one.history) == len(other.history)
    for a, b in zip(one.history, other.history, strict=True):
        assert (a.action, a.current, a.spread) == (b.action, b.current, b.spread)
        assert list(a.objects) == list(b.objects)
        assert [len(p) for p in a.prompts.values()] == [len(p) for p in b.prompts.values()]
        for name, mask in a.objects.items():
            there = b.objects[name]
            assert (mask is None) == (there is None)
            if mask is not None and there is not None:
                assert mask.region == there.region
                np.testing.assert_array_equal(mask.crop, there.crop)
                assert (mask.label, mask.quality) == (there.label, there.quality)


def test_after_every_step_it_stands_where_the_session_does(
    session: Session, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "work.jsonl")

    def masks() -> np.ndarray:
        painted = np.zeros(SHAPE[1:], bool)
        painted[18:22, 10:14] = True
        return painted

    doings = (
        lambda: session.add_box(BOX_A, slice=10, object="a"),
        lambda: session.add(Box(BOX_B, 10, "b"), spread=False),
        session.spread,
        lambda: session.add_mask(masks(), slice=12, object="a"),
        lambda: session.select("b"),
        session.undo,
        session.undo,
        lambda: session.add_point((36, 20), slice=10, object="a"),
        lambda: session.rename_object("a", "liver"),
        lambda: session.new_object("c"),
        lambda: session.add_marker(((9, 20), (15, 20)), slice=9),
        lambda: session.remove_object("liver"),
        session.undo,
        lambda: session.put(np.zeros(SHAPE, bool), "c"),
        session.leave_as_is,
    )
    for do in doings:
        do()
        journal.write(session)
        same(resumed(journal.path, session), session)
    same(
        Session.resume(session.save(tmp_path / "w.npz"), session.segmenter, session.image), session
    )


def test_a_step_writes_what_it_changed_alone(session: Session, tmp_path: Path) -> None:
    """The hundredth click costs on disk what the second one does; the npz grows as slowly."""
    journal, grown, whole = Journal(tmp_path / "work.jsonl"), [], []
    session.add_box(BOX_A, slice=10)
    journal.write(session)
    for k in range(60):
        before = journal.path.stat().st_size
        session.add_point((12 + k % 3, 20), slice=10)
        journal.write(session)
        grown.append(journal.path.stat().st_size - before)
        whole.append(session.save(tmp_path / "w.npz", overwrite=True).stat().st_size)
    assert max(grown) < 1.2 * grown[1]
    assert whole[-1] - whole[40] < 1.2 * (whole[20] - whole[0])
    before = journal.path.stat().st_size
    journal.write(session)
    assert journal.path.stat().st_size == before


def test_a_cut_or_lost_file_is_mended_by_the_next_step(session: Session, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "work.jsonl")
    session.add_box(BOX_A, slice=10)
    journal.write(session)
    whole = journal.path.read_bytes()
    session.add_point((12, 20), slice=10)
    journal.write(session)
    longer = journal.path.read_bytes()
    for end in (len(whole) + 1, (len(whole) + len(longer)) // 2, len(longer) - 2):
        journal.path.write_bytes(longer[:end])
        found = resumed(journal.path, session)
        assert len(found.history) == 2, "the step at work is lost, and nothing else"
    again = Journal(journal.path)
    found = Session(session.segmenter, session.image, session.options)
    again.resume(found)
    found.add_point((13, 20), slice=10)
    again.write(found)
    same(resumed(journal.path, found), found)
    journal.path.unlink()
    journal.write(session)
    same(resumed(journal.path, session), session)


def test_what_another_program_wrote_is_kept(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    mine, other = Journal(path), Journal(path)
    session.add_box(BOX_A, slice=10, object="a")
    assert mine.write(session) is None
    others = Session(session.segmenter, session.image, session.options)
    others.new_object("b")
    aside = other.write(others)
    assert aside is not None
    same(resumed(aside, session), session)
    same(resumed(path, session), others)
    others.new_object("c")
    assert other.write(others) is None
    session.new_object("d")
    aside = mine.write(session)
    assert aside is not None
    same(resumed(aside, session), others)
    same(resumed(path, session), session)


def test_half_a_line_of_its_own_is_mended(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = Journal(tmp_path / "session.jsonl"), os.write
    session.add_box(BOX_A, slice=10)
    journal.write(session)
    session.add_point((12, 20), slice=10)
    monkeypatch.setattr(os, "write", lambda number, line: write(number, line[:20]))
    with pytest.raises(OutputError):
        journal.write(session)
    monkeypatch.undo()
    assert journal.write(session) is None
    same(resumed(journal.path, session), session)


def test_steps_that_are_no_more_are_cleared_away(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptseg.segment.session_journal._LEAST_ANEW", 4096)
    journal = Journal(tmp_path / "work.jsonl")
    session.add_box(BOX_A, slice=10)
    for k in range(60):
        session.add_point((12 + k % 3, 20), slice=10)
        journal.write(session)
        session.undo()
    assert journal.path.stat().st_size < 12_000
    journal.write(session)
    same(resumed(journal.path, session), session)


def test_whatever_a_damaged_journal_holds_it_is_refused(session: Session, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "work.jsonl")
    session.add_box(BOX_A, slice=10, object="a")
    journal.write(session)
    session.add_point((12, 20), slice=10)
    journal.write(session)
    whole = journal.path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(whole)
        changed[random.integers(len(changed))] ^= int(random.integers(1, 256))
        journal.path.write_bytes(changed)
        with contextlib.suppress(InputError):  # or it did not matter
            resumed(journal.path, session)
    lines = [json.loads(line) for line in whole.splitlines()]
    for number in range(len(lines)):
        for field in list(lines[number]):
            for value in (None, 7, -1, "x", [], {}, {"0": None}, {"1": {}}, {"x": 1}, 10**9):
                changed_lines = [dict(line) for line in lines]
                changed_lines[number][field] = value
                journal.path.write_text("".join(f"{json.dumps(one)}\n" for one in changed_lines))
                with contextlib.suppress(InputError):
                    resumed(journal.path, session)
    bomb = json.loads(json.dumps(lines[1]))
    next(iter(bomb["steps"].values()))["objects"] = {}
    journal.path.write_text(
        json.dumps(lines[0]) + "\n" + json.dumps({**bomb, "masks": {"0": "!"}}) + "\n"
    )
    with pytest.raises(InputError):
        resumed(journal.path, session)
