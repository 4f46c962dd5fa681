"""DICOMweb: series read from a server (QIDO, WADO), results stored on it (STOW).

What a user may write (`address`), how a server is talked to (`connection`), how several objects
travel in one message (`multipart`), what a study holds (`query`), fetching (`retrieve`), `store`.
"""

from __future__ import annotations

from promptseg.formats.dicomweb.address import Address
from promptseg.formats.dicomweb.query import RemoteSeries, series_at
from promptseg.formats.dicomweb.retrieve import read
from promptseg.formats.dicomweb.store import Stored, check_store, store

__all__ = ["Address", "RemoteSeries", "Stored", "check_store", "read", "series_at", "store"]
