"""The demonstration CT, put into the folder that is served."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from promptseg.errors import AssetError, OutputError, UnreachableError
from promptseg.serve.folder import Folder

__all__ = ["demo_image"]

_NAME = "promptseg-demo-ct"


def demo_image(folder: Folder) -> str:
    """Copy the image of `promptseg demo`, downloaded once, with made-up UIDs; return its name below the
    root.

    What stands there under that name already is left as it is.

    Raises:
        AssetError: it is not in the cache and cannot be had.
        OutputError: the folder cannot be written.
    """
    from promptseg import assets
    from promptseg.formats.dicom.uids import copy_with_uids

    place = folder.root / _NAME
    if place.exists():
        return _NAME
    try:
        source = assets.fetch("demo-ct", quiet=True)
    except UnreachableError as error:
        do = "without a network, put an image of yours into the folder"
        raise AssetError(error.expected, error.got, do) from None
    try:
        with tempfile.TemporaryDirectory(prefix=".promptseg-", dir=folder.root) as temporary:
            made = Path(temporary) / _NAME
            copy_with_uids(source, made)
            with contextlib.suppress(FileExistsError):
                made.rename(place)
    except OSError as error:
        raise OutputError("a folder that can be written", error.strerror or "an error") from None
    return _NAME
