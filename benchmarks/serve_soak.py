"""Eight clients at once on real volumes, for a long time: every answer compared, memory watched.

Sessions come and go; some clients vanish in the middle of a request, and somebody else takes their
image over. What every step must answer is known beforehand, from a session alone. `--model bright`
needs no weights and is quick, so that the server is what works; any other name is a real model.

    python benchmarks/serve_soak.py --data VOLUMES -o benchmarks/results/DATE_serve_soak.md

The result is written twice a minute, with a JSON file beside it until all is done: the same command
goes on from there with a server anew, after `--minutes` or a kill.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import promptseg
from promptseg.errors import PromptError
from promptseg.formats import read
from promptseg.image import Image
from promptseg.prompts import Box, Points
from promptseg.runtime.machine import describe_machine
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session
from promptseg.serve.changes import inside, unpacked
from promptseg.serve.options import ServeJob
from promptseg.serve.run import serve, warmed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

TOKEN = "a token of the soak 1234".replace(" ", "-")
CLICKS = 25  # of a session
SCRIPTS = 3  # of a volume

Step = dict[str, Any]


@dataclass
class Script:
    """What is done on a volume, and the masks after every step."""

    image: str
    steps: list[Step]
    digests: list[str] = field(default_factory=list)


@dataclass
class Count:
    """What happened, of all clients."""

    clicks: int = 0
    spread: int = 0
    sessions: int = 0
    vanished: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)
    runs: int = 0
    took: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def kept(cls, path: Path) -> Count:
        """As an earlier run left it, or nothing yet."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def keep(self, path: Path) -> None:
        """For a later run."""
        with self.lock:
            values = {k: v for k, v in vars(self).items() if k != "lock"}
            path.write_text(json.dumps(values))


def digest(mask: np.ndarray | None) -> str:
    """Of the voxels of an object."""
    return hashlib.sha256(b"" if mask is None else np.packbits(mask).tobytes()).hexdigest()


