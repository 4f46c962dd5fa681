"""One process at a time goes on with a file, and a crash keeps nobody out."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from promptseg.errors import OutputError
from promptseg.formats.exclusive import Exclusive, put_aside

_HOLDS = """
import sys, time
from pathlib import Path
from promptseg.formats.exclusive import Exclusive
right = Exclusive.take(Path(sys.argv[1]))
print("taken" if right else "refused", flush=True)
time.sleep(600)
"""


def taken(path: Path, by_force: bool = False) -> Exclusive:
    found = Exclusive.take(path, by_force)
    assert found is not None
    return found


def test_one_has_it_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "new" / "session.jsonl"
    first = taken(path)
    assert Exclusive.take(path) is None
    assert Exclusive.take(path.with_name("other.jsonl")) is not None
    assert not first.lost
    first.release()
    first.release()
    second = taken(path)
    assert Exclusive.take(path) is None
    del second
    assert Exclusive.take(path) is not None, "what nobody holds any more is free"
    assert list(path.parent.iterdir()) == [], "and leaves nothing"


def test_another_process_has_it_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    assert Exclusive.take(path) is None
    holder.kill()
    holder.communicate()
    assert list(tmp_path.iterdir()), "its lock lies there still"
    assert not taken(path).lost


def test_who_loses_it_by_force_knows(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    first = taken(path)
    second = taken(path, by_force=True)
    assert first.lost
    assert not second.lost
    first.release()
    assert Exclusive.take(path) is None, "what was lost is not given back"
    assert not second.lost


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX systems")
def test_where_there_are_no_locks_everybody_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    first, second = taken(tmp_path / "a"), taken(tmp_path / "a")
    assert not first.lost
    assert not second.lost
    (tmp_path / "file").touch()
    assert not taken(tmp_path / "file" / "below").lost, "nothing can be written there"


def test_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its module's stand-in, which locks bytes of files; that of POSIX is not asked for."""
    locked: dict[int, int] = {}

    def locking(descriptor: int, mode: int, count: int) -> None:
        number = os.fstat(descriptor).st_ino
        if number in locked.values():
            raise OSError(errno.EACCES, "Permission denied")
        locked[descriptor] = number

    close = os.close

    def closing(descriptor: int) -> None:
        locked.pop(descriptor, None)
        close(descriptor)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "close", closing)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(LK_NBLCK=2, locking=locking))
    first = taken(tmp_path / "a")
    assert Exclusive.take(tmp_path / "a") is None
    first.release()
    assert list(tmp_path.iterdir()) == []
    taken(tmp_path / "a").release()


def test_what_is_put_aside_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert put_aside(tmp_path / "session.jsonl") is None
    (tmp_path / "session-0123456789ab.jsonl").write_text("work")
    file = put_aside(tmp_path / "session-0123456789ab.jsonl")
    assert file is not None
    assert file.read_text() == "work"
    (tmp_path / "video-1").mkdir()
    folder = put_aside(tmp_path / "video-1")
    assert folder is not None
    assert folder.name.startswith("aside-video-1-")
    assert sorted(tmp_path.iterdir()) == sorted([file, folder])

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OutputError, match="in use"):
        put_aside(file)
