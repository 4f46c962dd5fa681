"""NIfTI-1 and NIfTI-2, single files and pairs, through nibabel; ANALYZE 7.5 pairs are read too.

NIfTI writes RAS, this package LPS: the first two world axes change sign. The matrix comes from the
sform if it is set, else from the qform, else from the voxel sizes. Where the sform's column lengths
contradict the voxel sizes in `pixdim`, directions come from the sform and sizes from `pixdim`, unless
`pixdim` is the one that says nothing (all ones, without a qform).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.analyze import AnalyzeImage
from numpy.typing import NDArray

from promptseg.errors import GeometryError, InputError
from promptseg.formats.files import require_file
from promptseg.formats.options import ReadOptions
from promptseg.formats.ras import lps_from_ras, opened, spatial_shape, voxels_of
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["read", "scale_of", "single", "write"]

_PAIR_ENDINGS = (".hdr", ".img", ".hdr.gz", ".img.gz")
_NIFTI1_HEADER_SIZE, _NIFTI2_HEADER_SIZE = 348, 540
_LONGEST_SIDE = 32_767  # of NIfTI-1
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
    """Read one frame of a NIfTI file or pair, or of an ANALYZE 7.5 pair.

    Raises:
        InputError: several frames and no choice, half a pair, or a truncated file.
    """
    notes: list[str] = []
    header_path, data_path = _files(path)
    with opened(data_path) as data:
        nifti = _image(header_path, data, notes)
        voxels = voxels_of(nifti, path, options or ReadOptions(), notes)
    shape, header = spatial_shape(nifti, path), nifti.header
    if isinstance(nifti, nib.Nifti1Pair):
        source = Source(path, "nifti", header, notes=notes)
        matrix, origin = _matrix(header, _stored_sizes(header_path, header), notes)
        unit = header.get_xyzt_units()[0]
        if unit in _MILLIMETRES:
            notes.append(f"the header counts in {unit}s: turned into millimetres")
            matrix, origin = matrix * _MILLIMETRES[unit], origin * _MILLIMETRES[unit]
    else:
        source = Source(path, "analyze", notes=notes)
        notes.append(_analyze_note(nifti))
        affine = np.asarray(nifti.affine, np.float64)
        matrix, origin = affine[:3, :3], affine[:3, 3]
    return Image(voxels, Geometry(shape[::-1], *lps_from_ras(matrix, origin)), source=source)


def scale_of(path: Path) -> str:
    """Say how the values of a file are scaled, for messages; "" if they are as they are stored."""
    image: Any = nib.load(path, mmap=False)
    slope, intercept = (float(v) for v in (image.dataobj.slope, image.dataobj.inter))
    if (slope, intercept) == (1.0, 0.0):
        return ""
    return f"a slope of {slope:.4g}" + (
        f" and an intercept of {intercept:.4g}" if intercept else ""
    )


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels (x, y, z) or, with `layers`, one frame per object (x, y, z, object).

    The geometry fields of an input that was NIfTI are copied as they are, contradictions included.
    Sides beyond 32,767 voxels, as of parts of slides, make it NIfTI-2.
    """
    source = segmentation.header_of("nifti")
    masks: NDArray[Any] = (
        segmentation.numbered_layers() if layers else segmentation.labels(later_wins=True)
    )
    if segmentation.geometry.ndim == 2:
        masks = masks[..., None, :, :]
    voxels = masks.transpose(3, 2, 1, 0) if layers else masks.transpose(2, 1, 0)
    large = max(voxels.shape) > _LONGEST_SIDE
    kind = type(source) if source is not None else nib.Nifti1Header
    kind = nib.Nifti2Header if large else kind
    header = kind() if source is None else kind(endianness=source.endianness)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header["descrip"] = b"promptseg" + (b", one frame per object" if layers else b" labels")
    if source is not None:
        for field in _GEOMETRY_FIELDS:
            header[field] = source[field]
        header["pixdim"][:4] = source["pixdim"][:4]
    else:
        set_geometry(header, segmentation.geometry)
    single: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    nib.save(single(voxels, None, header), path)


