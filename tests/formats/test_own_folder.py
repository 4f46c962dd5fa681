"""Folders that a job fills: what is not on our list is never removed or written over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptseg.errors import OutputError
from promptseg.formats import own_folder
from promptseg.formats.own_folder import LIST, OwnFolder, claim, remove


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def names(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())


def test_what_is_listed_goes_and_nothing_else(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path / "out")
    own.claim("run.json", "plots/a.svg", "parts/x/y.csv")
    assert names(tmp_path / "out") == [LIST]  # the mark comes before the first file
    fill(tmp_path / "out", "run.json", "plots/a.svg", "parts/x/y.csv", "notes.txt", "plots/b.svg")
    own = OwnFolder(tmp_path / "out")
    with pytest.raises(OutputError, match=r"with others: plots/b\.svg; they are left alone"):
        own.check("run.json", "plots", "parts")
    own.remove("run.json", "plots", "parts", "notes.txt")
    assert names(tmp_path / "out") == [LIST, "notes.txt", "plots/b.svg"]
    assert not (tmp_path / "out" / "parts").exists()
    assert OwnFolder(tmp_path / "out").known == {}


def test_a_file_of_others_is_not_written_over_unless_the_user_says_so(tmp_path: Path) -> None:
    fill(tmp_path, "rows.csv")
    own = OwnFolder(tmp_path)
    with pytest.raises(OutputError, match=r"rows\.csv"):
        own.claim("new.csv", "rows.csv")
    assert names(tmp_path) == ["rows.csv"]
    own.claim("rows.csv", taken=True)
    OwnFolder(tmp_path).claim("rows.csv")


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_links_are_not_followed(target: str, tmp_path: Path) -> None:
    root = tmp_path / "out"
    fill(tmp_path, "there/plot.svg")
    own = OwnFolder(root)
    own.claim("plots/plot.svg", "run.json")
    (root / "plots").symlink_to(tmp_path / target)
    (root / "run.json").symlink_to(tmp_path / target / "plot.svg")
    for name in ("plots", "run.json"):
        with pytest.raises(OutputError, match=name):
            own.check(name)
    for name in ("plots/plot.svg", "run.json"):
        with pytest.raises(OutputError, match="a link"):
            own.claim(name, taken=True)
    own.remove("plots", "run.json", "plots/plot.svg")
    assert (root / "plots").is_symlink()
    assert (tmp_path / "there" / "plot.svg").exists()
    (tmp_path / "list").write_text('"x"\n')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / LIST).symlink_to(tmp_path / "list")
    with pytest.raises(OutputError, match="a link"):
        OwnFolder(tmp_path / "other")


def test_a_folder_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    OwnFolder(tmp_path / "out").claim("run.json")
    assert OwnFolder(tmp_path / "disk").is_ours


def test_a_list_leads_nowhere_else(tmp_path: Path) -> None:
    fill(tmp_path, "mine.txt", "out/a.txt")
    lines = ["../mine.txt", "/etc/passwd", "sub/../../mine.txt", 7, "a.txt", ""]
    text = "\n".join(map(json.dumps, lines)) + '\nhalf\n"b.t'
    (tmp_path / "out" / LIST).write_text(text)
    own = OwnFolder(tmp_path / "out")
    assert list(own.known) == ["a.txt"]
    own.claim("c.txt")  # after a line that was cut off
    assert list(OwnFolder(tmp_path / "out").known) == ["a.txt", "c.txt"]
    own.remove("../mine.txt", "a.txt")
    assert names(tmp_path) == ["mine.txt", f"out/{LIST}"]
    (tmp_path / "out" / LIST).write_bytes(b"\xff\xfe")
    with pytest.raises(OutputError, match="a list of our files"):
        OwnFolder(tmp_path / "out")


def test_names_of_libraries_and_files_on_their_way(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path)
    own.claim("board/*.3f2a")
    fill(tmp_path, "board/events.3f2a", "board/events.77", "parts/.part-12-0123abcd.csv")
    fill(tmp_path, "other/events.3f2a")
    assert own.owns(tmp_path / "board" / "events.3f2a")
    assert own.owns(tmp_path / "parts" / ".part-12-0123abcd.csv")
    assert not own.owns(tmp_path / "board" / "events.77")
    assert not own.owns(tmp_path / "other" / "events.3f2a")
    with pytest.raises(OutputError, match=r"others: board/events\.77;"):
        own.check("board", "parts")


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path)
    own.claim("run.json")
    (tmp_path / "run.json").mkdir()
    with pytest.raises(OutputError, match=r"run\.json"):
        own.claim("run.json")
    fill(tmp_path, "file")
    with pytest.raises(OutputError, match="a file"):
        OwnFolder(tmp_path / "file")


def test_deep_writers_find_the_list_above_them(tmp_path: Path) -> None:
    root = tmp_path / "out"
    claim(root / "a" / "b.csv")  # no list: nothing to keep
    assert not root.exists()
    OwnFolder(root).claim("run.json")
    for number in range(3):
        claim(root / "a" / f"{number}.csv", root / "a" / f"{number}.json")
    fill(root, "a/0.csv", "a/mine.csv")
    assert OwnFolder(root).owns(root / "a" / "2.json")
    with pytest.raises(OutputError, match=r"a/mine\.csv"):
        claim(root / "a" / "mine.csv")
    remove(root / "a")
    assert names(root) == [LIST, "a/mine.csv"]
    assert OwnFolder(root).owns(root / "a" / "0.csv")  # listed still: others may be at work
    (root / LIST).unlink()  # another folder by the same name
    OwnFolder(root).claim("run.json")
    fill(root, "a/0.csv")
    with pytest.raises(OutputError, match=r"a/0\.csv"):
        claim(root / "a" / "0.csv")


def test_what_another_process_has_listed_since_is_ours(tmp_path: Path) -> None:
    early = OwnFolder(tmp_path)
    OwnFolder(tmp_path).claim("parts/a.csv")
    fill(tmp_path, "parts/a.csv")
    early.check("parts")
    fill(tmp_path, "parts/b.csv")
    with pytest.raises(OutputError, match=r"others: parts/b\.csv;"):
        early.check("parts")


def test_files_listed_ahead_are_not_listed_again(tmp_path: Path) -> None:
    OwnFolder(tmp_path).claim_ahead("parts/a/rows.csv", "parts/a/*.png")
    before = (tmp_path / LIST).read_bytes()
    claim(tmp_path / "parts" / "a" / "rows.csv", tmp_path / "parts" / "a" / "worst.png")
    assert (tmp_path / LIST).read_bytes() == before
    claim(tmp_path / "parts" / "b" / "worst.png")
    assert OwnFolder(tmp_path).owns(tmp_path / "parts" / "b" / "worst.png")


def test_lines_that_another_machine_has_overwritten_are_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = []

    def meanwhile(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:  # as on NFS, where two append at what each takes for the end
            (tmp_path / LIST).write_text('\n"parts/theirs.csv"\n')

    monkeypatch.setattr(own_folder.time, "sleep", meanwhile)
    OwnFolder(tmp_path).claim_ahead("parts/a.csv", "parts/b.csv")
    assert set(OwnFolder(tmp_path).known) == {"parts/theirs.csv", "parts/a.csv", "parts/b.csv"}
    assert slept


def test_a_folder_belongs_to_the_verb_that_filled_it(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path)
    own.take("evaluate", "run.json", "plots")
    own.claim("run.json", "plots/a.svg")
    fill(tmp_path, "run.json", "plots/a.svg", "notes.txt")
    OwnFolder(tmp_path).take("evaluate", "run.json")
    for verb in ("curate", "evaluate compare"):
        with pytest.raises(
            OutputError, match=r"promptseg evaluate, which wrote run\.json; it is left"
        ):
            OwnFolder(tmp_path).take(verb, "run.json", "plots", "notes.txt")
    own.remove("plots")
    (tmp_path / "run.json").unlink()
    free = OwnFolder(tmp_path)  # nothing of the evaluation is left
    free.take("curate", "parts")
    free.claim("parts/request.json")
    fill(tmp_path, "parts/request.json")
    with pytest.raises(OutputError, match="of promptseg curate"):
        OwnFolder(tmp_path).take("evaluate", "run.json")


def test_a_mark_outlives_what_is_forgotten(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path)
    own.take("train", "options.json")
    own.claim("options.json", "last.pt")
    own.remove("options.json")
    fill(tmp_path, "last.pt")
    with pytest.raises(OutputError, match=r"promptseg train, which wrote last\.pt"):
        OwnFolder(tmp_path).take("loop", "loop.json")


@pytest.mark.parametrize("begun", [False, True])
def test_a_list_without_a_mark_says_it_by_its_files(begun: bool, tmp_path: Path) -> None:
    OwnFolder(tmp_path).claim("merge.csv", "model.safetensors", "embeddings/about.json")
    fill(tmp_path, "model.safetensors")
    if begun:
        fill(tmp_path, "merge.csv")
        OwnFolder(tmp_path).take("train merge", "merge.csv")
        said = "of promptseg train merge,"
    else:  # the list of two verbs: nobody knows whose the weights are
        said = "of promptseg train merge and promptseg train words,"
    with pytest.raises(OutputError, match=said):
        OwnFolder(tmp_path).take("train", "model.safetensors")


def test_listed_files_of_nobody_known(tmp_path: Path) -> None:
    OwnFolder(tmp_path).claim("plots/*.a", "mine/b")
    OwnFolder(tmp_path).take("loop", "loop.json")  # none of them is there
    fill(tmp_path, "plots/1.b", "mine/b")
    OwnFolder(tmp_path).take("loop", "mine")
    with pytest.raises(OutputError, match="another command, which wrote mine/b"):
        OwnFolder(tmp_path).take("loop", "loop.json")
    (tmp_path / "mine" / "b").unlink()
    fill(tmp_path, "plots/1.a")
    with pytest.raises(OutputError, match=r"another command, which wrote plots/\*\.a"):
        OwnFolder(tmp_path).take("loop", "mine")


def test_the_mark_of_a_later_version_is_another_verbs(tmp_path: Path) -> None:
    (tmp_path / LIST).write_text('{"verb": "compose"}\n{"verb": 7}\n["x"]\n"run.json"\n')
    fill(tmp_path, "run.json")
    assert list(OwnFolder(tmp_path).known) == ["run.json"]
    with pytest.raises(OutputError, match="of promptseg compose"):
        OwnFolder(tmp_path).take("evaluate", "run.json")
