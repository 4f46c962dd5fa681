"""Outputs of a run that was killed while they got their names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from promptseg.errors import OutputError
from promptseg.formats.begun import Begun
from promptseg.formats.files import atomic_path, atomic_paths
from promptseg.formats.outputs import check_outputs
from promptseg.leftovers import Owner, me

DEAD = me()._replace(pid=2**22 + 1)  # beyond the largest number that Linux gives
NAMES = ("mask.nii.gz", "mask.nii.gz.overlay.png", "mask.nii.gz.json")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def cut_off(folder: Path, *there: str, owner: Owner = DEAD, names: tuple[str, ...] = NAMES) -> None:
    """A run that had files ready, of which some have their names."""
    for name in there:
        (folder / name).write_text(f"old {name}")
    key = hashlib.sha256(names[0].encode()).hexdigest()[:16]
    files = {name: [sha256(f"old {name}")] for name in names}
    text = json.dumps({"owner": str(owner), "files": files})
    (folder / f".promptseg-begun-{key}").write_text(text)


def write(folder: Path, names: tuple[str, ...] = NAMES, overwrite: bool = False) -> None:
    paths = [folder / name for name in names]
    check_outputs(paths, overwrite)
    with atomic_paths(*paths, overwrite=overwrite) as temporaries:
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.write_text(f"new {path.name}")


def there(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_part_of_a_result_is_replaced(tmp_path: Path, count: int) -> None:
    cut_off(tmp_path, *NAMES[:count])
    write(tmp_path)
    assert there(tmp_path) == {name: f"new {name}" for name in NAMES}


def test_a_whole_result_is_not(tmp_path: Path) -> None:
    cut_off(tmp_path, *NAMES)
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path)
    assert there(tmp_path) == {name: f"old {name}" for name in NAMES}  # the mark is gone


def test_what_somebody_put_there_since_stays(tmp_path: Path) -> None:
    cut_off(tmp_path, *NAMES[:1])
    (tmp_path / NAMES[0]).write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path)
    assert there(tmp_path)[NAMES[0]] == "mine"


def test_the_parts_of_a_run_that_lives_stay(tmp_path: Path) -> None:
    cut_off(tmp_path, *NAMES[:1], owner=me())
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path)
    assert there(tmp_path)[NAMES[0]] == f"old {NAMES[0]}"


def test_a_link_is_not_a_part(tmp_path: Path) -> None:
    cut_off(tmp_path, *NAMES[:1])
    moved = (tmp_path / NAMES[0]).rename(tmp_path / "elsewhere")
    (tmp_path / NAMES[0]).symlink_to(moved)
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path)
    assert moved.read_text() == f"old {NAMES[0]}"


def test_what_the_next_run_does_not_write_goes(tmp_path: Path) -> None:
    cut_off(tmp_path, *NAMES[:2])
    write(tmp_path, (NAMES[0], NAMES[2]))  # no overlay this time
    assert there(tmp_path) == {name: f"new {name}" for name in (NAMES[0], NAMES[2])}


def test_a_mark_reaches_no_other_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    cut_off(folder, NAMES[0], names=(NAMES[0], "../mine", str(tmp_path / "mine")))
    (tmp_path / "mine").write_text("old ../mine")
    write(folder, NAMES[:1])
    assert (tmp_path / "mine").read_text() == "old ../mine"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1}', '{"owner": "x", "files": {}}'])
def test_a_mark_that_says_nothing_counts_for_nothing(tmp_path: Path, text: str) -> None:
    cut_off(tmp_path, *NAMES[:1])
    next(tmp_path.glob(".promptseg-begun-*")).write_text(text)
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path)
    assert there(tmp_path)[NAMES[0]] == f"old {NAMES[0]}"


def test_outputs_in_two_folders_belong_together(tmp_path: Path) -> None:
    names = ("a/table.csv", "b/table.tex")
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir()
    begun = Begun(paths)
    begun.begin({path: _written(path, f"old {path}") for path in paths})
    mark = next((tmp_path / "a").glob(".promptseg-begun-*"))
    mark.write_text(mark.read_text().replace(str(me()), str(DEAD)))
    paths[0].write_text(f"old {paths[0]}")
    assert Begun(paths).left(paths[0])
    paths[0].unlink()
    paths[1].write_text(f"old {paths[1]}")
    assert Begun(paths).left(paths[1])
    assert not Begun([paths[1]]).left(paths[1])


def _written(path: Path, text: str) -> Path:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    return temporary


@pytest.mark.parametrize("failing", range(2))
def test_a_failure_while_replacing_gives_back_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """As on Windows, where a file that somebody has open is not replaced."""
    import os

    paths = [tmp_path / name for name in ("mask.nii.gz", "mask.nii.gz.json")]
    for path in paths:
        path.write_text(f"old {path.name}")
    plain, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if target in paths and str(source).endswith((".nii.gz", ".json")):
            calls.append(target)
            if target == paths[failing]:
                raise PermissionError(13, "The process cannot access the file")
        plain(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match="cannot access"):
        write(tmp_path, ("mask.nii.gz", "mask.nii.gz.json"), overwrite=True)
    assert paths[failing] in calls
    assert there(tmp_path) == {path.name: f"old {path.name}" for path in paths}


def test_one_file_is_replaced_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert there(tmp_path) == {"a.txt": "new"}
