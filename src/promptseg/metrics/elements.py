"""Length or area of the piece of surface that passes between neighbouring pixels or voxels.

The surface of a mask is looked at from the corners of its voxels. Around a corner lie eight voxels
(four pixels in 2D), some of them inside the object; which ones, as one bit each, is the *neighbour
code*. For every code marching cubes (Lorensen and Cline, 1987), with vertices halfway between voxel
centres, gives a few triangles; their area is the weight of the corner in every surface metric (Nikolov
et al., 2018).

A code and its mirror images, rotations and complement have the same triangles, turned along, so that
thirteen drawings make up the table of 256.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

__all__ = ["element_sizes"]

# The number of a voxel around a corner is its (z, y, x) place written in binary: 1 is a neighbour of 0
# along x, 2 along y, 4 along z. Each drawing: the voxels inside the object -> for every triangle the
# area of its shadow along z, y and x, in eighths of a voxel's face.
_DRAWINGS: dict[tuple[int, ...], tuple[tuple[int, int, int], ...]] = {
    (0,): ((1, 1, 1),),
    (0, 1): ((2, 2, 0), (2, 2, 0)),
    (1, 2): ((1, 1, 1), (1, 1, 1)),
    (3, 4): ((1, 1, 1), (1, 1, 1)),
    (0, 1, 2): ((4, 0, 0), (2, 2, 2), (1, 1, 1)),
    (1, 2, 4): ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    (0, 3, 4): ((0, 2, 2), (0, 2, 2), (1, 1, 1)),
    (0, 1, 2, 3): ((4, 0, 0), (4, 0, 0)),
    (0, 1, 2, 4): ((1, 1, 1), (1, 1, 1), (2, 2, 2), (2, 2, 2)),
    (0, 1, 3, 4): ((1, 1, 1), (3, 3, 3), (0, 2, 2), (2, 0, 2)),
    (1, 2, 3, 4): ((4, 0, 0), (1, 1, 1), (1, 1, 1), (2, 2, 2)),
    (2, 3, 4, 5): ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)),
    (0, 3, 5, 6): ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
}


@lru_cache(maxsize=64)
def element_sizes(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the size of the surface element of every neighbour code.

    Args:
        spacing: length of a pixel (y, x) or voxel (z, y, x) along each array axis.

    Returns:
        (16,) lengths for two dimensions, (256,) areas for three; read-only. Bit 2y + x, or
        4z + 2y + x, of a code tells whether that neighbour is inside the object.
    """
    sizes = _lengths(*spacing) if len(spacing) == 2 else _areas(*spacing)
    sizes.setflags(write=False)
    return sizes


def _lengths(height: float, width: float) -> NDArray[np.float64]:
    """(16,) lengths of the contour: straight between two pairs, half a diagonal round one pixel."""
    corner = 0.5 * float(np.hypot(height, width))
    sizes = np.zeros(16)
    for code in range(1, 15):
        inside = [bool(code >> bit & 1) for bit in range(4)]
        if sum(inside) != 2:
            sizes[code] = corner
        elif inside[0] == inside[3]:
            sizes[code] = 2 * corner
        else:
            sizes[code] = width if inside[0] == inside[1] else height
    return sizes


def _areas(depth: float, height: float, width: float) -> NDArray[np.float64]:
    """(256,) areas of the surface."""
    faces = np.array([height * width, depth * width, depth * height]) / 8
    return np.asarray(np.linalg.norm(_shadows() * faces, axis=2).sum(axis=1))


@lru_cache(maxsize=1)
def _shadows() -> NDArray[np.float64]:
    """(256, 4, 3) shadow of up to four triangles per code along z, y and x, in eighths of a face."""
    shadows = np.zeros((256, 4, 3))
    for inside, triangles in _DRAWINGS.items():
        places = np.array([(n >> 2 & 1, n >> 1 & 1, n & 1) for n in inside])
        for order, mirror in product(permutations(range(3)), product((0, 1), repeat=3)):
            turned = places[:, list(order)] ^ mirror
            code = sum(1 << int(number) for number in turned @ (4, 2, 1))
            for either in (code, 255 - code):
                shadows[either] = 0
                shadows[either, : len(triangles)] = np.array(triangles)[:, list(order)]
    return shadows
