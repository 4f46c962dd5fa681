"""Who answers: promptseg in this process, or a server. Both are asked the same way, in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg_napari.problems import Problem, missing

__all__ = ["Backend", "Local", "Open", "Remote"]

Say = Callable[[str], None]


class Open(Protocol):
    """A session on one image; masks are on its grid."""

    @property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """By object."""

    @property
    def doubtful(self) -> dict[str, list[int]]:
        """By object, the slices that should be looked at."""

    def prompt(self, name: str, body: dict[str, Any], spread: bool) -> None:
        """A prompt as docs/server.md of promptseg has it; answered on its slice at once."""

    def follow(self, say: Say, stopped: Callable[[], bool]) -> None:
        """Until the other slices are answered, or somebody stops it."""

    def undo(self) -> None:
        """One step back."""

    def redo(self) -> None:
        """One step forth."""

    def words(self, phrase: str, index: int | None, axis: str | None, spread: bool) -> str:
        """Look for what a phrase names, first on a slice; the object's name."""

    @property
    def notes(self) -> str:
        """What is to be said of the last answer; empty where nothing is."""

    def save(self, path: str) -> None:
        """Write all masks, with what made them."""

    def close(self) -> None:
        """End it."""


class Backend(Protocol):
    """Something that opens images."""

    models: list[str]

    def words_of(self, model: str) -> list[str] | None:
        """Words that a model is known to take; None for one that takes none."""

    def open(
        self, voxels: NDArray[Any], spacing: list[float] | None, model: str, **how: Any
    ) -> Open:
        """A session; `how` has modality and window, and the image a reader of ours has read."""


class Local:
    """promptseg in this process; a model is loaded once.

    Args:
        load: loads a model by name, in place of `promptseg.load`.
        options: how prompts spread, of `promptseg.SegmentOptions`.
    """

    models = ("promptseg-lite", "promptseg-words", "lite-medsam", "mobile-sam", "medsam2")

    def __init__(
        self, load: Callable[[str], Any] | None = None, options: Any | None = None
    ) -> None:
        self._load, self._options = load, options
        self._loaded: dict[str, Any] = {}

    def words_of(self, model: str) -> list[str] | None:
        """See `Backend.words_of`; of a file or a folder it is known when it is open."""
        try:
            from promptseg.models.cards import CARDS
        except ImportError:
            return []
        card = CARDS.get(model)
        if card is not None and "text" not in card.prompts:
            return None
        return [] if card is None else list(card.words)

    def open(
        self,
        voxels: NDArray[Any],
        spacing: list[float] | None,
        model: str,
        modality: str = "",
        window: str = "",
        image: Any = None,
    ) -> _LocalSession:
        """See `Backend.open`."""
        try:
            import promptseg
        except ImportError:
            raise missing("promptseg", "local") from None
        if model not in self._loaded:
            self._loaded[model] = (self._load or promptseg.load)(model)
        if image is None or image.voxels.shape != voxels.shape:
            colour = voxels.shape[-1] == 3 and voxels.ndim != len(spacing or ())
            grid = voxels.shape[:-1] if colour else voxels.shape
            if spacing is None:
                geometry = promptseg.Geometry.pixels(grid)
            else:
                geometry = promptseg.Geometry.from_spacing(grid, [*spacing, 1.0][:3])
            image = promptseg.Image(voxels, geometry, modality or "unknown")
        given = {"modality": modality or None, "window": window or None}
        options = self._options or promptseg.SegmentOptions()
        options = replace(options, **{k: v for k, v in given.items() if v})
        return _LocalSession(promptseg.Session(self._loaded[model], image, options))


class _StoppedError(Exception):
    pass


class _LocalSession:
    def __init__(self, session: Any) -> None:
        self.session = session

    @property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        shape = self.session.geometry.shape
        objects = self.session.step.objects
        return {
            n: s.mask(shape) if s is not None else np.zeros(shape, bool) for n, s in objects.items()
        }

    @property
    def doubtful(self) -> dict[str, list[int]]:
        low = self.session.segmenter.predictor.card.low_quality
        known = {n: s for n, s in self.session.step.objects.items() if s is not None}
        return {n: [k for k, v in s.quality.items() if v < low] for n, s in known.items()}

    def prompt(self, name: str, body: dict[str, Any], spread: bool) -> None:
        from promptseg import Box, Box3D, Mask, Points

        axis, index = body.get("axis"), body.get("slice")
        if "box" in body:
            prompt: Any = Box(tuple(body["box"]), index, name, axis)
        elif "box3d" in body:
            prompt = Box3D(tuple(body["box3d"]), name, axis)
        elif "points" in body:
            xy = tuple((p[0], p[1]) for p in body["points"])
            prompt = Points(xy, tuple(int(p[2]) for p in body["points"]), index, name, axis)
        else:
            prompt = Mask(body["mask"], index, name, axis, as_drawn=True)
        self.session.add(prompt, name, spread=False)
        if not spread:
            self.session.leave_as_is()

    def follow(self, say: Say, stopped: Callable[[], bool]) -> None:
        def progress(encoded: int, name: str) -> None:
            if stopped():
                raise _StoppedError
            say(f"following {name}: {encoded} slices encoded")

        self.session.progress = progress
        try:
            self.session.spread()
        except _StoppedError:
            self.session.leave_as_is()
        finally:
            self.session.progress = None

    def undo(self) -> None:
        self.session.undo()

    def redo(self) -> None:
        self.session.redo()

    def words(self, phrase: str, index: int | None, axis: str | None, spread: bool) -> str:
        from promptseg import Text

        card = self.session.segmenter.predictor.card
        if "text" not in card.prompts:
            raise Problem(
                f"expected a model that takes words, got {card.name}; choose promptseg-words, and "
                "open the image with it"
            )
        self.session.add(Text(phrase, axis=axis), spread=False, at=index)
        if not spread:
            self.session.leave_as_is()
        return str(self.session.step.current)

    @property
    def notes(self) -> str:
        current = self.session.step.current
        return "" if current is None else "; ".join(self.session.notes_on(current))

    def save(self, path: str) -> None:
        self.session.result().save(path)

    def close(self) -> None:
        pass


