"""Tables in LaTeX, set with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["escape", "latex_table"]

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
    """Text that LaTeX prints as it is; control characters become question marks."""
    return "".join(_SPECIAL.get(c, c if c.isprintable() else "?") for c in text)


def latex_table(caption: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A `table` environment; needs \\usepackage{booktabs} and, for umlauts and the like, UTF-8."""
    lines = [" & ".join(map(escape, row)) + r" \\" for row in body]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}",
            r"\begin{table}",
            r"\caption{" + escape(caption) + "}",
            r"\begin{tabular}{" + "l" * len(head) + "}",
            r"\toprule",
            " & ".join(map(escape, head)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
