"""Text that users write, as their editors save it: one rule for every reader.

UTF-8 with or without a byte-order mark, UTF-16 and UTF-32 (Notepad, Excel, PowerShell), line ends of
any system. Anything else is refused by its place, never read with wrong letters.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from pathlib import Path

__all__ = ["composed", "csv_table", "decoded", "read_text"]

_MARKS = (  # the longer ones first: UTF-32 begins like UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """Read the text of a file; its line ends become "\\n".

    Raises:
        OSError: it cannot be read.
        ValueError: neither of the encodings; says where.
    """
    return decoded(path.read_bytes())


def decoded(content: bytes) -> str:
    """Decode a text, without its byte-order mark; line ends become "\\n".

    Raises:
        ValueError: neither of the encodings; says where.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    if not encoding:
        encoding = {b"\0": "utf-16-be", b"": "utf-8"}.get(content[:1], "utf-8")
        if content[1:2] == b"\0" and content[:1] != b"\0":
            encoding = "utf-16-le"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"no UTF-8 in line {line}: save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def csv_table(path: Path) -> csv.DictReader[str]:
    """Read the rows of a CSV file, by the names in its head without the blanks around them.

    Raises:
        OSError: it cannot be read.
        ValueError: as `read_text`.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    return reader


def composed(name: str) -> str:
    """Return a name in Unicode's composed form; on some systems an umlaut is two characters."""
    return unicodedata.normalize("NFC", name)
