"""Families of networks, one package each: a new one is its folder and one line here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from promptseg.models.protocol.family import Family

__all__ = ["FAMILIES", "families", "family_named"]

FAMILIES: dict[str, str] = {
    "sam": "promptseg.models.families.sam.family",
    "sam2": "promptseg.models.families.sam2.family",
    "words": "promptseg.models.families.words.family",
    "sam3": "promptseg.models.families.sam3.family",
    "sam3-tracker": "promptseg.models.families.sam3.tracker",
    "specialist": "promptseg.models.families.specialist.family",
}
"""Name of a family -> the module whose `FAMILY` it is."""


def family_named(name: str) -> Family:
    """Load the family that `ModelCard.family` names."""
    family: Family = import_module(FAMILIES[name]).FAMILY
    return family


def families() -> Iterator[Family]:
    """Yield all families, in the order in which they are asked whose a checkpoint is."""
    yield from map(family_named, FAMILIES)
