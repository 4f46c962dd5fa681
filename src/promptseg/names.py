"""Names on their way out: what a user or a file calls a thing is text, and never code.

One function per destination. Each keeps a name as it is wherever the destination can hold it.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["for_csv", "for_header", "for_markdown", "for_terminal", "from_csv"]

_LINE_ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_FORMULA = re.compile(r"^'*[=+\-@\t\r].", re.S)
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|nan)", re.I | re.A)
_TURNS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MARKS = re.compile(r"[\\|<`\[\]]")
_ENTITIES = {"<": "&lt;"}


def for_header(text: str) -> str:
    """Return a text for a header of lines: no control characters but line feeds, which the caller
    escapes.

    Lone surrogates, which UTF-8 cannot hold, become question marks.
    """
    plain = "".join(" " if _is_control(c) and c != "\n" else c for c in text)
    return plain.encode("utf-8", "replace").decode("utf-8")


def for_terminal(text: str) -> str:
    """Return a text for a terminal or a log: escape sequences are shown, not obeyed.

    Line feeds and tabs stay; other controls, and characters that turn the direction of writing, are
    shown as `\\x1b`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c in "\n\t" or not (_is_control(c) or c in _TURNS or _has_surrogate(c)) else _shown(c)
        for c in text
    )


def for_csv(text: str) -> str:
    """Return a text as a cell of CSV: what a spreadsheet would take for a formula gets an apostrophe in
    front.

    Numbers stay as they are. `from_csv` gives back the text.
    """
    return "'" + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv(cell: str) -> str:
    """Return the text of a cell that `for_csv` wrote."""
    return cell[1:] if cell.startswith("'") and for_csv(cell[1:]) == cell else cell


def for_markdown(text: str) -> str:
    """Return a text for a cell or line of Markdown: one line, no table, tag, link or code in it."""
    plain = " ".join("".join(" " if _is_control(c) else c for c in text).split())
    return _MARKS.sub(lambda m: _ENTITIES.get(m[0], "\\" + m[0]), plain)


def _is_control(c: str) -> bool:
    return unicodedata.category(c) == "Cc" or c in _LINE_ENDS


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _shown(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}"
