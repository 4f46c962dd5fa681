"""Makers of small images and independent readers of results, shared by the tests of the formats."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from promptseg.image import Image, Segment
from promptseg.result import Result

SHAPE = (5, 6, 7)
ORIGIN = np.array([-123.4, 56.78, 345.6])
TOLERANCE_MM = 1e-3
RAS = np.array([-1.0, -1.0, 1.0])
REPOSITORY = Path(__file__).resolve().parents[2]


def rotation(a: float, b: float, c: float) -> NDArray[np.float64]:
    """Rotation by three angles in radians about x, y and z."""
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(z @ y @ x)


_OBLIQUE = rotation(0.3, -0.45, 0.8)
_SHEAR = np.array([[1, 0.1, 0.25], [0, 1, -0.3], [0, 0, 1]])

ORTHOGONAL: dict[str, NDArray[np.float64]] = {
    "plain": np.diag([0.8, 0.9, 2.5]),
    "flipped": np.diag([-0.8, -0.9, 2.5]),
    "left-handed": np.diag([0.8, 0.9, -2.5]),
    "sagittal": np.array([[0, 0, 3.0], [0.7, 0, 0], [0, -0.6, 0]]),
    "anisotropic": rotation(0.02, 0.01, -0.03) @ np.diag([0.31, 0.31, 10.0]),
    "oblique": _OBLIQUE @ np.diag([0.8, 0.9, 2.5]),
    "oblique left-handed": _OBLIQUE @ np.diag([0.8, -0.9, 2.5]),
    "oblique coronal": rotation(1.5, 0.2, 0.1) @ np.diag([1.1, 1.1, 4.0]),
}
SHEARED: dict[str, NDArray[np.float64]] = {
    "sheared": _SHEAR @ np.diag([0.8, 0.9, 2.5]),
    "oblique sheared": _OBLIQUE @ _SHEAR @ np.diag([0.8, 0.9, 2.5]),
    "sheared left-handed": _SHEAR @ np.diag([-0.8, 0.9, 2.5]),
}
GRIDS = ORTHOGONAL | SHEARED


class Grid(NamedTuple):
    """What an independent library found in a file: voxels (z, y, x[, c]) and the LPS grid."""

    voxels: NDArray[Any]
    matrix: NDArray[np.float64]
    origin: NDArray[np.float64]

    def places(self) -> NDArray[np.float64]:
        """LPS position of every voxel centre."""
        return world_positions(self.voxels.shape[:3], self.matrix, self.origin)


def world_positions(
    shape: Sequence[int], matrix: ArrayLike, origin: ArrayLike
) -> NDArray[np.float64]:
    """(voxels, 3) LPS positions in array order of a (z, y, x) grid."""
    index = np.indices(tuple(shape)).reshape(3, -1)[::-1].T
    return np.asarray(index @ np.asarray(matrix).T + np.asarray(origin))


def assert_same_places(found: Grid, expected: Grid, tolerance: float = TOLERANCE_MM) -> None:
    """Both grids put every voxel centre at the same place."""
    np.testing.assert_allclose(found.places(), expected.places(), rtol=0, atol=tolerance)


def assert_image_places(image: Image, expected: Grid, tolerance: float = TOLERANCE_MM) -> None:
    """The image puts every voxel centre where the other library does."""
    geometry = image.geometry
    places = world_positions(geometry.shape, geometry.matrix, geometry.origin)
    np.testing.assert_allclose(places, expected.places(), rtol=0, atol=tolerance)


def random_voxels(shape: Sequence[int] = SHAPE, dtype: Any = np.int16) -> NDArray[Any]:
    """The same random values every time."""
    return np.random.default_rng(7).integers(1, 120, tuple(shape)).astype(dtype)


def corner_mask(shape: Sequence[int] = SHAPE) -> NDArray[np.bool_]:
    """A mask without any symmetry: no flip or exchange of axes maps it onto itself."""
    mask = np.zeros(tuple(shape), dtype=bool)
    mask[..., 1:3, 1:6] = True
    mask[..., 3, 2] = True
    if mask.ndim == 3:
        mask[0] = mask[-1] = False
        mask[0, 0, 0] = mask[-2, -1, 0] = True
    return mask


def segmentation_of(image: Image, masks: dict[str, NDArray[np.bool_]] | None = None) -> Result:
    """A segmentation on the grid of `image`, one object unless `masks` says more."""
    masks = {"thing": corner_mask(image.geometry.shape)} if masks is None else masks
    segments = [Segment.from_mask(name, k, mask) for k, (name, mask) in enumerate(masks.items(), 1)]
    return Result(segments, image.geometry, image.source, image=image)


def two_overlapping(shape: Sequence[int] = SHAPE) -> dict[str, NDArray[np.bool_]]:
    """Two masks of which neither holds the other."""
    first, second = corner_mask(shape), np.zeros(tuple(shape), dtype=bool)
    second[..., 2:5, 3:7] = True
    assert (first & second).any()
    assert (first & ~second).any()
    assert (second & ~first).any()
    return {"liver": first, "lesion": second}


def write_nifti(
    path: Path,
    matrix: ArrayLike,
    origin: ArrayLike = ORIGIN,
    voxels: NDArray[Any] | None = None,
    kind: Any = nib.Nifti1Image,
) -> Path:
    """NIfTI by nibabel from an LPS grid: sform, and qform where the grid is not sheared."""
    voxels = random_voxels() if voxels is None else voxels
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(matrix) * RAS[:, None]
    affine[:3, 3] = np.asarray(origin) * RAS
    image = kind(voxels.T, affine)
    unit = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    image.set_sform(affine, code=1)
    if np.allclose(unit.T @ unit, np.eye(3), atol=1e-5):
        image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def read_nifti(path: Path) -> Grid:
    """NIfTI by nibabel; frames become the last axis."""
    image = nib.load(path)
    stored = np.asarray(image.dataobj)
    voxels = stored.T if stored.ndim == 3 else stored.transpose(2, 1, 0, 3)
    return Grid(voxels, image.affine[:3, :3] * RAS[:, None], image.affine[:3, 3] * RAS)


def write_mgz(
    path: Path, matrix: ArrayLike, origin: ArrayLike = ORIGIN, voxels: NDArray[Any] | None = None
) -> Path:
    """MGZ by nibabel from an LPS grid."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(matrix) * RAS[:, None]
    affine[:3, 3] = np.asarray(origin) * RAS
    nib.save(nib.MGHImage((random_voxels() if voxels is None else voxels).T, affine), path)
    return path


