"""A study's table for the terminal, as CSV and as LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from promptseg.names import for_csv
from promptseg.timing.table import Means, StudyTable, Times

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_csv", "as_latex", "as_rich", "heading", "remarks"]

_HEAD = (
    *("expert", "case", "manual", "initial marker", "inference", "refinement"),
    *("assisted", "saving %"),
)
_CSV_HEAD = (
    *("source", "published", "row", "expert", "case", "manual_s", "initial_marker_s"),
    *("inference_s", "refinement_s", "assisted_s", "saving_percent"),
)
_SPECIAL = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def heading(table: StudyTable) -> str:
    """Return the title of a table; figures of a paper are marked."""
    title = f"Annotation time in seconds: {table.title}"
    return f"{title} (published, other data)" if table.published else title


def remarks(table: StudyTable) -> list[str]:
    """Return the remarks below a table."""
    said = ["saving = 1 - mean assisted time / mean manual time, over the cases done both ways"]
    if table.incomplete:
        said.append(f"in no mean, as an arm or a phase is missing: {table.incomplete}")
    return said


def as_rich(table: StudyTable) -> Table:
    """Render a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(*_HEAD[:2], title=Text(heading(table)), caption="\n".join(remarks(table)))
    for name in _HEAD[2:]:
        shown.add_column(name, justify="right")
    for cells in _rows(table):
        shown.add_row(*map(Text, cells))
    for number, mean in enumerate(_means(table)):
        if number == 0:
            shown.add_section()
        shown.add_row(*map(Text, mean), style="bold")
    return shown


def as_csv(tables: Sequence[StudyTable]) -> str:
    """Return the tables as one CSV: rows of cases, means of experts, the overall mean."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_HEAD)
    for table in tables:
        source = (table.title, "yes" if table.published else "no")
        for row in table.rows:
            writer.writerow(map(for_csv, [*source, "case", row.expert, row.case, *_exact(row)]))
        for mean in table.experts:
            writer.writerow(map(for_csv, [*source, "mean", mean.of, "", *_exact(mean)]))
        if table.overall:
            writer.writerow([*source, "overall", "", "", *_exact(table.overall)])
    return out.getvalue()


def as_latex(tables: Sequence[StudyTable]) -> str:
    """Return the tables in LaTeX, a `table` environment each; they need the package booktabs."""
    return "\n".join(_latex(table) for table in tables)


def _latex(table: StudyTable) -> str:
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\caption{" + _escaped(". ".join([heading(table), *remarks(table)])) + ".}",
            r"\begin{tabular}{ll" + "r" * (len(_HEAD) - 2) + "}",
            r"\toprule",
            _latex_row(_HEAD),
            r"\midrule",
            *map(_latex_row, _rows(table)),
            r"\midrule",
            *map(_latex_row, _means(table)),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(c, c if c.isprintable() else "?") for c in text)


def _rows(table: StudyTable) -> Iterator[list[str]]:
    for row in table.rows:
        yield [row.expert, row.case, *_shown(row)]


def _means(table: StudyTable) -> Iterator[list[str]]:
    for mean in table.experts:
        yield [mean.of, f"mean of {mean.cases}", *_shown(mean)]
    if table.overall:
        yield ["overall", "mean of experts", *_shown(table.overall)]


def _shown(row: Times | Means) -> list[str]:
    seconds = ["" if v is None else f"{v:.1f}" for v in row.values]
    return [*seconds, "" if row.saving is None else f"{100 * row.saving:.2f}"]


def _exact(row: Times | Means) -> list[str]:
    seconds = ["" if v is None else f"{v:.6g}" for v in row.values]
    return [*seconds, "" if row.saving is None else f"{100 * row.saving:.6g}"]
