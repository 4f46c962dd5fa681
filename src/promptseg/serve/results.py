"""Masks on their way to files: into the folder that is served, or to the client."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from promptseg.errors import OutputError
from promptseg.formats.table import endings, format_by_suffix
from promptseg.result import Result
from promptseg.serve.work import Work

__all__ = ["download", "mask_endings", "result_of", "save"]


def mask_endings(kind: str, layers: bool = False) -> list[str]:
    """List the endings that masks are offered under: those of `endings`, and 3D Slicer's for NRRD."""
    slicers = {".nrrd": [".seg.nrrd", ".nrrd"]}
    return [name for ending in endings(kind, layers) for name in slicers.get(ending, [ending])]


def result_of(work: Work) -> Result:
    """Return the objects of a session with the user's colours.

    Raises:
        PromptError: none has a mask.
    """
    result = work.session.result()
    result.segments = [
        replace(s, colour=work.colours.get(s.name, s.colour)) for s in result.segments
    ]
    return result


def save(
    work: Work, path: Path, *, overwrite: bool, overlap: str = "keep", deidentify: bool = False
) -> None:
    """Write the masks and their provenance, as `promptseg segment` does.

    Raises:
        OutputError: the file exists, cannot be written, or its format cannot hold the result.
    """
    result = result_of(work)
    if deidentify:
        from promptseg.formats.deidentify import deidentified

        result = deidentified(result)
    result.save(path, overwrite=overwrite, overlap=overlap)


def download(work: Work, ending: str, overlap: str) -> bytes:
    """Return the masks as the content of a file.

    Raises:
        OutputError: an unknown ending, or a format that cannot hold the result.
    """
    kind = "picture" if work.session.geometry.ndim == 2 else "volume"
    if ending not in mask_endings(kind):
        raise OutputError(f"an ending out of {', '.join(mask_endings(kind))}", repr(ending[:20]))
    if (known := format_by_suffix(Path(f"masks{ending}"))) is not None and known.folder:
        raise OutputError("one file to download", f"{ending}, which is a folder", "save it instead")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"masks{ending}"
        result_of(work).save(path, overlap=overlap)
        return path.read_bytes()