def read_mgz(path: Path) -> Grid:
    """MGZ with arithmetic of our own on the raw header, not by the library that we read with."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".mgz" else path.read_bytes()
    _, *shape, kind, _ = np.frombuffer(raw, ">i4", 7).tolist()
    delta = np.frombuffer(raw, ">f4", 3, 30).astype(float)
    columns = np.frombuffer(raw, ">f4", 9, 42).reshape(3, 3).T.astype(float)
    centre = np.frombuffer(raw, ">f4", 3, 78).astype(float)
    dtype = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}[kind]
    voxels = np.frombuffer(raw, dtype, int(np.prod(shape)), 284).reshape(shape[::-1])
    matrix = columns * delta
    origin = centre - matrix @ (np.array(shape[:3]) / 2)
    voxels = voxels[0] if shape[3] == 1 else np.moveaxis(voxels, 0, -1)
    return Grid(voxels, matrix * RAS[:, None], origin * RAS)


def read_nifti_bytes(path: Path, frame: int = 0) -> Grid:
    """One frame of a NIfTI file with sform by arithmetic on its bytes, without any library."""
    half = path.with_suffix(".img") if path.suffix == ".hdr" else path
    head, data = (
        gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes()
        for p in (path, half)
    )
    order = next(o for o in "<>" if np.frombuffer(head, f"{o}i4", 1)[0] in (348, 540))
    second = np.frombuffer(head, f"{order}i4", 1)[0] == 540

    def field(kind: str, first: int, later: int, count: int = 1) -> NDArray[Any]:
        return np.frombuffer(head, order + kind, count, later if second else first)

    ndim, *dims = field("i8" if second else "i2", 40, 16, 8).tolist()
    code = int(field("i2", 70, 12)[0])
    dtype = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 128: "u1", 512: "u2"}[code]
    channels = 3 if code == 128 else 1
    start = int(field("i8" if second else "f4", 108, 168)[0]) if half == path else 0
    kind = "f8" if second else "f4"
    slope, inter = field(kind, 112, 176, 2).astype(float)
    assert field("i4" if second else "i2", 254, 348)[0] > 0, "no sform"
    rows = field(kind, 280, 400, 12).reshape(3, 4).astype(float)
    shape = (*dims[:3][::-1], channels) if channels > 1 else tuple(dims[:3][::-1])
    count = int(np.prod(shape))
    assert frame < max(1, np.prod(dims[3:ndim]))
    at = start + frame * count * np.dtype(dtype).itemsize
    voxels = np.frombuffer(data, order + dtype, count, at).reshape(shape)
    if slope not in (0, 1) or (slope == 1 and inter):
        voxels = voxels * slope + inter
    return Grid(voxels, rows[:, :3] * RAS[:, None], rows[:, 3] * RAS)


def write_sitk(
    path: Path,
    matrix: ArrayLike,
    origin: ArrayLike = ORIGIN,
    voxels: NDArray[Any] | None = None,
) -> Path:
    """Any ITK format by SimpleITK from an LPS grid."""
    matrix = np.asarray(matrix, float)
    image = sitk.GetImageFromArray(random_voxels() if voxels is None else voxels)
    spacing = np.linalg.norm(matrix, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix / spacing).ravel().tolist())
    image.SetOrigin(np.asarray(origin, float).tolist())
    sitk.WriteImage(image, str(path))
    return path


def read_metaimage(path: Path) -> Grid:
    """MetaImage by reading its text and unpacking its data, without any library."""
    raw = path.read_bytes()
    head, _, rest = raw.partition(b"ElementDataFile")
    fields = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", head.decode(), re.M))
    target, _, data = rest.partition(b"\n")
    name = target.decode().strip(" =\r")
    if name != "LOCAL":
        data = (path.parent / name).read_bytes()
    if fields.get("CompressedData", "False") == "True":
        data = zlib.decompress(data)
    dtype = {"MET_SHORT": "<i2", "MET_UCHAR": "u1"}[fields["ElementType"]]
    shape = [int(n) for n in fields["DimSize"].split()][::-1]

    def numbers(default: list[float], *names: str) -> Any:
        found = next((fields[n] for n in names if n in fields), None)
        return np.array(default if found is None else [float(n) for n in found.split()])

    columns = numbers([1, 0, 0, 0, 1, 0, 0, 0, 1], "TransformMatrix", "Rotation", "Orientation")
    spacing = numbers([1, 1, 1], "ElementSpacing", "ElementSize")
    voxels = np.frombuffer(data, dtype, int(np.prod(shape))).reshape(shape)
    origin = numbers([0, 0, 0], "Offset", "Position", "Origin")
    return Grid(voxels, columns.reshape(3, 3).T * spacing, origin)


def grid_of_sitk(image: sitk.Image) -> Grid:
    """The grid of a 3D SimpleITK image."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    matrix = direction * np.asarray(image.GetSpacing())
    return Grid(sitk.GetArrayFromImage(image), matrix, np.asarray(image.GetOrigin()))


