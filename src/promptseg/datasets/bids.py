"""BIDS: images by subject and session, and segmentations of them in derivatives.

    dataset_description.json
    sub-01/anat/sub-01_T1w.nii.gz
    derivatives/manual/dataset_description.json
    derivatives/manual/sub-01/anat/sub-01_desc-T1w_dseg.nii.gz (and .tsv, or one for many above)

The image of a segmentation is the one that its side file names (`Sources`, `SpatialReference`);
else the one of the same subject, session and run, told by `desc` where there are several.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.datasets.build import case_of, dataset_of, image_reader, modality_of
from promptseg.datasets.classes import Classes, TruthSegment
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import Description, may_publish
from promptseg.datasets.listing import Missing, SomePairs, check_complete, kind_of, require_target
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.truth import objects_of_labels, truth_of
from promptseg.errors import InputError, OutputError
from promptseg.formats import format_by_suffix, read_labels
from promptseg.formats.bids_names import (
    DESCRIPTION,
    BidsName,
    inherited_tables,
    is_dseg,
    links_of,
    parse_name,
)
from promptseg.formats.files import atomic_path, beside
from promptseg.formats.label_tables import read_table
from promptseg.formats.options import Resample
from promptseg.formats.placing import labels_on
from promptseg.formats.text import read_text
from promptseg.image import Image, Segmentation
from promptseg.parsing import parse_json

__all__ = [
    "images_in",
    "is_tree",
    "open_dataset",
    "read_description_of",
    "recognises",
    "write_description",
]

_DATATYPES = {"anat": "MR", "pet": "PET", "micr": "microscopy", "ct": "CT"}
_NO_IMAGES = ("dseg", "probseg", "mask", "photo")
_VERSION = "1.10.0"
_IGNORED = ("*.nii.gz.json", "*.overlay.png", "measurements*.csv", "results*.csv")


def is_tree(root: Path) -> bool:
    """Tell whether a folder has images of subjects as BIDS lays them out, described or not."""
    return root.is_dir() and next(_files(root), None) is not None


def recognises(root: Path) -> bool:
    """Tell whether a folder has images or segmentations of subjects as BIDS lays them out."""
    return is_tree(root)


def read_description_of(root: Path) -> dict[str, Any]:
    """Read the description that makes a folder a BIDS dataset.

    Raises:
        InputError: none, or one without a name and a version.
    """
    path = root / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"a BIDS dataset with its {DESCRIPTION}",
            f"{root} without one",
            f'add it: {{"Name": "...", "BIDSVersion": "{_VERSION}"}}',
        )
    try:
        said = parse_json(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"a {DESCRIPTION} in JSON", f"{path} ({error})", "correct it") from None
    if not isinstance(said, dict) or not all(
        isinstance(said.get(key), str) for key in ("Name", "BIDSVersion")
    ):
        raise InputError("Name and BIDSVersion in a description of BIDS", str(path), "add them")
    return said


def images_in(root: Path) -> list[Path]:
    """Return the images of a described dataset, in order: anatomy, PET and microscopy.

    Raises:
        InputError: a dataset without its description.
    """
    read_description_of(root)
    return [path for path in _files(root) if _suffix(path) not in _NO_IMAGES]


def write_description(output: Path, raw: Path | None) -> None:
    """Make a folder a dataset of derivatives, and say which of its files are none of BIDS'.

    Args:
        output: the folder; an earlier description of ours is left as it is.
        raw: the dataset that it is derived from; None if that is not to be said.

    Raises:
        OutputError: the folder is a dataset of somebody else.
    """
    path = output / DESCRIPTION
    if os.path.lexists(path):
        said: Any = None
        try:
            said = parse_json(read_text(path))
            makers = [one.get("Name") for one in said["GeneratedBy"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            makers = []
        if "promptseg" not in makers:
            raise OutputError(
                "a folder of derivatives of our own",
                f"{output}, a dataset of others",
                "name another",
            )
        return
    content: dict[str, Any] = {
        "Name": "Segmentations by promptseg",
        "BIDSVersion": _VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "promptseg", "Version": __version__}],
    }
    if raw is not None:
        content["DatasetLinks"] = {"raw": Path(os.path.relpath(raw, output)).as_posix()}
    for file, text in (
        (path, json.dumps(content, indent=2) + "\n"),
        (output / ".bidsignore", "\n".join(_IGNORED) + "\n"),
    ):
        try:
            with atomic_path(file, overwrite=False) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OutputError:
            if not file.is_file():  # else a process beside this one was quicker
                raise


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Open a dataset with its derivatives, or derivatives alone: images with their segmentations.

    Raises:
        InputError: no description, a segmentation without an image, several for one image, or tables
            that contradict each other.
    """
    said = read_description_of(root)
    images = images_in(root)
    truths = [path for path in _files(root) if is_dseg(path)]
    if not images:  # derivatives alone
        images = images_in(_raw_of(root))
    for pipeline in sorted((root / "derivatives").glob("*")):
        if pipeline.is_dir() and (found := [p for p in _files(pipeline) if is_dseg(p)]):
            read_description_of(pipeline)
            truths += found
    pairs, missing = _paired(images, truths, root, options)
    classes, own = _classes(pairs)
    modality = _DATATYPES[images[0].parent.name]
    described = Description(
        said["Name"],
        modality,
        classes,
        str(said.get("License") or ""),
        may_publish({"licence": said.get("License") or ""}),
    )
    reader = image_reader(modality_of(described, options))
    cases = []
    for name, (image, truth) in pairs.items():
        read_it = partial(_read, classes=own[truth], resample=options.resample)
        cases.append(case_of(name, image, [truth], (reader, read_it), {}, options))
    kind = kind_of(images[0])
    return dataset_of(root, "bids", kind, described, cases, options, missing=missing)


