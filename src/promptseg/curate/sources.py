"""Sources of a curation: the datasets of all inputs, where they are from and on which terms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.curate.options import CurateJob
from promptseg.datasets import CaseFiles, Classes, Dataset, limit_cases, open_datasets
from promptseg.datasets.coco import case_of_image
from promptseg.datasets.description import is_open_licence, read_json
from promptseg.errors import InputError

__all__ = ["Origin", "open_sources"]

_SOURCES = ("upstream", "reference", "citation", "url", "homepage", "source", "source_repo")


@dataclass(frozen=True)
class Origin:
    """The facts that all cases of a dataset share, without its cases: it travels to worker processes.

    Attributes:
        dataset: its name.
        root: its folder or file.
        classes: what its labels stand for.
        source: address or citation.
        licence: of the dataset, as stated.
        licences: case -> licence of that image, where it has one of its own.
    """

    dataset: str
    root: Path
    classes: Classes
    source: str
    licence: str
    licences: dict[str, str]

    @classmethod
    def of(cls, dataset: Dataset) -> Origin:
        """Return the origin of a dataset: from its dataset.json, or from a COCO file."""
        folder = dataset.root if dataset.root.is_dir() else dataset.root.parent
        path = folder / "dataset.json"
        content = read_json(path) if path.is_file() else {}
        each = content.get("image_licences", {})
        licences = {str(k): str(v) for k, v in each.items()} if isinstance(each, dict) else {}
        if dataset.layout in ("coco", "saco") and not content:
            content = read_json(dataset.cases[0].truth[0])
            licences = _coco_licences(content, dataset.cases)
            info = content.get("info")
            content = info if isinstance(info, dict) else {}
        source = next((str(content[name]) for name in _SOURCES if content.get(name)), "")
        return cls(dataset.name, dataset.root, dataset.classes, source, dataset.licence, licences)

    def licence_of(self, case: str) -> str:
        """Return the licence of an image: its own, else the dataset's."""
        return self.licences.get(case, self.licence)

    def is_open(self, case: str) -> bool:
        """Tell whether the licence of an image is stated to be an open one."""
        return is_open_licence(self.licence_of(case))

    def without_paths(self, text: str) -> str:
        """Return a message without the folders of this machine."""
        for known in (self.root, *list(self.root.parents)[:2]):
            text = text.replace(f"{known}{os.sep}", "")
        return text


def open_sources(job: CurateJob) -> list[Dataset]:
    """Open the datasets of all inputs, in order.

    Raises:
        InputError: an input without datasets, two of one name, or one that is asked for and missing.
    """
    found: dict[str, Dataset] = {}
    for path in dict.fromkeys(job.input):
        for dataset in _opened(path, job):
            if dataset.name in found:
                raise InputError(
                    "datasets of different names",
                    f"{dataset.name} in {found[dataset.name].root} and in {dataset.root}",
                    "rename one of them",
                )
            found[dataset.name] = dataset
    if unknown := [name for name in job.dataset if name not in found]:
        raise InputError(
            f"datasets out of {', '.join(found)}", ", ".join(unknown), "correct --dataset"
        )
    return [
        limit_cases(dataset, job.max_cases)
        for name, dataset in found.items()
        if not job.dataset or name in job.dataset
    ]


def _opened(path: Path, job: CurateJob) -> list[Dataset]:
    return open_datasets(path, job.opening())


def _coco_licences(content: dict[str, Any], cases: list[CaseFiles]) -> dict[str, str]:
    """Return the licence of each case, where the 2D images of a COCO file name one of its licences."""
    known = {
        entry.get("id"): str(entry.get("name", ""))
        for entry in content.get("licenses") or []
        if isinstance(entry, dict)
    }
    stated = {
        case_of_image(str(entry.get("file_name"))): known[entry["license"]]
        for entry in content["images"]
        if entry.get("license") in known
    }
    return {case.name: stated[case.name] for case in cases if case.name in stated}