def made(name: str, image: Image, rng: random.Random, model: Segmenter, spreads: bool) -> Script:
    """A script on a volume: a box, then clicks on slices near it; its answers by a session alone."""
    z, rows, columns = image.geometry.shape
    index = z // 2
    box = [columns // 4, rows // 4, 3 * columns // 4, 3 * rows // 4]
    steps: list[Step] = [{"box": box, "slice": index, "spread": spreads}]
    for _ in range(CLICKS):
        x, y = rng.randint(box[0], box[2]), rng.randint(box[1], box[3])
        at = min(max(index + rng.randint(-2, 2), 0), z - 1)
        steps.append({"points": [[x, y, rng.randint(0, 1)]], "slice": at, "spread": False})
    script, session = Script(name, []), Session(model, image)
    whole = tuple(slice(0, n) for n in image.geometry.shape)
    for step in steps:
        prompt: Any
        if "box" in step:
            prompt = Box(tuple(map(float, step["box"])), step["slice"])
        else:
            x, y, label = step["points"][0]
            prompt = Points(((float(x), float(y)),), (label,), step["slice"])
        try:
            session.add(prompt, "a", spread=step["spread"])
        except PromptError:  # such as a click outside an object that is not on the slice
            continue
        session.leave_as_is()
        script.steps.append(step)
        script.digests.append(digest(inside(session.step.objects["a"], whole)))
    return script


class Link:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A JSON answer.

        Raises:
            RuntimeError: it was refused.
        """
        content = None if body is None else json.dumps(body).encode()
        self.http.request(method, path, content, {"Authorization": f"Bearer {TOKEN}"})
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path.split('/')[2]}: {answer.status} {text[:200]!r}")
        return json.loads(text)


def play(
    link: Link, path: str, script: Script, shape: Any, rng: random.Random, count: Count
) -> None:
    """A session from its beginning to its end, or to where its client vanishes."""
    opened = {"path": path, "take_over": True, "afresh": rng.random() < 0.5}
    state = link.ask("POST", "/api/sessions", opened)
    at = f"/api/sessions/{state['session']}"
    if not opened["afresh"]:
        link.ask("POST", f"{at}/undo", {"to": 0})
    mask, revision = np.zeros(shape, bool), 0
    vanish = rng.randrange(len(script.steps)) if rng.random() < 0.15 else None
    for number, (step, wanted) in enumerate(zip(script.steps, script.digests, strict=True)):
        if number == vanish:
            link.http.request(
                "POST",
                f"{at}/prompts",
                json.dumps({**step, "object": "a"}),
                {"Authorization": f"Bearer {TOKEN}"},
            )
            link.http.close()  # nobody waits for the answer
            with count.lock:
                count.vanished += 1
            return
        start = time.perf_counter()
        change = link.ask("POST", f"{at}/prompts", {**step, "object": "a", "since": revision})
        took = time.perf_counter() - start
        patch(mask, change)
        revision = change["revision"]
        while change["following"]:
            change = link.ask("GET", f"{at}/changes?since={revision}&wait=30")
            patch(mask, change)
            revision = change["revision"]
        with count.lock:
            count.spread += step["spread"]
            count.clicks += not step["spread"]
            count.wrong += digest(mask) != wanted
            if number:
                count.seconds.append(took)
    link.ask("DELETE", at)
    with count.lock:
        count.sessions += 1


def patch(mask: np.ndarray, change: dict[str, Any]) -> None:
    """Write a change."""
    if change["since"] == 0:
        mask[:] = False
    for entry in change["regions"]:
        region, new = unpacked(entry)
        mask[region] = new


def resident(process: int) -> float:
    """MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def segmenter_of(name: str, threads: int) -> Segmenter:
    """The model, warm."""
    if name != "bright":
        return warmed(promptseg.load(name, threads=threads))
    from serve.fake_server import bright

    found = bright()
    for remembered in ("batches", "pixels", "encoded", "boxes", "asked"):  # what tests look at
        setattr(found.predictor.model, remembered, deque(maxlen=1))
        setattr(found.predictor, remembered, deque(maxlen=1))
    return found


def write(asked: argparse.Namespace, count: Count, memory: list[float]) -> None:
    """The result file; memory is that of the last run."""
    quarter = max(1, len(memory) // 4)
    then, now = median(memory[quarter : 2 * quarter] or memory), median(memory[-quarter:])
    with count.lock:
        slow = sorted(1e3 * took for took in count.seconds) or [0.0]
    faults = "; ".join(sorted(set(count.errors))[:3])
    load = os.getloadavg()[1]
    asked.o.write_text(
        f"""# Soak of the server

{date.today()}; {describe_machine()["processor"]}; model {asked.model}, {asked.clients} clients, volumes
{", ".join(path.name for path in asked.data)}.
{count.took:.0f} s in {count.runs} runs, a load of {load:.0f} at the end.

| | |
|---|---|
| clicks on a slice (of {asked.clicks}) | {count.clicks} |
| boxes followed to the other slices (of {asked.spreads}) | {count.spread} |
| sessions from beginning to end | {count.sessions} |
| clients that vanished in a request | {count.vanished} |
| errors | {len(count.errors)} {faults} |
| answers unlike those of a session alone | {count.wrong} |
| click, all clients at once: median | {median(slow):.0f} ms |
| click, all clients at once: 95th percentile | {slow[int(0.95 * len(slow))]:.0f} ms |
| resident memory in the second quarter (median) | {then:.0f} MiB |
| resident memory in the last quarter (median) | {now:.0f} MiB |
"""
    )


def main() -> None:
    """Soak, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="volumes")
    parser.add_argument("--model", default="bright")
    parser.add_argument("--clicks", type=int, default=10_000)
    parser.add_argument("--spreads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=1e9, help="at most")
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    kept = asked.o.with_suffix(".json")
    rng, count, began = random.Random(1), Count.kept(kept), time.monotonic()
    count.runs, before = count.runs + 1, count.took
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for client in range(asked.clients):
            (root / f"c{client}").mkdir()
            for path in asked.data:
                shutil.copy(path, root / f"c{client}" / path.name)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        process = os.fork()
        if process:
            atexit.register(os.kill, process, signal.SIGKILL)
        else:
            job = ServeJob(
                root=root, port=port, token=TOKEN, liveness_s=60, sessions=2 * asked.clients
            )
            loaded = {asked.model: segmenter_of(asked.model, 1)}
            os._exit(serve(job, lambda _: None, lambda _: loaded))
        model = segmenter_of(asked.model, 1)
        images = {path.name: read(root / "c0" / path.name) for path in asked.data}
        scripts = [
            made(name, image, rng, model, spreads)
            for name, image in images.items()
            for spreads in [*[False] * (SCRIPTS - 1), True]
        ]
        while True:
            try:
                if Link(port).ask("GET", "/api/health")["ready"]:
                    break
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        memory: list[float] = []
        done = threading.Event()

        def client(number: int) -> None:
            own = random.Random(f"{number} {count.runs}")
            while not done.is_set():
                spreads = count.spread < asked.spreads
                chosen = [s for s in scripts if spreads or not s.steps[0]["spread"]]
                script = own.choice(chosen)
                try:
                    shape = images[script.image].geometry.shape
                    play(Link(port), f"c{number}/{script.image}", script, shape, own, count)
                except (OSError, RuntimeError, http.client.HTTPException) as error:
                    with count.lock:
                        count.errors.append(str(error))

        threads = [
            threading.Thread(target=client, args=(k,), daemon=True) for k in range(asked.clients)
        ]
        for thread in threads:
            thread.start()
        while (count.clicks < asked.clicks or count.spread < asked.spreads) and (
            time.monotonic() - began < 60 * asked.minutes
        ):
            time.sleep(2)
            memory.append(resident(process))
            if len(memory) % 15 == 0:
                count.took = before + time.monotonic() - began
                write(asked, count, memory)
                count.keep(kept)
        done.set()
        for thread in threads:
            thread.join(10)  # a script that is not at its end is left
    count.took = before + time.monotonic() - began
    write(asked, count, memory or [0.0])
    count.keep(kept)
    if count.clicks >= asked.clicks and count.spread >= asked.spreads:
        kept.unlink()
    print(asked.o.read_text())


if __name__ == "__main__":
    main()
