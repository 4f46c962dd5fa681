"""Limits of the server: how much it gives away, and how long it waits for those who have gone."""

from __future__ import annotations

from dataclasses import dataclass

from promptseg.bounds import check_bounds

__all__ = ["Limits"]

_MIB = 1 << 20


@dataclass(kw_only=True)
class Limits:
    """Bounds that are checked before anything is allocated.

    Raises:
        InputError: a bound that makes no sense.
    """

    sessions: int = 8
    """Sessions at the same time."""

    upload_mib: int = 2048
    """MiB of one upload."""

    session_mib: int = 4096
    """MiB of one session: voxels, embeddings and masks."""

    memory_mib: int = 16384
    """MiB of all sessions together; less where less memory is free."""

    idle_s: float = 1800.0
    """Seconds without an action after which a session is closed; what was done is kept on disk."""

    liveness_s: float = 120.0
    """Seconds without any sign of its window after which a session is closed."""

    def __post_init__(self) -> None:
        check_bounds(self, "serve")

    @property
    def upload_bytes(self) -> int:
        """Return the bytes that one upload may have."""
        return self.upload_mib * _MIB

    @property
    def session_bytes(self) -> int:
        """Return the bytes that one session may take."""
        return self.session_mib * _MIB

    @property
    def memory_bytes(self) -> int:
        """Return the bytes that all sessions together may take."""
        return self.memory_mib * _MIB
