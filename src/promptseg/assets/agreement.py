"""Licences that the user of some weights has to agree to: shown once, and remembered."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg.assets.store import cache_folder
from promptseg.errors import AssetError

if TYPE_CHECKING:
    from promptseg.assets.store import Asset

__all__ = ["agree", "agreed", "require_agreement", "terms_of"]

_TERMS = {
    "SAM License": """\
The weights of SAM 3, and all that is made from them, are under the SAM License of Meta, which is no
open source licence:
- they may be used, changed and passed on without a fee, with a copy of the licence and under its terms;
- not for military or nuclear ends, weapons, espionage, or what sanctions and trade controls forbid;
- publications that rest on them say so; who goes to court over them loses the licence.
Its text decides, not this summary: https://github.com/facebookresearch/sam3/blob/main/LICENSE""",
}
_YES = {"y", "yes", "agree", "i agree"}


def terms_of(licence: str) -> str:
    """Return the terms of a licence, in short, and where its text is."""
    return _TERMS[licence]


def agreed(licence: str) -> bool:
    """Tell whether the user has agreed to a licence, here or by PROMPTSEG_AGREE."""
    named = [name.strip().lower() for name in os.environ.get("PROMPTSEG_AGREE", "").split(",")]
    return licence.lower() in named or licence in _kept()


def agree(licence: str) -> Path:
    """Remember that the user has agreed.

    Returns:
        The file that says so.

    Raises:
        AssetError: a cache folder that cannot be written.
    """
    path = _file()
    kept = {**_kept(), licence: datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(kept, indent=2), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise AssetError(
            "a cache folder that can be written",
            f"{path} ({error.strerror})",
            "set PROMPTSEG_HOME to another folder",
        ) from error
    return path


def require_agreement(asset: Asset, quiet: bool = False) -> None:
    """Go on only if the user has agreed to the licence of some weights; at a terminal, ask.

    Args:
        asset: the weights.
        quiet: do not ask.

    Raises:
        AssetError: the user has not agreed.
    """
    licence = asset.agreement
    if not licence or agreed(licence):
        return
    if not quiet and sys.stdin.isatty() and sys.stderr.isatty():
        print(_TERMS[licence], file=sys.stderr)
        print(f"Do you agree to the {licence}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in _YES:
            agree(licence)
            return
    raise AssetError(
        f"your agreement to the {licence}, under which {asset.name} is",
        "none",
        f"read it (promptseg assets agree {asset.name} shows it), then run promptseg assets agree "
        f"{asset.name} --yes, or set PROMPTSEG_AGREE='{licence}'",
    )


def _file() -> Path:
    return cache_folder() / "agreements.json"


def _kept() -> dict[str, str]:
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