def read_sitk(path: Path) -> Grid:
    """Any ITK format by SimpleITK."""
    return grid_of_sitk(sitk.ReadImage(str(path)))


_TO_LPS = {
    "left-posterior-superior": np.array([1.0, 1.0, 1.0]),
    "right-anterior-superior": RAS,
    "left-anterior-superior": np.array([1.0, -1.0, 1.0]),
}


def write_nrrd(
    path: Path,
    matrix: ArrayLike,
    origin: ArrayLike = ORIGIN,
    voxels: NDArray[Any] | None = None,
    space: str = "left-posterior-superior",
) -> Path:
    """NRRD by pynrrd from an LPS grid, written in `space`."""
    voxels = random_voxels() if voxels is None else voxels
    sign = _TO_LPS[space]
    header = {
        "space": space,
        "space directions": (np.asarray(matrix) * sign[:, None]).T,
        "space origin": np.asarray(origin) * sign,
        "kinds": ["domain"] * 3,
    }
    nrrd.write(str(path), voxels.T, header, index_order="F")
    return path


def read_nrrd(path: Path) -> Grid:
    """NRRD by pynrrd; a leading list axis becomes the last one."""
    stored, header = nrrd.read(str(path), index_order="F")
    voxels = stored.T if stored.ndim == 3 else stored.transpose(3, 2, 1, 0)
    sign = _TO_LPS[header["space"]]
    directions = np.asarray(header["space directions"], float)[-3:]
    return Grid(voxels, directions.T * sign[:, None], np.asarray(header["space origin"]) * sign)


