"""NIfTI-1 and NIfTI-2, single files, through nibabel.

NIfTI writes RAS, this package LPS: the first two world axes change sign. The matrix comes from the
sform if it is set, else from the qform, else from the voxel sizes. Where the sform's column lengths
contradict the voxel sizes in `pixdim`, directions come from the sform and sizes from `pixdim`, unless
`pixdim` is the one that says nothing (all ones, without a qform).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from promptseg.errors import GeometryError, InputError
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["lps_from_ras", "read", "write"]

_MILLIMETRES = {"micron": 1e-3, "meter": 1e3}
_GEOMETRY_FIELDS = (
    "dim_info",
    "xyzt_units",
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
)


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a NIfTI file with one frame.

    Raises:
        InputError: more than one frame, complex values, or a truncated file.
    """
    nifti = _load(path)
    if not isinstance(nifti, nib.Nifti1Pair):
        raise InputError("a NIfTI file", f"{path}: {type(nifti).__name__}")
    header = nifti.header
    shape = _spatial_shape(nifti.shape, path)
    dtype = nifti.get_data_dtype()
    if dtype.kind == "c":
        raise InputError(
            "real voxel values", f"complex ones in {path}", "save magnitude or phase alone"
        )
    require_memory(shape, dtype.itemsize, path)
    if dtype.fields:  # RGB24 and RGBA32: a structured type, one byte per channel
        raw = np.asarray(nifti.dataobj).reshape(shape)
        stored = np.stack([raw[c] for c in ("R", "G", "B")], axis=-1)
        voxels = np.ascontiguousarray(stored.transpose(2, 1, 0, 3))
    else:
        proxy: Any = nifti.dataobj
        scaled = (float(proxy.slope), float(proxy.inter)) != (1.0, 0.0)
        stored = np.asarray(proxy, dtype=np.float32) if scaled else proxy.get_unscaled()
        voxels = np.ascontiguousarray(np.asarray(stored).reshape(shape).T)
    if not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    source = Source(path, "nifti", header)
    matrix, origin = _matrix(header, source.notes)
    unit = header.get_xyzt_units()[0]
    if unit in _MILLIMETRES:
        source.notes.append(f"the header counts in {unit}s: turned into millimetres")
        matrix, origin = matrix * _MILLIMETRES[unit], origin * _MILLIMETRES[unit]
    return Image(voxels, Geometry(shape[::-1], *lps_from_ras(matrix, origin)), source=source)


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels (x, y, z) or, with `layers`, one frame per object (x, y, z, object).

    The geometry fields of an input that was NIfTI are copied as they are, contradictions included.
    """
    source = segmentation.header_of("nifti")
    masks: NDArray[Any] = segmentation.layers() if layers else segmentation.labels(later_wins=True)
    if segmentation.geometry.ndim == 2:
        masks = masks[..., None, :, :]
    voxels = masks.transpose(3, 2, 1, 0) if layers else masks.transpose(2, 1, 0)
    kind = type(source) if source is not None else nib.Nifti1Header
    header = kind() if source is None else kind(endianness=source.endianness)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header["descrip"] = b"promptseg" + (b", one frame per object" if layers else b" labels")
    if source is not None:
        for field in _GEOMETRY_FIELDS:
            header[field] = source[field]
        header["pixdim"][:4] = source["pixdim"][:4]
    else:
        _set_geometry(header, segmentation.geometry)
    single: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    nib.save(single(voxels, None, header), path)


def lps_from_ras(
    matrix: NDArray[np.float64], origin: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn a RAS matrix and origin into LPS, or back."""
    flip = np.array([-1.0, -1.0, 1.0])
    return matrix * flip[:, None], origin * flip


def _load(path: Path) -> Any:
    """The image object; files without a NIfTI ending are taken by their content."""
    if path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")):
        return nib.load(path, mmap=False)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    second = {int.from_bytes(content[:4], order) for order in ("little", "big")} & {540}
    kind = nib.Nifti2Image if second else nib.Nifti1Image
    return kind.from_bytes(content)


def _spatial_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    frames = int(np.prod(shape[3:], dtype=np.int64))
    if frames != 1:
        raise InputError(
            "a NIfTI file with one 3D frame",
            f"{path} of shape {tuple(shape)} with {frames} frames",
            "save the frame to segment as a file of its own",
        )
    if min(shape) < 1:
        raise InputError("voxels", f"{path} of shape {tuple(shape)}", "check the header")
    three = (*shape[:3], 1, 1)[:3]
    return int(three[0]), int(three[1]), int(three[2])


def _matrix(header: Any, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sizes = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    sizes[~(np.isfinite(sizes) & (sizes > 0))] = 1.0
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 and qform <= 0:
        notes.append(
            "neither sform nor qform is set: orientation unknown, voxel axes taken as R, A, S"
        )
        return np.diag(sizes), np.zeros(3)
    affine = np.asarray(header.get_sform() if sform > 0 else header.get_qform(), np.float64)
    if not np.isfinite(affine).all():
        raise GeometryError("finite numbers in sform and qform", "NaN or inf", "repair the header")
    matrix, origin = affine[:3, :3], affine[:3, 3]
    norms = np.linalg.norm(matrix, axis=0)
    if sform > 0 and (norms > 0).all() and not np.allclose(norms, sizes, rtol=1e-3):
        trust_sform = qform <= 0 and np.allclose(sizes, 1.0)
        kept, other = ("sform", "pixdim") if trust_sform else ("pixdim", "sform")
        notes.append(
            f"the header contradicts itself: sform says voxels of {_text(norms)} mm, pixdim "
            f"{_text(sizes)} mm; taking sizes from {kept}, not {other}, and directions from sform"
        )
        if not trust_sform:
            matrix = matrix / norms * sizes
    return matrix, origin


def _set_geometry(header: Any, geometry: Geometry) -> None:
    matrix, origin = lps_from_ras(geometry.matrix, geometry.origin)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    known = geometry.unit == "mm"
    header.set_sform(affine, code=1 if known else 0)
    if known and geometry.is_orthogonal:
        header.set_qform(affine, code=1)
    header["pixdim"][1:4] = geometry.spacing
    header.set_xyzt_units("mm" if known else "unknown")


def _text(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
