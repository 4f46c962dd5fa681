"""Assets as a person manages them: see what is here, check it, remove it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from promptseg.assets.store import Asset, asset_named, cache_folder, locate, sha256_of
from promptseg.errors import AssetError
from promptseg.leftovers import part_name

__all__ = ["AssetState", "State", "remove", "state_of"]

State = Literal["absent", "present", "verified", "damaged"]


@dataclass(frozen=True)
class AssetState:
    """An asset and its local copy.

    Attributes:
        asset: what it should be.
        state: "absent"; "present" (its size is right, or nothing is known to compare it with);
            "verified" (its hash is right); "damaged".
        path: the local copy, if there is one.
        reason: why it is damaged, or why it was not verified.
    """

    asset: Asset
    state: State
    path: Path | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the asset and its state as plain values."""
        asset = self.asset
        return {
            "name": asset.name,
            "kind": asset.kind,
            "file": asset.file,
            "size": asset.size,
            "sha256": asset.sha256,
            "licence": asset.licence,
            "homepage": asset.homepage,
            "citation": asset.citation,
            "sources": [str(source) for source in asset.sources],
            "state": self.state,
            "path": None if self.path is None else str(self.path),
            "reason": self.reason,
        }


def state_of(name: str, verify: bool = False) -> AssetState:
    """Check whether an asset is here, and whole.

    Args:
        name: an asset of the manifest.
        verify: compare hashes, which reads the whole file; otherwise only sizes.

    Raises:
        AssetError: unknown name, or a copy that cannot be read.
    """
    asset, path = asset_named(name), locate(name)
    if path is None:
        return AssetState(asset, "absent")
    try:
        size = _size_of(path)
        if asset.size and size != asset.size:
            return AssetState(asset, "damaged", path, f"{size} bytes instead of {asset.size}")
        if not verify:
            return AssetState(asset, "present", path)
        if not asset.sha256:
            return AssetState(asset, "present", path, "no published hash to compare it with")
        got = sha256_of(path)
    except OSError as error:
        raise AssetError(
            f"a copy of {name} that can be read", f"{path} ({error.strerror})", "change its rights"
        ) from error
    if got != asset.sha256:
        reason = f"sha256 {got[:12]}... instead of {asset.sha256[:12]}..."
        return AssetState(asset, "damaged", path, reason)
    return AssetState(asset, "verified", path)


def remove(*names: str) -> list[Path]:
    """Delete the cache's copies of some assets, all or none; nothing outside the cache is touched.

    Args:
        names: assets of the manifest; those that are not here are passed over.

    Returns:
        What was deleted.

    Raises:
        AssetError: unknown name, a copy outside the cache folder, or one that cannot be deleted.
    """
    home = cache_folder()
    targets = []
    for name in dict.fromkeys(names):
        target = home / asset_named(name).file
        if os.path.lexists(target):
            targets.append(target)
        elif (path := locate(name)) is not None:
            raise AssetError(
                f"{name} in the cache folder {home}",
                f"{path}, outside of it",
                "nothing was removed; delete that file yourself if it should go",
            )
    for target in targets:
        try:
            _delete(target)
        except OSError as error:
            raise AssetError(
                "a cache folder that can be written", f"{target} ({error.strerror})"
            ) from error
    return targets


def _delete(target: Path) -> None:
    """A file, a link (never what it points at), or a folder, which disappears at once."""
    if target.is_symlink() or not target.is_dir():
        target.unlink()
        return
    with tempfile.TemporaryDirectory(prefix=part_name(".remove-"), dir=target.parent) as aside:
        shutil.move(target, aside)


def _size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size
