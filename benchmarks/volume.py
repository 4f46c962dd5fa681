"""A box on the middle slice of a made 512 x 512 x 100 CT, followed through all slices, end to end.

Contenders take turns in processes of their own: the product on an engine, and the same propagation with
the official LiteMedSAM network in eager float32 as encoder and decoder, slice after slice, over some
of the slices (its time is given per slice and scaled to all of them, which is said).

    python benchmarks/volume.py --threads 1 -o result.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))

SLICES = 100
_BOX = (150, 150, 360, 360)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engines", nargs="*", default=["eager", "openvino-bf16", "native-bf16"])
    parser.add_argument("--official-slices", type=int, default=11)
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_one(arguments)))
        return
    names = ["official", *arguments.engines]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        for name in names:
            found[name].append(_child(arguments, name))
            print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr)
    report = _report(arguments, found)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def _child(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    threads = str(arguments.threads)
    command = [sys.executable, __file__, "--one", name, "--threads", threads]
    command += ["--official-slices", str(arguments.official_slices)]
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PROMPTSEG_THREADS": threads}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _one(arguments: argparse.Namespace) -> dict[str, Any]:
    import resource

    import promptseg

    with tempfile.TemporaryDirectory() as folder:
        scan, mask = Path(folder) / "scan.nii.gz", Path(folder) / "mask.nii.gz"
        _make(scan)
        official = arguments.one == "official"
        engine = "eager" if official else arguments.one
        segmenter = promptseg.load("lite-medsam", threads=arguments.threads, engine=engine)
        slices = SLICES
        options: dict[str, Any] = {}
        if official:
            segmenter.predictor.model.network = _Official(segmenter.predictor)
            slices = arguments.official_slices
            first = (SLICES - slices) // 2
            options["slices"] = f"{first}:{first + slices - 1}"
        start = time.perf_counter()
        image = promptseg.read(scan, modality="CT")
        box = promptseg.Box(_BOX, slice=SLICES // 2, name="body")
        result = segmenter.segment(image, box, **options)
        result.save(mask)
        seconds = time.perf_counter() - start
        found = np.flatnonzero(result["body"].any(axis=(1, 2)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "slices": slices, "found": len(found), "memory": memory}


class _Official:
    """The official network behind the product's own propagation."""

    def __init__(self, predictor: Any) -> None:
        import peer

        self.network = peer.official_lite_medsam(predictor.weights)

    def encode(self, slices: Any, parallel: bool = False) -> Any:
        return self.network.image_encoder(slices)

    def decode(self, embedding: Any, points: Any, boxes: Any, masks: Any, multimask: bool) -> Any:
        sparse, dense = self.network.prompt_encoder(points=points, boxes=boxes, masks=masks)
        return self.network.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )


def _make(path: Path) -> None:
    """A tapering cylinder in noise, through all slices."""
    import nibabel as nib

    rng = np.random.default_rng(0)
    shape = (SLICES, 512, 512)
    y, x = np.indices(shape[1:]) - 256
    values = np.empty(shape, np.int16)
    for k in range(SLICES):
        inside = x**2 + y**2 < (100 - 0.4 * abs(k - SLICES // 2)) ** 2
        values[k] = np.where(inside, 120, -80) + rng.normal(0, 15, shape[1:])
    values[0, 0, 0] = -1000
    nib.save(nib.Nifti1Image(values.T, np.diag([0.8, 0.8, 1.5, 1])), path)


def _report(arguments: argparse.Namespace, found: dict[str, list[dict[str, Any]]]) -> str:
    import torch

    from promptseg.runtime.machine import describe_machine, version_of

    machine = describe_machine()
    lines = [
        f"# {SLICES} slices of 512 x 512 with lite-medsam, {arguments.threads} threads "
        f"({date.today()})",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {', '.join(machine['instructions'])}; "
        f"torch {torch.__version__}, openvino {version_of('openvino')}. Reading, following one box "
        f"from the middle slice, measuring, writing; loading the model is left out. "
        f"{arguments.rounds} rounds of alternating processes, median (fastest-slowest). The official "
        f"network ran over {arguments.official_slices} slices; its seconds are scaled to {SLICES}.",
        "",
        "| contender | seconds | ms a slice | x official | peak GiB | slices found |",
        "|---|---|---|---|---|---|",
    ]
    base = None
    for name, answers in found.items():
        each = [a["seconds"] / a["slices"] for a in answers]
        base = base or median(each)
        low, middle, high = (SLICES * f(each) for f in (min, median, max))
        seconds = f"{middle:.1f} ({low:.1f}-{high:.1f})"
        memory = max(a["memory"] for a in answers)
        cells = [name, seconds, f"{1e3 * median(each):.0f}", f"{base / median(each):.2f}"]
        cells += [f"{memory:.2f}", str(answers[-1]["found"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
