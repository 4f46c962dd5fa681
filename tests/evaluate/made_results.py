"""Results made up for tests of the report: the same every time, with gaps where real ones have them."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = (
    *("model", "dataset", "modality", "kind", "protocol", "prompt", "case", "patient", "target"),
    *("object", "slice", "frame", "step", "setting", "dsc", "nsd", "iou", "hd95", "asd"),
    *("volume_difference", "predicted_iou", "truth_size", "found_size", "seconds", "note"),
)
TASKS = (("abdomen", "CT", "liver"), ("abdomen", "CT", "spleen"), ("polyps", "endoscopy", "polyp"))
SKILL = {"mobile-sam": 0.62, "lite-medsam": 0.78, "medsam": 0.80}


def made_rows(
    models: tuple[str, ...] = ("mobile-sam", "lite-medsam"), patients: int = 12, seed: int = 0
) -> list[dict[str, Any]]:
    """Boxes, jittered boxes and interactive points on three tasks, two slices per patient."""
    rng = np.random.default_rng(seed)
    prompts = (
        ("2d", "box", 1),
        ("2d", "jittered-box", 1),
        ("interactive-2d", "point+corrections", 4),
    )
    rows = []
    for (protocol, prompt, steps), task, patient in product(prompts, TASKS, range(patients)):
        hard = rng.normal(0, 0.06)
        for place, model, step in product(range(2), models, range(steps)):
            dsc = float(np.clip(SKILL[model] + 0.03 * step + hard + rng.normal(0, 0.04), 0, 1))
            row = dict(zip(("dataset", "modality", "target"), task, strict=True))
            row |= {"model": model, "protocol": protocol, "prompt": prompt, "step": step}
            row |= {"case": f"case{patient}", "patient": f"p{patient}", "slice": place}
            rows.append(
                {**dict.fromkeys(COLUMNS, ""), **row, "object": row["target"], **_scores(dsc, rng)}
            )
    return rows


def _scores(dsc: float, rng: np.random.Generator) -> dict[str, str]:
    iou = dsc / (2 - dsc)
    values = {"dsc": dsc, "nsd": min(1, dsc + 0.05), "iou": iou}
    values |= {
        "hd95": 20 * (1 - dsc),
        "asd": 5 * (1 - dsc),
        "volume_difference": rng.normal(0, 0.1),
    }
    values["predicted_iou"] = np.clip(iou + rng.normal(0.05, 0.05), 0, 1)
    return {name: f"{value:.6g}" for name, value in values.items()}


def write_results(
    folder: Path, rows: list[dict[str, Any]], run: dict[str, Any] | None = None
) -> Path:
    """A results folder with these rows; columns beyond the usual are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys([*COLUMNS, *rows[0]])) if rows else COLUMNS
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    if run is not None:
        (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return folder


def made_run(**changes: Any) -> dict[str, Any]:
    """A run.json as `promptseg evaluate` writes it."""
    return {
        "promptseg": "0.1",
        "created": "2026-01-02T03:04:05+00:00",
        "options": {"protocol": ["2d", "interactive-2d"]},
        "rules": {"tolerance": 2.0, "both_empty": "one", "one_empty": "zero", "background": False},
        "seed": 7,
        "max_objects": 5,
        "models": [
            {"name": n, "weights_sha256": "ab" * 32, "licence": "Apache-2.0"} for n in SKILL
        ],
        "datasets": [
            {
                "name": "abdomen",
                "layout": "nnunet",
                "modality": "CT",
                "cases": 12,
                "notes": [],
                "licence": "CC-BY-4.0",
                "may_publish_images": True,
            },
            {
                "name": "polyps",
                "layout": "pairs",
                "modality": "endoscopy",
                "cases": 12,
                "notes": ["a note"],
                "licence": "research only",
                "may_publish_images": False,
            },
        ],
        "versions": {"python": "3.11", "numpy": "2"},
        "failed": [
            {"dataset": "polyps", "case": "case99", "error": "expected an image, got nothing"}
        ],
        "warnings": ["one image occurs twice"],
        **changes,
    }
