"""`promptseg assets`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

from promptseg.assets.agreement import agree, agreed, terms_of
from promptseg.assets.manage import AssetState, remove, state_of
from promptseg.assets.store import asset_named, cache_folder, fetch, manifest
from promptseg.cli.options import parse
from promptseg.errors import AssetError, InputError

__all__ = ["AssetsCommand", "run"]

_HEADINGS = ("name", "kind", "size", "licence", "state", "where")
_LICENCE_WIDTH = 32
_MUCH_MORE = 2  # times what is kept has to be fetched


@dataclass
class AssetsCommand:
    """The files promptseg knows by name (weights, samples): list, fetch, verify and remove them.

    Their folder is $PROMPTSEG_HOME, or ~/.cache/promptseg; files in $PROMPTSEG_WEIGHTS are found too,
    and never removed.
    """

    action: tyro.conf.Positional[Literal["list", "fetch", "verify", "remove", "agree"]] = "list"
    """list: what there is and whether it is here. fetch: obtain it. verify: compare what is here with
    the published SHA-256. remove: delete it from the cache folder, without asking. agree: show the
    licence that some weights ask agreement to; with --yes, agree to it."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Assets; list takes all and verify all that are here if none is named."""

    yes: bool = False
    """With agree: agree."""

    json: bool = False
    """Print as JSON."""

    quiet: bool = False
    """No progress, no summary."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(AssetsCommand, "assets", argv)
    names = [asset_named(name).name for name in dict.fromkeys(command.names)]
    if not names and command.action in ("fetch", "remove", "agree"):
        raise InputError(
            f"the names of what to {command.action}", "none", "see promptseg assets for the names"
        )
    act = {
        "list": _list,
        "fetch": _fetch,
        "verify": _verify,
        "remove": _remove,
        "agree": _agree,
    }[command.action]
    states = act(names, command)
    if command.json:
        print(json.dumps([state.to_json() for state in states], indent=2))
    if command.action == "verify":
        _require_sound(states)
    return 0


def _list(names: list[str], command: AssetsCommand) -> list[AssetState]:
    states = [state_of(name) for name in names or manifest()]
    if not command.json:
        _print_table([_HEADINGS, *(_row(state) for state in states)])
    return states


def _fetch(names: list[str], command: AssetsCommand) -> list[AssetState]:
    for name in names:
        path = fetch(name, command.quiet)
        _say(command, f"{name}  {path}")
    return [state_of(name) for name in names]


def _verify(names: list[str], command: AssetsCommand) -> list[AssetState]:
    states = [state_of(name, verify=True) for name in names or manifest()]
    if not names:
        states = [s for s in states if s.state != "absent"]
    for s in states:
        _say(command, "  ".join(filter(None, (s.asset.name, s.state, str(s.path or ""), s.reason))))
    if not states:
        _say(command, f"nothing is here to verify; the cache folder is {cache_folder()}")
    return states


def _remove(names: list[str], command: AssetsCommand) -> list[AssetState]:
    removed = remove(*names)
    for path in removed:
        _say(command, f"removed {path}")
    states = [state_of(name) for name in names]
    for s in states:
        if s.path is not None:
            _say(command, f"{s.asset.name} is also in {s.path}, outside the cache: left alone")
        elif cache_folder() / s.asset.file not in removed:
            _say(command, f"{s.asset.name} was not here")
    return states


def _agree(names: list[str], command: AssetsCommand) -> list[AssetState]:
    for licence in dict.fromkeys(asset_named(name).agreement for name in names):
        if not licence:
            _say(command, "no agreement is asked for")
            continue
        _say(command, terms_of(licence))
        if command.yes:
            _say(command, f"agreed to the {licence}: {agree(licence)}")
        elif not agreed(licence):
            _say(command, f"not agreed to yet: add --yes to agree to the {licence}")
    return [state_of(name) for name in names]


def _require_sound(states: list[AssetState]) -> None:
    """Raise for the first kind of trouble there is, naming every asset that has it."""
    damaged = [f"{s.path} ({s.asset.name}: {s.reason})" for s in states if s.state == "damaged"]
    if damaged:
        raise AssetError(
            "assets as they were published", ", ".join(damaged), "remove and fetch them again"
        )
    absent = [s.asset.name for s in states if s.state == "absent"]
    if absent:
        raise AssetError(
            "assets that are here", f"no {', '.join(absent)}", "see promptseg assets fetch"
        )


def _row(state: AssetState) -> tuple[str, ...]:
    asset = state.asset
    size = f"{asset.size / 1e6:.1f} MB" if asset.size else "unknown"
    if asset.to_fetch > _MUCH_MORE * asset.size > 0:
        size += f" (in an archive of {asset.to_fetch / 1e6:.1f} MB)"
    licence = textwrap.shorten(asset.licence, _LICENCE_WIDTH, placeholder=" ...")
    where = str(state.path or "-") + (f" ({state.reason})" if state.reason else "")
    return asset.name, asset.kind, size, licence, state.state, where


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _say(command: AssetsCommand, text: str) -> None:
    if not (command.quiet or command.json):
        print(text)
