"""Masks that any tool has made already, matched to the cases and objects of a dataset."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from promptseg.datasets import CaseFiles, Classes, Dataset, TruthSegment, target_of
from promptseg.datasets.listing import by_case, case_name, shortened
from promptseg.datasets.truth import is_nameless, objects_in, objects_of_labels
from promptseg.datasets.video import read_frame_labels
from promptseg.errors import InputError
from promptseg.formats.options import Resample
from promptseg.formats.text import composed
from promptseg.image import Image, Segment, Segmentation

__all__ = ["Found", "Predictions", "open_predictions", "shared_voxels"]

_ENDINGS = ("0000", "seg", "segmentation", "label", "mask", "pred", "prediction")


class Found(NamedTuple):
    """The objects that a tool found in one case.

    Attributes:
        objects: one for each object of the truth, in its order, with its name and label; empty where
            nothing was found.
        notes: what else there was.
    """

    objects: list[Segment]
    notes: list[str]


@dataclass(frozen=True)
class Predictions:
    """The masks of one dataset.

    Attributes:
        folder: where they lie.
        dataset: whose cases they are of.
        files: case -> mask file, or folder with one mask per frame of a clip.
        missing: cases without one, which count as empty.
        unused: files that belong to no case.
        lenient: whether objects of other names than the truth's mean that nothing was found.
        resample: whether masks that lie on other voxels are brought to the image's.
    """

    folder: Path
    dataset: Dataset
    files: dict[str, Path]
    missing: list[str]
    unused: list[Path]
    lenient: bool = False
    resample: Resample = "never"

    def of(self, case: CaseFiles, image: Image, truth: Segmentation) -> Found:
        """Return the objects found in a case.

        Objects are matched by name where the file has names, else by label. Instances, whose ids mean
        nothing, are matched one to one so that the sum of their IoU is the largest.

        Args:
            case: one of the dataset.
            image: its image, for the grid.
            truth: the objects looked for.

        Raises:
            InputError: no mask file, or labels or names that the dataset does not have.
            GeometryError: masks on another grid than the image.
        """
        path = self.files.get(case.name)
        if path is None:
            return Found([_empty(t) for t in truth.segments], ["no prediction"])
        if path.is_dir():
            segments = _in_frames(path, case, image, self.dataset.classes)
        else:
            colours = self.dataset.classes.colours
            segments = objects_in(path, image, self.resample, colours)
        classes = self.dataset.classes
        if any(isinstance(t, TruthSegment) and t.instance for t in truth.segments):
            return _by_overlap(truth.segments, segments, classes, path)
        if segments and not all(map(is_nameless, segments)):
            return self._by_name(truth.segments, segments, path)
        return _by_label(truth.segments, segments, classes, path)

    def _by_name(self, truth: Sequence[Segment], found: Sequence[Segment], where: Path) -> Found:
        by_name: dict[str, list[Segment]] = defaultdict(list)
        for segment in found:
            by_name[_plain(segment.name)].append(segment)
        targets = Counter(target_of(t) for t in truth)
        names = [_plain(t.name if targets[target_of(t)] > 1 else target_of(t)) for t in truth]
        known = {_plain(name) for name in self.dataset.targets.values()} | set(names)
        lost = [t.name for t, name in zip(truth, names, strict=True) if name not in by_name]
        strange = [s.name for s in found if _plain(s.name) not in known]
        if lost and strange and not self.lenient:
            raise InputError(
                f"masks called {shortened(lost)}",
                f"{where} with {shortened(strange)}",
                "rename them as the dataset does, or count what is lost as empty with --missing empty",
            )
        objects = [_union(t, by_name.get(name, [])) for t, name in zip(truth, names, strict=True)]
        return Found(objects, _surplus([s.name for s in found if _plain(s.name) not in names]))


def open_predictions(
    folder: str | Path,
    datasets: Sequence[Dataset],
    missing: Literal["refuse", "empty"] = "refuse",
    resample: Resample = "never",
) -> dict[str, Predictions]:
    """Find the masks of cases in a folder, by name; of several datasets, in a folder for each.

    A name may be that of the case or of its image file, and may end in _0000, _seg, _label, _mask or
    _pred.

    Args:
        folder: with masks in any format, DICOM SEG and RTSTRUCT among them.
        datasets: whose cases they are of.
        missing: "refuse" cases without a mask, and files whose names are not the truth's, or count
            what is missing as "empty" masks.
        resample: as `Predictions.resample`.

    Returns:
        Name of the dataset -> its masks.

    Raises:
        InputError: no such folder, or cases without masks, by name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("a folder of masks", f"{folder}: no such folder")
    found, lost = {}, []
    for dataset in datasets:
        own = folder / dataset.name
        if not own.is_dir():
            if len(datasets) > 1:
                raise InputError(
                    "a folder of masks for each dataset",
                    f"{folder} without {dataset.name}/",
                    "make one, or choose datasets with --dataset",
                )
            own = folder
        predictions = _of_dataset(own, dataset, missing == "empty", resample)
        lost += predictions.missing
        found[dataset.name] = predictions
    if lost and missing == "refuse":
        raise InputError(
            "a mask for every case",
            f"{folder} without {shortened(lost)}",
            "add them, or count them as empty with --missing empty",
        )
    return found


def _of_dataset(folder: Path, dataset: Dataset, lenient: bool, resample: Resample) -> Predictions:
    masks = by_case(folder)
    clips = (
        {composed(p.name): p for p in folder.iterdir() if p.is_dir()}
        if dataset.kind == "video"
        else {}
    )
    files, missing = {}, []
    for case in dataset.cases:
        stems = dict.fromkeys([case.name, case_name(case.image)])
        names = [*stems, *(f"{stem}_{ending}" for stem in stems for ending in _ENDINGS)]
        there = [paths[name] for name in names for paths in (clips, masks) if name in paths]
        if there:
            files[case.name] = there[0]
        else:
            missing.append(case.name)
    unused = [path for path in masks.values() if path not in files.values()]
    return Predictions(
        folder,
        dataset,
        files=files,
        missing=missing,
        unused=unused,
        lenient=lenient,
        resample=resample,
    )


