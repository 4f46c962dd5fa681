"""The table of evidence, from the rows of evaluations, and whether going by it pays."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from promptseg.errors import InputError
from promptseg.formats.text import csv_table, read_text
from promptseg.models.cards import CARDS
from promptseg.models.evidence import ANY, Evidence, look_up
from promptseg.names import from_csv
from promptseg.parsing import parse_json

__all__ = [
    "CrossCheck",
    "Results",
    "Score",
    "cross_check",
    "evidence_of",
    "matched",
    "read_results",
]

_PROTOCOLS = {"2d": "2d", "3d": "3d", "interactive-2d": "2d", "interactive-3d": "3d"}
_UNIT = ("case", "target", "object", "slice", "frame")


class Score(NamedTuple):
    """DSC of one model on one object.

    Attributes:
        model: its name.
        dataset, modality: of the image.
        prompt, protocol: as in `promptseg.models.evidence.Evidence`.
        case: of the dataset.
        unit: what tells the object, and the slice, from the others of its case.
        dsc: from 0 to 1.
    """

    model: str
    dataset: str
    modality: str
    prompt: str
    protocol: str
    case: str
    unit: str
    dsc: float


class Results(NamedTuple):
    """The scores of one evaluation.

    Attributes:
        scores: of its objects.
        weights: SHA-256 of the weights of each model.
        date: when it was made, ISO.
    """

    scores: list[Score]
    weights: dict[str, str]
    date: str


@dataclass(frozen=True)
class CrossCheck:
    """Each dataset scored with the model that the other datasets recommend.

    Attributes:
        prompt, protocol: of the scores.
        chosen: by dataset, the model that was chosen without it.
        auto: mean of the datasets' mean DSC with the chosen models.
        single: by model, the same with this model throughout.
        oracle: the same with the model that is best on the dataset itself.
    """

    prompt: str
    protocol: str
    chosen: dict[str, str]
    auto: float
    single: dict[str, float]
    oracle: float

    @property
    def pays(self) -> bool:
        """Tell whether choosing the model by the table did better than every single model."""
        return self.auto > max(self.single.values())


def read_results(folder: Path) -> Results:
    """Read the scores of an evaluation: one for each object, kind of prompt and model.

    Of the interactive protocols, the answer to the first prompt and the one after the last correction
    are taken. Rows of a grid search, of videos and of predictions that other tools made are left out,
    and so are objects without a DSC and images that a model was trained on.

    Args:
        folder: what `promptseg evaluate` wrote.

    Raises:
        InputError: `rows.csv` or `run.json` is missing or of another form.
    """
    try:
        run = parse_json(read_text(folder / "run.json"))
        weights = {str(m["name"]): str(m["weights_sha256"]) for m in run["models"]}
        lines = (
            {k: from_csv(v or "") for k, v in r.items()} for r in csv_table(folder / "rows.csv")
        )
        rows = [
            row
            for row in lines
            if row["protocol"] in _PROTOCOLS
            and row["model"] in weights
            and not row["setting"]
            and not row.get("trained_on")
        ]
        return Results(list(_scores(rows)), weights, str(run["created"])[:10])
    except OSError as error:
        reason = str(error.strerror)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"
    raise InputError("the results of promptseg evaluate", f"{folder} ({reason})")


def _scores(rows: Sequence[Mapping[str, str]]) -> Iterator[Score]:
    """First prompts and last corrections, where they have a DSC."""
    last: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        task = row["protocol"], row["prompt"]
        last[task] = max(last[task], int(row["step"] or 0))
    for row in rows:
        step, final = int(row["step"] or 0), last[row["protocol"], row["prompt"]]
        dsc = float(row["dsc"] or "nan")
        if step not in (0, final) or not math.isfinite(dsc):
            continue
        yield Score(
            row["model"],
            row["dataset"],
            modality=row["modality"],
            prompt=row["prompt"] if step == final else row["prompt"].partition("+")[0],
            protocol=_PROTOCOLS[row["protocol"]],
            case=row["case"],
            unit="/".join(row[key] for key in _UNIT),
            dsc=dsc,
        )


def matched(scores: Iterable[Score]) -> list[Score]:
    """Keep the scores of the objects that all models of a prompt and protocol have, each once."""
    found: dict[tuple[str, str], dict[str, dict[tuple[str, str], Score]]]
    found = defaultdict(lambda: defaultdict(dict))
    for s in scores:
        found[s.protocol, s.prompt][s.model].setdefault((s.dataset, s.unit), s)
    kept: list[Score] = []
    for models in found.values():
        common = set.intersection(*(set(of_model) for of_model in models.values()))
        kept += [s for of_model in models.values() for key, s in of_model.items() if key in common]
    return kept


def evidence_of(
    scores: Iterable[Score], weights: Mapping[str, str] = {}, source: str = "", date: str = ""
) -> list[Evidence]:
    """Build the table of matched scores: every modality, and all of them pooled.

    Args:
        scores: of objects that all models of a prompt and protocol have; see `matched`.
        weights: SHA-256 of the weights of each model.
        source: the file they are from.
        date: of that file, ISO.
    """
    groups: dict[tuple[str, str, str, str], list[Score]] = defaultdict(list)
    for s in scores:
        groups[s.protocol, s.prompt, s.modality, s.model].append(s)
        groups[s.protocol, s.prompt, ANY, s.model].append(s)
    rows = []
    for (protocol, prompt, modality, model), group in sorted(groups.items()):
        q1, median, q3 = (float(q) for q in np.quantile([s.dsc for s in group], (0.25, 0.5, 0.75)))
        rows.append(
            Evidence(
                model,
                weights.get(model, ""),
                modality,
                prompt,
                protocol,
                datasets=len({s.dataset for s in group}),
                cases=len({(s.dataset, s.case) for s in group}),
                objects=len(group),
                mean_dsc=fmean(_by_dataset(group).values()),
                q1=q1,
                median=median,
                q3=q3,
                source=source,
                date=date,
            )
        )
    return rows


def cross_check(scores: Sequence[Score], prompt: str, protocol: str) -> CrossCheck:
    """Leave each dataset out, choose by the others, score on the one left out.

    Args:
        scores: matched scores.
        prompt, protocol: which of them.

    Raises:
        InputError: fewer than two models or datasets.
    """
    of_task = [s for s in scores if (s.prompt, s.protocol) == (prompt, protocol)]
    models = [name for name in CARDS if any(s.model == name for s in of_task)]
    models += sorted({s.model for s in of_task} - set(models))
    datasets = {s.dataset: s.modality for s in of_task}
    if len(models) < 2 or len(datasets) < 2:
        raise InputError(
            f"two models and two datasets with {prompt} prompts, {protocol}",
            f"{len(models)} and {len(datasets)}",
        )
    means = {model: _by_dataset([s for s in of_task if s.model == model]) for model in models}
    chosen = {}
    for dataset, modality in datasets.items():
        others = evidence_of(s for s in of_task if s.dataset != dataset)
        chosen[dataset] = look_up(others, models, modality, [prompt], protocol)[0].model
    return CrossCheck(
        prompt,
        protocol,
        chosen,
        auto=fmean(means[model][dataset] for dataset, model in chosen.items()),
        single={model: fmean(of_model.values()) for model, of_model in means.items()},
        oracle=fmean(max(means[m][dataset] for m in models) for dataset in datasets),
    )


def _by_dataset(scores: Iterable[Score]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for s in scores:
        values[s.dataset].append(s.dsc)
    return {dataset: fmean(of_dataset) for dataset, of_dataset in values.items()}
