"""`--model auto`: the model that did best in what is to be done, among the weights at hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.assets.store import asset_named, locate, sha256_of
from promptseg.errors import ModelError
from promptseg.models.cards import AUTO, CARDS, models_that_take
from promptseg.models.evidence import ANY, Evidence, evidence, look_up
from promptseg.prompts.kinds import KINDS

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """A model that was chosen, and why.

    Attributes:
        model: its name.
        why: the reason, in words.
        prompts: kinds of prompts it had to take.
        modality: the modality it was chosen for; "any" if not known.
        protocol: "2d" or "3d".
        evidence: what it went by, the best first; empty where there was nothing to compare.
        fetched: whether the weights of no model were at hand, so that these have to be obtained.
    """

    model: str
    why: str
    prompts: tuple[str, ...]
    modality: str
    protocol: str
    evidence: tuple[Evidence, ...] = ()
    fetched: bool = False

    def __str__(self) -> str:
        return f"{self.model}: {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values, for the provenance."""
        return {
            "by": AUTO,
            "why": self.why,
            "prompts": list(self.prompts),
            "modality": self.modality,
            "protocol": self.protocol,
            "evidence": [row.to_json() for row in self.evidence],
        }


def choose(
    prompts: Collection[str] = (),
    modality: str | None = None,
    protocol: str = "2d",
    table: Sequence[Evidence] | None = None,
) -> Choice:
    """Choose the model with the best mean DSC in what is to be done.

    Only models whose weights are at hand are considered, in PROMPTSEG_WEIGHTS or the cache; if none
    are, those that can be fetched. Nothing is fetched here. Evidence counts for the very weights that
    were measured.

    Args:
        prompts: kinds of prompts the model must take; see `promptseg.prompts.kinds`.
        modality: of the image; None or "unknown" goes by all modalities.
        protocol: "2d" for 2D images and single slices, "3d" to propagate objects through a volume.
        table: the evidence; the committed one if not given.

    Raises:
        ModelError: no model takes all these prompts, or no weights of one can be had.
    """
    known = ANY if modality in (None, "unknown") else str(modality)
    kinds = tuple(sorted(prompts, key=KINDS.index)) if set(prompts) <= set(KINDS) else ()
    able = models_that_take(prompts)
    if not able or (prompts and not kinds):
        raise ModelError(
            "prompts that one model takes together", ", ".join(sorted(prompts)), "leave some out"
        )
    able = [name for name in able if CARDS[name].weights]
    files = {name: locate(CARDS[name].weights) for name in able}
    # weights that the package brings are always at hand: that says nothing of what the user wants
    here = [name for name in able if files[name] and not asset_named(CARDS[name].weights).bundled]
    pool = here or [name for name in able if asset_named(CARDS[name].weights).sources]
    if not pool:
        raise ModelError(
            f"weights of {' or '.join(able)} at hand",
            "none",
            "see promptseg models for their source",
        )
    rows = [
        row
        for row in (evidence() if table is None else table)
        if row.model in pool and row.weights_sha256 == _weights_of(row.model, files[row.model])
    ]
    found = look_up(rows, pool, known, _names(kinds), protocol)
    model = found[0].model if found else pool[0]
    why = _why(model, found, pool, kinds, bool(here))
    return Choice(
        model,
        why,
        prompts=kinds,
        modality=known,
        protocol=protocol,
        evidence=tuple(found),
        fetched=not here,
    )


def _weights_of(model: str, path: Path | None) -> str:
    """SHA-256 of the weights that would be used: the published one, which loading verifies."""
    published = asset_named(CARDS[model].weights).sha256
    if published or path is None:
        return published
    return sha256_of(path)


def _names(kinds: Sequence[str]) -> list[str]:
    """Kinds of prompts as the table names them, the most fitting first."""
    if not kinds:
        return ["box"]
    together = [f"{kinds[0]}+corrections"] if len(kinds) > 1 else []
    return [*together, *kinds]


def _why(
    model: str, found: Sequence[Evidence], pool: Sequence[str], kinds: Sequence[str], here: bool
) -> str:
    where = "at hand" if here else "that can be fetched"
    if len(pool) == 1:
        takes = f" that takes {' and '.join(kinds)} prompts" if kinds else ""
        return f"the only model {where}{takes}"
    if not found:
        return f"none of the models {where} was measured in this; the first of the list"
    best, *others = found
    on = "all modalities pooled" if best.modality == ANY else best.modality
    what = f"with {best.prompt} prompts on {on}, {'volumes' if best.protocol == '3d' else 'slices'}"
    number = f"n={best.objects} objects, {best.datasets} datasets"
    if not others:
        alone = f"the only model {where} that was measured {what}"
        return f"{alone}, mean DSC {best.mean_dsc:.2f} ({number})"
    against = ", ".join(f"{row.mean_dsc:.2f} of {row.model}" for row in others)
    return f"mean DSC {best.mean_dsc:.2f} against {against} {what} ({number})"
