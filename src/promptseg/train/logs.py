"""Logs of the numbers of a training: CSV and TensorBoard files always, W&B and MLflow on request."""

from __future__ import annotations

import csv
import hashlib
import logging
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from promptseg.errors import InputError, OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.own_folder import OwnFolder

__all__ = ["BOARD", "Log", "open_logs", "require_packages"]

log = logging.getLogger("promptseg")

BOARD = "tensorboard"
"""Folder of TensorBoard's files."""

_KINDS = ("train", "validation")
_LENGTH, _CHECKSUM = 12, 4  # bytes before and after a record of TensorBoard's


class Log(Protocol):
    """Takes numbers by name."""

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        """Log some numbers.

        Args:
            update: of the weights.
            kind: "train" or "validation".
            values: by name.
        """

    def flush(self) -> None:
        """Write out what was logged, so that it outlives the process from here on."""

    def close(self) -> None:
        """Close the log: nothing more will come."""


class _Csv:
    """`train.csv` and `validation.csv`, one row an update.

    Of earlier processes the rows stay up to the update that a training goes on from, but for one that
    a kill has cut short.
    """

    def __init__(self, folder: Path, updates: int) -> None:
        self.folder = folder
        self.written = {kind: _cut(folder / f"{kind}.csv", updates) for kind in _KINDS}

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        path = self.folder / f"{kind}.csv"
        if update in self.written[kind]:
            return
        try:
            new = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                if new:
                    writer.writerow(["update", *values])
                writer.writerow([update, *(f"{v:.7g}" for v in values.values())])
        except OSError as error:
            raise OutputError(
                "a log that can be written", f"{path} ({error.strerror})", "free some space"
            ) from None
        self.written[kind].add(update)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Board:
    """TensorBoard's event files."""

    def __init__(self, folder: Path, updates: int) -> None:
        writer = import_module("tensorboardX").SummaryWriter
        ending = f".{secrets.token_hex(8)}"  # its own part of the name depends on time and host
        self.written = {(k, n) for k, n in _events(folder / BOARD) if n <= updates}
        OwnFolder(folder).claim(f"{BOARD}/*{ending}")
        self.writer = writer(str(folder / BOARD), purge_step=updates + 1, filename_suffix=ending)

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        if (kind, update) in self.written:
            return
        for name, value in values.items():
            self.writer.add_scalar(f"{kind}/{name}", value, update)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Once:
    """A tracker that is not told again what the CSV files had already when the training went on."""

    def __init__(self, tracker: Log, written: dict[str, set[int]]) -> None:
        self.tracker = tracker
        self.written = {kind: frozenset(updates) for kind, updates in written.items()}

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        if update not in self.written[kind]:
            self.tracker.write(update, kind, values)

    def flush(self) -> None:
        self.tracker.flush()

    def close(self) -> None:
        self.tracker.close()


class _Wandb:
    """Weights & Biases; a training that goes on goes on in the same run."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.run = import_module("wandb").init(
            project="promptseg",
            id=_identity(folder),
            resume="allow",
            name=folder.name,
            dir=str(folder),
            config=options,
        )

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        with _only_warning("wandb"):
            self.run.log({f"{kind}/{k}": v for k, v in values.items()}, step=update)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        with _only_warning("wandb"):
            self.run.finish()


class _Mlflow:
    """MLflow; its own environment variables say where to. Its names of metrics have no plus."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.mlflow = import_module("mlflow")
        kept = folder / "mlflow_run"
        if kept.exists():
            self.mlflow.start_run(run_id=kept.read_text(encoding="utf-8").strip())
            return
        run = self.mlflow.start_run(run_name=folder.name)
        self.mlflow.log_params(options)
        with atomic_path(kept) as temporary:
            temporary.write_text(str(run.info.run_id) + "\n", encoding="utf-8")

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        named = {f"{kind}/{k.replace('+', '_plus_')}": v for k, v in values.items()}
        with _only_warning("mlflow"):
            self.mlflow.log_metrics(named, step=update)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        with _only_warning("mlflow"):
            self.mlflow.end_run()


def require_packages(trackers: Sequence[str]) -> None:
    """Refuse early what could not be logged later.

    Args:
        trackers: "wandb", "mlflow".

    Raises:
        InputError: a package that is not installed.
    """
    if find_spec("tensorboardX") is None:
        raise InputError(
            "the packages for training", "no tensorboardX", "pip install 'promptseg[train]'"
        )
    for name in trackers:
        if find_spec(name) is None:
            raise InputError(f"--log {name} with its package", f"no {name}", f"pip install {name}")


def open_logs(
    folder: Path, updates: int, trackers: Sequence[str], options: dict[str, Any]
) -> list[Log]:
    """Open all logs of a training.

    Args:
        folder: of the training.
        updates: so many are done already: the logs go on from there.
        trackers: "wandb", "mlflow".
        options: of the training, for them.
    """
    table = _Csv(folder, updates)
    logs: list[Log] = [table, _Board(folder, updates)]
    makers: dict[str, Callable[[Path, dict[str, Any]], Log]] = {"wandb": _Wandb, "mlflow": _Mlflow}
    return logs + [_Once(makers[name](folder, options), table.written) for name in trackers]


@contextmanager
def _only_warning(tracker: str) -> Iterator[None]:
    """A tracker that cannot be reached must not end a training."""
    try:
        yield
    except Exception as error:
        log.warning("%s did not take the numbers: %s", tracker, error)


def _identity(folder: Path) -> str:
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _cut(path: Path, updates: int) -> set[int]:
    """Leave the rows of a log that a training goes on from; returns their updates."""
    if not path.exists():
        return set()
    content = path.read_text(encoding="utf-8")
    header, *rows = content[: content.rfind("\n") + 1].splitlines() or [""]
    if not header:
        path.unlink()
        return set()
    kept: dict[int, str] = {}
    for row in rows:
        first, *others = row.split(",")
        if first.isdigit() and int(first) <= updates and len(others) == header.count(","):
            kept.setdefault(int(first), row)
    text = "\n".join([header, *kept.values()]) + "\n"
    if text != content.replace("\r\n", "\n"):
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return set(kept)


def _events(folder: Path) -> Iterator[tuple[str, int]]:
    """Kind and update of every number in TensorBoard's files, but for a record that was cut short."""
    event = import_module("tensorboardX.proto.event_pb2").Event
    decode = import_module("google.protobuf.message").DecodeError
    for file in sorted(folder.glob("events.out.tfevents.*")) if folder.is_dir() else ():
        content, at = file.read_bytes(), 0
        while at + _LENGTH <= len(content):  # length, its checksum, a record, its checksum
            (size,) = struct.unpack_from("<Q", content, at)
            record = content[at + _LENGTH : at + _LENGTH + size]
            at += _LENGTH + size + _CHECKSUM
            with suppress(decode):
                found = event.FromString(record) if len(record) == size else event()
                for value in found.summary.value:
                    yield value.tag.partition("/")[0], found.step
