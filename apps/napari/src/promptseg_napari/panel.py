"""The panel: widgets on `Work`, which does not know them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from promptseg_napari.backends import Local, Remote
from promptseg_napari.layers import Target, labels_for
from promptseg_napari.problems import Problem
from promptseg_napari.work import Work

__all__ = ["Panel"]

_POLL_MS = 40
_POINTS = {"inside": "#3cb44b", "outside": "#e6194b"}


class Panel(QWidget):
    """Choose an image, open it, prompt it.

    Args:
        napari_viewer: the viewer; napari gives it.
        backend: in place of what the address says.
    """

    def __init__(self, napari_viewer: Any, backend: Any = None) -> None:
        super().__init__()
        self.viewer, self.given = napari_viewer, backend
        self.work: Work | None = None
        self.layers: dict[str, Any] = {}
        self.ends: list[int] = []
        self._pool = ThreadPoolExecutor(1)
        self._jobs: list[tuple[Future[Any], Callable[[], None]]] = []
        self._said = ""
        self._build()
        self.timer = QTimer(self)
        self.timer.timeout.connect(self.poll)
        self.timer.start(_POLL_MS)
        self.viewer.layers.events.inserted.connect(lambda _: self._images())
        self.viewer.layers.events.removed.connect(self._removed)
        self._images()

    def _build(self) -> None:
        self.image, self.model = QComboBox(), QComboBox()
        self.address, self.modality, self.words = QLineEdit(), QComboBox(), QLineEdit()
        self.address.setPlaceholderText("empty: in this process; or a server's address")
        self.model.setEditable(True)
        self.model.addItems(list(Local.models))
        self.modality.addItems(["", "CT", "MR", "PET", "US", "XR"])
        self.modality.setEditable(True)
        self.words.setPlaceholderText("words, for a model that takes them")
        self.time, self.spread = (
            QCheckBox("First axis is time"),
            QCheckBox("Propagate to other slices"),
        )
        self.spread.setChecked(True)
        self.status, self.quality, self.object = QLabel(""), QLabel(""), QLabel("")
        for label in (self.status, self.quality):
            label.setWordWrap(True)
        form = QFormLayout()
        for text, widget in (
            *(("Image", self.image), ("Server", self.address), ("Model", self.model)),
            *(("Modality", self.modality), ("", self.time)),
        ):
            form.addRow(text, widget)
        first = QGroupBox("Image")
        first.setLayout(form)
        form.addRow("", self._button("Open", self.open))
        self.find_button = self._button("Find", self.find)
        prompts = QVBoxLayout()
        for row in (
            (self._button("Points inside", lambda: self._use("inside")),
             self._button("Points outside", lambda: self._use("outside"))),
            (self._button("Boxes", lambda: self._use("boxes")),
             self._button("First slice", lambda: self._end(0)),
             self._button("Last slice", lambda: self._end(1))),
            (self._button("Paint", lambda: self._use("labels")),
             self._button("Commit painting", self.commit)),
            (self.words, self.find_button),
            (self.spread, self._button("Stop", self.stop)),
        ):  # fmt: skip
            prompts.addLayout(_row(*row))
        second = QGroupBox("Prompts")
        second.setLayout(prompts)
        steps = QVBoxLayout()
        steps.addLayout(_row(self.object, self._button("New object", self.new_object)))
        steps.addLayout(_row(self._button("Undo", self.undo), self._button("Redo", self.redo)))
        steps.addLayout(
            _row(self._button("Carry on in time", self.carry_on), self._button("Save", self.save))
        )
        steps.addWidget(self.status)
        steps.addWidget(self.quality)
        third = QGroupBox("Objects")
        third.setLayout(steps)
        whole = QVBoxLayout(self)
        for group in (first, second, third):
            whole.addWidget(group)
        whole.addStretch()

    def _button(self, text: str, do: Callable[[], None]) -> QPushButton:
        button = QPushButton(text)
        button.clicked.connect(lambda *_: self.guarded(do))
        return button

    # What a person does.

    def open(self) -> None:
        """Begin on the chosen image, with layers for prompts and for the answer."""
        name = self.image.currentText()
        if name not in self.viewer.layers:
            raise Problem("expected an image layer, got none; open an image first")
        layer = self.viewer.layers[name]
        target = Target.of(layer, self.time.isChecked() or layer.ndim == 4)
        self.close_work()
        backend = self.given
        if backend is None:
            address = self.address.text().strip()
            backend = Remote(address) if address else Local()
        model = self.model.currentText().strip()
        if model not in backend.models and isinstance(backend, Remote):
            model = backend.models[0]
        labels = self.viewer.add_labels(**labels_for(target), opacity=0.5)
        same = {"ndim": layer.ndim, "affine": labels.affine.affine_matrix, "units": layer.units}
        boxes = self.viewer.add_shapes(
            name="boxes", edge_color="#f58231", face_color="transparent", edge_width=1, **same
        )
        points = {
            kind: self.viewer.add_points(
                name=f"points {kind}",
                face_color=colour,
                size=max(2, min(target.shape[-2:]) // 60),
                **same,
            )
            for kind, colour in _POINTS.items()
        }
        self.layers = {"labels": labels, "boxes": boxes, **points}
        self.work = Work(
            target, labels, backend, model, modality=self.modality.currentText().strip()
        )
        for kind, found in points.items():
            found.events.data.connect(lambda event, k=kind: self._clicked(event, k))
        boxes.events.data.connect(self._boxed)
        known = backend.words_of(model)
        for widget in (self.words, self.find_button):
            widget.setVisible(known is not None)
        self.words.setCompleter(QCompleter(known or []))
        self._say(f"open: {name}; {target.moments} time point(s)")
        self._refresh()

    def _clicked(self, event: Any, kind: str) -> None:
        if str(event.action) in ("added", "ActionType.ADDED"):
            self.guarded(lambda: self._prompt_points(kind))

    def _prompt_points(self, kind: str) -> None:
        layer, work = self.layers[kind], self._open()
        last = np.asarray(layer.data)[-1:]
        self.run(
            work.clicks(layer, last, kind == "inside", self._displayed, self.spread.isChecked())
        )

    def _boxed(self, event: Any) -> None:
        if str(event.action) in ("added", "ActionType.ADDED"):
            self.guarded(self._prompt_box)

    def _prompt_box(self) -> None:
        layer, work = self.layers["boxes"], self._open()
        depth = (self.ends[0], self.ends[1]) if len(self.ends) == 2 else None
        self.ends = []
        self.run(work.box(layer, layer.data[-1], self._displayed, depth, self.spread.isChecked()))

    def _end(self, which: int) -> None:
        work = self._open()
        axis = work.target.axis(self._displayed)
        if axis is None:
            raise Problem("expected a volume, got a picture; it has no other slices")
        here = work.target.layer.world_to_data(np.asarray(self.viewer.dims.point))
        index = round(float(here[work.target.moving + "zyx".index(axis)]))
        ends = [*self.ends, index, index][:2] if not self.ends else list(self.ends)
        ends[which] = index
        self.ends = ends
        self._say(f"the next box counts from slice {min(ends)} to {max(ends)}")

    def commit(self) -> None:
        """What was painted is the answer of its slices."""
        self.run(self._open().painted(self._displayed, self._moment))

    def find(self) -> None:
        """Look for what the words name, first on the slice that is shown."""
        work = self._open()
        here = work.target.layer.world_to_data(np.asarray(self.viewer.dims.point))
        self.run(
            work.words(
                self.words.text(), self._displayed, here, self._moment, self.spread.isChecked()
            )
        )

    def new_object(self) -> None:
        """Prompts are for another object from now on."""
        self._open().new_object()
        self._refresh()

    def undo(self) -> None:
        """One step back."""
        self.run(self._open().undo(self._moment))

    def redo(self) -> None:
        """One step forth."""
        self.run(self._open().redo(self._moment))

    def carry_on(self) -> None:
        """The time points after this one."""
        work = self._open()
        work.stopped = False
        self.run(work.carry_on(self._moment))

    def stop(self) -> None:
        """Leave answers where they are."""
        self._open().stopped = True

    def save(self, path: str = "") -> None:
        """Write all objects of this time point."""
        work = self._open()
        path = path or QFileDialog.getSaveFileName(self, "Save masks", "masks.nii.gz")[0]
        if path:
            self.run(work.save(path, self._moment))

    # How it is done.

    @property
    def _displayed(self) -> tuple[int, ...]:
        """The shown axes, as those of the image layer, which may have fewer than the viewer."""
        more = self.viewer.dims.ndim - self._open().target.layer.ndim
        return tuple(n - more for n in self.viewer.dims.displayed)

    @property
    def _moment(self) -> int:
        work = self._open()
        if not work.target.moving:
            return 0
        here = work.target.layer.world_to_data(np.asarray(self.viewer.dims.point))
        return round(float(here[0]))

    def _open(self) -> Work:
        if self.work is None:
            raise Problem("expected an open image, got none; press Open")
        return self.work

    def _use(self, name: str) -> None:
        self._open()
        layer = self.layers[name]
        self.viewer.layers.selection.active = layer
        layer.mode = {"boxes": "add_rectangle", "labels": "paint"}.get(name, "add")
        if name == "labels" and self.work is not None:
            known = self.work.numbers
            layer.selected_label = known.get(self.work.current, max([0, *known.values()]) + 1)

    def run(self, do: Callable[[Callable[[str], None]], None]) -> None:
        """Do this in the thread, then show what came of it."""
        work = self._open()

        def then() -> None:
            if work is self.work:
                work.show()
                if work.said:
                    self._say(work.said)
                    work.said = ""
            self._refresh()

        self._say("answering")
        self._jobs.append((self._pool.submit(do, self._say), then))

    def poll(self) -> None:
        """Show what is said and done; a timer calls it."""
        self.status.setText(self._said)
        while self._jobs and self._jobs[0][0].done():
            job, then = self._jobs.pop(0)
            if then is not _nothing:
                self._say("")
            self.guarded(lambda j=job, t=then: (j.result(), t()))
            self.status.setText(self._said)

    @property
    def busy(self) -> bool:
        """Whether something is still to be answered."""
        return bool(self._jobs)

    def guarded(self, do: Callable[[], Any]) -> None:
        """Do something; what goes wrong is shown in one line."""
        try:
            do()
        except Exception as error:
            known = isinstance(error, Problem) or type(error).__module__.startswith("promptseg")
            text = (
                str(error) if known else f"a fault of the plugin ({type(error).__name__}: {error})"
            )
            self._say(text)
            self.status.setText(text)

    def _say(self, text: str) -> None:
        self._said = text

    def _refresh(self) -> None:
        self.object.setText("" if self.work is None else f"prompts are for: {self.work.current}")
        self.quality.setText("" if self.work is None else "\n".join(self.work.quality))

    def _images(self) -> None:
        names = [layer.name for layer in self.viewer.layers if type(layer).__name__ == "Image"]
        if [self.image.itemText(n) for n in range(self.image.count())] != names:
            kept = self.image.currentText()
            self.image.clear()
            self.image.addItems(names)
            self.image.setCurrentText(kept if kept in names else (names[-1] if names else ""))

    def _removed(self, event: Any) -> None:
        self._images()
        mine = [] if self.work is None else [self.work.target.layer, self.work.labels]
        if any(event.value is layer for layer in mine):
            self.close_work()
            self._say("the image or its labels were closed; answers under way are dropped")
            self._refresh()

    def close_work(self) -> None:
        """End the sessions; layers stay."""
        work, self.work = self.work, None
        if work is not None:
            work.stopped = True
            self._jobs.append((self._pool.submit(work.close), _nothing))


def _nothing() -> None:
    """What follows when a session has been closed."""


def _row(*widgets: QWidget) -> QHBoxLayout:
    found = QHBoxLayout()
    for widget in widgets:
        found.addWidget(widget)
    return found
