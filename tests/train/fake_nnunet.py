"""Stands in for a Python with nnU-Net: orders and answers of `promptseg.models.nnunet.program`.

It learns nothing: bright pixels are the first class, those inside the box where a channel is one.
Every order that it gets is noted in a file beside its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

MARK = "promptseg:"
BRIGHT = 125


def say(**facts: object) -> None:
    print(MARK + json.dumps(facts), flush=True)


def main() -> None:
    what, *rest = sys.argv[2:]  # the program that it is told to run comes first
    if what == "about":
        say(nnunetv2=os.environ.get("FAKE_NNUNET", "2.8.1"), torch="2.13.0")
        return
    order = json.loads(Path(rest[0]).read_text())
    folder = Path(order["folder"])
    if what != "serve":
        with (folder / "told.txt").open("a") as stream:
            stream.write(what + "\n")
    if os.environ.get("FAKE_NNUNET_FAILS") == what:
        print("RuntimeError: something is wrong with the data")
        sys.exit(1)
    dataset = folder / "raw" / order.get("name", "") / "dataset.json"
    if what == "plan":
        content = json.loads(dataset.read_text())
        cases = {p.name[:9] for p in dataset.with_name("imagesTr").iterdir()}
        assert cases == set(order["train"]) | set(order["validation"])
        assert content["numTraining"] == len(cases)
    elif what == "train":
        if os.environ.get("FAKE_NNUNET_FAILS") == "never ends":
            (folder / "pid").write_text(str(os.getpid()))
            time.sleep(600)
        for epoch in range(order["epochs"]):
            print("nnU-Net's own words")
            done = (epoch + 1) * order["iterations"]
            say(epoch=epoch + 1, loss=1 / (epoch + 1), updates=done)
        np.savez(folder / "weights.npz", layer=np.ones((2, 3), np.float32))
        patch = [8, 32, 32] if order["configuration"] == "3d_fullres" else [64, 64]
        said = {
            "plans": {"configurations": {order["configuration"]: {"patch_size": patch}}},
            "dataset": json.loads(dataset.read_text()),
            "configuration": order["configuration"],
            "epochs": order["epochs"],
            "updates": order["epochs"] * order["iterations"],
            "cpu_seconds": 1.0,
            "parameters": 6,
        }
        (folder / "trained.json").write_text(json.dumps(said))
    else:
        serve(order)


def serve(order: dict[str, object]) -> None:
    dataset = order["dataset"]
    assert isinstance(dataset, dict)
    with np.load(str(order["weights"])) as archive:
        assert archive["layer"].shape == (2, 3)
    kinds, classes = list(dataset["channel_names"].values()), len(dataset["labels"])
    say(ready=True)
    for line in sys.stdin:
        asked = json.loads(line)
        image = np.load(asked["image"])
        if image.shape[0] != len(kinds):
            say(error=f"ValueError: {image.shape[0]} channels")
            continue
        there = image[0] > BRIGHT
        if kinds[-1] == "noNorm":
            there &= image[-1] == 1
        chances = np.full((classes, *there.shape), 0.01, np.float32)
        chances[0], chances[1] = np.where(there, 0.1, 0.9), np.where(there, 0.9, 0.1)
        np.save(asked["answer"], chances / chances.sum(0))
        say(done=True)


if __name__ == "__main__":
    main()
