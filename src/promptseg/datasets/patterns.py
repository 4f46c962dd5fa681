"""Datasets as they were unpacked: a `dataset.json` says how the files of a case are called.

    {"image_files": "{case}/imaging.nii.gz", "label_files": "{case}/segmentation.nii.gz"}

`{case}` stands for a part of a file's or folder's name, and for the same part wherever it is repeated;
`{patient}` likewise, where a folder tells whom cases show. `{case:GLOB}` takes what fits GLOB alone.
`{target}` in the labels alone stands for the name of a class, where every class has a file of its own.
Outside of the braces `*`, `?`, `[...]` and `**/` mean what they mean in a shell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from promptseg.datasets.build import (
    case_of,
    dataset_of,
    image_reader,
    label_reader,
    modality_of,
)
from promptseg.datasets.classes import Classes, TruthSegment
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import Description, read_description, read_json
from promptseg.datasets.listing import (
    Missing,
    check_complete,
    kind_of,
    natural,
    no_cases,
    require_target,
)
from promptseg.datasets.nnunet import channel_names, describe
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.truth import labels_in, truth_of
from promptseg.errors import InputError
from promptseg.formats.options import Resample
from promptseg.formats.text import composed
from promptseg.image import Image, Segmentation, bounding_region

__all__ = ["Found", "find_files", "open_dataset", "recognises"]

_KEYS = ("image_files", "label_files")
_NAMES = ("case", "patient", "target")
_MOST_WILDCARDS = 6
_PART = re.compile(r"\{(\w+)(?::([^{}]*))?\}|(\*\*/)|(\*)|(\?)|(\[[^\]]+\])")


class Found(NamedTuple):
    """A file that a pattern fits.

    Attributes:
        path: of the file, or of the folder with a DICOM series.
        names: what the braces stand for in its path.
    """

    path: Path
    names: dict[str, str]


def recognises(root: Path) -> bool:
    """Tell whether a folder has a dataset.json with both patterns."""
    path = root / "dataset.json"
    return path.is_file() and all(isinstance(read_json(path).get(key), str) for key in _KEYS)


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the cases whose image and labels the patterns find.

    Raises:
        InputError: patterns that make no sense, find nothing, or find two images of one case; cases
            that are incomplete.
    """
    content = read_json(root / "dataset.json")
    images, labels = (str(content[key]) for key in _KEYS)
    if "{target" in images:
        raise InputError("{target} in label_files alone", f"{root}: {images}", "correct it")
    found = _images(root, images)
    truths = _labels(root, labels, found)
    by_target = "{target" in labels
    cases, missing = [], []
    described = _described(root, content)
    patients = {n: image.names["patient"] for n, image in found.items() if "patient" in image.names}
    patients |= described.patients
    for name, image in found.items():
        files = sorted(truths.pop(name, []), key=lambda f: natural(f.path.name))
        if not files:
            missing.append(Missing(name, "labels", f"{image.path.name} has no labels"))
            continue
        if len(files) > 1 and not by_target:
            raise InputError(
                "one label file per case",
                f"{root}: {files[0].path} and {files[1].path}",
                "narrow label_files in dataset.json",
            )
        truth_reader = (
            partial(
                _read_targets,
                targets=tuple(f.names["target"] for f in files),
                resample=options.resample,
            )
            if by_target
            else label_reader(described.classes, options.resample)
        )
        readers = image_reader(modality_of(described, options), described.reading), truth_reader
        paths = [f.path for f in files]
        cases.append(case_of(name, image.path, paths, readers, patients, options))
    lone = [file.path.name for files in truths.values() for file in files]
    missing += [Missing(name, "image", f"{name} has no image") for name in lone]
    check_complete(missing, root, options, "correct the patterns in dataset.json")
    if not cases:
        raise no_cases(root, missing)
    notes = ["every class has a file of its own"] if by_target else []
    kind = kind_of(cases[0].image)
    return dataset_of(
        root, "patterns", kind, described, cases, options, missing=missing, notes=notes
    )


def find_files(root: Path, pattern: str) -> Iterator[Found]:
    """Yield the files and folders below a folder that a pattern fits, in natural order of their paths.

    Args:
        root: the folder.
        pattern: as the module says, with `/` between folders.

    Raises:
        InputError: a pattern without `{case}`, with unknown names, or that leads out of the folder.
    """
    expression, glob = _expression(pattern, root)
    try:
        there = sorted(root.glob(glob), key=lambda p: natural(p.as_posix()))
    except (OSError, ValueError, NotImplementedError, RecursionError) as error:
        raise InputError(
            "a pattern", f"{root}: {pattern[:200]!r} ({error})", "correct it"
        ) from None
    for path in there:
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match and not path.name.startswith("."):
            require_target(path)
            yield Found(
                path, {k: composed(v) for k, v in match.groupdict().items() if v is not None}
            )


