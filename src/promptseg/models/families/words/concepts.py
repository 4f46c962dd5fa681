"""The vocabulary of `promptseg-words`."""

from __future__ import annotations

from promptseg.models.families.words.vocabulary import Concept

__all__ = ["CONCEPTS"]

CONCEPTS: tuple[Concept, ...] = (
    Concept("fetal head", ("US",), ("fetus head", "fetal skull")),
    Concept("nucleus", ("microscopy", "pathology"), ("cell nucleus",), instances=True),
    Concept("cell", ("microscopy",), ("cell body",), instances=True),
    Concept(
        "left ventricle cavity",
        ("MR",),
        ("LV cavity", "LV", "left ventricle blood pool", "LV blood pool", "left ventricle lumen"),
        "87878005",
    ),
    Concept("peripheral nerve", ("US",), ("nerve",), instances=True),
    Concept("blood vessel", ("US",), ("vessel",), instances=True, refine="box"),
    Concept("soft-tissue sarcoma", ("CT", "MR", "PET"), ("sarcoma",)),
    Concept("vocal folds", ("endoscopy",), ("vocal cord",)),
    Concept(
        "glottal space",
        ("endoscopy",),
        ("glottis", "rima glottidis", "glottal gap", "glottal opening", "glottal area"),
        refine="box+mask",
    ),
    Concept("surgical tool", ("endoscopy",), ("surgical instrument", "instrument"), instances=True),
    Concept(
        "intubation tube",
        ("endoscopy",),
        ("endotracheal tube", "tracheal tube", "breathing tube"),
        refine="box+mask",
    ),
    Concept("vertebra", ("MR",), ("lumbar vertebra",), "51282000", instances=True),
)
