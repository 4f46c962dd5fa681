"""What TIFFs say of their pages, against the axes and voxels that tifffile wrote them from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PilImage

from promptseg import read
from promptseg.errors import InputError
from promptseg.formats import tiff
from promptseg.formats.masks import read_masks
from promptseg.formats.options import MaskOptions, ReadOptions
from promptseg.formats.saving import save
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation

SIZES = {"T": 3, "Z": 4, "C": 2, "Y": 6, "X": 7}


def stack(axes: str, dtype: type = np.uint16) -> np.ndarray:
    shape = [SIZES[a] for a in axes]
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def imagej(path: Path, axes: str, **metadata: Any) -> np.ndarray:
    voxels = stack(axes)
    tifffile.imwrite(path, voxels, imagej=True, metadata={"axes": axes, **metadata})
    return voxels


def ome(path: Path, axes: str, **metadata: Any) -> np.ndarray:
    voxels = stack(axes)
    tifffile.imwrite(path, voxels, ome=True, metadata={"axes": axes, **metadata})
    return voxels


def shaped(path: Path, axes: str) -> np.ndarray:
    voxels = stack(axes)
    tifffile.imwrite(path, voxels, metadata={"axes": axes}, photometric="minisblack")
    return voxels


WRITERS = {"imagej": imagej, "ome": ome, "tifffile": shaped}


@pytest.mark.parametrize("by", WRITERS)
@pytest.mark.parametrize("axes", ["ZCYX", "CZYX"])
def test_channels_are_no_slices(tmp_path: Path, by: str, axes: str) -> None:
    if by == "imagej" and axes == "CZYX":
        axes = "ZCYX"  # its only order
    path = tmp_path / "a.tif"
    voxels = WRITERS[by](path, axes)
    with pytest.raises(InputError, match=r"2 channels.*--frame") as refused:
        read(path)
    assert "4 slices" in str(refused.value)
    for channel in range(2):
        image = read(path, frame=channel)
        expected = np.take(voxels, channel, axis=axes.index("C"))
        np.testing.assert_array_equal(image.voxels, expected)
        assert image.kind == "volume"
        assert any(f"channel {channel}" in note for note in image.source.notes)
    with pytest.raises(InputError, match="frame 2"):
        read(path, frame=2)


@pytest.mark.parametrize("by", ["imagej", "ome", "tifffile"])
def test_time_and_channels_of_stacks_are_frames_channels_fastest(tmp_path: Path, by: str) -> None:
    path = tmp_path / "a.tif"
    voxels = WRITERS[by](path, "TZCYX")
    with pytest.raises(InputError, match="6 frames"):
        read(path)
    for frame in range(6):
        time, channel = divmod(frame, 2)
        np.testing.assert_array_equal(read(path, frame=frame).voxels, voxels[time, :, channel])


@pytest.mark.parametrize("by", ["imagej", "ome", "tifffile"])
def test_time_points_are_a_film(tmp_path: Path, by: str) -> None:
    path = tmp_path / "a.tif"
    voxels = WRITERS[by](path, "TYX")
    image = read(path)
    assert image.kind == "video"
    np.testing.assert_array_equal(image.voxels, voxels)
    np.testing.assert_array_equal(read(path, frame=1).voxels, voxels[1])


@pytest.mark.parametrize("by", ["imagej", "ome", "tifffile"])
def test_channels_alone_are_pictures_to_choose_from(tmp_path: Path, by: str) -> None:
    path = tmp_path / "a.tif"
    voxels = WRITERS[by](path, "CYX")
    with pytest.raises(InputError, match="2 channels"):
        read(path)
    picture = read(path, frame=1)
    assert picture.kind == "picture"
    np.testing.assert_array_equal(picture.voxels, voxels[1])


@pytest.mark.parametrize("by", ["imagej", "ome", "tifffile"])
def test_slices_alone_are_a_volume_and_one_can_be_picked(tmp_path: Path, by: str) -> None:
    path = tmp_path / "a.tif"
    voxels = WRITERS[by](path, "ZYX")
    np.testing.assert_array_equal(read(path).voxels, voxels)
    np.testing.assert_array_equal(read(path, frame=2).voxels, voxels[2])


def test_sizes_of_imagej_are_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        stack("ZYX"),
        imagej=True,
        resolution=(1 / 0.2, 1 / 0.25),
        metadata={"axes": "ZYX", "spacing": 1.5, "unit": "um"},
    )
    geometry = read(path).geometry
    assert geometry.unit == "mm"
    np.testing.assert_allclose(geometry.spacing, [2e-4, 2.5e-4, 1.5e-3], rtol=1e-6)
    np.testing.assert_allclose(read(path, frame=0).geometry.spacing[:2], [2e-4, 2.5e-4], rtol=1e-6)


@pytest.mark.parametrize("unit", ["µm", "\\u00B5m", "micron", "um"])
def test_every_spelling_of_a_micrometre(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "a.tif"
    said = f"ImageJ=1.53\nimages=2\nslices=2\nunit={unit}\nspacing=2.0\n"
    tifffile.imwrite(
        path,
        np.zeros((2, 6, 7), np.uint8) + np.arange(2, dtype=np.uint8)[:, None, None],
        resolution=(2, 2),
        description=said.encode("latin-1") if "µ" in unit else said,
        metadata=None,
        photometric="minisblack",
    )
    np.testing.assert_allclose(read(path).geometry.spacing, [5e-4, 5e-4, 2e-3])


@pytest.mark.parametrize(("unit", "mm"), [(None, 1e-3), ("nm", 1e-6), ("mm", 1.0), ("µm", 1e-3)])
def test_sizes_of_ome_are_millimetres(tmp_path: Path, unit: str | None, mm: float) -> None:
    path = tmp_path / "a.ome.tif"
    units = {f"PhysicalSize{a}Unit": unit for a in "XYZ"} if unit else {}
    ome(path, "ZYX", PhysicalSizeX=0.2, PhysicalSizeY=0.3, PhysicalSizeZ=1.5, **units)
    geometry = read(path).geometry
    assert geometry.unit == "mm"
    np.testing.assert_allclose(geometry.spacing, np.array([0.2, 0.3, 1.5]) * mm, rtol=1e-9)


def test_a_distance_of_slices_that_is_not_said_is_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    ome(path, "ZYX", PhysicalSizeX=0.2, PhysicalSizeY=0.3)
    image = read(path)
    assert image.geometry.unit == "pixel"
    assert any("not the distance of slices" in note for note in image.source.notes)


def test_rgb_stays_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    colours = np.random.default_rng(0).integers(0, 255, (4, 6, 7, 3)).astype(np.uint8)
    tifffile.imwrite(path, colours, ome=True, metadata={"axes": "ZYXS"}, photometric="rgb")
    np.testing.assert_array_equal(read(path).voxels, colours)


@pytest.mark.parametrize("order", ["XYZCT", "XYCZT", "XYTCZ"])
def test_the_page_of_every_plane_is_the_one_that_ome_says(tmp_path: Path, order: str) -> None:
    sizes = {"Z": 2, "C": 2, "T": 2}
    blocks, pages = [], []
    places = np.random.default_rng(1).permutation(8)
    for number, place in enumerate(places):
        z, c, t = np.unravel_index(place, (2, 2, 2))
        blocks.append(
            f'<TiffData IFD="{number}" PlaneCount="1" FirstZ="{z}" FirstC="{c}" FirstT="{t}"/>'
        )
        pages.append(np.full((6, 7), place, np.uint8))
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint8" SizeX="7" SizeY="6" '
        + " ".join(f'Size{a}="{n}"' for a, n in sizes.items())
        + ">"
        + "".join(blocks)
        + "</Pixels></Image></OME>"
    )
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, np.stack(pages), description=xml, metadata=None, photometric="minisblack"
    )
    for frame in range(4):
        t, c = divmod(frame, 2)
        expected = [np.ravel_multi_index((z, c, t), (2, 2, 2)) for z in range(2)]
        assert read(path, frame=frame).voxels[:, 0, 0].tolist() == expected


def test_planes_in_other_files_are_missed(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    ome(path, "ZYX")
    whole = tifffile.TiffFile(path).ome_metadata
    alone = tmp_path / "b.ome.tif"
    tifffile.imwrite(alone, stack("ZYX")[:2], description=whole, metadata=None)
    with pytest.raises(InputError, match="all 4 planes"):
        read(alone)


def test_pages_that_imagej_promises_are_missed(tmp_path: Path) -> None:
    """Beyond 4 GB, ImageJ writes one page and the others behind it, of which the TIFF knows nothing."""
    path = tmp_path / "a.tif"
    said = "ImageJ=1.53\nimages=300\nslices=300\n"
    tifffile.imwrite(path, stack("YX"), description=said, metadata=None)
    with pytest.raises(InputError, match="300 pages"):
        read(path)


def test_damaged_descriptions_cost_the_description_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    voxels = stack("ZYX", np.uint8)
    for text in ("<OME><Image></OME>", '<OME><Pixels SizeZ="x" DimensionOrder="XYZ"/></OME>', "{"):
        tifffile.imwrite(path, voxels, description=text, metadata=None, photometric="minisblack")
        np.testing.assert_array_equal(read(path).voxels, voxels)


# ------------------------------------------------------------------------------ masks


def labels() -> np.ndarray:
    out = np.zeros((6, 20, 25), np.uint16)
    out[0:3, 2:8, 3:9], out[1:6, 10:15, 12:20], out[2:5, 4:9, 18:24] = 1, 2, 3
    return out


def grid_image(shape: tuple[int, ...]) -> Image:
    return Image(np.arange(np.prod(shape)).reshape(shape), Geometry.pixels(shape))


@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("how", ["plain", "imagej", "ome", "tifffile", "pillow", "uint32"])
def test_a_stack_of_labels_is_a_volume(tmp_path: Path, how: str, with_image: bool) -> None:
    path, stored = tmp_path / "labels.tif", labels()
    if how == "pillow":
        first, *others = [PilImage.fromarray(page) for page in stored]
        first.save(path, save_all=True, append_images=others)
    else:
        kwargs: dict[str, Any] = {
            "plain": {"metadata": None},
            "uint32": {"metadata": None},
            "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
            "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
            "tifffile": {},
        }[how]
        data = stored.astype(np.uint32) if how == "uint32" else stored
        tifffile.imwrite(path, data, photometric="minisblack", **kwargs)
    masks = read_masks(path, grid_image(stored.shape) if with_image else None)
    np.testing.assert_array_equal(masks.labels(), stored)


def test_a_binary_stack_is_what_somebody_says_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    stored = (labels() > 0).astype(np.uint8) * 255
    tifffile.imwrite(path, stored, photometric="minisblack")
    with pytest.raises(InputError, match=r"--pages slices or --pages layers"):
        read_masks(path)
    volume = read_masks(path, options=MaskOptions(pages="slices"))
    assert volume.geometry.shape == stored.shape
    layers = read_masks(path, options=MaskOptions(pages="layers"))
    assert [int(s.crop.sum()) for s in layers.segments] == [int((p > 0).sum()) for p in stored]
    on_volume = read_masks(path, grid_image(stored.shape))
    assert [s.label for s in on_volume.segments] == [255]
    on_picture = read_masks(path, grid_image(stored.shape[1:]))
    assert len(on_picture.segments) == 6


def test_layers_of_ours_say_so_themselves_with_their_names(tmp_path: Path) -> None:
    a, b = np.zeros((2, 8, 9), bool)
    a[1:5, 1:5] = b[3:7, 3:8] = True
    objects = [Segment.from_mask("Läsion", 1, a), Segment.from_mask("organ", 2, b)]
    path = save(Segmentation(objects, Geometry.pixels((8, 9))), tmp_path / "mask.tif")
    again = read_masks(path)
    assert [s.name for s in again.segments] == ["Läsion", "organ"]
    np.testing.assert_array_equal(again["Läsion"], a)
    np.testing.assert_array_equal(again["organ"], b)


def test_old_layers_are_known_by_the_provenance_beside(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    stored = np.zeros((2, 8, 9), np.uint8)
    stored[0, 1:5, 1:5] = stored[1, 3:7, 3:8] = 255
    first, second = map(PilImage.fromarray, stored)
    first.save(path, save_all=True, append_images=[second])
    objects = [{"label": 1, "name": "a"}, {"label": 2, "name": "b"}]
    said = {"output": "mask.tif", "overlap": "keep", "objects": objects}
    path.with_suffix(".json").write_text(json.dumps(said))
    assert [s.name for s in read_masks(path).segments] == ["a", "b"]


def test_channels_of_a_mask_are_objects(tmp_path: Path) -> None:
    """One-hot masks, as networks give them."""
    path = tmp_path / "onehot.ome.tif"
    stored = np.stack([labels() == n for n in (1, 2, 3)]).astype(np.uint8)
    tifffile.imwrite(path, stored, ome=True, metadata={"axes": "CZYX"})
    masks = read_masks(path, grid_image(stored.shape[1:]))
    for segment, expected in zip(masks.segments, stored, strict=True):
        np.testing.assert_array_equal(segment.mask(expected.shape), expected > 0)
    assert any("layers without names" in note for note in masks.source.notes)


def test_time_points_of_a_mask_are_not_made_objects(tmp_path: Path) -> None:
    path = tmp_path / "mask.ome.tif"
    tifffile.imwrite(path, labels(), ome=True, metadata={"axes": "TYX"})
    masks = read_masks(path)
    np.testing.assert_array_equal(masks.labels(), labels())


def test_tiled_channels_are_no_slide(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    voxels = np.random.default_rng(0).integers(0, 255, (2, 64, 80)).astype(np.uint8)
    with tifffile.TiffWriter(path, ome=True) as out:
        out.write(voxels, tile=(16, 16), subifds=1, metadata={"axes": "CYX"})
        out.write(voxels[:, ::2, ::2], tile=(16, 16), subfiletype=1)
    with pytest.raises(InputError, match="2 channels"):
        read(path)
    np.testing.assert_array_equal(read(path, frame=1).voxels, voxels[1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_upright_is_what_pillow_does(orientation: int) -> None:
    from PIL import ImageOps

    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = PilImage.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(tiff.upright(pixels, orientation), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])  # by Pillow, by tifffile
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_both_readers_of_tiff_turn_it(tmp_path: Path, dtype: type, orientation: int) -> None:
    path = tmp_path / "a.tif"
    pixels = stack("YX", dtype)
    tifffile.imwrite(path, pixels, extratags=[(274, "H", 1, orientation, True)], metadata=None)
    np.testing.assert_array_equal(read(path).voxels, tiff.upright(pixels, orientation))
    assert ReadOptions().frame is None
