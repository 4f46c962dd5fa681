"""A server's images, and one that is being worked on: prompts there, masks here."""

from __future__ import annotations

import base64
import io
import time
import warnings
import zlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union
from urllib.parse import quote

import numpy as np

from promptseg_client.connection import Connection, ServerError

__all__ = ["Server", "Session"]

Numbers = Sequence[float]
_LONGEST_WAIT = 25  # seconds of one request


class Server:
    """A running `promptseg serve`.

    Args:
        address: as it printed it, with the token.
        token: where the address is without.
        timeout: seconds until a request is given up.
    """

    def __init__(self, address: str, token: Optional[str] = None, timeout: float = 120.0) -> None:
        self.connection = Connection(address, token, timeout)

    @property
    def info(self) -> Dict[str, Any]:
        """Models, windows, formats and limits."""
        found: Dict[str, Any] = self.connection.ask("GET", "/api/info").json
        return found

    def images(self, folder: str = "") -> List[Dict[str, Any]]:
        """What a folder holds, with the state of the work on it."""
        answer = self.connection.ask("GET", "/api/images", query={"folder": folder})
        found: List[Dict[str, Any]] = answer.json["entries"]
        return found

    def open(self, path: str, **how: Any) -> Session:
        """Open an image of the folder that is served, where its session stood.

        Args:
            path: below the folder.
            how: model, modality, window, axis, propagate, series, frame, stack, take_over, afresh.
        """
        answer = self.connection.ask("POST", "/api/sessions", {"path": path, **how})
        return Session(self.connection, answer.json)

    def upload(self, array: np.ndarray, **facts: Any) -> Session:
        """Open an array (z, y, x) or (y, x), with a last axis of 3 if in colour.

        Args:
            array: of numbers.
            facts: spacing (x, y, z) in mm, origin, direction, modality, model, window, axis, propagate.
        """
        stream = io.BytesIO()
        np.save(stream, np.asarray(array), allow_pickle=False)
        plain = {k: np.asarray(v).ravel().tolist() if k in _ARRAYS else v for k, v in facts.items()}
        answer = self.connection.ask("POST", "/api/uploads", stream.getvalue(), meta=plain)
        return Session(self.connection, answer.json)


_ARRAYS = ("spacing", "origin", "direction")