def _files(path: Path) -> tuple[Path, Path]:
    """Where the header and the voxels are: in one file, or in the two of a pair."""
    if not path.name.lower().endswith(_PAIR_ENDINGS):
        return path, path
    halves = nib.Nifti1Pair.filespec_to_file_map(str(path))
    header, data = (Path(str(halves[key].filename)) for key in ("header", "image"))
    for half in (header, data):
        require_file(half, "a .hdr file and its .img beside it")
    return header, data


def _image(header: Path, data: Any, notes: list[str]) -> Any:
    """The image in an open file, told by its content; of a pair, by the header beside it."""
    if str(header) != data.filename:
        pair: Any = nib.load(header, mmap=False)
        if not isinstance(pair, AnalyzeImage):  # NIfTI pairs are children of it
            raise InputError("a NIfTI or ANALYZE header", f"{header}: {type(pair).__name__}")
        return type(pair).from_file_map({**pair.file_map, "image": data}, mmap=False)
    return single(data, notes)


def single(data: Any, notes: list[str]) -> Any:
    """Read a NIfTI file of header and voxels in one, opened by `promptseg.formats.ras.opened`."""
    stream = data.fileobj
    size = stream.read(4)
    stream.seek(0)
    second = _NIFTI2_HEADER_SIZE in {int.from_bytes(size, order) for order in ("little", "big")}
    kind: Any = nib.Nifti2Image if second else nib.Nifti1Image
    try:
        return kind.from_file_map({"image": data}, mmap=False)
    except Exception:  # nibabel raises anything; extensions are comments beside the voxels
        stream.seek(0)
        first = stream.read(_NIFTI2_HEADER_SIZE if second else _NIFTI1_HEADER_SIZE)
        if stream.read(1) in (b"", b"\0"):  # it says that there are none
            raise
        plain = kind.header_class.from_fileobj(io.BytesIO(first + bytes(4)))
        notes.append("a damaged extension of the header was left aside")
        return kind(kind.ImageArrayProxy(stream, plain), None, plain, file_map={"image": data})


def _analyze_note(image: Any) -> str:
    beside = image.file_map.get("mat")
    if beside is not None and Path(beside.filename).exists():
        return "ANALYZE 7.5: orientation from the .mat file beside it"
    return "ANALYZE 7.5 does not say sides: orientation unknown, voxel axes taken as L, A, S"


def _stored_sizes(path: Path, header: Any) -> NDArray[np.float64]:
    """Voxel sizes (x, y, z) as they are in the file; nibabel makes ones of zeros."""
    start, kind = (104, "f8") if isinstance(header, nib.Nifti2Header) else (76, "f4")
    with opened(path) as file:
        dtype = np.dtype(kind).newbyteorder(header.endianness)
        raw = file.fileobj.read(start + 4 * dtype.itemsize)[start + dtype.itemsize :]
    return np.abs(np.frombuffer(raw, dtype).astype(np.float64))


def _matrix(
    header: Any, sizes: NDArray[np.float64], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    unsaid = ~(np.isfinite(sizes) & (sizes > 0))
    sizes[unsaid] = 1.0
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if unsaid.any() and sform <= 0:
        notes.append(f"no voxel size along {_axes(unsaid)} in the header: 1 mm taken")
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
    if sform > 0:
        sizes[unsaid] = norms[unsaid]
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


def set_geometry(header: Any, geometry: Geometry) -> None:
    """Let a header of NIfTI say where the voxels of a grid lie."""
    matrix, origin = lps_from_ras(geometry.matrix, geometry.origin)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    known = geometry.unit == "mm"
    header.set_sform(affine, code=1 if known else 0)
    if known and geometry.is_orthogonal:
        header.set_qform(affine, code=1)
    header["pixdim"][1:4] = geometry.spacing
    header.set_xyzt_units("mm" if known else "unknown")


def _axes(chosen: NDArray[np.bool_]) -> str:
    return " and ".join(name for name, one in zip("xyz", chosen, strict=True) if one)


def _text(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
