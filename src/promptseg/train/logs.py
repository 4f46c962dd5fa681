"""Where the numbers of a training go: CSV and TensorBoard files always, W&B and MLflow on request."""

from __future__ import annotations

import csv
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


class Log(Protocol):
    """Takes numbers by name."""

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        """Log some numbers.

        Args:
            update: of the weights.
            kind: "train" or "validation".
            values: by name.
        """

    def close(self) -> None:
        """Nothing more will come."""


class _Csv:
    """`train.csv` and `validation.csv`; rows beyond the update a training goes on from are dropped."""

    def __init__(self, folder: Path, updates: int) -> None:
        self.folder = folder
        for kind in ("train", "validation"):
            _cut(folder / f"{kind}.csv", updates)

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        path = self.folder / f"{kind}.csv"
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

    def close(self) -> None:
        pass


class _Board:
    """TensorBoard's event files."""

    def __init__(self, folder: Path, updates: int) -> None:
        writer = import_module("tensorboardX").SummaryWriter
        ending = f".{secrets.token_hex(8)}"  # its own part of the name depends on time and host
        OwnFolder(folder).claim(f"{BOARD}/*{ending}")
        self.writer = writer(str(folder / BOARD), purge_step=updates + 1, filename_suffix=ending)

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{kind}/{name}", value, update)

    def close(self) -> None:
        self.writer.close()


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
        kept.write_text(str(run.info.run_id) + "\n", encoding="utf-8")

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        named = {f"{kind}/{k.replace('+', '_plus_')}": v for k, v in values.items()}
        with _only_warning("mlflow"):
            self.mlflow.log_metrics(named, step=update)

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
    """All logs of a training.

    Args:
        folder: of the training.
        updates: so many are done already: the logs go on from there.
        trackers: "wandb", "mlflow".
        options: of the training, for them.
    """
    logs: list[Log] = [_Csv(folder, updates), _Board(folder, updates)]
    makers: dict[str, Callable[[Path, dict[str, Any]], Log]] = {"wandb": _Wandb, "mlflow": _Mlflow}
    return logs + [makers[name](folder, options) for name in trackers]


@contextmanager
def _only_warning(tracker: str) -> Iterator[None]:
    """A tracker that cannot be reached must not end a training."""
    try:
        yield
    except Exception as error:
        log.warning("%s did not take the numbers: %s", tracker, error)


def _identity(folder: Path) -> str:
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _cut(path: Path, updates: int) -> None:
    """Leave the rows of a log that a training goes on from."""
    if not path.exists():
        return
    header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
    if not header:
        path.unlink()
        return
    kept = [row for row in rows if row.partition(",")[0].isdigit() and _update(row) <= updates]
    if len(kept) < len(rows):
        with atomic_path(path) as temporary:
            temporary.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")


def _update(row: str) -> int:
    return int(row.partition(",")[0])
