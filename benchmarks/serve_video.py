"""A long clip through the server as the page does it: upload, two objects, track, correct, download.

A clip is made (a tool and a lesion that move over tissue; every 200 frames the tool is out of sight for
a while), sent to a server in a process of its own, prompted, tracked, corrected and downloaded, while
the memory of the server is read. Masks are compared with what was drawn. `--model bright` needs no
weights and is quick, so that the server is what works; any other name is a real model.

    python benchmarks/serve_video.py --frames 3000 -o benchmarks/results/DATE_serve_video.md
    python benchmarks/serve_video.py --frames 300 --model mobile-sam -o ...

`--clip FILE` only writes the clip.
"""

from __future__ import annotations

import argparse
import atexit
import base64
import csv
import http.client
import io
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

TOKEN = "a-token-of-the-long-clip-1234"
ROWS, COLUMNS = 256, 320
HIDDEN_EVERY, HIDDEN_FOR = 200, 30
NAMES = ("tool", "lesion")
_WAIT_S = 6 * 3600
_EACH_S = 0.5  # between two readings of memory


_Y, _X = np.indices((ROWS, COLUMNS), dtype=np.float32)
_WAVES = np.sin(_X * 2 * np.pi * 3 / COLUMNS) + np.sin(_Y / 19) + np.sin((_X + 2 * _Y) / 40)
_TISSUE = np.stack([96 + 10 * _WAVES, 38 + 6 * _WAVES, 34 + 5 * _WAVES], -1).astype(np.uint8)


