"""nnInteractive's own client, unmodified, on a CT of 300 slices with a real model.

The demonstration CT, mirrored back and forth until it is long enough, is uploaded by that client, boxed
on its middle slice and asked for until nothing is missing. Every answer has to come before the client
gives up, and the mask in the end has to be that of the command line on the same voxels.

    python benchmarks/serve_peer.py -o benchmarks/results/DATE_serve_peer.md
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import SimpleITK
from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession as Client
from numpy.typing import NDArray

from promptseg import assets
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.runtime.machine import describe_machine, version_of
from promptseg.serve.web.nninteractive import BUDGET_S

BOX = (98, 190, 272, 372)  # the liver on slice 10 of the demonstration CT
SLICE = 10
LIMIT_S = 45.0


def long_ct(
    path: Path, count: int, edge: int
) -> tuple[NDArray[np.int16], int, tuple[int, ...], list[float]]:
    """Written as NIfTI: voxels (z, y, x), the slice that is boxed, its box, and spacing (x, y, z)."""
    image = read(assets.fetch("demo-ct", quiet=True))
    step = image.geometry.shape[-1] // edge
    voxels = image.voxels[:, ::step, ::step]
    once = np.concatenate([np.arange(len(voxels)), np.arange(len(voxels) - 2, 0, -1)])
    order = np.resize(once, count)
    spacing = [float(v) for v in np.array(image.geometry.spacing) * (step, step, 1)]
    found = np.ascontiguousarray(voxels[order])
    written = SimpleITK.GetImageFromArray(found)
    written.SetSpacing(spacing)
    SimpleITK.WriteImage(written, str(path))
    near = np.flatnonzero(order == SLICE)
    middle = int(near[np.abs(near - count // 2).argmin()])
    return found, middle, tuple(v // step for v in BOX), spacing


@contextmanager
def server(root: Path, options: list[str]) -> Iterator[tuple[str, str]]:
    """Address and token of a server that is ready."""
    asked = ["serve", "--root", str(root), "--port", "0", *options]
    command = [sys.executable, "-m", "promptseg", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            parts = urlsplit(process.stdout.readline().strip())
            yield f"http://{parts.netloc}", parse_qs(parts.query)["token"][0]
        finally:
            process.terminate()


def main() -> None:
    """Ask, compare, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--edge", type=int, default=512, help="rows and columns: 512, 256, 128")
    parser.add_argument("--model", default="promptseg-lite")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    options = ["--model", asked.model, "--engine", asked.engine, "--modality", "CT"]
    options += ["--threads", str(asked.threads)]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        scan, cli = Path(folder) / "scan.nii.gz", Path(folder) / "cli.nii.gz"
        voxels, middle, (x0, y0, x1, y1), spacing = long_ct(scan, asked.slices, asked.edge)
        took: list[float] = []

        def timed(do: object, *what: object) -> object:
            begun = time.monotonic()
            found = do(*what)  # type: ignore[operator]
            took.append(time.monotonic() - begun)
            print(f"answer {len(took)}: {took[-1]:.1f} s", flush=True)
            return found

        root = Path(folder) / "root"
        root.mkdir()
        with server(root, options) as (url, token), Client(url, api_key=token) as session:
            session.set_image(voxels[None], {"spacing": spacing[::-1]})
            session.set_target_buffer(np.zeros(voxels.shape, np.uint8))
            begun = time.monotonic()
            pairs = [[middle, middle + 1], [y0, y1 + 1], [x0, x1 + 1]]
            timed(session.add_bbox_interaction, pairs, True)
            first = int(session.target_buffer.any((1, 2)).sum())
            while took[-1] >= BUDGET_S - 1:  # an answer that came before its time was whole
                timed(session._predict)
            whole = time.monotonic() - begun
            ours = session.target_buffer.astype(bool)
        begun = time.monotonic()
        command = [sys.executable, "-m", "promptseg", "segment", "-i", str(scan), "-o", str(cli)]
        box = f"{x0},{y0},{x1},{y1}@{middle}=liver"
        subprocess.run([*command, *options, "--box", box, "--quiet"], check=True)
        alone = time.monotonic() - begun
        theirs = read_masks(cli, read(scan)).segments[0].mask(voxels.shape)
    unlike, machine = int((ours ^ theirs).sum()), describe_machine()
    size = " x ".join(map(str, voxels.shape))
    asked.o.write_text(
        f"""# nnInteractive's client on a long CT

{date.today()}; {machine["processor"]}, {machine["cores"]} cores, load before {load:.1f}.
nninteractive-client {version_of("nninteractive-client")}; {asked.model}, {asked.engine},
{asked.threads} threads; the demonstration CT back and forth, {size} voxels.

| | |
|---|---|
| answers until nothing was missing | {len(took)} |
| slices in the first one | {first} |
| the slowest one (below {LIMIT_S:.0f} s is wanted) | {max(took):.1f} s |
| all slices after | {whole:.0f} s |
| the command line, from start to end | {alone:.0f} s |
| slices of the mask | {int(ours.any((1, 2)).sum())} |
| voxels of the mask | {int(ours.sum())} |
| voxels unlike the command line's (0 is wanted) | {unlike} |
"""
    )
    print(asked.o.read_text())


if __name__ == "__main__":
    main()
