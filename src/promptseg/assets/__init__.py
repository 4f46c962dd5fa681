"""Weights and samples: named, hashed, licensed, cached."""

from promptseg.assets.agreement import require_agreement
from promptseg.assets.store import (
    Asset,
    Source,
    cache_folder,
    fetch,
    find,
    manifest,
    sha256_of,
)

__all__ = [
    "Asset",
    "Source",
    "cache_folder",
    "fetch",
    "find",
    "manifest",
    "require_agreement",
    "sha256_of",
]