def scene(frame: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.bool_]]]:
    """(rows, columns, 3) of a frame, and what is drawn on it."""
    beat = 1 + 0.06 * np.sin(frame / 30)
    lx, ly = 94 + 16 * np.sin(frame / 150), 160 + 11 * np.cos(frame / 120)
    lesion = ((_X - lx) / (29 * beat)) ** 2 + ((_Y - ly) / (20 * beat)) ** 2 < 1
    tx, ty = 219 + 37 * np.sin(frame / 120), 96 + 25 * np.sin(frame / 90)
    along = (_X - tx) * 0.8 - (_Y - ty) * 0.6
    across = (_X - tx) * 0.6 + (_Y - ty) * 0.8
    tool = (np.abs(across) < 7) & (along > -44) & (along < 38)
    if frame % HIDDEN_EVERY >= HIDDEN_EVERY - HIDDEN_FOR:
        tool[:] = False
    picture = np.roll(_TISSUE, frame // 5, axis=1)
    picture[lesion] += np.array([112, 124, 112], np.uint8)
    picture[tool] = np.stack([208 - across[tool], 212 - across[tool], 216 - across[tool]], -1)
    return picture, {"tool": tool, "lesion": lesion & ~tool}


def box_of(mask: NDArray[np.bool_], margin: int = 4) -> list[int]:
    """XYXY of a mask, a little enlarged."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [
        max(0, int(columns[0]) - margin),
        max(0, int(rows[0]) - margin),
        min(COLUMNS - 1, int(columns[-1]) + margin),
        min(ROWS - 1, int(rows[-1]) + margin),
    ]


def write_clip(path: Path, frames: int) -> None:
    """The clip as a file; MPEG-4, as far as the container takes it."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(frame)[0], "rgb24")))
        container.mux(stream.encode())


@dataclass
class Link:
    """Requests to one server."""

    port: int
    took: dict[str, float] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request with JSON, or bytes that are streamed from a file."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_WAIT_S)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if isinstance(body, Path):
            headers["Content-Length"] = str(body.stat().st_size)
            with body.open("rb") as stream:
                connection.request(method, path, stream, headers)
                answer = connection.getresponse()
        else:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return json.loads(content) if content[:1] == b"{" else content

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Write down how long something takes."""
        begun = time.perf_counter()
        yield
        self.took[what] = time.perf_counter() - begun
        print(f"{what}: {self.took[what]:.1f} s", flush=True)

    def track(self, at: str) -> None:
        """Track to the end."""
        self.ask("POST", f"{at}/track", {})
        while self.ask("GET", f"{at}/timeline?wait=30") and self.ask("GET", at)["tracking"]:
            pass


class Watch:
    """Memory of a process, read until it is stopped; by the phase it was read in."""

    def __init__(self, process: int) -> None:
        self._process, self._done = process, threading.Event()
        self.phase, self.readings = "start", dict[str, list[float]]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._done.wait(_EACH_S):
            try:
                pages = int(Path(f"/proc/{self._process}/statm").read_text().split()[1])
            except OSError:
                return
            self.readings.setdefault(self.phase, []).append(pages * page / 2**20)


def dice(found: NDArray[np.bool_], drawn: NDArray[np.bool_]) -> float:
    """DSC; 1 where both are empty."""
    total = int(found.sum()) + int(drawn.sum())
    return 2 * int((found & drawn).sum()) / total if total else 1.0


def scores(archive: bytes, frames: range, every: int) -> dict[str, float]:
    """Mean DSC of each object over some frames of the zip, against what was drawn."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        for number in frames[::every]:
            _, drawn = scene(number)
            for label, name in enumerate(NAMES, 1):
                member = content.read(f"{label}_{name}/{number:06d}.png")
                plane = np.asarray(PilImage.open(io.BytesIO(member))) == label
                found[name].append(dice(plane, drawn[name]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def lengths(timeline: dict[str, Any]) -> dict[str, int]:
    """On how many frames each object is, by the time line."""
    return {
        one["name"]: int(
            (np.frombuffer(zlib.decompress(base64.b64decode(one["line"])), np.uint8) > 1).sum()
        )
        for one in timeline["objects"]
    }


def work(link: Link, clip: Path, asked: argparse.Namespace, watch: Watch) -> dict[str, Any]:
    """All that is done with the clip; gives what was found."""
    stride = asked.stride
    watch.phase = "upload"
    with link.timed("upload"):
        link.ask("POST", f"/api/files?path={clip.name}", clip)
    watch.phase = "open"
    with link.timed("open"):
        last = link.ask("GET", f"/api/videos?path={clip.name}")["count"] - 1
        how = {"path": clip.name, "frames": f"0:{last}:{stride}"}
        state = link.ask("POST", "/api/videos", how)
    at = f"/api/videos/{state['session']}"
    frames = range(state["clip"]["first"], state["clip"]["last"] + 1, stride)
    start = frames[len(frames) // 3]
    while start % HIDDEN_EVERY >= HIDDEN_EVERY - HIDDEN_FOR:
        start += stride
    watch.phase = "prompts"
    with link.timed("two boxes"):
        for name in NAMES:
            body = {"frame": start, "object": name, "box": box_of(scene(start)[1][name])}
            link.ask("POST", f"{at}/prompts", body)
    watch.phase = "track"
    with link.timed("track"):
        link.track(at)
    first = link.ask("GET", f"{at}/timeline")
    watch.phase = "correct"
    again = [k for k in frames if k > start and k % HIDDEN_EVERY == 0]  # the tool has come back
    with link.timed(f"{len(again)} corrections"):
        for number in again:
            body = {"frame": number, "object": "tool", "box": box_of(scene(number)[1]["tool"])}
            link.ask("POST", f"{at}/prompts", body)
    with link.timed("track the corrections"):
        if again:
            link.track(at)
    second = link.ask("GET", f"{at}/timeline")
    watch.phase = "download"
    with link.timed("write the results"):
        told = link.ask("POST", f"{at}/results", {"what": ["overlay", "masks", "areas"]})
    with link.timed("download"):
        files = {f["name"]: link.ask("GET", f"{at}/results/{f['name']}") for f in told["files"]}
    watch.phase = "after"
    time.sleep(2 * _EACH_S)
    rows = list(csv.DictReader(io.StringIO(files["areas.csv"].decode())))
    if len(rows) != 2 * len(frames):
        raise RuntimeError(f"{len(rows)} rows of areas for {len(frames)} frames")
    state = link.ask("GET", at)
    link.ask("DELETE", at)
    resumed = link.ask("POST", "/api/videos", {"path": clip.name})
    return {
        "frames": len(frames),
        "steps": state["steps"],
        "same": resumed["steps"] == state["steps"] and resumed["position"] == state["position"],
        "first": lengths(first),
        "second": lengths(second),
        "dice": scores(files["masks.zip"], frames, max(1, len(frames) // 100)),
        "bytes": {name: len(content) for name, content in files.items()},
    }


def written(
    asked: argparse.Namespace, link: Link, watch: Watch, found: dict[str, Any], size: int
) -> str:
    """The result file."""
    from promptseg.runtime.machine import describe_machine

    memory = []
    for phase, values in watch.readings.items():
        quarter = max(1, len(values) // 4)
        early, late = (
            np.median(values[quarter : 2 * quarter] or values),
            np.median(values[-quarter:]),
        )
        memory.append(f"| {phase} | {len(values)} | {early:.0f} | {late:.0f} | {max(values):.0f} |")
    times = [f"| {what} | {seconds:.1f} s |" for what, seconds in link.took.items()]
    tracked = link.took["track"]
    sizes = ", ".join(f"{name} {count / 1e6:.1f} MB" for name, count in found["bytes"].items())
    load = os.getloadavg()[1]
    nl = "\n"
    processor = describe_machine()["processor"]
    command = f"--frames {asked.frames} --model {asked.model} --stride {asked.stride}"
    return f"""# A clip of {asked.frames} frames through the page's server

{date.today()}; {processor}; model {asked.model}, one thread, `nice`; the machine was
busy with other work (a load of {load:.0f} on {os.cpu_count()} cores): times are upper bounds.
{COLUMNS} x {ROWS} pixels, MPEG-4, {size / 1e6:.1f} MB; {found["frames"]} frames (1 of {asked.stride}).
`python benchmarks/serve_video.py {command}`

| | |
|---|---|
{nl.join(times)}
| frames a second while tracking two objects | {found["frames"] / tracked:.1f} |
| frames with the objects, first tracking | {", ".join(f"{k} {v}" for k, v in found["first"].items())} |
| frames with the objects, corrected | {", ".join(f"{k} {v}" for k, v in found["second"].items())} |
| mean DSC against what was drawn | {", ".join(f"{k} {v:.3f}" for k, v in found["dice"].items())} |
| files | {sizes} |
| opened again, it stands where it stood | {"yes" if found["same"] else "NO"} |

The tool is out of sight on {HIDDEN_FOR} frames of {HIDDEN_EVERY}. Without a memory it is lost there,
and a correction, one for every time it comes back after the first prompt, reaches halfway to the next
prompt: hence its frames.

Resident memory of the server in MiB, read twice a second:

| phase | readings | second quarter (median) | last quarter (median) | most |
|---|---|---|---|---|
{nl.join(memory)}
"""


def main() -> None:
    """Do it, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--model", default="bright")
    parser.add_argument("--clip", type=Path, help="write the clip there, and do nothing else")
    parser.add_argument("-o", type=Path)
    asked = parser.parse_args()
    if asked.clip:
        write_clip(asked.clip, asked.frames)
        return
    with tempfile.TemporaryDirectory() as folder:
        clip, root = Path(folder) / "long.mkv", Path(folder) / "root"
        root.mkdir()
        write_clip(clip, asked.frames)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        process = os.fork()
        if process == 0:
            _serve(root, port, asked.model)
        atexit.register(os.kill, process, signal.SIGKILL)
        link = Link(port)
        while True:
            try:
                if link.ask("GET", "/api/health")["ready"]:
                    break
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.2)
        watch = Watch(process)
        found = work(link, clip, asked, watch)
        watch.stop()
        text = written(asked, link, watch, found, clip.stat().st_size)
    if asked.o:
        asked.o.write_text(text)
    print(text)


def _serve(root: Path, port: int, model: str) -> None:
    """What the server's process does."""
    from promptseg.serve.options import ServeJob
    from promptseg.serve.run import load_models, serve

    job = ServeJob(root=root, port=port, token=TOKEN, liveness_s=3600, model=(model,), threads=1)

    def models(job: Any) -> Any:
        if model != "bright":
            return load_models(job)
        from serve.fake_server import bright

        found = bright("lite-medsam")  # whose boxes grow on the way, so that they follow what moves
        for remembered in ("batches", "pixels", "encoded", "boxes", "asked"):  # what tests look at
            setattr(found.predictor.model, remembered, deque(maxlen=1))
            setattr(found.predictor, remembered, deque(maxlen=1))
        return {"bright": found}

    os._exit(serve(job, lambda _: None, models))


if __name__ == "__main__":
    main()
