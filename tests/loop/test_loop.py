"""The loop from beginning to end on synthetic images: experts that draw or do not, and kills."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from json_answers import answer as answered
from promptseg.cli.main import main
from promptseg.datasets.collection import Collection
from promptseg.errors import InputError, OutputError
from promptseg.formats import read
from promptseg.loop import learning, run
from promptseg.loop import placing as placing_module
from promptseg.loop.run import Stands, loop
from promptseg.loop.state import LoopFolder, Round
from promptseg.loop.tasks import TaskFolder
from promptseg.segment.segmenter import load
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal
from promptseg.serve.folder import Folder
from promptseg.timing import StudyLog
from verb_folders import assert_leaves_others

from .conftest import (
    Options,
    annotate,
    answer,
    images_of,
    mark,
    number_of,
    truth,
    write_image,
)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "rounds.csv").open() as stream:
        return list(csv.DictReader(stream))


def one_round(how: Any) -> Stands:
    """Choose, annotate all of it, and learn."""
    stands = loop(how)
    assert stands.where == "annotate"
    annotate(stands.task)
    return loop(how)


def test_rounds_follow_one_another_until_the_budget_is_spent(
    options: Options, images: Path
) -> None:
    before = {p.name: p.read_bytes() for p in images.iterdir()}
    how = options(budget=9, flat=0.0, patience=9)
    stands = loop(how)
    assert stands.where == "annotate"
    first = images_of(stands.task)
    assert len(first) == stands.images == 6  # three to measure on, three to learn from
    assert all(p.read_bytes() == before[p.name] for p in first)
    annotate(stands.task)
    stands = loop(how)
    assert stands.where == "annotate"
    assert stands.task == how.output / "round-02" / "task"
    second = images_of(stands.task)
    assert len(second) == 3
    assert not {p.name for p in first} & {p.name for p in second}
    annotate(stands.task)
    stands = loop(how)
    assert stands.where == "spent"
    assert [r.annotated for r in stands.results] == [6, 9]
    assert [r.learnt_from for r in stands.results] == [3, 6]
    assert {r.measured_on for r in stands.results} == {3}
    assert stands.weights is not None
    assert stands.weights.exists()
    assert stands.best == max(stands.results, key=lambda r: r.score).round
    rows = table(how.output)
    assert [row["round"] for row in rows] == ["1", "2"]
    assert rows[1]["against"] == "round 1"
    assert rows[1]["verdict"] == "too few to tell"  # of three patients
    page = (how.output / "report.html").read_text()
    assert str(images.parent) not in page
    assert page.count("data:image/png") == 9
    assert "Round 2" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert {p.name: p.read_bytes() for p in images.iterdir()} == before
    assert loop(how).where == "spent"  # nothing more is done


def test_what_is_measured_on_is_never_learnt_from(options: Options) -> None:
    how = options(budget=9, flat=0.0, patience=9)
    one_round(how)
    annotate(how.output / "round-02" / "task")
    loop(how)
    parts = []
    for number in (1, 2):
        collection = Collection(how.output / f"round-0{number}" / "collection")
        parts.append([{s.case for s in collection.of(p)} for p in ("train", "validation")])
        assert not parts[-1][0] & parts[-1][1]
    assert parts[0][1] == parts[1][1]
    assert parts[0][0] < parts[1][0]


def test_what_came_back_is_what_is_learnt(options: Options) -> None:
    how = options()
    one_round(how)
    collection = Collection(how.output / "round-01" / "collection")
    assert collection.samples
    for sample in collection.samples:
        picture, labels = collection.read(sample)
        drawn = truth(int(sample.case.removeprefix("case")))
        assert {t.name for t in sample.targets} == set(drawn)
        for target in sample.targets:
            assert np.array_equal(labels[target.layer] == target.id, drawn[target.name])
        assert picture.shape == (60, 64)


def test_the_next_task_has_the_proposal_of_the_model_for_the_page_and_for_files(
    options: Options, start: Path
) -> None:
    how = options(updates=60)
    stands = one_round(how)
    task = stands.task
    assert task is not None
    folder = Folder(task)
    proposed = sorted((task / "proposals").glob("*.png"))
    assert proposed
    for path in proposed:
        image = read(task / path.name)
        session = Session(load(f"tiny={start}", device="cpu"), image)
        journal = Journal(folder.proposal_file(path.name))
        session = Session(session.segmenter, image, journal.options())
        journal.resume(session)
        labels = np.asarray(PilImage.open(path))
        names = {1: "disc", 2: "bar"}
        assert {names[v] for v in np.unique(labels) if v} == set(session.objects)
        for value, name in names.items():
            if name in session.objects:
                assert np.array_equal(session.result()[name], labels == value)
    entry = next(e for e in folder.listing() if e["name"] == proposed[0].name)
    assert entry["state"] == "to do"
    assert entry["session"]
    assert entry["note"].startswith("Chosen: uncertain")
    annotate(task)
    loop(how)
    for came in LoopFolder(how).rounds[1].came or ():
        path = task / "proposals" / f"{came.name}.png"
        if not path.exists():
            assert came.agreement is None
            continue
        labels, drawn = np.asarray(PilImage.open(path)), truth(number_of(path))
        scores = []
        for value, name in enumerate(("disc", "bar"), 1):
            found, there = labels == value, drawn.get(name, np.zeros(labels.shape, bool))
            if found.any() or there.any():
                scores.append(2 * (found & there).sum() / (found.sum() + there.sum()))
        assert came.agreement == pytest.approx(np.mean(scores))


def test_an_expert_in_the_page_is_heard(options: Options, start: Path) -> None:
    """Objects of sessions count when their image is done, corrected or not; times are added up."""
    how = options()
    stands = loop(how)
    task = stands.task
    segmenter = load(f"tiny={start}", device="cpu")
    folder, times = Folder(task), StudyLog(task / ".promptseg" / "times.jsonl")
    for path in images_of(task):
        session = Session(segmenter, read(path))
        for name, mask in truth(number_of(path)).items():
            session.put(mask, name)
        Journal(folder.session_file(path.name)).write(session)
        mark(task, path, "done")
        times.add(path.name, "1", "marker", 20)
        times.add(path.name, "1", "refinement", 10)
    result = loop(how).results[0]
    assert result.minutes == pytest.approx(6 * 30 / 60)
    came = LoopFolder(how).rounds[0].came
    assert came is not None
    assert {c.source for c in came} == {"page"}
    assert {c.seconds for c in came} == {30}
    assert "expert minutes" in (how.output / "report.html").read_text()


def test_a_task_that_is_not_done_is_not_taken(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    how = options()
    stands = loop(how)
    with pytest.raises(InputError, match="none of 6"):
        loop(how)
    annotate(stands.task, but=2)
    with pytest.raises(InputError, match=r"4 of 6 .*--take-done"):
        loop(how)
    assert LoopFolder(how).rounds[0].came is None
    *_, begun, flagged = images_of(stands.task)
    mark(stands.task, flagged, "flagged", "not this organ")
    mark(stands.task, begun, "begun")
    with pytest.raises(InputError, match=begun.name.partition(".")[0]):
        loop(how)
    assert loop(options(take_done=True)).where == "annotate"
    came = {c.name: c for c in LoopFolder(how).rounds[0].came or ()}
    assert came[flagged.stem].state == "flagged"
    assert came[flagged.stem].note == "not this organ"
    assert came[begun.stem].state == "half done"
    again = [p for one in LoopFolder(how).rounds[1:] for p in one.picked]
    assert flagged.stem not in {p.name for p in again}


def test_an_image_that_shows_nothing_counts_and_is_not_learnt_from(
    options: Options, caplog: pytest.LogCaptureFixture
) -> None:
    how = options()
    stands = loop(how)
    chosen = LoopFolder(how).rounds[0].picked
    empty = next(p.name for p in chosen if p.part == "train")
    annotate(stands.task)
    answer(stands.task, stands.task / f"{empty}.png", {})
    result = loop(how).results[0]
    assert (result.annotated, result.learnt_from) == (6, 2)
    assert f"{empty} is done and shows nothing" in caplog.text


def test_a_task_without_any_object_is_refused(options: Options) -> None:
    how = options()
    stands = loop(how)
    for path in images_of(stands.task):
        mark(stands.task, path, "done")
    with pytest.raises(InputError, match="without anything on them"):
        loop(how)
    assert LoopFolder(how).rounds[0].came is None


def test_new_names_are_refused_or_taken_when_said(options: Options, start: Path) -> None:
    how = options()
    stands = loop(how)
    annotate(stands.task)
    path = images_of(stands.task)[0]
    (stands.task / "answers" / path.name).unlink()
    session = Session(load(f"tiny={start}", device="cpu"), read(path))
    session.put(truth(number_of(path))["disc"], "disk")
    Journal(Folder(stands.task).session_file(path.name)).write(session)
    mark(stands.task, path, "done")
    with pytest.raises(InputError, match=r"'disk' on .*did you mean disc"):
        loop(how)
    assert LoopFolder(how).rounds[0].came is None
    loop(options(classes=("disc", "bar", "disk")))
    assert LoopFolder(options(classes=())).classes == ["disc", "bar", "disk"]


@pytest.mark.slow
def test_an_expert_who_contradicts_every_proposal_is_mentioned(
    options: Options, caplog: pytest.LogCaptureFixture
) -> None:
    how = options(updates=60, flat=0.0, patience=9)
    stands = one_round(how)
    for path in images_of(stands.task):
        corner = np.zeros((60, 64), bool)
        corner[:2, :2] = True
        answer(stands.task, path, {"bar": corner})
    loop(how)
    assert "contradicts the proposals everywhere" in caplog.text
    assert "contradicted every proposal" in (how.output / "report.html").read_text()


@pytest.mark.parametrize(
    "broken",
    [
        "taking",
        *(
            pytest.param(step, marks=pytest.mark.slow)
            for step in ("choosing", "half the task", "curating", "training", "the end")
        ),
    ],
)
def test_a_kill_at_any_step_changes_nothing(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    whole = options(output=tmp_path / "whole")
    one_round(whole)
    steps: dict[str, tuple[Any, str]] = {
        "choosing": (Round, "pick"),
        "half the task": (TaskFolder, "_propose"),
        "taking": (Round, "take"),
        "curating": (learning, "curate"),
        "training": (learning, "train"),
        "the end": (Round, "end"),
    }
    owner, name = steps[broken]

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    halves = options(output=tmp_path / "halves")

    def step() -> None:
        stands = loop(halves)
        if stands.where == "annotate" and not any((stands.task / "answers").iterdir()):
            annotate(stands.task)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            [step() for _ in range(3)]
    task = halves.output / "round-02" / "task"
    for _ in range(3):
        if not (task / "README.txt").exists():
            step()
    one, other = LoopFolder(whole), LoopFolder(halves)
    assert [r.picked for r in one.rounds] == [r.picked for r in other.rounds]
    assert one.results[0].score == other.results[0].score
    assert one.rounds[0].came == other.rounds[0].came
    proposed = [
        sorted(p.name for p in (f / "round-02/task/proposals").glob("*.png"))
        for f in (whole.output, halves.output)
    ]
    assert proposed[0] == proposed[1]


@pytest.mark.slow
def test_going_back_sets_rounds_aside_and_returns_their_images(options: Options) -> None:
    how = options(flat=0.0, patience=9)
    one_round(how)
    second = {p.name for p in LoopFolder(how).rounds[1].picked}
    annotate(how.output / "round-02" / "task")
    loop(how)
    first = LoopFolder(how).results[0]
    assert loop(options(budget=None, back_to=1)).where == "went back"
    folder = LoopFolder(how)
    assert [r.number for r in folder.rounds] == [1]
    assert folder.results == [first]
    assert sorted(p.name for p in folder.set_aside()) == ["round-02.1", "round-03.1"]
    assert (how.output / "set-aside" / "round-02.1" / "version-02" / "model.safetensors").exists()
    loop(how)
    assert {p.name for p in LoopFolder(how).rounds[1].picked} == second, "the same choice again"
    assert "round-02.1" in (how.output / "report.html").read_text()
    with pytest.raises(InputError, match="from 0 to 2"):
        loop(options(back_to=7))


def test_a_full_disk_is_one_line_and_the_same_call_goes_on(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = options()
    whole, copies = shutil.copyfile, 0

    def full(source: Any, target: Any, **more: Any) -> Any:
        nonlocal copies
        copies += 1
        if copies > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(source, target, **more)

    with monkeypatch.context() as patch:
        patch.setattr(placing_module.shutil, "copyfile", full)
        with pytest.raises(OutputError, match=r"no space left.*nothing is lost"):
            loop(how)
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(how.output)._replace(free=10)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OutputError, match="free disk for the images of a task"):
            loop(how)
    assert loop(how).where == "annotate"
    assert len(images_of(how.output / "round-01" / "task")) == 6


@pytest.mark.slow
def test_a_model_of_prompts_is_learnt_from_lists_with_boxes(
    options: Options, images: Path, tmp_path: Path
) -> None:
    rows = ["image,box,#note"]
    for path in sorted(images.iterdir()):
        rows_on, columns_on = np.nonzero(truth(number_of(path))["disc"])
        box = f"{columns_on.min()},{rows_on.min()},{columns_on.max()},{rows_on.max()}=disc"
        rows.append(f'{path},"{box}",x')
    listed = tmp_path / "cases.csv"
    listed.write_text("\n".join(rows) + "\n")
    how = options(input=listed, task="prompts", classes=(), uncertainty="jitter")
    stands = loop(how)
    assert len(list((stands.task / "proposals").glob("*.png"))) > 0
    chosen = LoopFolder(how).rounds[0].picked
    assert all(p.score is not None for p in chosen if p.part == "train")
    annotate(stands.task)
    result = loop(how).results[0]
    assert result.against == "the starting weights"
    assert result.start is not None
    assert {"box", "point"} <= set(result.means)
    other = options(input=images, task="prompts", classes=(), output=tmp_path / "clicks")
    stands = loop(other)
    assert not (stands.task / "proposals").exists()
    assert all(0 <= p.score <= 1 for p in LoopFolder(other).rounds[0].picked if p.part == "train")


@pytest.mark.slow
def test_labels_in_the_place_of_the_expert(options: Options, labelled: Path) -> None:
    how = options(input=labelled, simulate=True, classes=(), strategy="uncertainty", flat=0.0)
    how.patience, how.updates = 9, 40
    stands = loop(how)
    assert stands.where in ("spent", "all annotated")
    assert stands.results[-1].annotated == 14
    assert LoopFolder(how).classes == ["disc", "bar"]
    assert stands.results[-1].score > 0.3
    agreed = [r.agreement for r in stands.results]
    assert agreed[0] is None
    assert all(0 <= a <= 1 for a in agreed[1:] if a is not None)


@pytest.mark.slow
def test_a_flat_curve_stops(options: Options, labelled: Path) -> None:
    how = options(input=labelled, simulate=True, strategy="random", flat=1.0, patience=1, images=2)
    stands = loop(how)
    assert stands.where == "flat"
    assert len(stands.results) == 2


def test_a_labelled_dataset_may_be_measured_on(
    options: Options, labelled: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for number in range(20, 26):
        write_image(more / f"case{number}.png", number)
    how = options(input=more, validation=labelled, budget=3)
    stands = loop(how)
    assert stands.images == 3
    annotate(stands.task)
    stands = loop(how)
    assert stands.where == "spent"
    assert stands.results[0].measured_on == 14
    assert stands.results[0].annotated == 3


@pytest.mark.slow
def test_minutes_are_a_budget(options: Options) -> None:
    how = options(budget=None, minutes=4.0)
    stands = loop(how)
    annotate(stands.task)
    with pytest.raises(InputError, match="Log annotation times"):
        loop(how)
    how.minutes_per_image = 0.5
    stands = loop(how)
    assert stands.results[0].minutes == pytest.approx(3.0)
    assert stands.images == 2  # one minute is left, and an image takes half of one
    annotate(stands.task)
    assert loop(how).where == "spent"


def test_what_makes_no_sense_is_refused_before_anything_is_written(
    options: Options, tmp_path: Path, images: Path
) -> None:
    for changes, said in (
        ({"budget": 0}, "--budget"),
        ({"budget": None}, "a budget"),
        ({"minutes": 0.0}, "--minutes"),
        ({"budget": 3}, "above the 3 images"),
        ({"uncertainty": "jitter"}, "for --task classes"),
        ({"classes": ("a", "a")}, "every class once"),
        ({"input": tmp_path / "nothing"}, "folder of images"),
    ):
        with pytest.raises(InputError, match=said):
            loop(options(**changes))
        assert not (tmp_path / "loop").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "report.html").write_text("not yours")
    with pytest.raises(OutputError, match="other files"):
        loop(options(output=mine))
    assert (mine / "report.html").read_text() == "not yours"
    assert [p.name for p in mine.iterdir()] == ["report.html"]


def test_another_loop_in_the_same_folder_is_refused(options: Options, tmp_path: Path) -> None:
    loop(options())
    with pytest.raises(InputError, match="with --task classes"):
        loop(options(task="prompts"))
    with pytest.raises(InputError, match="--seed"):
        loop(options(seed=1))


def test_options_of_training_come_from_a_file(options: Options, tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("features: 4\ntrains: all\nlearning-rate: 0.001\n")
    how = options(train=file, strategy="diversity")
    stands = one_round(how)
    assert stands.results
    said = json.loads((how.output / "round-01" / "version-01" / "options.json").read_text())
    assert (said["features"], said["trains"], said["learning_rate"]) == (4, "all", 0.001)
    file.write_text("featurs: 4\n")
    with pytest.raises(InputError, match="did you mean features"):
        run.training_options(options(train=file), tmp_path / "round-01", ())
    file.write_text("output: elsewhere\n")
    with pytest.raises(InputError, match="leaves open"):
        run.training_options(options(train=file), tmp_path / "round-01", ())


def test_the_command(
    images: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["loop", "-i", str(images), "-o", str(tmp_path / "out"), "--model", f"tiny={start}"]
    words += ["--task", "classes", "--classes", "disc", "--classes", "bar", "--images", "3"]
    words += ["--validation-images", "3", "--updates", "8", "--device", "cpu", "--threads", "1"]
    assert main([*words, "--budget", "0"]) == 2
    assert main([*words, "--budget", "6"]) == 0
    out = capsys.readouterr().out
    task = tmp_path / "out" / "round-01" / "task"
    assert f"annotate 6 images: promptseg serve --root {task} --model tiny={start}" in out
    assert main([*words, "--budget", "6"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: expected images of the task that are done")
    assert said.count("\n") == 1
    annotate(task)
    assert main([*words, "--budget", "6", "--json", "--quiet"]) == 0
    content = answered("loop", capsys.readouterr().out)
    assert content["where"] == "spent"
    assert content["results"][0]["annotated"] == 6
    assert Path(content["weights"]).exists()


def test_the_folders_of_other_verbs_are_left_alone(options: Options, tmp_path: Path) -> None:
    assert_leaves_others(tmp_path / "others", "loop", lambda at, _: loop(options(output=at)))