def write_dicom_series(
    folder: Path,
    matrix: ArrayLike,
    origin: ArrayLike = ORIGIN,
    stored: NDArray[Any] | None = None,
    slope: float = 1.0,
    intercept: float = -1024.0,
    uid: str | None = None,
    seed: int = 3,
    **tags: Any,
) -> list[Path]:
    """A CT series by pydicom with file names and numbers that say nothing about the order.

    Returns:
        The files in order of their position.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = random_voxels() if stored is None else stored
    matrix = np.asarray(matrix, float)
    spacing = np.linalg.norm(matrix, axis=0)
    direction = matrix / spacing
    uid, rng = uid or generate_uid(), np.random.default_rng(seed)
    names = [f"{n:06d}.bin" for n in rng.choice(10**6, len(stored), replace=False)]
    numbers = rng.permutation(len(stored)) + 1
    paths = [folder / name for name in names]
    for k in rng.permutation(len(stored)):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        ds = FileDataset(str(paths[k]), {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.SeriesInstanceUID, ds.StudyInstanceUID = uid, "1.2.3.4"
        ds.FrameOfReferenceUID = "1.2.3.5"
        ds.Modality, ds.PatientID, ds.InstanceNumber = "CT", "nobody", int(numbers[k])
        ds.Rows, ds.Columns = stored.shape[1:3]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, int(stored.dtype.kind == "i")
        ds.PixelSpacing = decimals([spacing[1], spacing[0]])
        ds.ImageOrientationPatient = decimals(direction[:, :2].T.ravel())
        ds.ImagePositionPatient = decimals(np.asarray(origin) + k * matrix[:, 2])
        ds.SliceThickness = decimals([spacing[2]])[0]
        ds.RescaleSlope, ds.RescaleIntercept = decimals([slope, intercept])
        ds.PixelData = stored[k].astype(stored.dtype.newbyteorder("<")).tobytes()
        for name, value in tags.items():
            setattr(ds, name, value)
        ds.save_as(paths[k], enforce_file_format=True)
    return paths


def decimals(values: ArrayLike) -> list[DSfloat]:
    """Numbers as DICOM decimal strings of at most 16 characters."""
    return [DSfloat(float(v), auto_format=True) for v in np.ravel(np.asarray(values))]


def edit_dicom(path: Path, **tags: Any) -> None:
    """Set or, with None, remove elements of a DICOM file."""
    ds = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)


def real_data(*parts: str) -> Path:
    """A file or folder of the real images, or skip the test."""
    root = Path(os.environ.get("PROMPTSEG_DATA", REPOSITORY.parent / "shared" / "data"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real images: {path} is absent (name their folder in PROMPTSEG_DATA)")
    return path