def _expression(pattern: str, root: Path) -> tuple[re.Pattern[str], str]:
    """The regular expression that a path has to fit, and a glob that finds it among others."""
    parts = PurePosixPath(pattern).parts
    if not pattern or PurePosixPath(pattern).is_absolute() or ".." in parts or "\\" in pattern:
        raise InputError("patterns below their folder", f"{root}: {pattern!r}", "correct it")
    expression, glob, end = "", "", 0
    for match in _PART.finditer(pattern):
        literal = pattern[end : match.start()]
        end = match.end()
        name, spec = match[1], match[2] or "*"
        if name is None:
            piece, written = _wild(match[0]), match[0]
        elif name not in _NAMES:
            raise InputError(
                "{case}, {patient} and {target} in patterns", f"{root}: {match[0]}", "correct it"
            )
        elif f"(?P<{name}>" in expression:
            piece, written = f"(?P={name})", "*"
        else:
            inner = "".join(_wild(part) for part in re.findall(r"\*|\?|\[[^\]]+\]|.", spec))
            piece, written = f"(?P<{name}>{inner})", spec
        expression += re.escape(literal) + piece
        glob += literal + written
    expression += re.escape(pattern[end:])
    _check_wildcards(glob + pattern[end:], pattern, root)
    if "(?P<case>" not in expression or set("{}") & set(glob + pattern[end:]):
        raise InputError("a pattern with {case}", f"{root}: {pattern!r}", "see docs/datasets.md")
    try:
        return re.compile(expression), glob + pattern[end:]
    except re.error as error:
        raise InputError("a pattern", f"{root}: {pattern!r} ({error})", "correct it") from None


def _check_wildcards(glob: str, pattern: str, root: Path) -> None:
    """Refuse `**` that is not a folder's place of its own, and so many `*` that matching never ends."""
    for part in glob.split("/"):
        if ("**" in part and part != "**") or part.count("*") > _MOST_WILDCARDS:
            raise InputError(
                f"**/ for any folders, and at most {_MOST_WILDCARDS} wildcards in a name",
                f"{root}: {pattern[:200]!r}",
                "correct it",
            )


def _wild(part: str) -> str:
    """A wildcard as a regular expression; other characters stand for themselves."""
    if part in ("*", "?"):
        return "[^/]+" if part == "*" else "[^/]"
    if part == "**/":
        return "(?:.*/)?"
    if part.startswith("[") and len(part) > 2:
        return "[^" + part[2:] if part[1] == "!" else part
    return re.escape(part)


def _images(root: Path, pattern: str) -> dict[str, Found]:
    """Name of the case -> its image."""
    found: dict[str, Found] = {}
    for file in find_files(root, pattern):
        name = _case_of(file.names)
        if name in found:
            raise InputError(
                "one image per case",
                f"{found[name].path} and {file.path}",
                "narrow image_files in dataset.json, or add {patient}",
            )
        found[name] = file
    if not found:
        raise InputError(
            "files that image_files finds", f"{root}: none for {pattern!r}", "correct it"
        )
    return found


def _case_of(names: dict[str, str]) -> str:
    """Name of a case; its patient goes before, unless it is called after the patient already.

    `1/10.png` is "1_10": that 10 begins with 1 does not make it the patient's.
    """
    case, patient = names["case"], names.get("patient", "")
    named = re.match(rf"{re.escape(patient)}(?![A-Za-z0-9])", case)
    return case if named or not patient else f"{patient}_{case}"


def _labels(root: Path, pattern: str, images: dict[str, Found]) -> dict[str, list[Found]]:
    """Case -> its label files; without a patient in the pattern, that of the only case so called."""
    shared = Counter(image.names["case"] for image in images.values())
    alone = {i.names["case"]: name for name, i in images.items() if shared[i.names["case"]] == 1}
    found: dict[str, list[Found]] = {}
    for file in find_files(root, pattern):
        name = _case_of(file.names)
        if name not in images and "patient" not in file.names:
            name = alone.get(name, name)
        found.setdefault(name, []).append(file)
    return found


def _described(root: Path, content: dict[str, object]) -> Description:
    """`targets` of our own layouts, else the `labels` of nnU-Net and MSD."""
    if isinstance(content.get("labels"), dict) and "targets" not in content:
        names = channel_names(content)
        said = describe(root, content, names[0] if names else "")
        own = read_description(root)
        return replace(own, classes=said.classes, modality=said.modality)
    return read_description(root)


def _read_targets(
    case: CaseFiles, image: Image, targets: tuple[str, ...], resample: Resample
) -> Segmentation:
    """One object per file that has a voxel, called as its target; objects may overlap."""
    objects = []
    for label, (path, target) in enumerate(zip(case.truth, targets, strict=True), 1):
        mask = labels_in(path, image, Classes(), resample) > 0
        if mask.any():
            region = bounding_region(mask)
            objects.append(TruthSegment(target, label, mask[region].copy(), region, target=target))
    return truth_of(objects, image)
