"""Elements of DICOM JSON, of which a server may have written anything."""

from __future__ import annotations

from typing import Any

__all__ = ["items", "texts"]

_LONGEST = 256


def texts(dataset: Any, tag: str) -> list[str]:
    """Return the values of an element as printable text, shortened; none if it is absent or not
    plain.
    """
    values = _values(dataset, tag)
    plain = [str(v) for v in values if isinstance(v, (str, int, float))]
    return ["".join(c for c in v if c.isprintable())[:_LONGEST].strip() for v in plain]


def items(dataset: Any, tag: str) -> list[dict[str, Any]]:
    """Return the items of a sequence."""
    return [v for v in _values(dataset, tag) if isinstance(v, dict)]


def _values(dataset: Any, tag: str) -> list[Any]:
    element = dataset.get(tag) if isinstance(dataset, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
