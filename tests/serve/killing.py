"""A server that is killed at random moments while somebody works, and what is left of the work.

    python -m serve.killing ROUNDS [SEED]

The server is forked from a process that has loaded everything, so that a round takes a second. The
client does things at random until the kill; then a new server opens the image again. Its steps must
be those that were answered, with or without the one at work; and once nothing is followed any more,
the masks must be those of a session that nobody has killed. Prints one line of JSON.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np

from promptseg.formats import read
from promptseg.prompts import Box, Points
from promptseg.segment.session import Session
from promptseg.serve.changes import inside, unpacked
from promptseg.serve.options import ServeJob
from promptseg.serve.run import serve
from serve.conftest import BOX_A, BOX_B, SHAPE, Client, write_scan
from serve.fake_server import TOKEN, bright

Action = tuple[Any, ...]

_GONE = (urllib.error.URLError, ConnectionError, http.client.HTTPException, TimeoutError)


def start(root: Path) -> tuple[int, Client]:
    """A server on a folder, forked; its process and a client."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = os.fork()
    if process == 0:
        try:
            job = ServeJob(root=root, port=port, token=TOKEN)
            os._exit(serve(job, lambda _: None, lambda _: {"bright": bright()}))
        finally:
            os._exit(1)
    client = Client(port)
    for _ in range(6000):
        try:
            if client.get("/api/health").json["ready"]:
                return process, client
        except _GONE:
            pass
        time.sleep(0.01)
    raise TimeoutError("no server")


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def next_action(rng: random.Random, steps: int, position: int) -> Action:
    kind = rng.choice(("box", "click", "click", "click", "click", "undo", "redo", "new"))
    name = rng.choice(("a", "b"))
    if kind == "box":
        return kind, name, BOX_A if name == "a" else BOX_B, rng.randint(7, 13)
    if kind == "click":
        x = 12 if name == "a" else 36
        return kind, name, [x + rng.randint(-4, 4), 20 + rng.randint(-4, 4), 1], rng.randint(6, 14)
    if kind == "new":
        return kind, f"object {steps} {rng.randrange(10**6)}"
    return (kind,) if (position > 0 if kind == "undo" else position < steps - 1) else ("undo",)


def send(client: Client, at: str, action: Action) -> Any:
    kind, *rest = action
    if kind == "box":
        answer = client.post(f"{at}/prompts", object=rest[0], box=rest[1], slice=rest[2])
    elif kind == "click":
        answer = client.post(f"{at}/prompts", object=rest[0], points=[rest[1]], slice=rest[2])
    elif kind == "new":
        answer = client.post(f"{at}/objects", name=rest[0])
    else:
        answer = client.post(f"{at}/{kind}")
    assert answer.status == 200, answer.body
    return answer.json["state"]


def do(session: Session, action: Action) -> None:
    kind, *rest = action
    if kind == "box":
        session.add(Box(tuple(rest[1]), rest[2]), rest[0])
    elif kind == "click":
        x, y, label = rest[1]
        session.add(Points(((float(x), float(y)),), (label,), rest[2]), rest[0])
    elif kind == "new":
        session.new_object(rest[0])
    else:
        getattr(session, kind)()


def settled(client: Client, at: str) -> dict[str, np.ndarray]:
    """The masks once nothing is followed any more."""
    while True:
        change = client.get(f"{at}/changes?wait=20").json
        if not change["following"]:
            break
    full = {name["name"]: np.zeros(SHAPE, bool) for name in change["state"]["objects"]}
    for entry in change["regions"]:
        region, mask = unpacked(entry)
        full[entry["object"]][region] = mask
    return full


def where(session: Session) -> tuple[list[str], int]:
    return [step.action for step in session.history], session.position


def rounds(count: int, seed: int) -> dict[str, int]:
    """Kill so often; what was found.

    Raises:
        AssertionError: something was lost that had been answered, or is not as it should be.
    """
    rng = random.Random(seed)
    lost = kept = answered = 0
    took = 0.05
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_scan(root / "scan.nii.gz")
        image = read(root / "scan.nii.gz")
        done: list[Action] = []
        process, client = start(root)
        at = client.open()
        for number in range(count):
            if len(done) > 60:
                client.ask("DELETE", at)
                at, done = client.open(afresh=True), []
            state = client.get(at).json
            at_work: Action | None = None
            timer, before = None, rng.randint(0, 5)
            try:
                while True:
                    if before == 0:  # somewhere in one of the next few
                        timer = threading.Timer(rng.uniform(0, 3 * took), kill, [process])
                        timer.start()
                    before -= 1
                    at_work, began = (
                        next_action(
                            rng, state["steps_from"] + len(state["steps"]), state["position"]
                        ),
                        time.monotonic(),
                    )
                    state = send(client, at, at_work)
                    took = time.monotonic() - began
                    done.append(at_work)
                    answered += 1
            except _GONE:
                assert timer is not None
                timer.join()
            process, client = start(root)
            at = client.open()
            state, alone = client.get(at).json, Session(bright(), image)
            for action in done:
                do(alone, action)
            found = (state["steps"], state["position"])
            if found != where(alone):
                assert at_work is not None
                do(alone, at_work)
                assert found == where(alone), f"round {number}: {found} is not {where(alone)}"
                done.append(at_work)
                kept += 1
            else:
                lost += 1
            assert state["warning"] == "", state["warning"]
            masks, whole = settled(client, at), tuple(slice(0, n) for n in SHAPE)
            for name, segment in alone.step.objects.items():
                np.testing.assert_array_equal(
                    masks[name],
                    inside(segment, whole),
                    err_msg=f"{name} of round {number} after {done}",
                )
        kill(process)
        left = [p.name for p in root.rglob(".part-*")]
    return {
        "kills": count,
        "answered": answered,
        "at_work_kept": kept,
        "at_work_lost": lost,
        "leftovers": len(left),
    }


if __name__ == "__main__":
    print(json.dumps(rounds(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
