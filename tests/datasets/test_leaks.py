"""Images a model was trained on are found again, others are not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage
from scipy import ndimage

from datasets import dataset_makers as make
from promptseg.datasets import open_datasets
from promptseg.datasets.hashes import ALIKE, apart, by_count, near, packed
from promptseg.datasets.leaks import leaks_in
from promptseg.datasets.manifest import (
    ManifestRow,
    manifest_of,
    perceptual_hashes,
    read_manifest,
    write_manifest,
)
from promptseg.errors import InputError, OutputError
from promptseg.image import Image

Pixels = NDArray[Any]


def smooth(seed: int, shape: tuple[int, ...] = (120, 150)) -> Pixels:
    """A cloudy image, as scans are."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(ndimage.gaussian_filter(noise, 6) * 4000, dtype=np.int16)


def eight_bits(pixels: Pixels, low: float = 0, high: float = 100, gamma: float = 1) -> Pixels:
    """As a viewer exports it: a window between two percentiles, a gamma, 256 levels."""
    gray = pixels.astype(float)
    a, b = np.percentile(gray, [low, high])
    return np.asarray(255 * np.clip((gray - a) / max(b - a, 1e-9), 0, 1) ** gamma, dtype=np.uint8)


def resized(pixels: Pixels, share: float = 0.9) -> Pixels:
    picture = PilImage.fromarray(eight_bits(pixels))
    size = [max(1, round(n * share)) for n in picture.size]
    return np.asarray(picture.resize((size[0], size[1]), PilImage.Resampling.BILINEAR))


def jpeg(pixels: Pixels) -> Pixels:
    stream = io.BytesIO()
    PilImage.fromarray(eight_bits(pixels)).save(stream, "JPEG", quality=80)
    return np.asarray(PilImage.open(stream))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "resized to 90 %": resized,
    "JPEG at 80": jpeg,
    "8 bits": eight_bits,
    "brighter": lambda pixels: eight_bits(pixels, gamma=0.5),
    "window": lambda pixels: eight_bits(pixels, 1, 99),
}


def distance(first: Image, second: Image) -> float:
    pairs = zip(perceptual_hashes(first), perceptual_hashes(second), strict=True)
    return float(np.mean([(int(a, 16) ^ int(b, 16)).bit_count() for a, b in pairs]))


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_alike(change: str) -> None:
    for seed in range(5):
        first = smooth(seed)
        assert distance(Image.from_array(first), Image.from_array(CHANGES[change](first))) <= ALIKE


def test_other_images_are_not_alike() -> None:
    images = [Image.from_array(smooth(seed)) for seed in range(12)]
    apart = [distance(a, b) for k, a in enumerate(images) for b in images[:k]]
    assert min(apart) > 2 * ALIKE


def test_volumes_have_the_hashes_of_three_slices_and_blank_ones_none() -> None:
    volume = np.stack([smooth(k) for k in range(8)])
    hashes = perceptual_hashes(Image.from_array(volume, spacing=(1, 1, 1)))
    alone = [perceptual_hashes(Image.from_array(volume[k]))[0] for k in (2, 4, 6)]
    assert hashes == alone
    volume[4] = 0
    assert perceptual_hashes(Image.from_array(volume, spacing=(1, 1, 1))) == [alone[0], alone[2]]


def pictures(folder: Path, **made: Pixels) -> Path:
    for name, pixels in made.items():
        make.png(folder / "images" / f"{name}.png", pixels)
        make.png(folder / "masks" / f"{name}.png", np.ones(pixels.shape[:2], np.uint8))
    return folder


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_what_was_trained_on_is_found(tmp_path: Path, ending: str) -> None:
    a, b, c, d = (eight_bits(smooth(seed)) for seed in range(4))
    trained = open_datasets(pictures(tmp_path / "trained", a=a, b=b, STS_007_1=c))
    manifest = write_manifest(manifest_of(trained), tmp_path / f"manifest.{ending}")
    copies = {"x": a, "y": resized(b), "sts_007_2": d, "new": eight_bits(smooth(9))}
    found = list(leaks_in(manifest, open_datasets(pictures(tmp_path / "test", **copies))))
    assert {leak.case: (leak.reason, leak.trained_on.case) for leak in found} == {
        "x": ("same voxels", "a"),
        "y": ("looks alike", "b"),
        "sts_007_2": ("same patient", "STS_007_1"),
    }
    assert "test/x is in the training manifest: same voxels as trained/a" in map(str, found)


def test_a_slice_of_a_volume_is_found(tmp_path: Path) -> None:
    volume = np.stack([smooth(k) for k in range(8)])
    make.nifti(tmp_path / "ct" / "a_image.nii.gz", volume)
    make.nifti(tmp_path / "ct" / "a_label.nii.gz", np.ones(volume.shape, np.uint8))
    manifest = write_manifest(manifest_of(open_datasets(tmp_path / "ct")), tmp_path / "m.csv")
    test = pictures(tmp_path / "test", s=eight_bits(volume[4]), t=eight_bits(volume[5]))
    assert [leak.case for leak in leaks_in(manifest, open_datasets(test))] == ["s"]


