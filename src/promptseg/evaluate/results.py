"""The folder that an evaluation fills: parts while it runs, tables and a report when it is done."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from promptseg.errors import OutputError
from promptseg.evaluate.rows import COLUMNS, Row, write_rows
from promptseg.evaluate.tasks import EvaluationTask, Noted, Part, model_folder
from promptseg.formats.files import atomic_path
from promptseg.formats.own_folder import OwnFolder
from promptseg.names import for_csv
from promptseg.noted import counted
from promptseg.parsing import parse_json
from promptseg.work.shards import is_record

__all__ = ["FILES", "PARTS", "Results"]

PARTS = "parts"
"""Folder of the results of single tasks."""

FILES = (
    "run.json",
    "rows.csv",
    "notes.csv",
    "rows.parquet",
    "summary.csv",
    "report.html",
    "embeddings.npz",
)
"""Files of the folder itself."""

_OURS = (*FILES, PARTS, "failures", "tables", "plots")
_MEANING = ("modality", "kind", "targets")  # of a dataset's description, that rows depend on
_WORST = 5  # pictures kept of each task


class Results:
    """One folder of results.

    Args:
        folder: where they go.
        request: options that all results in the folder share; as plain values.
        overwrite: take away results of another request.
        shared: whether other shares of the same job may be at work there: nothing is taken away.

    Raises:
        OutputError: the folder cannot be written or holds results made otherwise; or it is another
            verb's, or holds other things under the names of ours, whatever `overwrite` says.
    """

    def __init__(
        self, folder: Path, request: dict[str, Any], overwrite: bool, shared: bool = False
    ) -> None:
        self.folder, self.request = folder, json.loads(json.dumps(request, default=str))
        self.own = OwnFolder(folder)
        self.notes: dict[str, int] = {}
        self.own.take("evaluate", *_OURS)
        self.own.check(*_OURS)
        earlier = self._earlier()
        if earlier is None and shared and self.parts.exists():
            earlier = self._earlier()  # of a share that has begun since
            if earlier is None:
                raise OutputError(
                    "a new folder, or one with its run.json",
                    f"{folder} with results and without it",
                    "name another folder",
                )
        if earlier is None:  # new, or cut off before it had begun
            if not shared:
                self.own.remove(*_OURS, *self._records())
            self.own.claim("run.json")
            return
        differing = sorted(
            key for key in {*self.request, *earlier} if self.request.get(key) != earlier.get(key)
        )
        if not differing:
            return
        if not overwrite:
            changes = ", ".join(
                f"{key} {earlier.get(key)!r} (now {self.request.get(key)!r})" for key in differing
            )
            raise OutputError(
                "a new folder, or results of the same options",
                f"{folder}: made with {changes}",
                "name another folder, or --overwrite to begin anew",
            )
        self.own.remove(*_OURS, *self._records())
        self.own.claim("run.json")

    def _records(self) -> list[str]:
        """What shares and clusters left on their work."""
        return [name for name in self.own.known if is_record(name)]

    @property
    def parts(self) -> Path:
        """Return the folder that the tasks put their results in."""
        return self.folder / PARTS

    def _earlier(self) -> dict[str, Any] | None:
        """The request of the results that are there; None if it cannot be told."""
        run = self._run() or {}
        request, options = run.get("request"), run.get("options")
        if not isinstance(request, dict):
            return None
        said = options if isinstance(options, dict) else {}  # earlier versions: some only there
        return {**{k: said[k] for k in self.request.keys() & said.keys()}, **request}

    def check_data(self, facts: dict[str, Any]) -> None:
        """Refuse a model that joins others which were run on other files, or started from another mask.

        A model alone may be run again on files that have changed: its cases are done again.

        Args:
            facts: as `write_run` takes them.

        Raises:
            OutputError: a dataset of the same name that had other files, or another description, for
                another model; other weights of the model that answers the prompt.
        """
        joining = {entry["name"] for entry in facts["models"]}
        now = {entry["name"]: entry for entry in facts["datasets"]}
        starts = {entry["run"].get("start_sha256") for entry in facts["models"]}
        run = self._run() or {}
        described = {entry["name"]: entry for entry in run.get("datasets", ())}
        for entry in run.get("models", ()):
            if entry["name"] in joining:
                continue
            with_what = entry.get("run", {})
            then, start = with_what.get("datasets", {}), with_what.get("start_sha256")
            other = sorted(
                name
                for name in now.keys() & then
                if now[name]["sha256"] != then[name]
                or any(now[name][key] != described.get(name, now[name])[key] for key in _MEANING)
            )
            got = f"others in {', '.join(other)}" if other else ""
            if start is not None and starts - {None, start}:
                got = "other weights of --start-model"
            if got:
                raise OutputError(
                    f"the files that {entry['name']} was run on",
                    got,
                    f"name another folder than {self.folder}, or run {entry['name']} again too",
                )

    def _run(self) -> dict[str, Any] | None:
        try:
            run = parse_json((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return run if isinstance(run, dict) else None

    def write_run(self, facts: dict[str, Any]) -> None:
        """Write run.json: what was run, by which rules, with what.

        Of earlier runs into the same folder the models, each with what it was run with, the datasets,
        and what failed or was warned of stay listed.
        """
        earlier = self._run() or {}
        joining = {entry["name"] for entry in facts["models"]}
        others = {entry["name"] for entry in earlier.get("models", ())} - joining
        for name in ("models", "datasets"):
            listed = {entry["name"]: entry for entry in (*earlier.get(name, ()), *facts[name])}
            facts = {**facts, name: list(listed.values())}
        kept = [entry for entry in earlier.get("failed", ()) if entry.get("model") in others]
        warnings = [*(earlier.get("warnings", ()) if others else ()), *facts["warnings"]]
        facts = {
            **facts,
            "options": {**facts["options"], "model": [m["name"] for m in facts["models"]]},
            "chosen_settings": {**earlier.get("chosen_settings", {}), **facts["chosen_settings"]},
            "failed": [*kept, *facts["failed"]],
            "warnings": list(dict.fromkeys(warnings)),
        }
        with atomic_path(self.folder / "run.json") as temporary:
            content = {**facts, "request": self.request}
            text = json.dumps(content, indent=1, default=str, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def gather(
        self,
        labels: Iterable[str],
        tasks: Iterable[EvaluationTask],
        finished: bool = True,
        parquet: bool = False,
    ) -> list[Row]:
        """Put the parts together: rows.csv, notes.csv, embeddings.npz, failures/; tables and plots go.

        Args:
            labels: of the models, or the predictions, of this run: of what earlier runs scored of them
                only the given tasks count, as other cases are no longer in the data. What other models
                came to, which have joined before, counts as it is.
            tasks: of this run.
            finished: whether these are all: parts of the run's models that do not count are removed.
            parquet: write rows.parquet too.

        Returns:
            All rows.
        """
        settled = {task.part.folder for task in tasks if _is_done(task)}
        own_folders = {model_folder(self.parts, label) for label in labels}
        rows: list[Row] = []
        notes: dict[Noted, None] = {}
        pictures: list[dict[str, Any]] = []
        embeddings: dict[tuple[str, ...], tuple[Row, np.ndarray, np.ndarray | None]] = {}
        for file in sorted(self.parts.rglob("part.json")):
            part = Part(file.parent)
            if part.folder not in settled and not own_folders.isdisjoint(file.parents):
                if finished:
                    part.clear()
                continue
            own = part.rows()
            rows += own
            pictures += part.pictures()
            notes |= dict.fromkeys(part.notes())
            embedding = part.embedding()
            if own and embedding is not None:
                first = own[0]
                key = (first.model, first.dataset, first.case)
                embeddings.setdefault(key, (first, *embedding))
        self.own.claim("rows.csv")
        write_rows(rows, self.folder / "rows.csv")
        self._write_notes(list(notes))
        self.own.remove("tables", "plots")  # of fewer rows
        if parquet:
            self._write_parquet(rows)
        self._write_embeddings(list(embeddings.values()))
        self._write_failures(pictures)
        return rows

    def _write_notes(self, notes: list[Noted]) -> None:
        """What readers noted of the cases: notes.csv, and counted."""
        self.notes = counted(text for _, _, text in notes)
        self.own.claim("notes.csv")
        with (
            atomic_path(self.folder / "notes.csv") as path,
            path.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(("dataset", "case", "note"))
            writer.writerows(tuple(map(for_csv, each)) for each in sorted(notes))

    def _write_parquet(self, rows: list[Row]) -> None:
        import pyarrow
        from pyarrow import parquet

        columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        self.own.claim("rows.parquet")
        with atomic_path(self.folder / "rows.parquet") as temporary:
            parquet.write_table(pyarrow.table(columns or {c: [] for c in COLUMNS}), temporary)

    def _write_embeddings(
        self, embeddings: list[tuple[Row, np.ndarray, np.ndarray | None]]
    ) -> None:
        """`vectors` (n, channels) with `labels` (modality), `models`, `datasets` and `cases`; and of
        one case of each modality the `maps` (m, 3, h, w) with `map_labels`."""
        if not embeddings:
            return
        rows = [row for row, _, _ in embeddings]
        shown = {
            row.modality: (row, map_)
            for row, _, map_ in reversed(embeddings)
            if row.model == rows[0].model and map_ is not None
        }
        maps = [map_ for _, map_ in shown.values()]
        self.own.claim("embeddings.npz")
        with atomic_path(self.folder / "embeddings.npz") as temporary:
            np.savez_compressed(
                temporary,
                vectors=np.stack([vector for _, vector, _ in embeddings]),
                labels=np.array([row.modality for row in rows]),
                models=np.array([row.model for row in rows]),
                datasets=np.array([row.dataset for row in rows]),
                cases=np.array([row.case for row in rows]),
                maps=np.stack(maps) if maps else np.zeros((0, 3, 1, 1)),
                map_labels=np.array([f"{m}, {r.dataset}" for m, (r, _) in shown.items()]),
            )

    def _write_failures(self, pictures: Iterable[dict[str, Any]]) -> None:
        """The worst answers of each task, as pictures with an index.json."""
        tasks: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for entry in pictures:
            names = ("model", "dataset", "target", "protocol", "prompt", "setting")
            tasks[tuple(str(entry[n]) for n in names)].append(entry)
        folder = self.folder / "failures"
        self.own.remove("failures")
        index: list[dict[str, Any]] = []
        for entries in tasks.values():
            entries.sort(key=lambda e: float("-inf") if e["dsc"] != e["dsc"] else e["dsc"])
            for entry in entries[:_WORST]:
                self.own.claim(f"failures/{entry['file'].name}")
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(entry["file"], folder / entry["file"].name)
                index.append({**entry, "file": entry["file"].name})
        if index:
            self.own.claim("failures/index.json")
            with atomic_path(folder / "index.json") as temporary:
                temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")


def _is_done(task: EvaluationTask) -> bool:
    with contextlib.suppress(OSError):  # its files have gone meanwhile
        return task.is_done()
    return False