class Remote:
    """A promptseg server.

    Args:
        address: as it printed it, with the token.
    """

    def __init__(self, address: str) -> None:
        try:
            import promptseg_client
        except ImportError:
            raise missing("promptseg-client", "server") from None
        self._error = promptseg_client.ServerError
        try:
            self._server = promptseg_client.Server(address)
            info = self._server.info
        except promptseg_client.ServerError as error:
            do = {0: "start it: promptseg serve --root FOLDER", 401: "paste its whole address"}
            raise Problem(f"{error}; {do.get(error.status, 'see the server')}") from None
        ours, theirs = promptseg_client.__version__, str(info.get("version"))
        if ours.split(".")[:2] != theirs.split(".")[:2]:
            raise Problem(
                f"expected a server of version {ours}, got {theirs}; install that one there, or "
                f"its client here: pip install promptseg-client=={theirs}"
            )
        self.models = [model["name"] for model in info["models"]]
        self._words = {model["name"]: model.get("words") for model in info["models"]}

    def words_of(self, model: str) -> list[str] | None:
        """See `Backend.words_of`."""
        words = self._words.get(model or self.models[0])
        if words is None:
            return None
        return [word for e in words["known"] for word in (e["name"], *e.get("synonyms", ()))]

    def open(
        self,
        voxels: NDArray[Any],
        spacing: list[float] | None,
        model: str,
        modality: str = "",
        window: str = "",
        image: Any = None,
    ) -> _RemoteSession:
        """See `Backend.open`."""
        facts: dict[str, Any] = {"model": model, "modality": modality, "window": window}
        facts = {k: v for k, v in facts.items() if v}
        if spacing is not None:
            facts["spacing"] = [*spacing, 1.0][:3]
        geometry = getattr(image, "geometry", None)
        if geometry is not None and image.voxels.shape == voxels.shape and geometry.unit == "mm":
            facts |= {"spacing": geometry.spacing, "origin": geometry.origin}
            facts["direction"] = geometry.direction
        try:
            return _RemoteSession(self._server.upload(voxels, **facts))
        except self._error as error:
            raise Problem(str(error)) from None


class _RemoteSession:
    def __init__(self, session: Any) -> None:
        self.session = session

    @property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        return dict(self.session.masks)

    @property
    def doubtful(self) -> dict[str, list[int]]:
        return {e["name"]: e.get("doubtful_slices", []) for e in self.session.state["objects"]}

    def prompt(self, name: str, body: dict[str, Any], spread: bool) -> None:
        body = dict(body)
        how = {"object": name, "spread": spread, "axis": body.pop("axis", None)}
        index = body.pop("slice", None)
        ((kind, value),) = body.items()
        if kind == "box3d":
            self.session.box3d(value, **how)
        else:
            getattr(self.session, kind)(value, slice=index, **how)

    def follow(self, say: Say, stopped: Callable[[], bool]) -> None:
        while self.session.following:
            if stopped():
                self.session.cancel()
                return
            state = self.session.state
            encoded = max(state["encoded"].values(), default=0)
            say(f"following {', '.join(state['following'])}: {encoded} slices encoded")
            time.sleep(0.2)
            self.session.refresh()

    def undo(self) -> None:
        self.session.undo()

    def redo(self) -> None:
        self.session.redo()

    def words(self, phrase: str, index: int | None, axis: str | None, spread: bool) -> str:
        self.session.text(phrase, index, axis=axis, spread=spread)
        return str(self.session.state["current"])

    @property
    def notes(self) -> str:
        return str(self.session.state["warning"])

    def save(self, path: str) -> None:
        self.session.download(path)

    def close(self) -> None:
        self.session.close()
