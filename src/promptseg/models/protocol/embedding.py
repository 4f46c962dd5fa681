"""Embedding that an image encoder makes of one slice: private to its model, but for its size and one
view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Embedding"]


@runtime_checkable
class Embedding(Protocol):
    """An encoded slice. What is in it is known to the model that made it, and to no other."""

    @property
    def nbytes(self) -> int:
        """Return the bytes of memory that it takes, on whatever device it is."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the named tensors that it is stored as, from which `SliceModel.unpack` makes it again.

        They keep their device, type and memory layout, on which the last bits of a mask depend.
        """

    def view(self) -> Tensor:
        """Return (channels, rows, columns) float32 features, for drift, 2D images and heads.

        The finest level that describes the slice as a whole; prompts are never answered from it.
        """