class Session:
    """One image: prompts go to the server, and what they change comes back.

    Attributes:
        state: all that the server tells of it but voxels and masks; its `warning` is warned of, too.
        masks: boolean masks on the image's grid, by object, as far as they have arrived.
    """

    def __init__(self, connection: Connection, state: Dict[str, Any]) -> None:
        self.connection = connection
        self.state: Dict[str, Any] = {"steps": [], "warning": ""}
        self._know(state)
        self.masks: Dict[str, np.ndarray] = {}
        self._revision = 0
        self._at = f"/api/sessions/{quote(state['session'])}"
        self.refresh()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shape(self) -> Tuple[int, ...]:
        """(z, y, x), or (y, x)."""
        return tuple(self.state["image"]["shape"])

    @property
    def objects(self) -> List[str]:
        """Names of the objects, in order."""
        return [entry["name"] for entry in self.state["objects"]]

    @property
    def following(self) -> bool:
        """Whether answers are on their way to other slices."""
        return bool(self.state["following"])

    def box(self, xyxy: Numbers, slice: Optional[int] = None, **how: Any) -> None:
        """A box x0, y0, x1, y1 on a slice, both ends inside.

        Args:
            xyxy: in pixels of the slice.
            slice: its index.
            how: object, axis, spread.
        """
        self._prompt(slice, box=_plain(xyxy), **how)

    def box3d(self, bounds: Numbers, **how: Any) -> None:
        """A box x0, y0, z0, x1, y1, z1 in space, both ends inside; as `box`."""
        self._prompt(None, box3d=_plain(bounds), **how)

    def point(
        self, xy: Numbers, inside: bool = True, slice: Optional[int] = None, **how: Any
    ) -> None:
        """A click inside or outside the object; as `box`."""
        self._prompt(slice, points=[[*_plain(xy), int(inside)]], **how)

    def points(self, clicks: Sequence[Numbers], slice: Optional[int] = None, **how: Any) -> None:
        """Several clicks [x, y, label] at once, label 1 inside and 0 outside; as `box`."""
        self._prompt(slice, points=[_plain(click) for click in clicks], **how)

    def mask(
        self, pixels: np.ndarray, slice: Optional[int] = None, as_drawn: bool = True, **how: Any
    ) -> None:
        """A mask (rows, columns) of a slice: its answer as drawn, or a mask prompt; as `box`."""
        drawn = np.asarray(pixels) != 0
        steps = np.diff(drawn.ravel().astype(np.int8), prepend=0, append=0)
        starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        rle = " ".join(f"{a}:{b - a}" for a, b in zip(starts, ends))  # noqa: B905 (Python 3.9)
        self._prompt(slice, mask={"size": list(drawn.shape), "rle": rle}, as_drawn=as_drawn, **how)

    def marker(
        self,
        long: Sequence[Numbers],
        short: Optional[Sequence[Numbers]] = None,
        slice: Optional[int] = None,
        **how: Any,
    ) -> None:
        """The axis lines of an object, two ends each; two slices are needed; as `box`."""
        lines = {"long": [_plain(end) for end in long]}
        if short is not None:
            lines["short"] = [_plain(end) for end in short]
        self._prompt(slice, marker=lines, **how)

    def text(self, phrase: str, slice: Optional[int] = None, **how: Any) -> None:
        """Words, for a new object under their name; `slice` is answered first.

        Args:
            phrase: what to look for on every slice; models that take words are those of `Server.info`
                with `words`.
            slice: its index; the middle one if not given.
            how: object (its name), axis, spread.
        """
        self._prompt(slice, text=phrase, **how)

    def new_object(
        self, name: Optional[str] = None, colour: Optional[Sequence[int]] = None
    ) -> None:
        """A new object, which is current from then on."""
        body = {"name": name, "colour": None if colour is None else list(colour)}
        self._post("objects", body)

    def change_object(self, object: str, **changes: Any) -> None:
        """Change an object: name, colour, select, remove."""
        self._post("objects", {"object": object, **changes}, "PUT")

    def undo(self, to: Optional[int] = None) -> None:
        """One step back, or to a step by its number."""
        self._post("undo", {"to": to})

    def redo(self) -> None:
        """One step forth."""
        self._post("redo", {})

    def cancel(self) -> None:
        """Stop following; answers stay on their slices."""
        self._post("cancel", {})

    def wait(self, seconds: float = 3600.0) -> None:
        """Until answers have reached all slices.

        Raises:
            TimeoutError: that takes longer.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            self.refresh(int(max(0, min(left, _LONGEST_WAIT))))
            if not self.following:
                return
            if left <= 0:
                raise TimeoutError(f"answers have not reached all slices after {seconds:g} s")

    def refresh(self, wait: int = 0) -> None:
        """Fetch what has changed; `wait` seconds at most for what is being followed."""
        query = {"since": self._revision, "wait": wait}
        self._take(self.connection.ask("GET", f"{self._at}/changes", query=query).json)

    def slices(self, first: int, count: int = 1, axis: Optional[str] = None) -> np.ndarray:
        """(count, rows, columns[, 3]) voxels."""
        query = {"index": first, "count": count, "axis": axis}
        answer = self.connection.ask("GET", f"{self._at}/slices", query=query)
        shape = [int(n) for n in answer.headers["x-shape"].split(",")]
        return np.frombuffer(answer.body, "<" + answer.headers["x-dtype"]).reshape(shape)

    def measurements(self) -> Dict[str, Dict[str, Any]]:
        """Sizes by object."""
        found: Dict[str, Dict[str, Any]]
        found = self.connection.ask("GET", f"{self._at}/measurements").json
        return found

    def save(self, path: str, **how: Any) -> str:
        """Write the masks below the folder that is served; gives where.

        Args:
            path: whose ending names the format.
            how: overwrite, overlap, deidentify.
        """
        answer = self.connection.ask("POST", f"{self._at}/save", {"path": path, **how})
        return str(answer.json["path"])

    def download(
        self, path: Union[str, Path], overlap: str = "keep", overwrite: bool = False
    ) -> Path:
        """Write the masks to a file here; its ending names the format.

        Raises:
            FileExistsError: it is there, and `overwrite` is not set.
        """
        path = Path(path)
        formats = self.connection.ask("GET", "/api/info").json["endings"]
        known = formats["picture" if len(self.shape) == 2 else "volume"]
        ending = next((e for e in known if path.name.lower().endswith(e)), None)
        if ending is None:
            raise ServerError(f"expected a file {', '.join(known)}, got {path.name!r}")
        query = {"ending": ending, "overlap": overlap}
        answer = self.connection.ask("GET", f"{self._at}/download", query=query)
        with path.open("wb" if overwrite else "xb") as stream:
            stream.write(answer.body)
        return path

    def close(self) -> None:
        """End it; what was done on an image of the folder is kept."""
        try:
            self.connection.ask("DELETE", self._at)
        except ServerError as error:
            if error.status not in (404, 410):
                raise

    def _prompt(self, slice: Optional[int], **body: Any) -> None:
        self._post("prompts", {"slice": slice, **body})

    def _post(self, what: str, body: Dict[str, Any], method: str = "POST") -> None:
        known = {k: v for k, v in body.items() if v is not None}
        answer = self.connection.ask(
            method, f"{self._at}/{what}", {**known, "since": self._revision}
        )
        self._take(answer.json)

    def _know(self, state: Dict[str, Any]) -> None:
        """Take over a state; of the steps only those that changed have come."""
        steps = self.state["steps"][: state["steps_from"]] + state["steps"]
        warned, self.state = self.state["warning"], {**state, "steps": steps, "steps_from": 0}
        if state["warning"] and state["warning"] != warned:
            warnings.warn(state["warning"], stacklevel=4)

    def _take(self, change: Dict[str, Any]) -> None:
        """Put what changed into the masks."""
        if change["since"] == 0:
            self.masks = {}
        self._know(change["state"])
        self._revision = change["revision"]
        for entry in change["regions"]:
            region = tuple(np.s_[a:b] for a, b in entry["region"])
            shape = tuple(b - a for a, b in entry["region"])
            bits = np.frombuffer(zlib.decompress(base64.b64decode(entry["bits"])), np.uint8)
            part = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
            mask = self.masks.setdefault(entry["object"], np.zeros(self.shape, bool))
            mask[region] = part
        self.masks = {name: self.masks[name] for name in self.objects if name in self.masks}


def _plain(values: Numbers) -> List[float]:
    return [float(v) for v in values]
