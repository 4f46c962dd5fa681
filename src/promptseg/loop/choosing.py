"""The images of a round: by lot what is measured on, by the strategy what is learnt from."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptsegError
from promptseg.formats.files import atomic_path
from promptseg.loop.options import LoopOptions
from promptseg.loop.pool import Entry
from promptseg.loop.seeing import Looker, Version
from promptseg.loop.state import LoopFolder
from promptseg.loop.strategies import at_random, pick
from promptseg.loop.tasks import Picked
from promptseg.progress import step_progress

__all__ = ["Spent", "choose", "spent"]

log = logging.getLogger("promptseg")

_NAMED = 3


class Spent:
    """The part of a budget that has been spent.

    Attributes:
        images: that came back done.
        minutes: of the expert; None where no time is known.
    """

    def __init__(self, images: int, minutes: float | None) -> None:
        self.images, self.minutes = images, minutes

    def leaves(self, options: LoopOptions) -> float:
        """Estimate how many more images the budget allows, by the mean time of those before."""
        left = math.inf if options.budget is None else float(options.budget - self.images)
        if options.minutes is not None and self.minutes:
            rest = options.minutes - self.minutes
            each = self.minutes / max(1, self.images)
            left = min(left, 0.0 if rest <= 0 else max(1.0, rest // each))
        return max(0.0, left)


def spent(folder: LoopFolder) -> Spent:
    """Sum what the rounds so far have cost."""
    rounds = [one for one in folder.rounds if one.came is not None]
    images = sum(c.state == "done" for one in rounds for c in one.came or ())
    known = [one.minutes for one in rounds if one.minutes is not None]
    return Spent(images, sum(known) if known else None)


def choose(
    folder: LoopFolder,
    pool: dict[str, Entry],
    looker: Looker,
    version: Version | None,
    options: LoopOptions,
) -> list[Picked]:
    """Choose the images of the next round; none where the pool is empty.

    Args:
        folder: with the rounds so far.
        pool: all images.
        looker: what gives embeddings.
        version: the present model, asked how sure it is; None where there is none yet.
        options: of this call.

    Raises:
        InputError: too few images, or patients, to measure on some and learn from others.
    """
    rounds = folder.rounds
    left = [pool[name] for name in pool if name not in _used(folder)]
    n = int(min(options.images, spent(folder).leaves(options), len(left)))
    measured: list[Entry] = []
    if not rounds and options.validation is None:
        measured = _to_measure_on(left, options)
        allowed = spent(folder).leaves(options) - len(measured)
        n = int(min(options.images, max(1.0, allowed)))
    held = {e.patient for e in measured} | _patients_measured(folder, pool)
    candidates = [e for e in left if e.patient not in held]
    if not candidates and not rounds:
        raise InputError(
            "images of patients to learn from, beside those that are measured on",
            f"{len(pool)} images of {len({e.patient for e in pool.values()})} patients",
            "add images, lower --validation-images, or give --validation",
        )
    chosen = _to_learn_from(
        candidates, n, folder=folder, pool=pool, looker=looker, version=version, options=options
    )
    return [*(Picked(e.name, "validation", "by lot") for e in measured), *chosen]


def _used(folder: LoopFolder) -> set[str]:
    """Images that came back, for whatever use, or are out."""
    found: set[str] = set()
    for one in folder.rounds:
        came = one.came
        if came is None:
            found |= {p.name for p in one.picked}
        else:
            found |= {c.name for c in came if c.state in ("done", "flagged")}
    return found


def _patients_measured(folder: LoopFolder, pool: dict[str, Entry]) -> set[str]:
    names = {p.name for one in folder.rounds for p in one.picked if p.part == "validation"}
    return {pool[name].patient for name in names if name in pool}


def _to_measure_on(left: Sequence[Entry], options: LoopOptions) -> list[Entry]:
    """Images by lot, of as many patients as can be."""
    lots = at_random([e.name for e in left], len(left), options.seed)
    order = [left[k] for k in lots]
    first: dict[str, Entry] = {}
    for entry in order:
        first.setdefault(entry.patient, entry)
    own = {e.name for e in first.values()}
    order = [*first.values(), *(e for e in order if e.name not in own)]
    return order[: options.validation_images]


def _to_learn_from(
    candidates: list[Entry],
    n: int,
    folder: LoopFolder,
    pool: dict[str, Entry],
    looker: Looker,
    version: Version | None,
    options: LoopOptions,
) -> list[Picked]:
    number = len(folder.rounds) + 1
    seed = options.seed * 10**4 + number
    if options.strategy == "random":
        names = [e.name for e in candidates]
        return [Picked(names[k], "train", "at random") for k in at_random(names, n, seed)]
    known = _Features(folder.root / "features.npz", looker, options.quiet)
    usable = known.of(candidates)
    candidates = [e for e in candidates if e.name in usable]
    done = [pool[name] for name in _used(folder) if name in pool]
    annotated = list(known.of(done).values())
    scores = None
    if version is not None and options.strategy != "diversity":
        scores = version.doubts(candidates)
    chosen = pick(
        options.strategy,
        [e.name for e in candidates],
        n,
        features=np.array([usable[e.name] for e in candidates]),
        annotated=np.array(annotated) if annotated else None,
        scores=scores,
        seed=seed,
    )
    why = {"both": "uncertain, and unlike the others", "uncertainty": "uncertain"}
    said = why.get(options.strategy, "") if scores is not None else "unlike the others"
    return [
        Picked(
            candidates[k].name,
            "train",
            said or "unlike the others",
            None if scores is None or np.isnan(scores[k]) else round(float(scores[k]), 4),
        )
        for k in chosen
    ]


class _Features:
    """Embeddings of images, averaged; kept in one file, by name, size and time of the image's file.

    Args:
        path: of the file.
        looker: what makes those that are missing.
        quiet: no progress.
    """

    def __init__(self, path: Path, looker: Looker, quiet: bool) -> None:
        self.path, self.looker, self.quiet = path, looker, quiet
        self.known: dict[str, NDArray[np.float64]] = {}
        if path.exists():
            try:
                with np.load(path, allow_pickle=False) as content:
                    rows = content["features"]
                    self.known = dict(zip(map(str, content["keys"]), rows, strict=True))
            except (OSError, ValueError, KeyError):  # made anew
                self.known = {}

    def of(self, entries: Sequence[Entry]) -> dict[str, NDArray[np.float64]]:
        """Name -> (C,); without images that cannot be used, of which a note tells."""
        missing = [e for e in entries if _key(e) not in self.known]
        failed = []
        with step_progress("embeddings", len(missing), self.quiet) as show:
            for number, entry in enumerate(missing):
                show(number, entry.name)
                try:
                    self.known[_key(entry)] = self.looker.features(entry)
                except PromptsegError as error:
                    failed.append(f"{entry.name} ({error})")
        if failed:
            log.warning(
                "%d images cannot be used and are left out: %s",
                len(failed),
                "; ".join(failed[:_NAMED]),
            )
        if missing and self.known:
            with atomic_path(self.path) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(
                    stream,
                    allow_pickle=False,
                    keys=np.array(list(self.known), dtype=np.str_),
                    features=np.array(list(self.known.values())),
                )
        return {e.name: self.known[_key(e)] for e in entries if _key(e) in self.known}


def _key(entry: Entry) -> str:
    facts = entry.path.stat()
    return f"{entry.name} {facts.st_size} {facts.st_mtime_ns}"
