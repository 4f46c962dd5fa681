"""Rows in the order of a report: a block holds what models made of one task, prompt and step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.report.quantities import NAMES, Quantity
from promptseg.evaluate.report.results import Results, Row

__all__ = ["ALL", "Block", "Section", "Task", "arrange", "pool"]


class Section(NamedTuple):
    """Rows that may be compared: of one protocol, kind of prompt and setting of a search."""

    protocol: str
    prompt: str
    setting: str

    @property
    def title(self) -> str:
        """Return the name for headings: `2d, jittered-box`."""
        return ", ".join(part for part in self if part)


class Task(NamedTuple):
    """A target in a data set, as in MedSAM's tables."""

    dataset: str
    target: str

    @property
    def title(self) -> str:
        """Return the name for tables and axes."""
        return f"{self.dataset}: {self.target}"


ALL = Task("all", "all")
"""Stands for every task of a section together."""


@dataclass(frozen=True)
class Block:
    """Scores of every model of a section on one task at one step.

    Attributes:
        section, task, step, modality: what the block is about.
        models: (models,) names of all models of the section, with or without rows here.
        people: names of the patients, with their data set.
        patients: (units,) which of them each scored mask belongs to.
        present: (models, units) whether the model has a row for the mask.
        scores: (models, units, quantities) in the order of `quantities.NAMES`; NaN: no value or row.
    """

    section: Section
    task: Task
    step: int
    modality: str
    models: list[str]
    people: list[tuple[str, str]]
    patients: NDArray[np.int64]
    present: NDArray[np.bool_]
    scores: NDArray[np.float64]

    def values(self, quantity: Quantity) -> NDArray[np.float64]:
        """Return the values of one quantity, (models, units)."""
        return self.scores[:, :, NAMES.index(quantity.name)]


def arrange(results: Results) -> Iterator[Block]:
    """Divide the rows into blocks by section and task, in the order of the rows, then by step."""
    groups: dict[Section, dict[Task, dict[int, list[Row]]]] = {}
    for row in results.rows:
        section = Section(row.protocol, row.prompt, row.setting)
        steps = groups.setdefault(section, {}).setdefault(Task(row.dataset, row.target), {})
        steps.setdefault(row.step, []).append(row)
    for section, tasks in groups.items():
        present = {row.model for steps in tasks.values() for rows in steps.values() for row in rows}
        models = [m for m in results.models if m in present]
        for task, steps in tasks.items():
            for step in sorted(steps):
                yield _block(section, task, step, models, steps[step])


def _block(section: Section, task: Task, step: int, models: list[str], rows: list[Row]) -> Block:
    units = {place: i for i, place in enumerate(sorted({row.place for row in rows}))}
    names = sorted({row.patient for row in rows})
    people = {name: i for i, name in enumerate(names)}
    present = np.zeros((len(models), len(units)), dtype=bool)
    scores = np.full((len(models), len(units), len(NAMES)), np.nan)
    for row in rows:
        at = models.index(row.model), units[row.place]
        present[at], scores[at] = True, row.scores
    patients = np.array([people[patient] for patient, *_ in units], dtype=np.int64)
    known = [(task.dataset, name) for name in names]
    return Block(
        section,
        task,
        step=step,
        modality=rows[0].modality,
        models=models,
        people=known,
        patients=patients,
        present=present,
        scores=scores,
    )


def pool(blocks: Sequence[Block]) -> Block:
    """Join all tasks of a section and step; a patient stays one over all targets of a data set."""
    first = blocks[0]
    people = sorted({person for block in blocks for person in block.people})
    number = {person: i for i, person in enumerate(people)}
    return replace(
        first,
        task=ALL,
        modality="",
        people=people,
        patients=np.concatenate(
            [np.array([number[p] for p in block.people])[block.patients] for block in blocks]
        ),
        present=np.concatenate([block.present for block in blocks], axis=1),
        scores=np.concatenate([block.scores for block in blocks], axis=1),
    )
