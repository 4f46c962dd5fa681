"""The table of an annotation-time study, as MedSAM's supplement draws it (Table 15)."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import fmean

from promptseg.errors import InputError
from promptseg.timing.state import PHASES, Finished

__all__ = ["Means", "StudyTable", "Times", "published_times", "study_table"]

_PUBLISHED = "published.csv"
PUBLISHED_SOURCE = "MedSAM (Ma et al., 2024), supplementary Table 15"


@dataclass(frozen=True)
class Times:
    """Seconds that one expert spent on one case; None where a phase was not recorded.

    Attributes:
        case, expert: whose.
        manual: the whole case by hand.
        marker: the prompts for the model.
        inference: the model.
        refinement: what had to be put right afterwards.

    Examples:
        >>> from promptseg.timing import Times
        >>> times = Times("case 7", "expert 1", manual=100, marker=10, inference=5, refinement=10)
        >>> (times.assisted, times.saving)
        (25, 0.75)
    """

    case: str
    expert: str
    manual: float | None = None
    marker: float | None = None
    inference: float | None = None
    refinement: float | None = None

    @property
    def assisted(self) -> float | None:
        """Return the seconds with the model's help; None unless all three phases were recorded."""
        if self.marker is None or self.inference is None or self.refinement is None:
            return None
        return self.marker + self.inference + self.refinement

    @property
    def is_complete(self) -> bool:
        """Tell whether both arms were recorded."""
        return self.manual is not None and self.assisted is not None

    @property
    def saving(self) -> float | None:
        """Return the fraction of the manual time that the model saved; negative where it cost time."""
        return saving(self.manual, self.assisted)

    @property
    def values(self) -> tuple[float | None, ...]:
        """Return the seconds in the order of the columns."""
        return self.manual, self.marker, self.inference, self.refinement, self.assisted


@dataclass(frozen=True)
class Means:
    """Mean seconds over the complete cases of an expert, or over the experts.

    Attributes:
        of: the expert; "overall" for the mean of the experts' means.
        cases: complete cases.
        manual, marker, inference, refinement, assisted: mean seconds.

    Examples:
        >>> from promptseg.timing import published_times
        >>> overall = published_times().overall
        >>> (overall.of, round(overall.saving, 3))
        ('overall', 0.827)
    """

    of: str
    cases: int
    manual: float
    marker: float
    inference: float
    refinement: float
    assisted: float

    @property
    def saving(self) -> float | None:
        """Return 1 - mean assisted time / mean manual time, as the paper reports it."""
        return saving(self.manual, self.assisted)

    @property
    def values(self) -> tuple[float, ...]:
        """Return the seconds in the order of the columns."""
        return self.manual, self.marker, self.inference, self.refinement, self.assisted


@dataclass(frozen=True)
class StudyTable:
    """All that a study shows.

    Attributes:
        title: of the study.
        rows: by expert, then case.
        experts: the means of each expert that has complete cases.
        overall: the mean of these, each expert counting alike; None without any.
        published: whether these are a paper's figures.

    Examples:
        >>> from promptseg.timing import published_times
        >>> table = published_times()
        >>> (len(table.rows), len(table.experts), table.incomplete)
        (20, 2, 0)
    """

    title: str
    rows: tuple[Times, ...]
    experts: tuple[Means, ...]
    overall: Means | None
    published: bool = False

    @property
    def incomplete(self) -> int:
        """Return the number of rows that lack an arm, or a phase of it, and are in no mean."""
        return sum(not row.is_complete for row in self.rows)


def study_table(finished: Iterable[Finished], study: str | None = None) -> StudyTable:
    """Compute the table of an annotation-time study: segmenting by hand against correcting a model.

    A study has two arms. Manual annotation is one phase; assisted annotation has three: drawing the
    prompts (marker), the model's answer (inference) and correcting it (refinement). Seconds of several
    sittings on the same expert, case and phase are added up. The means count only cases that the expert
    finished in both arms, so that the two arms are compared on the same cases.

    Args:
        finished: the finished phases, such as `read_log(path).finished`.
        study: the name of the study; None where the phases are of one study only.

    Returns:
        Seconds per expert and case, the means of each expert, and the mean of the experts.

    Raises:
        InputError: no finished phase, no study of this name, or several studies and none named.

    Examples:
        >>> from promptseg.timing import Finished, study_table
        >>> phases = {"manual": 100.0, "marker": 10.0, "inference": 5.0, "refinement": 10.0}
        >>> sittings = [Finished("adrenal", "case 7", "expert 1", p, s) for p, s in phases.items()]
        >>> study_table(sittings).overall.saving
        0.75
    """
    records = list(finished)
    names = list(dict.fromkeys(r.study for r in records))
    if not names:
        raise InputError("a log with finished phases", "none", "stop a phase first")
    chosen = names[0] if study is None and len(names) == 1 else study
    if chosen not in names:
        got = "none named" if chosen is None else repr(chosen)
        raise InputError(f"a study out of {', '.join(names)}", got, "name it with --study")
    sums: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for r in records:
        if r.study == chosen:
            sums[r.expert, r.case][r.phase] += r.seconds
    rows = [Times(case, expert, **phases) for (expert, case), phases in sums.items()]
    return _table(str(chosen), rows)


@cache
def published_times() -> StudyTable:
    """Return the annotation times that MedSAM published (Ma et al., 2024, supplementary Table 15).

    Two radiologists each outlined ten adrenal tumours in CT twice: by hand, and with the model's help.
    The times are seconds, and say nothing about other data, tools or people.

    Returns:
        Twenty rows, one for each radiologist and tumour, and the means of each radiologist and of both.

    Examples:
        >>> from promptseg.timing import published_times
        >>> published_times().published
        True
    """
    text = files(__package__).joinpath(_PUBLISHED).read_text("utf-8")
    lines = csv.DictReader(line for line in io.StringIO(text) if not line.startswith("#"))
    rows = [
        Times(line["case"], line["expert"], **{phase: float(line[phase]) for phase in PHASES})
        for line in lines
    ]
    return _table(PUBLISHED_SOURCE, rows, published=True)


def saving(manual: float | None, assisted: float | None) -> float | None:
    """Return the fraction of the manual seconds that assistance saves; None where it cannot be said."""
    if not manual or assisted is None:
        return None
    return 1 - assisted / manual


def _table(title: str, rows: Iterable[Times], published: bool = False) -> StudyTable:
    ordered = tuple(sorted(rows, key=lambda row: (row.expert, row.case)))
    complete: dict[str, list[Times]] = defaultdict(list)
    for row in ordered:
        if row.is_complete:
            complete[row.expert].append(row)
    experts = tuple(_means(expert, of_expert) for expert, of_expert in complete.items())
    overall = None
    if experts:
        cases = sum(e.cases for e in experts)
        overall = Means(
            "overall", cases, *map(fmean, zip(*(e.values for e in experts), strict=True))
        )
    return StudyTable(title, ordered, experts, overall, published)


def _means(expert: str, rows: list[Times]) -> Means:
    columns = zip(*(row.values for row in rows), strict=True)
    return Means(
        expert, len(rows), *(fmean(v for v in column if v is not None) for column in columns)
    )
