"""QIDO: which series a study on the server has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptseg.errors import InputError
from promptseg.formats.dicomweb.address import Address, is_uid
from promptseg.formats.dicomweb.connection import Connection
from promptseg.formats.dicomweb.tags import texts

__all__ = ["RemoteSeries", "choose_series", "series_at"]

_PAGE = 100
_MOST = 10_000
_NO_IMAGES = {"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "REG", "DOC"}


@dataclass(frozen=True)
class RemoteSeries:
    """One series as the server lists it.

    Attributes:
        uid: SeriesInstanceUID.
        modality: as DICOM writes it, "CT", "PT", ...; empty if the server does not say.
        description: SeriesDescription; empty if absent.
        count: its number of instances; None if the server does not say.
    """

    uid: str
    modality: str
    description: str
    count: int | None

    def __str__(self) -> str:
        size = "? instances" if self.count is None else f"{self.count} instances"
        return f"{self.uid}: {self.modality or '?'}, {size}, {self.description or 'no description'}"


def series_at(address: Address, connection: Connection | None = None) -> list[RemoteSeries]:
    """The series of the study that `address` names; only the one that it names, if it does.

    Raises:
        InputError: the address names no study, or the server has none of its series.
        PromptsegError: no answer, refused, or not DICOMweb.
    """
    if address.study is None:
        raise InputError(
            "an address that names a study or series",
            address.text,
            "add /studies/STUDY or /studies/STUDY/series/SERIES",
        )
    if connection is None:
        with Connection(address) as connection:
            return series_at(address, connection)
    found: dict[str, RemoteSeries] = {}
    while len(found) < _MOST:
        page = _page(address, connection, len(found))
        new = {s.uid: s for s in page if s.uid not in found}
        found |= new
        if len(page) < _PAGE or not new:
            break
    if address.series is not None:  # some servers ignore what is asked for
        found = {uid: s for uid, s in found.items() if uid == address.series}
    if not found:
        what = "study" if address.series is None else "series"
        raise InputError(f"a {what} on the server", f"none such: {address.text}", "check its UID")
    return list(found.values())


def choose_series(
    address: Address, wanted: str | None, connection: Connection
) -> tuple[RemoteSeries, int]:
    """The one series to be read, and out of how many.

    Args:
        address: of a study or series.
        wanted: SeriesInstanceUID or its ending; None if there should be only one.
        connection: to the server.

    Raises:
        InputError: not exactly one fits.
    """
    found = series_at(address, connection)
    if wanted is not None:
        fitting = [s for s in found if s.uid.endswith(wanted)]
    else:
        fitting = [s for s in found if s.modality not in _NO_IMAGES] or found
    if len(fitting) == 1:
        return fitting[0], len(found)
    lines = "\n".join(f"  {s}" for s in found)
    raise InputError(
        "one DICOM series" if wanted is None else f"one series ending in {wanted}",
        f"{len(fitting) or 'none'} of {len(found)} at {address.text}:\n{lines}",
        "choose one with --series UID, or add /series/UID to the address",
    )


def _page(address: Address, connection: Connection, offset: int) -> list[RemoteSeries]:
    query = {
        "limit": str(_PAGE),
        "offset": str(offset),
        "includefield": "00080060,0008103E,00201209",
    }
    if address.series is not None:
        query["SeriesInstanceUID"] = address.series
    listed = connection.json(f"/studies/{address.study}/series", query)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise InputError(f"a list of series ({address.text})", "something else in JSON")
    return [series for entry in listed if (series := _series(entry)) is not None]


def _series(entry: Any) -> RemoteSeries | None:
    uid, modality, description, count = (
        next(iter(texts(entry, tag)), "")
        for tag in ("0020000E", "00080060", "0008103E", "00201209")
    )
    if not is_uid(uid):
        return None
    return RemoteSeries(uid, modality, description, int(count) if count.isdecimal() else None)
