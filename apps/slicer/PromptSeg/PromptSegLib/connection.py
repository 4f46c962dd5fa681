"""The client, which is part of this module, and a server of the same version."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from PromptSegLib.problems import Problem, VersionProblem, told

__all__ = ["Connected", "client", "connect"]

VENDOR = Path(__file__).resolve().parent / "vendor"


class Connected(NamedTuple):
    """A server that answered.

    Attributes:
        server: of promptseg_client.
        info: models, windows, formats and limits, as docs/server.md has them.
        address: without the token.
    """

    server: Any
    info: Dict[str, Any]
    address: str

    @property
    def models(self) -> List[str]:
        """Names of the models; the first is taken where none is named."""
        return [model["name"] for model in self.info["models"]]

    def words(self, model: str) -> List[str]:
        """Words that a model is known to take, with their synonyms; none for one that takes none."""
        known = {m["name"]: m.get("words") for m in self.info["models"]}
        entries = (known.get(model or self.models[0]) or {}).get("known", [])
        return [word for e in entries for word in (e["name"], *e.get("synonyms", ()))]

    def takes(self, model: str, prompt: str) -> bool:
        """Whether a model takes a kind of prompt: box, point, mask, text."""
        known = {m["name"]: m["prompts"] for m in self.info["models"]}
        return prompt in known.get(model or self.models[0], ())


def client(vendor: Path = VENDOR) -> Any:
    """The package `promptseg_client`: the copy beside this file, or one that is installed.

    Raises:
        Problem: neither is there.
    """
    if (vendor / "promptseg_client").is_dir() and str(vendor) not in sys.path:
        sys.path.insert(0, str(vendor))
    try:
        return importlib.import_module("promptseg_client")
    except ImportError as error:
        raise Problem(
            f"expected the client beside this module ({vendor}), got none ({error}); install the "
            "extension again, or run in the Python console: slicer.util.pip_install('promptseg-client')"
        ) from None


def connect(address: str, token: str = "", any_version: bool = False) -> Connected:
    """Ask a server what it has.

    Args:
        address: as it was printed, with `?token=`.
        token: where the address is without.
        any_version: go on with a server of another version.

    Raises:
        Problem: no server, another kind of server, a wrong token.
        VersionProblem: another version.
    """
    package = client()
    if not address.strip():
        raise Problem("expected the address that the server printed, got none; paste it")
    shown = address.strip().partition("?")[0].rstrip("/")
    try:
        server = package.Server(address.strip(), token.strip() or None, timeout=600.0)
        info = server.info
    except package.ServerError as error:
        if error.status == 404:
            raise Problem(f"expected a promptseg server at {shown}, got something else") from None
        raise told(error, shown) from None
    except ValueError:
        raise Problem(f"expected a promptseg server at {shown}, got something else") from None
    if not isinstance(info, dict) or "models" not in info:
        raise Problem(f"expected a promptseg server at {shown}, got something else")
    ours, theirs = package.__version__, str(info.get("version", "unknown"))
    if not any_version and _series(ours) != _series(theirs):
        raise VersionProblem(
            f"expected a server of version {ours}, got {theirs}; install promptseg {ours} "
            "where it runs, update this extension, or tick Any version"
        )
    return Connected(server, info, shown)


def _series(version: str) -> List[str]:
    """What has to be the same: major and minor version."""
    return version.split(".")[:2]