def _in_frames(folder: Path, case: CaseFiles, image: Image, classes: Classes) -> list[Segment]:
    """The objects of a folder with one label image per frame."""
    masks, frames = by_case(folder), list(by_case(case.image))
    needed = [frames[k] for k in case.annotated or range(len(frames))]
    if lost := [name for name in needed if name not in masks]:
        raise InputError(
            "a mask for every frame of the truth", f"{folder} without {shortened(lost)}"
        )
    places = {frames.index(name): path for name, path in masks.items() if name in frames}
    return list(objects_of_labels(read_frame_labels(places, image, classes), Classes(), folder))


def _by_label(
    truth: Iterable[Segment], found: Sequence[Segment], classes: Classes, where: Path
) -> Found:
    labels = {segment.label: segment for segment in found}
    if classes.names and (strange := sorted(set(labels) - classes.values)):
        raise InputError(
            f"labels of the dataset, {', '.join(map(str, sorted(classes.values)))}",
            f"{where} with {shortened([str(v) for v in strange])}",
            "number them as the dataset does, or write their names",
        )
    values = {t.label: classes.regions.get(t.label, (t.label,)) for t in truth}
    objects = [_union(t, [labels[v] for v in values[t.label] if v in labels]) for t in truth]
    asked = {v for each in values.values() for v in each}
    return Found(objects, _surplus([f"label {v}" for v in labels if v not in asked]))


def _by_overlap(
    truth: Sequence[Segment], found: Sequence[Segment], classes: Classes, where: Path
) -> Found:
    """Instances one to one, of the same class where the file tells classes."""
    shared = shared_voxels(truth, found)
    true_sizes = np.array([t.crop.sum() for t in truth], dtype=np.float64)
    found_sizes = np.array([f.crop.sum() for f in found], dtype=np.float64)
    ids_of_classes = {f.label for f in found} <= set(classes.names) and len(found) < len(truth)
    if found and all(map(is_nameless, found)) and ids_of_classes:
        covered = (shared > true_sizes[:, None] / 2).sum(axis=0)
        if covered.max() > 1:
            raise InputError(
                "a label for every object, as the truth has",
                f"{where} with a label for every class",
                "write instance ids",
            )
    iou = shared / np.maximum(true_sizes[:, None] + found_sizes[None] - shared, 1)
    targets = {_plain(name) for name in classes.names.values()}
    for j, segment in enumerate(found):
        if (said := _class_in(segment.name)) in targets:
            iou[[_plain(target_of(t)) != said for t in truth], j] = 0
    rows, columns = linear_sum_assignment(iou, maximize=True)
    partner = {i: j for i, j in zip(rows, columns, strict=True) if iou[i, j] > 0}
    objects = [_union(t, [found[partner[i]]] if i in partner else []) for i, t in enumerate(truth)]
    matched = set(partner.values())
    return Found(objects, _surplus([f.name for j, f in enumerate(found) if j not in matched]))


def shared_voxels(first: Sequence[Segment], second: Sequence[Segment]) -> NDArray[np.float64]:
    """Count the voxels that every pair of objects shares, (first, second)."""
    shared = np.zeros((len(first), len(second)))
    if not shared.size:
        return shared
    low, high = (
        [np.array([[getattr(r, end) for r in s.region] for s in each]) for each in (first, second)]
        for end in ("start", "stop")
    )
    starts = np.maximum(low[0][:, None], low[1][None])
    stops = np.minimum(high[0][:, None], high[1][None])
    for i, j in np.argwhere((starts < stops).all(axis=-1)):
        inside = []
        for segment in (first[i], second[j]):
            offset = np.array([r.start for r in segment.region])
            begin, end = starts[i, j] - offset, stops[i, j] - offset
            inside.append(segment.crop[tuple(map(slice, begin, end))])
        shared[i, j] = np.count_nonzero(inside[0] & inside[1])
    return shared


def _union(truth: Segment, parts: list[Segment]) -> Segment:
    """The parts as one object with the name and label of the true one."""
    if not parts:
        return _empty(truth)
    if len(parts) == 1:
        return replace(parts[0], name=truth.name, label=truth.label)
    sides = list(zip(*(part.region for part in parts), strict=True))
    low = [min(r.start for r in side) for side in sides]
    high = [max(r.stop for r in side) for side in sides]
    crop = np.zeros([b - a for a, b in zip(low, high, strict=True)], dtype=bool)
    for part in parts:
        place = (slice(r.start - a, r.stop - a) for r, a in zip(part.region, low, strict=True))
        crop[tuple(place)] |= part.crop
    return Segment(truth.name, truth.label, crop, tuple(map(slice, low, high)))


def _empty(truth: Segment) -> Segment:
    dimensions = truth.crop.ndim
    crop = np.zeros((0,) * dimensions, dtype=bool)
    return Segment(truth.name, truth.label, crop, (slice(0, 0),) * dimensions)


def _plain(name: str) -> str:
    """A name without case, punctuation and order of words: Lung-Left is left lung."""
    return " ".join(sorted(re.findall(r"[^\W_]+", composed(name).casefold())))


def _class_in(name: str) -> str:
    """The class in the name of an instance: nucleus 17 -> nucleus."""
    return _plain(re.sub(r"\d+$", "", name))


def _surplus(names: list[str]) -> list[str]:
    return [f"found, but not looked for: {shortened(names)}"] if names else []
