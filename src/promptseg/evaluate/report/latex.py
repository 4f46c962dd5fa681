"""Tables in LaTeX, set with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["escape", "latex_table"]

_NEEDS = r"% needs \usepackage{booktabs,longtable} and \usepackage[T1]{fontenc}"
_SMALL = r"\footnotesize\setlength{\tabcolsep}{3pt}"
_LONGEST = 45  # rows that fit a page

_SPECIAL = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "*": r"\textsuperscript{*}",
    "[": "{[}",  # after a line break, a bracket would be taken for its option
    "]": "{]}",
    "\u2020": r"\textsuperscript{\textdagger}",
    "\u221e": r"\ensuremath{\infty}",
    "\n": " ",
    "\r": " ",
}


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is; control characters become question marks."""
    return "".join(_SPECIAL.get(c, c if c.isprintable() else "?") for c in text)


def latex_table(
    caption: str, head: Sequence[str], body: Sequence[Sequence[str]], words: int = 0
) -> str:
    """Return a `table`, or a `longtable` if it is longer than a page.

    Args:
        caption: printed above.
        head: names of the columns.
        body: rows of as many cells.
        words: how many columns on the left are set to the left; numbers are set to the right.
    """
    columns = "l" * words + "r" * (len(head) - words)
    names, rows = _row(head), [_row(row) for row in body]
    title = r"\caption{" + escape(caption) + "}"
    if len(body) > _LONGEST:
        top = ["{" + _SMALL, rf"\begin{{longtable}}{{{columns}}}", title + r" \\", r"\toprule"]
        lines = [*top, names, r"\midrule", r"\endhead", *rows, r"\bottomrule"]
        end = [r"\end{longtable}", "}"]
    else:
        top = [r"\begin{table}" + _SMALL, title, rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines = [*top, names, r"\midrule", *rows, r"\bottomrule"]
        end = [r"\end{tabular}", r"\end{table}"]
    return "\n".join([_NEEDS, *lines, *end, ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
