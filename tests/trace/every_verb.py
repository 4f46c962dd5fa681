"""Every verb and every engine, with the tiny model and synthetic images: to be run under the trace.

usage: python every_verb.py FOLDER; prints one JSON object, call -> exit code.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image as PilImage

from promptseg.assets import store
from promptseg.cli.main import VERBS, main
from promptseg.models.cards import CARDS
from promptseg.models.families.sam import build as builders
from promptseg.runtime.engines import ENGINES
from train.tiny import TINY, build_tiny, made_data


def prepare(folder: Path) -> None:
    """Weights, pictures with masks, and a collection."""
    torch.set_num_threads(1)
    CARDS["lite-medsam"] = replace(TINY, name="lite-medsam", weights="lite-medsam")
    builders.build_tiny = build_tiny  # type: ignore[attr-defined]
    torch.save(build_tiny().state_dict(), folder / "lite_medsam.pth")
    os.environ["PROMPTSEG_WEIGHTS"] = str(folder)
    file = folder / "lite_medsam.pth"
    known = store.manifest()
    facts = {"size": file.stat().st_size, "sha256": store.sha256_of(file)}
    known["lite-medsam"] = replace(known["lite-medsam"], **facts)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        values = rng.integers(0, 60, (48, 48)).astype(np.uint8)
        labels = np.zeros((48, 48), np.uint8)
        labels[10:34, 8:30] = 1
        values[labels > 0] += 150
        for kind, pixels in (("images", values), ("masks", labels)):
            path = folder / "us" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PilImage.fromarray(pixels).save(path)
    (folder / "cases.csv").write_text("image\nus/images/a.png\n")
    about = {"name": "us", "modality": "ultrasound", "licence": "CC0", "targets": {"1": "block"}}
    (folder / "us" / "dataset.json").write_text(json.dumps(about))
    made_data(folder / "collection")


def calls(folder: Path) -> dict[str, list[str]]:
    """Command lines by what they try."""
    out, model = folder / "out", f"lite-medsam={folder / 'lite_medsam.pth'}"
    picture = str(folder / "us" / "images" / "a.png")
    asked = ["--model", model, "--box", "8,10,29,33=block", "--quiet"]
    segment = ["segment", "-i", picture, *asked]
    train = ["train", "-i", str(folder / "collection"), "-o", str(out / "train"), "--model", model]
    small = ["--updates", "1", "--n-steps", "1", "--batch-size", "1", "--corrections", "1"]
    evaluate = ["evaluate", "-i", str(folder / "us"), "-o", str(out / "evaluate"), "--model", model]
    log = str(out / "study.jsonl")
    made = {
        **{f"segment {e}": [*segment, "-o", str(out / f"{e}.png"), "--engine", e] for e in ENGINES},
        "segment auto": [*segment, "-o", str(out / "auto.png"), "--engine", "auto"],
        "segment folder": [
            *("segment", "-i", str(folder / "us" / "images"), "-o", str(out / "folder")),
            *(*asked, "--engine", "eager"),
        ],
        "plan": ["plan", str(folder / "cases.csv"), *asked, "--engine", "eager", "--sample", "1"],
        "convert": ["convert", "-i", str(out / "eager.png"), "-o", str(out / "mask.tif")],
        "embed": ["embed", "-i", picture, "-o", str(out / "embeddings"), "--model", model],
        "info": ["info", picture, "--preview", str(out / "preview.png")],
        "evaluate": [*evaluate, "--engine", "eager", "--quiet"],
        "report": ["report", str(out / "evaluate"), "--overwrite"],
        "curate": ["curate", "-i", str(folder / "us"), "-o", str(out / "curated"), "--quiet"],
        "curate list": ["curate", "list"],
        "curate statistics": ["curate", "statistics", str(folder / "collection")],
        "train": [*train, *small, "--workers", "0", "--report-images", "2", "--quiet"],
        "train merge": [
            *("train", "merge", "-i", str(folder / "collection"), "-o", str(out / "merged")),
            *("--model", model, "--weights", str(out / "train" / "model.pth"), "--share", "0.5"),
            *("--validation-images", "1", "--report-images", "1", "--corrections", "0", "--quiet"),
        ],
        "loop": [
            *("loop", "-i", str(folder / "us"), "-o", str(out / "loop"), "--model", model),
            *("--task", "classes", "--simulate", "--budget", "3", "--validation-images", "1"),
            *("--updates", "2", "--quiet"),
        ],
        "models": ["models"],
        "serve": ["serve", "--help"],  # tests/serve looks at the rest
        "mcp": ["mcp", "--help"],
        "assets": ["assets"],
        "benchmark": ["benchmark", "--model", model, "--rounds", "1", "--quiet"],
        "timing": [
            *("timing", "add", log, "--case", "a", "--expert", "b", "--phase", "manual"),
            *("--seconds", "3"),
        ],
        "schema": ["schema", "segment"],
        "completion": ["completion", "bash"],
        "timing table": ["timing", "table", log, "--csv", str(out / "study.csv")],
        "demo": ["demo", "-i", picture, "--box", "8,10,29,33", "-o", str(out / "demo")],
        "export": [
            *("export", "--model", model, "-o", str(out / "openvino"), "--quiet"),
            *("--format", "openvino"),  # ONNX takes ten times as long: see test_telemetry
        ],
    }
    assert {name.split()[0] for name in made} == set(VERBS)
    return made


if __name__ == "__main__":
    root = Path(sys.argv[1])
    prepare(root)
    codes = {}
    for what, arguments in calls(root).items():
        begun = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            codes[what] = main(arguments)
        print(f"{what}: {time.process_time() - begun:.1f} s", file=sys.stderr)
    print(json.dumps(codes))