def test_numbers_as_patients_count_in_their_own_dataset_only(tmp_path: Path) -> None:
    """So do words with numbers: every dataset has a patient001 and a case0001 of its own."""
    names = ("2", "patient001", "case0001", "sub-001", "video01", "liver_1")
    rows = [ManifestRow("test", "p", patient="1")]
    rows += [ManifestRow("other", "q", patient=name) for name in names]
    manifest = write_manifest(rows, tmp_path / "m.csv")
    images = {name: eight_bits(smooth(k)) for k, name in enumerate(("1", *names))}
    test = open_datasets(pictures(tmp_path / "test", **images))
    assert [leak.case for leak in leaks_in(manifest, test)] == ["1"]


def bits_of(hashes: list[str]) -> list[int]:
    return [int(each, 16) for each in hashes]


def random_hashes(seed: int, images: int, count: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[rng.bytes(32).hex() for _ in range(count)] for _ in range(images)]


@pytest.mark.parametrize(("count", "other_count"), [(1, 1), (3, 3), (1, 3), (2, 3)])
def test_bits_apart_are_hamming(count: int, other_count: int) -> None:
    one, other = random_hashes(1, 4, count), random_hashes(2, 5, other_count)
    found = apart(packed(one), packed(other))
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            every = [[(x ^ y).bit_count() for y in bits_of(b)] for x in bits_of(a)]
            mean = np.mean([every[k][k] for k in range(min(count, other_count))])
            expected = mean if count == other_count else np.min(every)
            assert found[i, j] == pytest.approx(expected)


def test_near_pairs_come_once_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = packed(random_hashes(3, 7, 1)).copy()
    hashes[5] = hashes[2]
    whole = list(near(hashes, most=110))
    assert (2, 5, 0.0) in whole
    assert all(i < j for i, j, _ in whole)
    monkeypatch.setattr("promptseg.datasets.hashes._BLOCK", 2)
    assert sorted(near(hashes, most=110)) == sorted(whole)
    assert len(list(near(hashes, hashes.copy(), most=0))) == 9  # 7, and two of 2 and 5


def test_images_without_hashes_are_passed_over() -> None:
    found = by_count([["00" * 32], [], ["00" * 32] * 3, ["ff" * 32]])
    assert {count: places for count, (places, _) in found.items()} == {1: [0, 3], 3: [2]}


def test_images_that_cannot_be_read_are_left_to_the_evaluation(tmp_path: Path) -> None:
    rows = [ManifestRow("other", "q", sha256="0" * 64)]
    manifest = write_manifest(rows, tmp_path / "m.csv")
    folder = pictures(tmp_path / "test", a=eight_bits(smooth(1)))
    (folder / "images" / "a.png").write_bytes(b"nothing")
    assert list(leaks_in(manifest, open_datasets(folder))) == []


def test_manifests_come_back_and_are_not_overwritten(tmp_path: Path) -> None:
    rows = [ManifestRow("d", 'ca"se, 1', "p", "ab", "f" * 64), ManifestRow("d", "", "p")]
    for name in ("m.csv", "m.json"):
        path = write_manifest(rows, tmp_path / name)
        assert read_manifest(path) == rows
        with pytest.raises(OutputError):
            write_manifest(rows, path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "CSV or JSON"),
        ("[]", "with rows"),
        ("[1]", "rows with names"),
        (json.dumps([{"dataset": "d"}]), "patient, sha256 or phash"),
        (json.dumps([{"patient": "p"}]), "patient, sha256 or phash"),
        (json.dumps([{"dataset": "d", "phash": "xyz"}]), "64 hex digits"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=match):
        read_manifest(path)
    with pytest.raises(InputError, match="CSV or JSON"):
        read_manifest(tmp_path / "nowhere.csv")


@pytest.mark.slow
@pytest.mark.data
def test_real_pictures_are_found_again_and_not_confused(data_root: Path) -> None:
    names = (
        "chest_xray__covid_anatomy",
        "ultrasound__busi",
        "fundus__drishti_gs_disc_cup",
        "dermoscopy__ph2",
        "pathology__glas",
        "endoscopy__cvc_clinicdb",
    )
    lost = compared = 0
    for name in names:
        (dataset,) = open_datasets(data_root / "picture" / name)
        images = [case.load_image() for case in dataset.cases[:12]]
        apart = [distance(a, b) for k, a in enumerate(images) for b in images[:k]]
        assert min(apart) > ALIKE, name
        for image in images:
            gray = image.voxels if image.voxels.ndim == 2 else image.voxels @ [0.299, 0.587, 0.114]
            for change in CHANGES.values():
                compared += 1
                lost += distance(image, Image.from_array(change(gray))) > ALIKE
    assert lost <= 0.01 * compared
