"""The store of named files: where each is kept, and how it is found or obtained."""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from promptseg.assets.download import from_distribution, from_url
from promptseg.errors import AssetError, UnreachableError
from promptseg.leftovers import clean, part_name

__all__ = [
    "Asset",
    "Source",
    "asset_named",
    "cache_folder",
    "fetch",
    "find",
    "locate",
    "manifest",
    "sha256_of",
]


_BUNDLED = Path(__file__).resolve().parent / "bundled"


@dataclass(frozen=True)
class Source:
    """One place an asset comes from; see `manifest.toml`."""

    distribution: str = ""
    source: bool = False
    archive_sha256: str = ""
    archive_size: int = 0
    member: str = ""
    folder: str = ""
    url: str = ""

    def __str__(self) -> str:
        return f"distribution {self.distribution}" if self.distribution else self.url


@dataclass(frozen=True)
class Asset:
    """A file, or a folder of files, that has a name.

    Attributes:
        name: what users call it.
        kind: "weights" or "sample".
        file: file or folder name in the cache.
        licence: as far as it could be established.
        homepage: where it comes from.
        citation: what to cite.
        size: bytes in all; 0 if not known.
        sha256: of the file; for a folder, of its files' names and hashes in order. Empty if not known.
        sources: tried in order; without any, only the user can get it, from its homepage.
        bundled: whether the package itself brings it, in `assets/bundled`.
        agreement: the licence that its user has to agree to once, if any; see `agreement`.
    """

    name: str
    kind: str
    file: str
    licence: str
    homepage: str
    citation: str
    size: int = 0
    sha256: str = ""
    sources: tuple[Source, ...] = ()
    bundled: bool = False
    agreement: str = ""

    @property
    def to_fetch(self) -> int:
        """Return how many bytes its first source takes from the network; 0 if not known."""
        first = self.sources[0] if self.sources else Source()
        return first.archive_size or self.size


@cache
def manifest() -> dict[str, Asset]:
    """Return all assets by name, as the manifest lists them."""
    table = tomllib.loads(files(__package__).joinpath("manifest.toml").read_text("utf-8"))
    return {
        name: Asset(
            name=name,
            **{**entry, "sources": tuple(Source(**s) for s in entry.get("sources", ()))},
        )
        for name, entry in table.items()
    }


def cache_folder() -> Path:
    """Return $PROMPTSEG_HOME, or ~/.cache/promptseg."""
    home = os.environ.get("PROMPTSEG_HOME")
    try:
        return Path(home).expanduser() if home else Path.home() / ".cache" / "promptseg"
    except RuntimeError:
        raise AssetError("a home folder", "none", "set PROMPTSEG_HOME to a folder") from None


def locate(name: str) -> Path | None:
    """Return the path of an asset's local copy, unverified; $PROMPTSEG_WEIGHTS comes before the cache.

    What the package brings comes from there alone, so that its version is that of the code.

    Raises:
        AssetError: unknown name, or a folder that cannot be read.
    """
    asset = asset_named(name)
    if asset.bundled:
        path = _BUNDLED / asset.file
        return path if path.is_file() else None
    folders = [cache_folder()]
    if weights := os.environ.get("PROMPTSEG_WEIGHTS"):
        folders.insert(0, Path(weights).expanduser())
    for folder in folders:
        path = folder / asset.file
        try:
            if path.exists():
                return path
        except OSError as error:
            raise _unreadable(path, error) from error
    return None


def find(name: str) -> Path | None:
    """Return the local copy of an asset, verified unless its hash is not known; None where there is
    none.

    Raises:
        AssetError: unknown name, or a copy whose hash is wrong.
    """
    path = locate(name)
    if path is not None:
        try:
            _verify(asset_named(name), path)
        except OSError as error:
            raise _unreadable(path, error) from error
    return path


def fetch(name: str, quiet: bool = False) -> Path:
    """Return the verified local copy of an asset, obtained from its sources if there is none yet.

    Args:
        name: an asset of the manifest.
        quiet: no progress bar.

    Raises:
        AssetError: unknown name, no source reachable, one only the user can get, or a hash that does
            not match.
    """
    if path := find(name):
        return path
    asset = asset_named(name)
    if asset.bundled:
        raise AssetError(
            f"{asset.file}, which the package brings",
            f"none in {_BUNDLED}",
            "the installation is incomplete: install promptseg again",
        )
    home = cache_folder()
    if not asset.sources:
        raise AssetError(
            f"the {asset.kind} {name!r} as a file, {asset.file}",
            f"none in {home}",
            f"get it from {asset.homepage} and put it there under this name"
            + (f", or name it with --model {name}=FILE" if asset.kind == "weights" else ""),
        )
    target = home / asset.file
    reasons = []
    try:
        home.mkdir(parents=True, exist_ok=True)
        for source in asset.sources:
            clean(home)  # of downloads that were killed
            with tempfile.TemporaryDirectory(prefix=part_name(".fetch-"), dir=home) as work:
                try:
                    if source.distribution:
                        got = from_distribution(asset, source, Path(work), quiet)
                    else:
                        got = from_url(asset, source, Path(work), quiet)
                except AssetError as error:
                    reasons.append(f"  {source}: {error.got or error}")
                    continue
                _verify(asset, got)
                os.replace(got, target)
                return target
    except OSError as error:
        raise AssetError(
            "a cache folder that can be written",
            f"{home} ({error.strerror})",
            "set PROMPTSEG_HOME to another folder",
        ) from error
    raise UnreachableError(
        f"the {asset.kind} {name!r} ({asset.size / 1e6:.0f} MB) from one of its sources",
        "none:\n" + "\n".join(reasons),
        f"connect this machine to the network or an index mirror, or put {asset.file} into {home}"
        + (
            f" or name it with --model {name}=FILE{_or_brought()}"
            if asset.kind == "weights"
            else ""
        ),
    )


def _or_brought() -> str:
    """A way on without a network: the model that the package brings, if it brings one."""
    names = (each.name for each in manifest().values() if each.bundled and each.kind == "weights")
    name = next(names, None)
    return f"; or use --model {name}, which the package brings" if name else ""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, over the names and hashes of its files in order."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def asset_named(name: str) -> Asset:
    """Return the asset of this name from the manifest.

    Raises:
        AssetError: there is none of that name.
    """
    try:
        return manifest()[name]
    except KeyError:
        raise AssetError(f"an asset out of {', '.join(manifest())}", repr(name)) from None


def _unreadable(path: Path, error: OSError) -> AssetError:
    return AssetError(
        "a cache folder that can be read",
        f"{path} ({error.strerror})",
        "set PROMPTSEG_HOME to another folder",
    )


def _verify(asset: Asset, path: Path) -> None:
    if not asset.sha256:
        return
    got = sha256_of(path)
    if got != asset.sha256:
        raise AssetError(
            f"{asset.file} with sha256 {asset.sha256[:12]}...",
            f"{got[:12]}... in {path}",
            "install promptseg again: the file is damaged or another version"
            if asset.bundled
            else "delete the file and fetch it again: it is damaged or another version",
        )
