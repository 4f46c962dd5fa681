"""The tasks of an evaluation: one case under one model and protocol, and who scores it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from promptseg.datasets import CaseFiles, Dataset, limit_objects
from promptseg.datasets.inputs import facts_of_case, facts_of_files, facts_of_paths
from promptseg.datasets.leaks import Trained
from promptseg.datasets.manifest import read_manifest
from promptseg.evaluate.options import EvaluateOptions, Protocol
from promptseg.evaluate.pictures import draw
from promptseg.evaluate.predictions import Predictions
from promptseg.evaluate.protocols import (
    GroundTruthCase,
    Scene,
    Scored,
    as_sam2_paper,
    given,
    merged_classes,
    planar,
    propagate_through,
    whole,
)
from promptseg.evaluate.report.failures import picture_name
from promptseg.evaluate.rows import Row, read_rows, write_rows
from promptseg.evaluate.settings import Setting
from promptseg.formats.archive import open_archive
from promptseg.formats.files import atomic_path
from promptseg.formats.options import ReadOptions
from promptseg.formats.own_folder import claim, remove
from promptseg.formats.systems import is_device
from promptseg.image import Image, Segment, Segmentation
from promptseg.inference.predictor import Predictor
from promptseg.intensity import choose_intensity
from promptseg.models.cards import TrainedOn
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.noted import refuse
from promptseg.parsing import parse_json
from promptseg.segment.classes.segmenter import ClassSegmenter, load_classes
from promptseg.work import Task, as_json, request_hash
from promptseg.work.footprint import scoring_bytes

__all__ = ["EvaluationTask", "Evaluator", "Part", "model_folder", "model_label"]

Noted = tuple[str, str, str]
"""Dataset, case, and what was noted of its files."""

_SEARCH = "interactive-3d-search"
_PLANAR = ("2d", "interactive-2d")
_OBJECTS = 4  # that a volume has as a rule, each with slices of its own


@dataclass(frozen=True)
class EvaluationTask(Task["Evaluator", dict[str, Any]]):
    """One case under one model and protocol.

    Attributes:
        options: how.
        parts: folder of the results of all tasks.
        model: as the user named it; empty where masks are scored that are there already.
        label: as the rows name it.
        protocol: what is done.
        dataset, case: to what.
        settings: of propagation; none for those of the options.
        search: whether it belongs to the search of interactive-3d.
        masks: file or folder of masks that are there already.
        weights_sha256: of the model.
        start_sha256: of the model whose mask it starts from; empty where there is none.
        trained_on: where the images are listed that it has seen.
    """

    options: EvaluateOptions
    parts: Path
    model: str
    label: str
    protocol: Protocol | Literal["predictions"]
    dataset: Dataset
    case: CaseFiles
    settings: tuple[Setting, ...] = ()
    search: bool = False
    masks: Path | None = None
    weights_sha256: str = ""
    start_sha256: str = ""
    trained_on: tuple[TrainedOn, ...] = ()

    @property
    def applies(self) -> bool:
        """Tell whether the protocol evaluates images of this kind."""
        if self.protocol in (*_PLANAR, "classes", "predictions"):
            return True
        return self.dataset.kind == ("video" if self.protocol == "video" else "volume")

    @property
    def title(self) -> str:
        """Return model, dataset and case."""
        return f"{self.label} {self.dataset.name} {self.case.name}"

    @property
    def part(self) -> Part:
        """Return the folder of its results."""
        way = _SEARCH if self.search else self.protocol
        names = (way, self.dataset.name, self.case.name)
        return Part(model_folder(self.parts, self.label).joinpath(*map(_file_name, names)))

    def request(self) -> dict[str, Any]:
        """Return all that its rows depend on: options, weights, settings, files, what these mean."""
        masks = facts_of_paths([self.masks] if self.masks else [])
        files = {**facts_of_files([self.case]), **masks}
        about = self.dataset
        described = (facts_of_case(self.case), about.modality, about.kind, repr(about.classes))
        listed = {"trained_on": [t.sha256 for t in self.trained_on]} if self.trained_on else {}
        return {
            **listed,
            "options": self.options.to_json(),
            "weights_sha256": self.weights_sha256,
            **({"start_sha256": self.start_sha256} if self.start_sha256 else {}),
            "described": request_hash({"case": described}),
            "settings": [[s.prompt, dict(s.changes)] for s in self.settings],
            "files": list(files.values()),
        }

    def is_done(self) -> bool:
        """Tell whether its results are complete, and of the very same request."""
        return self.part.is_done(self.request())

    def memory(self) -> int:
        """Estimate the memory that the task takes; see `Task`."""
        labels = [*self.case.truth, *([self.masks] if self.masks else [])]
        encoded = None if self.model else 0
        if self.model and self.protocol in _PLANAR and self.options.max_slices:
            encoded = _OBJECTS * self.options.max_slices
        return scoring_bytes(self.case.image, labels, ReadOptions(), encoded)

    def do(self, context: Evaluator) -> dict[str, Any]:
        """Score the case and keep the results; returns the number of rows, and seconds."""
        begun = time.monotonic()
        rows = context.do(self)
        return {"rows": rows, "seconds": time.monotonic() - begun}


@dataclass(frozen=True)
class Part:
    """A folder with the results of a task: rows.csv, pictures of the worst answers, an embedding.

    Attributes:
        folder: where they are.
    """

    folder: Path

    def names(self, root: Path) -> list[str]:
        """Return the names of the files that it may come to have, as seen from a folder above."""
        place = self.folder.relative_to(root).as_posix()
        return [f"{place}/{name}" for name in ("rows.csv", "part.json", "embedding.npz", "*.png")]

    def is_done(self, request: dict[str, Any]) -> bool:
        """Tell whether the results are complete, and of the very same request."""
        return bool(self._read().get("request") == as_json(request))

    def rows(self) -> list[Row]:
        """Read the rows."""
        return read_rows(self.folder / "rows.csv")

    def pictures(self) -> list[dict[str, Any]]:
        """Return the pictures: `file` and what identifies their row."""
        return [
            {**entry, "file": self.folder / entry["file"]}
            for entry in self._read().get("pictures", [])
        ]

    def embedding(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Read what `Scene.embedding` gave; None if there is none."""
        path = self.folder / "embedding.npz"
        if not path.exists():
            return None
        with open_archive(path, "embedding of an evaluation") as archive:
            components = archive.take("components") if "components" in archive else None
            return archive.take("mean"), components

    def write(
        self,
        rows: list[Row],
        request: dict[str, Any],
        pictures: list[dict[str, Any]],
        embedding: tuple[np.ndarray, np.ndarray | None] | None,
        notes: Sequence[Noted] = (),
    ) -> None:
        """Write the results into the folder; `part.json`, which makes them count, comes last."""
        names = ["rows.csv", "part.json", *(["embedding.npz"] if embedding is not None else [])]
        claim(*(self.folder / name for name in names))
        if embedding is not None:
            with atomic_path(self.folder / "embedding.npz") as temporary:
                shown: dict[str, Any] = {} if embedding[1] is None else {"components": embedding[1]}
                np.savez_compressed(temporary, mean=embedding[0], **shown)
        write_rows(rows, self.folder / "rows.csv")
        with atomic_path(self.folder / "part.json") as temporary:
            facts = {"request": as_json(request), "pictures": pictures, "notes": notes}
            temporary.write_text(json.dumps(facts), encoding="utf-8")

    def notes(self) -> list[Noted]:
        """Return what was noted of the task's files: dataset, case, text."""
        listed = self._read().get("notes", ())
        return [(str(d), str(c), str(text)) for d, c, text in listed]

    def clear(self) -> None:
        """Remove what an earlier run left."""
        if os.path.lexists(self.folder):
            remove(self.folder)

    def _read(self) -> dict[str, Any]:
        try:
            facts = parse_json((self.folder / "part.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}


class Evaluator:
    """The models and masks under test, which score tasks one after the other; each process has its own.

    Args:
        options: how.
        device: for the models.
        models: loaded ones by the names users give them; others are loaded when they are needed.
        predictions: masks that are there already, by dataset.
        strict: whether a case of which there is anything to note is refused.
    """

    def __init__(
        self,
        options: EvaluateOptions,
        device: str = "auto",
        models: Mapping[str, Predictor | ClassSegmenter] | None = None,
        predictions: dict[str, Predictions] | None = None,
        strict: bool = False,
    ) -> None:
        self.options, self.device, self.strict = options, device, strict
        self.predictions = predictions or {}
        self.models = dict(models or {})
        self._seen: dict[TrainedOn, Trained] = {}

    def model(self, name: str) -> Predictor:
        """Return the promptable model of this name, loaded once."""
        model = self._loaded(name)
        assert isinstance(model, Predictor)
        return model

    def of_classes(self, name: str) -> ClassSegmenter:
        """Return the model of this name that segments its classes without a prompt, loaded once."""
        model = self._loaded(name)
        assert isinstance(model, ClassSegmenter)
        return model

    def _loaded(self, name: str) -> Predictor | ClassSegmenter:
        if name not in self.models:
            self.models[name] = (
                load_classes(name, device=self.device)
                if is_semantic(name)
                else Predictor.load(name, self.device, engine=self.options.engine)
            )
        return self.models[name]

    def has_seen(self, task: EvaluationTask, image: Image) -> str:
        """Tell why the task's model counts as trained on the image; empty if it does not."""
        for listed in task.trained_on:
            if listed not in self._seen:
                self._seen[listed] = Trained(read_manifest(listed.file))
            if reason := self._seen[listed].has_seen(image):
                return reason
        return ""

    def do(self, task: EvaluationTask) -> int:
        """Score one task and keep its results; returns the number of its rows.

        Raises:
            PromptsegError: the case cannot be read, or its image and labels do not fit.
        """
        request, part = task.request(), task.part
        part.clear()
        image, truth = task.case.load()
        noted = list(dict.fromkeys(image.source.notes))
        if self.strict:
            refuse(noted, task.case.name)
        planar = task.protocol in _PLANAR  # there the limit is one of slices
        objects = (truth if planar else limit_objects(truth, self.options.max_objects)).segments
        facts = (task.label, task.dataset, task.case, image, objects, self.options)
        scene: GroundTruthCase
        if task.protocol == "classes":
            model = self.of_classes(task.model)
            scene = GroundTruthCase(*facts)
            scene.objects = merged_classes(truth, model.model.classes, task.case.name)
            answers = whole(scene, model)
            window, keep = self.options.window, model.model.card.sam.keep_8bit
            intensity = choose_intensity(image, None, window, keep)
        elif task.protocol != "predictions":
            starter = self.options.start_model
            scene = Scene(*facts, self.model(task.model), self.model(starter) if starter else None)
            answers = self._answers(scene, task.protocol, task)
            intensity = scene.stack.intensity
        else:
            scene, intensity = GroundTruthCase(*facts), choose_intensity(image)
            found = self.predictions[task.dataset.name].of(task.case, image, truth)
            noted = list(dict.fromkeys([*noted, *found.notes]))
            if self.strict:
                refuse(noted, task.case.name)
            answers = given(scene, [found.objects[k] for k in _places(objects, truth)], found.notes)
        seen = self.has_seen(task, image)
        rows: list[Row] = []
        worst: dict[tuple[str, ...], Scored] = {}
        for answer in answers:
            scored = answer._replace(row=answer.row._replace(trained_on=seen))
            rows.append(scored.row)
            _keep_worst(worst, scored)
        embedding = scene.embedding() if rows and isinstance(scene, Scene) else None
        pictures = []
        for scored in worst.values():
            name = picture_name(scored.row)
            claim(part.folder / name)
            with atomic_path(part.folder / name) as temporary:
                draw(image, scored.view(), intensity).save(temporary)
            pictures.append({"file": name, **_identity(scored.row)})
        part.write(
            rows,
            request,
            pictures,
            embedding,
            [(task.dataset.name, task.case.name, note) for note in noted],
        )
        return len(rows)

    def _answers(self, scene: Scene, protocol: Protocol, task: EvaluationTask) -> Iterator[Scored]:
        if protocol == "2d" or protocol == "interactive-2d":
            return planar(scene, protocol)
        if protocol == "sam2-paper":
            return as_sam2_paper(scene)
        label = _SEARCH if task.search else ""
        return propagate_through(scene, protocol, task.settings or (Setting(),), label)


def _places(objects: list[Segment], truth: Segmentation) -> list[int]:
    """Where `objects` stand among those of the truth."""
    kept = {id(segment) for segment in objects}
    return [k for k, segment in enumerate(truth.segments) if id(segment) in kept]


def model_folder(parts: Path, label: str) -> Path:
    """Return the folder of all parts of a model, or of predictions, by what the rows call it."""
    return parts / _file_name(label)


def model_label(name: str, predictor: Predictor | ClassSegmenter) -> str:
    """Return what the rows call a model: its name, with that of its file where the user gave one."""
    if isinstance(predictor, ClassSegmenter):
        return predictor.model.card.name
    card = predictor.card.name
    return card if name == card else f"{card} ({predictor.weights.stem})"


def _keep_worst(worst: dict[tuple[str, ...], Scored], scored: Scored) -> None:
    """Keep the answer with the lowest DSC for each prompt and target; of equal ones the first.

    Corrections: the last step counts, as it is what the user is left with.
    """
    row = scored.row
    key = (row.prompt, row.setting, row.target)
    kept = worst.get(key)
    if (
        kept is None
        or row.step > kept.row.step
        or (row.step == kept.row.step and row.dsc < kept.row.dsc)
    ):
        worst[key] = scored


def _identity(row: Row) -> dict[str, Any]:
    names = ("model", "dataset", "protocol", "prompt", "case", "target", "object", "slice", "frame")
    return {name: getattr(row, name) for name in (*names, "step", "setting", "dsc")}


def _file_name(name: str) -> str:
    """A name as one component of a path, different for different names."""
    import hashlib

    safe = "".join(c if c.isalnum() or c in "-_+." else "_" for c in name).strip(".") or "_"
    safe = f"_{safe}" if is_device(safe) else safe
    if safe == name and len(safe) <= 100:
        return safe
    return f"{safe[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
