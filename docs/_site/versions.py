"""Builds the site of every release, and of what is checked out: `make docs-versions`.

Each tag `vX.Y.Z` is taken out of the repository and built with its own `docs/`, `mkdocs.yml` and
source; of several fixes of one X.Y the last stands for it. `versions.json` is what the theme's menu of
versions reads, and the first page leads to the newest release, or to `dev` where there is none yet.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["main", "releases"]

_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_START = """<!doctype html>
<meta charset="utf-8">
<title>promptseg</title>
<meta http-equiv="refresh" content="0; url={first}/">
<a href="{first}/">promptseg {first}</a>
"""


def releases(tags: Iterable[str]) -> dict[str, str]:
    """Return X.Y -> the tag of its last fix, the newest first; other tags are passed over.

    Examples:
        >>> releases(["v0.1.0", "v0.10.0", "v0.2.0", "v0.2.1", "draft"])
        {'0.10': 'v0.10.0', '0.2': 'v0.2.1', '0.1': 'v0.1.0'}
    """
    found = sorted(tuple(map(int, m.groups())) for m in map(_TAG.fullmatch, tags) if m)
    last = {f"{x}.{y}": f"v{x}.{y}.{z}" for x, y, z in found}
    return dict(sorted(last.items(), key=lambda item: [-int(n) for n in item[0].split(".")]))


def main(arguments: list[str] | None = None) -> None:
    """Build the sites below --output.

    Args:
        arguments: of the command line; those of the process if not given.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--output", type=Path, default=Path("build/site"))
    given = parser.parse_args(arguments)
    output = given.output.resolve()
    tags = _git(given.repository, "tag", "--list").split()
    versions = releases(tags)
    for version, tag in versions.items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "source"
            _git(given.repository, "worktree", "add", "--detach", str(place), tag)
            try:
                _build(place, output / version)
            finally:
                _git(given.repository, "worktree", "remove", "--force", str(place))
    _build(given.repository, output / "dev")
    newest = next(iter(versions), "dev")
    menu = [
        {"version": v, "title": v, "aliases": ["latest"] if v == newest else []} for v in versions
    ]
    menu.append({"version": "dev", "title": "dev", "aliases": []})
    (output / "versions.json").write_text(json.dumps(menu, indent=1), encoding="utf-8")
    (output / "index.html").write_text(_START.format(first=newest), encoding="utf-8")


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout


def _build(source: Path, output: Path) -> None:
    """Build the site of one source with the package that stands in it."""
    path = os.pathsep.join([str(source / "src"), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(output)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": path, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )


if __name__ == "__main__":
    main()
