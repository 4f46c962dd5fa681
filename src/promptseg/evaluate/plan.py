"""The plan of an evaluation: the tasks that it is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from promptseg.datasets import CaseFiles, Dataset
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateOptions, Protocol
from promptseg.evaluate.predictions import Predictions
from promptseg.evaluate.settings import Setting, default_settings, setting_of
from promptseg.evaluate.tasks import EvaluationTask
from promptseg.models.cards import ModelCard, TrainedOn
from promptseg.models.heads.semantic.card import SemanticCard

__all__ = ["ModelUnderTest", "Plan"]


@dataclass(frozen=True)
class ModelUnderTest:
    """A model that an evaluation scores, under the name that its rows bear.

    Attributes:
        name: as the user named it.
        label: as the rows name it.
        card: what it is.
        weights_sha256: of its file.
        start_sha256: of the file of the model whose mask it starts from; empty where there is none.
        trained_on: where the images are listed that it, and the model that starts it, have seen.
    """

    name: str
    label: str
    card: ModelCard | SemanticCard
    weights_sha256: str
    start_sha256: str = ""
    trained_on: tuple[TrainedOn, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The plan of an evaluation: which models on which datasets, and how.

    Attributes:
        options: how.
        parts: folder of the results of all tasks.
        datasets: to what.
        models: by what.
        predictions: masks that are there already, by dataset; then there are no models.
        predictions_label: what the rows call them.
    """

    options: EvaluateOptions
    parts: Path
    datasets: list[Dataset]
    models: list[ModelUnderTest]
    predictions: dict[str, Predictions]
    predictions_label: str = ""

    @property
    def labels(self) -> list[str]:
        """Return what the rows call the models, or the predictions."""
        return [model.label for model in self.models] or [self.predictions_label]

    def tasks(self) -> Iterator[EvaluationTask]:
        """Yield all tasks except those that wait for the search of interactive-3d."""
        for dataset in self.datasets:
            searched, about = self._validation(dataset), _without_cases(dataset)
            for case in dataset.cases:
                if self.predictions:
                    masks = self.predictions[dataset.name].files.get(case.name)
                    label = self.predictions_label
                    yield EvaluationTask(
                        self.options,
                        self.parts,
                        model="",
                        label=label,
                        protocol="predictions",
                        dataset=about,
                        case=case,
                        masks=masks,
                    )
                    continue
                for protocol in self.options.protocol:
                    for model in self.models:
                        if protocol != "interactive-3d":
                            yield from self._task(model, protocol, about, case)
                        elif case.name in searched:
                            yield from self._search(model, about, case)

    def searched_tasks(self, chosen: dict[str, str]) -> Iterator[EvaluationTask]:
        """Yield the tasks of interactive-3d, with the settings that the search found best.

        Best is the mean over datasets of the mean DSC over objects, for each model and prompt.

        Args:
            chosen: "model, prompt" -> the setting is added.

        Raises:
            InputError: nothing could be searched.
        """
        for model in self.models:
            settings = self._best(model)
            if not settings:
                raise InputError(
                    "volumes of at least two patients for the search of interactive-3d",
                    "none that could be searched",
                    "use --protocol 3d, or give more cases",
                )
            chosen |= {f"{model.label}, {s.prompt}": s.name for s in settings}
            for dataset in self.datasets:
                searched, about = self._validation(dataset), _without_cases(dataset)
                for case in (c for c in dataset.cases if c.name not in searched):
                    yield from self._task(model, "interactive-3d", about, case, settings)

    def _search(
        self, model: ModelUnderTest, dataset: Dataset, case: CaseFiles
    ) -> Iterator[EvaluationTask]:
        assert isinstance(model.card, ModelCard)
        grid = tuple(map(setting_of, self.options.grid)) or tuple(default_settings(model.card))
        return self._task(model, "interactive-3d", dataset, case, grid, search=True)

    def _best(self, model: ModelUnderTest) -> tuple[Setting, ...]:
        """The best setting for each prompt."""
        scores: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for dataset in self.datasets:
            searched = self._validation(dataset)
            for case in (c for c in dataset.cases if c.name in searched):
                for task in self._search(model, dataset, case):
                    for row in task.part.rows() if task.is_done() else ():
                        scores[row.prompt][row.setting][row.dataset].append(row.dsc)
        best = []
        for prompt, found in scores.items():
            means = {name: fmean(map(fmean, by.values())) for name, by in found.items()}
            name = max(means, key=lambda setting: means[setting])
            best.append(setting_of(name)._replace(prompt=prompt))
        return tuple(best)

    def _validation(self, dataset: Dataset) -> set[str]:
        """Names of the cases that are for the search alone: of the first patients, at most half."""
        patients = sorted({case.patient for case in dataset.cases})
        kept = set(patients[: min(self.options.validation, len(patients) // 2)])
        return {case.name for case in dataset.cases if case.patient in kept}

    def _task(
        self,
        model: ModelUnderTest,
        protocol: Protocol,
        dataset: Dataset,
        case: CaseFiles,
        settings: tuple[Setting, ...] = (),
        search: bool = False,
    ) -> Iterator[EvaluationTask]:
        """The task, if the protocol is for such images."""
        task = EvaluationTask(
            self.options,
            self.parts,
            model=model.name,
            label=model.label,
            protocol=protocol,
            dataset=dataset,
            case=case,
            settings=settings,
            search=search,
            weights_sha256=model.weights_sha256,
            start_sha256=model.start_sha256,
            trained_on=model.trained_on,
        )
        if task.applies:
            yield task


def _without_cases(dataset: Dataset) -> Dataset:
    """What a task has to know of its dataset: with all cases, each would carry them along."""
    return replace(dataset, cases=[], missing=[])
