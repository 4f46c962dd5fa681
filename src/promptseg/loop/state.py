"""State of a loop on disk: every step of a round ends with a file of its own, written whole.

loop.json                   what the calls on this folder share, and the classes by their numbers
round-01/picked.json        images, and why
round-01/task/              for the expert
round-01/labels/            masks that came back
round-01/taken.json         what came back of every image
round-01/annotated/         all images and masks by now, as a dataset: names of the same files
round-01/collection/        the same, curated
round-01/version-01/        the training, with its report and weights
round-01/validation.npz     its answers on the fixed validation part
round-01/result.json        the end of the round
set-aside/                  rounds that were gone back behind
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.own_folder import OwnFolder
from promptseg.loop.options import LoopOptions
from promptseg.loop.tasks import Picked
from promptseg.parsing import parse_json
from promptseg.train.validate import Validation

__all__ = ["Came", "LoopFolder", "Round", "RoundResult"]

_SCHEMA = "promptseg loop 1"
_FILES = ("loop.json", "rounds.csv", "report.html")
_ROUND = re.compile(r"round-(\d{2,})")


@dataclass(frozen=True)
class Came:
    """The answer on one image, in numbers.

    Attributes:
        name: of the image.
        part: train or validation.
        state: done, half done, to do or flagged.
        objects: names of what was annotated; none where the expert says that there is nothing.
        label: file of its masks in labels/; empty if there are none.
        seconds: of the expert; None where nothing was logged.
        agreement: mean DSC of proposal and answer, over the objects of both; None without a proposal.
        note: of the expert.
        source: page, file or labels.
    """

    name: str
    part: str
    state: str
    objects: tuple[str, ...] = ()
    label: str = ""
    seconds: float | None = None
    agreement: float | None = None
    note: str = ""
    source: str = ""


@dataclass(frozen=True)
class RoundResult:
    """Outcome of a round.

    Attributes:
        round: its number.
        annotated: images that came back done, of all rounds by now.
        learnt_from, measured_on: of them, those with objects, by part.
        minutes: of the expert, of all rounds by now; None where no time is known.
        score: mean DSC on the fixed validation part over the kinds of prompts of the training.
        means: by kind of prompt.
        start: score of the starting weights on the same; None for classes, which they do not know.
        outcome, reasons: verdict against the round before, or against the starting weights.
        against: what it is against, in words; empty if there is nothing to compare with.
        agreement: mean of what came back of this round; None without proposals.
        seconds: of the training.
        updates: of the best weights.
    """

    round: int
    annotated: int
    learnt_from: int
    measured_on: int
    minutes: float | None
    score: float
    means: dict[str, float]
    start: float | None
    outcome: str
    reasons: tuple[str, ...]
    against: str
    agreement: float | None
    seconds: float
    updates: int


class Round:
    """One round's folder.

    Args:
        folder: round-NN.
        number: NN.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number

    @property
    def task(self) -> Path:
        """Return the folder of the expert's task."""
        return self.folder / "task"

    @property
    def version(self) -> Path:
        """Return the folder of the training."""
        return self.folder / f"version-{self.number:02d}"

    @property
    def picked(self) -> list[Picked]:
        """Return the images of the round; none before they are chosen."""
        said = self._read("picked.json")
        return [Picked(**one) for one in said["images"]] if said else []

    @property
    def strategy(self) -> str:
        """Return the strategy that the images were chosen by."""
        return str(self._read("picked.json").get("strategy", ""))

    @property
    def came(self) -> list[Came] | None:
        """Return what came back of each image; None while the task is open."""
        said = self._read("taken.json")
        if not said:
            return None
        return [Came(**{**one, "objects": tuple(one["objects"])}) for one in said["images"]]

    @property
    def minutes(self) -> float | None:
        """Return the minutes the expert took in this round, as they were counted; None if unknown."""
        value = self._read("taken.json").get("minutes")
        return None if value is None else float(value)

    @property
    def result(self) -> RoundResult | None:
        """Return the outcome of the round; None before its end."""
        said = self._read("result.json")
        return RoundResult(**{**said, "reasons": tuple(said["reasons"])}) if said else None

    @property
    def validation(self) -> Validation:
        """Read the answers of the round's version on the validation part."""
        return Validation.read(self.folder / "validation.npz")

    def pick(self, images: list[Picked], strategy: str) -> None:
        """Write down what was chosen."""
        content = {"strategy": strategy, "images": [one.to_json() for one in images]}
        self._write("picked.json", content)

    def take(self, came: list[Came], minutes: float | None) -> None:
        """Write down what came back."""
        self._write("taken.json", {"minutes": minutes, "images": [asdict(one) for one in came]})

    def end(self, result: RoundResult, validation: Validation) -> None:
        """Write down what the round came to."""
        validation.write(self.folder / "validation.npz")
        self._write("result.json", asdict(result))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.exists():
            return {}
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from None
        if not isinstance(content, dict):
            raise _damaged(path, "no object")
        return content

    def _write(self, name: str, content: dict[str, Any]) -> None:
        with atomic_path(self.folder / name) as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class LoopFolder:
    """The folder of a loop.

    Args:
        options: of this call; those that calls share have to be those of the calls before.

    Raises:
        OutputError: a folder with other things in it, or of another verb.
        InputError: a loop on other images, of another task or from another model.
    """

    def __init__(self, options: LoopOptions) -> None:
        self.root = Path(options.output).expanduser()
        self._own = OwnFolder(self.root)
        self._own.take("loop", *_FILES)
        path, binding = self.root / "loop.json", options.binding()
        self.classes: list[str] = list(options.classes)
        if not path.exists():
            if self.root.exists() and any(self.root.iterdir()) and not self._own.is_ours:
                raise OutputError(
                    "a new folder, or one with a loop",
                    f"{self.root} with other files",
                    "choose another --output",
                )
            self.binding = binding
            return
        try:
            said = parse_json(path.read_text(encoding="utf-8"))
            if said["schema"] != _SCHEMA:
                raise ValueError(f"schema {said['schema']}")
            self.binding, known = dict(said["options"]), [str(name) for name in said["classes"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from None
        for name, value in binding.items():
            if self.binding.get(name) != value:
                raise InputError(
                    f"the loop in {self.root} with --{name.replace('_', '-')} "
                    f"{self.binding.get(name)}",
                    str(value),
                    "give the same as before, or choose another --output",
                )
        self.classes = [*known, *(name for name in options.classes if name not in known)]

    def save(self) -> None:
        """Write down what calls share."""
        self._own.claim(*_FILES)
        content = {"schema": _SCHEMA, "options": self.binding, "classes": self.classes}
        with atomic_path(self.root / "loop.json") as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @property
    def rounds(self) -> list[Round]:
        """Return the rounds whose images are chosen, in order."""
        found = []
        for number in range(1, 10**4):
            one = self.round(number)
            if not (one.folder / "picked.json").exists():
                break
            found.append(one)
        return found

    def round(self, number: int) -> Round:
        """Return a round by its number, from 1."""
        return Round(self.root / f"round-{number:02d}", number)

    @property
    def results(self) -> list[RoundResult]:
        """Return the results of the rounds that have ended."""
        return [result for one in self.rounds if (result := one.result) is not None]

    @property
    def best(self) -> RoundResult | None:
        """Return the round whose version does best on the validation part; the earlier of equals."""
        return max(self.results, key=lambda r: (r.score, -r.round), default=None)

    def go_back(self, number: int) -> list[int]:
        """Set aside all rounds after one, the last first, so that a kill leaves whole ones.

        Returns:
            Numbers of those that were set aside.

        Raises:
            InputError: no such round.
        """
        rounds = self.rounds
        if not 0 <= number <= len(rounds):
            raise InputError(
                f"--back-to a round from 0 to {len(rounds)}", str(number), "correct it"
            )
        gone = []
        for one in reversed(rounds[number:]):
            aside = self._free(self.root / "set-aside", one.folder.name)
            try:
                aside.parent.mkdir(exist_ok=True)
                os.replace(one.folder, aside)
            except OSError as error:
                raise OutputError(
                    "a folder that can be written", f"{aside.parent} ({error.strerror})"
                ) from error
            gone.append(one.number)
        return gone[::-1]

    def set_aside(self) -> Iterator[Path]:
        """Yield the folders of rounds that were set aside."""
        folder = self.root / "set-aside"
        if folder.is_dir():
            yield from (p for p in sorted(folder.iterdir()) if _ROUND.match(p.name))

    @staticmethod
    def _free(folder: Path, name: str) -> Path:
        return next(path for k in range(1, 10**6) if not (path := folder / f"{name}.{k}").exists())


def _damaged(path: Path, why: object) -> InputError:
    return InputError(
        "a file that promptseg loop wrote", f"{path} ({why})", "choose another --output"
    )
