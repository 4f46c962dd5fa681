"""An image layer, a labels layer and a session for every time point: the panel without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg_napari.backends import Backend, Open, Say
from promptseg_napari.layers import Target
from promptseg_napari.problems import Problem

__all__ = ["Work"]

_MARGIN = 0.05  # of a box's length on either side, from one time point to the next


class Work:
    """Prompts on an image layer become numbers in a labels layer.

    What takes long is a function that a method returns: run it in a thread, then call `show`. Nothing
    but `show` and `painted` touches a layer that is shown.

    Args:
        target: the image.
        labels: napari's Labels layer on it.
        backend: who answers.
        model: name.
        how: modality and window.
    """

    def __init__(
        self, target: Target, labels: Any, backend: Backend, model: str, **how: str
    ) -> None:
        self.target, self.labels, self.backend, self.model = target, labels, backend, model
        self.how = {k: v for k, v in how.items() if v}
        self.sessions: dict[int, Open] = {}
        self.numbers: dict[str, int] = {}
        self.current = self._free_name()
        self._shown: dict[int, NDArray[np.int32]] = {}  # without what was painted since
        self._before: set[str] = set()
        self.stopped = False
        self.said = ""  # of words: what a person should know

    # Objects.

    def new_object(self, name: str = "") -> str:
        """Prompts are for a new object from now on.

        Raises:
            Problem: another one has that name.
        """
        if name in self.numbers:
            raise Problem(f"expected a name that no object has, got {name!r}; choose another")
        self.current = name or self._free_name()
        return self.current

    def _free_name(self) -> str:
        return next(n for k in range(1, 10000) if (n := f"object {k}") not in self.numbers)

    # Prompts, in the coordinates of other layers.

    def clicks(
        self, layer: Any, data: Any, inside: bool, displayed: Any, spread: bool = True
    ) -> Callable[[Say], None]:
        """Points of a layer.

        Raises:
            Problem: they lie outside, or in no slice.
        """
        places = self.target.places(layer, data)
        axis, moment = self.target.axis(displayed), self.target.moment_of(places)
        xy, slices = self.target.on_slice(places, axis)
        bodies = [
            {"slice": int(k), "points": [[*p, int(inside)] for p in xy[slices == k].tolist()]}
            for k in np.unique(slices)
        ]
        return self._ask(moment, axis, bodies, spread)

    def box(
        self, layer: Any, corners: Any, displayed: Any, depth: tuple[int, int] | None = None,
        spread: bool = True,
    ) -> Callable[[Say], None]:  # fmt: skip
        """A shape of a layer: its smallest box on its slice, or from one slice to another.

        Raises:
            Problem: it lies outside, or on several slices.
        """
        places = self.target.places(layer, corners)
        size = np.array(self.target.shape[-self.target.space :]) - 1
        inner = places[:, -self.target.space :]
        if (inner.max(0) < -0.5).any() or (inner.min(0) > size + 0.5).any():
            raise Problem("expected a box that touches the image, got one beside it; move it")
        places[:, -self.target.space :] = np.clip(inner, 0, size)
        axis, moment = self.target.axis(displayed), self.target.moment_of(places)
        xy, slices = self.target.on_slice(places, axis)
        if len(set(slices.tolist())) != 1:
            raise Problem(f"expected a box on one slice, got one on {sorted(set(slices.tolist()))}")
        x0, y0, x1, y1 = *xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()
        body: dict[str, Any] = {"slice": int(slices[0]), "box": [x0, y0, x1, y1]}
        if depth is not None and axis is not None:
            k = "xyz".index(axis)
            rest = [n for n in range(3) if n != k]
            bounds = np.zeros(6)
            bounds[rest], bounds[[n + 3 for n in rest]] = (x0, y0), (x1, y1)
            bounds[k], bounds[k + 3] = min(depth), max(depth)
            body = {"box3d": bounds.tolist()}
        return self._ask(moment, axis, [body], spread)

    def painted(self, displayed: Any, moment: int = 0) -> Callable[[Say], None]:
        """What was painted or erased in the labels layer: the answers of its slices.

        Raises:
            Problem: nothing was, or the layer has another shape.
        """
        now = self._labels(moment)
        before = self._shown.get(moment, np.zeros_like(now))
        axis = self.target.axis(displayed)
        along = None if axis is None else "zyx".index(axis)
        known = {number: name for name, number in self.numbers.items()}
        bodies: list[tuple[str, dict[str, Any]]] = []
        for number in np.unique(
            np.concatenate([now[now != before], before[now != before]])
        ).tolist():
            if number == 0:
                continue
            name = known.get(number)
            if name is None:
                name = known[number] = self._name_of(number)
            ours, theirs = now == number, before == number
            if along is None:
                bodies.append((name, {"mask": ours}))
                continue
            rest = tuple(n for n in range(3) if n != along)
            for k in np.flatnonzero((ours != theirs).any(axis=rest)).tolist():
                bodies.append((name, {"slice": k, "mask": np.take(ours, k, along)}))
        if not bodies:
            raise Problem("expected something painted in the labels layer, got nothing new")

        def do(say: Say) -> None:
            session = self._session(moment, say)
            for name, body in bodies:
                session.prompt(name, {**body, **({"axis": axis} if axis else {})}, False)
            self._shown[moment] = now

        return do

    def _name_of(self, number: int) -> str:
        name = self.current if self.current not in self.numbers else self._free_name()
        self.numbers[name] = number
        return name

    # Steps.

    def undo(self, moment: int) -> Callable[[Say], None]:
        """One step back at a time point."""
        return lambda say: self._session(moment, say).undo()

    def redo(self, moment: int) -> Callable[[Say], None]:
        """One step forth."""
        return lambda say: self._session(moment, say).redo()

    def words(
        self, phrase: str, displayed: Any, place: Any = None, moment: int = 0, spread: bool = True
    ) -> Callable[[Say], None]:
        """Look for what a phrase names: a new object under its name.

        Args:
            phrase: what to look for.
            displayed: axes that the viewer shows; slices are taken along the other one.
            place: where the viewer is, in the image's own coordinates; that slice comes first.
            moment: time point.
            spread: whether the other slices are looked at, too.

        Raises:
            Problem: no words.
        """
        if not phrase.strip():
            raise Problem("expected words, got none; write what to look for")
        axis = self.target.axis(displayed)
        index = None
        if axis is not None and place is not None:
            k, last = "zyx".index(axis), self.target.shape[-self.target.space :]
            index = int(np.clip(round(float(place[k - self.target.space])), 0, last[k] - 1))

        def do(say: Say) -> None:
            session = self._session(moment, say)
            self.current = session.words(phrase.strip(), index, axis, spread)
            if spread:
                session.follow(say, lambda: self.stopped)
            self.said = session.notes

        self.stopped = False
        return do

    def carry_on(self, moment: int) -> Callable[[Say], None]:
        """The time points after one, each prompted by the boxes of the one before.

        Raises:
            Problem: no time, or nothing there to carry on with.
        """
        if not self.target.moving:
            raise Problem("expected an image in time, got one without; tick time and open it again")
        if moment not in self.sessions or not any(
            m.any() for m in self.sessions[moment].masks.values()
        ):
            raise Problem("expected an object at this time point, got none; segment it first")

        def do(say: Say) -> None:
            for t in range(moment, self.target.moments - 1):
                boxes = dict(self._boxes(t))
                session = self._session(t + 1, say)
                there = session.masks
                for name, body in boxes.items():
                    if self.stopped:
                        return
                    if name in there and there[name].any():
                        continue
                    say(f"time point {t + 2} of {self.target.moments}: {name}")
                    session.prompt(name, body, True)
                    session.follow(say, lambda: self.stopped)

        return do

    def _boxes(self, moment: int) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, mask in self.sessions[moment].masks.items():
            if not mask.any():
                continue
            xyz = np.argwhere(mask)[:, ::-1]
            low, high = xyz.min(0).astype(float), xyz.max(0).astype(float)
            margin = 1 + _MARGIN * (high - low)
            low, high = (
                np.maximum(low - margin, 0),
                np.minimum(high + margin, np.array(mask.shape[::-1]) - 1),
            )
            yield name, {("box3d" if mask.ndim == 3 else "box"): [*low.tolist(), *high.tolist()]}

    def save(self, path: str, moment: int) -> Callable[[Say], None]:
        """All objects of a time point, overlaps too, with what made them."""
        return lambda say: self._session(moment, say).save(path)

    def close(self) -> None:
        """End all sessions."""
        for session in self.sessions.values():
            session.close()
        self.sessions.clear()

    # How it is done.

    def _ask(
        self, moment: int, axis: str | None, bodies: list[dict[str, Any]], spread: bool
    ) -> Callable[[Say], None]:
        name = self.current

        def do(say: Say) -> None:
            session = self._session(moment, say)
            for body in bodies:
                if axis is None:
                    body = {k: v for k, v in body.items() if k != "slice"}
                session.prompt(name, {**body, **({"axis": axis} if axis else {})}, spread)
            if spread:
                session.follow(say, lambda: self.stopped)

        self.stopped = False
        return do

    def _session(self, moment: int, say: Say) -> Open:
        if moment not in self.sessions:
            say(f"opening {self.target.layer.name} with {self.model}")
            spacing = self.target.spacing
            image = None if self.target.moving else self.target.layer.metadata.get("promptseg")
            plain = all(v == 1 for v in spacing) and self.target.space == 2
            self.sessions[moment] = self.backend.open(
                self.target.voxels(moment),
                None if plain else spacing,
                self.model,
                image=image,
                **self.how,
            )
        return self.sessions[moment]

    def _labels(self, moment: int) -> NDArray[np.int32]:
        if tuple(self.labels.data.shape) != self.target.shape:
            raise Problem(
                f"expected labels of shape {self.target.shape}, got {tuple(self.labels.data.shape)}; "
                "open the image again"
            )
        data = self.labels.data[moment] if self.target.moving else self.labels.data
        return np.array(data, np.int32)

    def show(self) -> None:
        """Write what the sessions have into the labels layer; later objects lie over earlier ones.

        What was painted or erased and is not committed yet stays, over all of them.

        Raises:
            Problem: the layer has another shape now.
        """
        for moment, session in self.sessions.items():
            now = self._labels(moment)
            before = self._shown.get(moment, np.zeros_like(now))
            answered = np.zeros_like(now)
            for name, mask in session.masks.items():
                if name not in self.numbers:
                    self.numbers[name] = max([0, *self.numbers.values()]) + 1
                answered[mask] = self.numbers[name]
            self._shown[moment] = answered
            found = np.where(now == before, answered, now)
            if self.target.moving:
                self.labels.data[moment] = found
            else:
                self.labels.data[...] = found
        self.labels.refresh()
        known = {number: name for name, number in self.numbers.items()}
        self.labels.metadata["promptseg_names"] = known

    @property
    def quality(self) -> list[str]:
        """A line for each object with slices in doubt."""
        found = []
        for moment, session in sorted(self.sessions.items()):
            when = f" at time point {moment}" if self.target.moving else ""
            for name, slices in session.doubtful.items():
                if slices:
                    found.append(
                        f"{name}{when}: look at {', '.join(map(str, sorted(slices)[:20]))}"
                    )
        return found
