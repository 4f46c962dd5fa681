"""Where the numbers of a training go: CSV and TensorBoard files always, W&B and MLflow on request."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from promptseg.errors import InputError

__all__ = ["Log", "open_logs"]

log = logging.getLogger("promptseg")


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
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(["update", *values])
            writer.writerow([update, *(f"{v:.7g}" for v in values.values())])

    def close(self) -> None:
        pass


class _Board:
    """TensorBoard's event files."""

    def __init__(self, folder: Path, updates: int) -> None:
        try:
            writer = import_module("tensorboardX").SummaryWriter
        except ImportError:
            raise InputError(
                "the packages for training", "no tensorboardX", "pip install 'promptseg[train]'"
            ) from None
        self.writer = writer(str(folder / "tensorboard"), purge_step=updates + 1)

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{kind}/{name}", value, update)

    def close(self) -> None:
        self.writer.close()


class _Wandb:
    """Weights & Biases."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.run = _tracker("wandb").init(
            project="promptseg", name=folder.name, dir=str(folder), config=options
        )

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        self.run.log({f"{kind}/{k}": v for k, v in values.items()}, step=update)

    def close(self) -> None:
        self.run.finish()


class _Mlflow:
    """MLflow; its own environment variables say where to."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.mlflow = _tracker("mlflow")
        self.mlflow.start_run(run_name=folder.name)
        self.mlflow.log_params(options)

    def write(self, update: int, kind: str, values: dict[str, float]) -> None:
        self.mlflow.log_metrics({f"{kind}/{k}": v for k, v in values.items()}, step=update)

    def close(self) -> None:
        self.mlflow.end_run()


def open_logs(
    folder: Path, updates: int, trackers: Sequence[str], options: dict[str, Any]
) -> list[Log]:
    """All logs of a training.

    Args:
        folder: of the training.
        updates: so many are done already: the logs go on from there.
        trackers: "wandb", "mlflow".
        options: of the training, for them.

    Raises:
        InputError: a package that is not installed.
    """
    logs: list[Log] = [_Csv(folder, updates), _Board(folder, updates)]
    makers: dict[str, Callable[[Path, dict[str, Any]], Log]] = {"wandb": _Wandb, "mlflow": _Mlflow}
    return logs + [makers[name](folder, options) for name in trackers]


def _cut(path: Path, updates: int) -> None:
    """Leave the rows of a log that a training goes on from."""
    if not path.exists():
        return
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if row.partition(",")[0].isdigit() and _update(row) <= updates]
    if len(kept) < len(rows):
        path.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")


def _update(row: str) -> int:
    return int(row.partition(",")[0])


def _tracker(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            f"--log {name} with its package", f"no {name}", f"pip install {name}"
        ) from None
