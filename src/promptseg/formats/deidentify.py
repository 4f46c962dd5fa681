"""Results without anything that says who the patient is.

DICOM outputs take their facts from the headers of the source and the provenance from where it lies,
so those are cleaned before anything is written. Names that a person gave to objects and to the output
stay; of the provenance, what its records list as public. So it is with what is said on the way.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from promptseg.errors import PromptsegError
from promptseg.formats.dicom.instances import DicomSource
from promptseg.formats.location import written
from promptseg.image import Segmentation, Source
from promptseg.notes import Note

__all__ = ["deidentified", "discreet"]

log = logging.getLogger("promptseg")


S = TypeVar("S", bound=Segmentation)


def deidentified(segmentation: S) -> S:
    """Remove from masks what says whose they are; the masks stay the same.

    The keywords of what was removed, never the values, stand in the provenance as `deidentified`, and
    in a note. UIDs of study, series and instances stay, because a DICOM SEG or RTSTRUCT refers to its
    image by them.
    """
    source = segmentation.source
    header = source.header
    removed: set[str] = set()
    if isinstance(header, DicomSource):
        header, removed = _anonymous(header)
    if source.path is not None:
        removed.add("input path")
    log.warning("removed: %s", ", ".join(sorted(removed)) or "nothing, there was nothing")
    log.warning("kept: the UIDs that refer to the image, names of objects, and what pixels show")
    nobody = Source(None, source.format, header, source.grid, source.prompts)
    provenance = dataclasses.replace(
        segmentation.provenance.public(), deidentified=tuple(sorted(removed))
    )
    return dataclasses.replace(segmentation, source=nobody, provenance=provenance)


@contextmanager
def discreet(*paths: Path | None, on: bool = True) -> Iterator[None]:
    """Keep these paths, and what a reader found in them, out of all that is said inside the block.

    That holds for our errors too. Notes of a kind that may name files or people are counted at the
    end instead.

    Args:
        paths: files and folders of the patient.
        on: whether anything is to be kept back.
    """
    keeper = _Discretion([path for path in paths if path is not None])
    if on:
        log.addFilter(keeper)
    try:
        yield
    except PromptsegError as error:
        if on:
            error.expected, error.got, error.do = map(
                keeper.without_names, (error.expected, error.got, error.do)
            )
        raise
    finally:
        log.removeFilter(keeper)
    if keeper.unsaid:
        log.warning(
            "%d notes on the input are not shown: they may name files or people", keeper.unsaid
        )


class _Discretion(logging.Filter):
    """Lets records of the log pass without the names of some paths."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__()
        names = {name for path in paths for name in (written(path), str(path), path.name)}
        names |= {name for p in paths for name in (written(p.parent), str(p.parent))}
        longest_first = sorted(names - {"", ".", "/"}, key=len, reverse=True)
        self.secret = re.compile(
            "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first) or r"(?!)"
        )
        self.unsaid = 0

    def without_names(self, text: str) -> str:
        """A text without the names."""
        return self.secret.sub("the image", text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say it; what is said is changed."""
        given = record.args if isinstance(record.args, tuple) else ()
        if any(isinstance(value, Note) and not value.is_public for value in given):
            self.unsaid += 1
            return False
        record.msg, record.args = self.without_names(record.getMessage()), ()
        return True


def _anonymous(source: DicomSource) -> tuple[DicomSource, set[str]]:
    from promptseg.formats.dicom.identity import identifying_fields, without_identity

    removed: set[str] = set()
    clean: dict[int, Any] = {}  # the frames of one object share its header
    slices = []
    for instance in source.slices:
        key = id(instance.header)
        if key not in clean:
            removed.update(identifying_fields(instance.header))
            clean[key] = without_identity(instance.header)
        slices.append(dataclasses.replace(instance, header=clean[key]))
    return DicomSource(tuple(slices)), removed