def _read(case: CaseFiles, image: Image, classes: Classes, resample: Resample) -> Segmentation:
    (truth,) = case.truth
    labels = labels_on(read_labels(truth), image, truth, resample)
    objects: list[TruthSegment] = objects_of_labels(labels, classes, truth)
    return truth_of(objects, image)


def _files(root: Path) -> Iterator[Path]:
    """Files of subjects and sessions in the folders of images, in order."""
    for subject in sorted(root.glob("sub-*")):
        if not subject.is_dir():
            continue
        for folder in (subject, *sorted(subject.glob("ses-*"))):
            for datatype in _DATATYPES:
                inside = folder / datatype
                for path in sorted(inside.iterdir()) if inside.is_dir() else ():
                    known = format_by_suffix(path)
                    if known is None or known.outlines or known.module == "video":
                        continue
                    if known.module != "dicom" and parse_name(path.name) is not None:
                        require_target(path)
                        yield path


def _suffix(path: Path) -> str:
    name = parse_name(path.name)
    return name.suffix if name else ""


def _raw_of(root: Path) -> Path:
    """The dataset that some derivatives are of: what they link to, else the one they lie in.

    Raises:
        InputError: neither is there.
    """
    link = links_of(root).get("raw", "")
    places = [*([root / link] if link and "://" not in link else []), root.parent.parent]
    for place in places:
        if (place / DESCRIPTION).is_file():
            return place
    raise InputError(
        "the images of a dataset of derivatives",
        f"{root}, which links to none and lies in none",
        'add "DatasetLinks": {"raw": "PATH"} to its description, or name the raw dataset',
    )


def _paired(
    images: list[Path], truths: list[Path], root: Path, options: DatasetOptions
) -> tuple[SomePairs, list[Missing]]:
    """Case -> image and segmentation; images without one are no cases, as most have none."""
    by_source: dict[frozenset[tuple[str, str]], list[Path]] = {}
    for path in images:
        by_source.setdefault(_source(path), []).append(path)
    pairs, missing = SomePairs(), []
    for truth in truths:
        image = _image_of(truth, by_source.get(_source(truth), []))
        if image is None:
            stem = truth.name.partition(".")[0]
            missing.append(Missing(stem, "image", f"{truth.name} has no image"))
            continue
        name = image.name.partition(".")[0]
        if name in pairs:
            raise InputError(
                "one segmentation of every image",
                f"{pairs[name][1]} and {truth}",
                "name the folder of one pipeline below derivatives",
            )
        pairs[name] = (image, truth)
    check_complete(missing, root, options)
    if not pairs:
        raise InputError(
            "a BIDS dataset with segmentations (..._dseg.nii.gz)",
            f"{root} without any",
            "put them into derivatives/NAME, with a description there",
        )
    return pairs, missing


def _source(path: Path) -> frozenset[tuple[str, str]]:
    name = parse_name(path.name)
    return frozenset(name.source.items()) if name else frozenset()


def _image_of(truth: Path, images: list[Path]) -> Path | None:
    """The image of a segmentation among those of the same subject, session and run."""
    if len(images) < 2:
        return images[0] if images else None
    named = _named_in(truth)
    for image in images:
        if any(source.endswith("/" + image.name) for source in named):
            return image
    desc = (parse_name(truth.name) or BidsName({}, "", "")).entities.get("desc", "")
    fitting = [image for image in images if desc and desc.endswith(_suffix(image))]
    if len(fitting) == 1:
        return fitting[0]
    raise InputError(
        "a segmentation that says which image it is of",
        f"{truth}: {', '.join(image.name for image in images)}",
        'add "Sources": ["bids:raw:PATH"] to its .json, or desc-SUFFIX to its name',
    )


def _named_in(truth: Path) -> list[str]:
    """What the side file of a segmentation says it is made from."""
    try:
        said = parse_json(read_text(beside(truth, ".json")))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(said, Mapping):
        return []
    found: list[str] = []
    for key in ("Sources", "SpatialReference", "RawSources"):
        value = said.get(key)
        entries = value if isinstance(value, list) else [value]
        found += ["/" + entry for entry in entries if isinstance(entry, str)]
    return found


def _classes(pairs: SomePairs) -> tuple[Classes, dict[Path, Classes]]:
    """The classes of all cases, and of each: what the nearest table says.

    Raises:
        InputError: tables that give one label two names.
    """
    names: dict[int, str] = {}
    said_by: dict[int, Path] = {}
    own: dict[Path, Classes] = {}
    for _, truth in pairs.values():
        table = next(
            (p for p in (beside(truth, ".tsv"), *inherited_tables(truth)) if p.is_file()), None
        )
        rows = read_table(table).rows if table else {}
        own[truth] = Classes({label: row.name or f"label {label}" for label, row in rows.items()})
        for label, name in own[truth].names.items():
            if names.setdefault(label, name) != name:
                raise InputError(
                    "one name for every label of a dataset",
                    f"{label} is {names[label]!r} in {said_by[label]} and {name!r} in {table}",
                    "correct the tables, or name the folder of one pipeline",
                )
            if table:
                said_by.setdefault(label, table)
    return Classes(dict(sorted(names.items()))), own
