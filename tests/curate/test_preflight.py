"""Checks of a collection before training: what they find, what they draw, what they estimate."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from architectures import build_as
from curate.made import Made, disc, make_collection, rectangle, usual
from curate.test_estimate import COST
from json_answers import answer
from promptseg.cli.preflight import run
from promptseg.curate.estimate import Plan, estimate
from promptseg.curate.leaking import alike_samples, divided
from promptseg.curate.preflight import PreflightOptions, preflight
from promptseg.curate.preflight_findings import Preflight, warnings_of
from promptseg.curate.sheet import COLUMNS, GAP, PANEL
from promptseg.curate.sizes import sizes_of, summarise
from promptseg.datasets.collection import Collection, Split
from promptseg.errors import InputError, ModelError
from promptseg.formats.own_folder import LIST
from promptseg.image import Image
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2.build import SHAPES
from small_sam2 import SHAPE as SMALL_SAM2
from train.moving import moving_data

SHAPE = (64, 64)
PLAN = Plan()


def checked(root: Path, **options: Any) -> Preflight:
    return preflight(root, PLAN, PreflightOptions(measure=False, quiet=True, **options))


@pytest.fixture(scope="module")
def usual_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("collection")
    make_collection(root, usual(SHAPE))
    return root


def test_a_sound_collection_passes(usual_root: Path) -> None:
    found = checked(usual_root)
    assert found.errors == []
    assert found.passed
    assert found.read == 11
    assert found.damaged == found.leaks == found.alike == []
    assert [line[:2] for line in found.balance] == [("liver", 8), ("lesion", 6), ("polyp", 1)]
    assert found.balance[1][2:] == (3, 3, 0)
    assert any(
        w.startswith("licences of 1 of 3 datasets") and "breast" in w for w in found.warnings
    )
    assert "classes without a mask in validation: polyp" in found.warnings


@pytest.mark.parametrize(("missing", "part"), [("train", "train"), ("validation", "validation")])
def test_parts_that_are_missing(tmp_path: Path, missing: str, part: str) -> None:
    make_collection(tmp_path, [made for made in usual(SHAPE) if made.split != missing])
    (error,) = checked(tmp_path).errors
    assert error.startswith(f"expected a {part} part, got none: ")
    assert "; curate with another --split" in error


def test_no_test_part_is_a_warning(tmp_path: Path) -> None:
    make_collection(tmp_path, [made for made in usual(SHAPE) if made.split != "test"])
    found = checked(tmp_path)
    assert found.passed
    assert found.warnings[0].startswith("no test part")


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (
            20,
            5,
            "on the test part, which has 5 patients, .* below 6; give it 23 % or more of the 26",
        ),
        (4, 2, "on the test part, which has 2 patients, .*; 7 patients are too few to divide"),
        (20, 0, "on the validation part, which has 1 patient,"),
        (20, 6, ""),
    ],
)
def test_a_part_too_small_for_a_verdict_is_said_beforehand(
    train: int, test: int, said: str, tmp_path: Path
) -> None:
    parts: list[Split] = ["train"] * train + ["validation"] + ["test"] * test
    made = [
        Made(f"abdomen/p{k}/{n}", {"liver": disc(SHAPE, 30, 24, 12)}, part, seed=10 * k + n)
        for k, part in enumerate(parts)
        for n in range(2 if k % 2 else 1)  # slices are not patients
    ]
    make_collection(tmp_path, made)
    found = [line for line in checked(tmp_path).warnings if line.startswith("no verdict")]
    assert len(found) == bool(said)
    assert not said or re.search(said, found[0])


def test_a_patient_in_two_parts(tmp_path: Path) -> None:
    masks = {"liver": disc(SHAPE, 30, 30, 9)}
    twice = [
        Made("abdomen/scan1", masks, "train", patient="Ann", group="one", seed=1),
        Made("abdomen/scan2", masks, "validation", patient="Ann", group="two", seed=2),
        Made("other/scan1", masks, "test", patient="Ann", seed=3),  # another Ann
    ]
    make_collection(tmp_path, [*usual(SHAPE), *twice])
    (error,) = checked(tmp_path).errors
    assert error == (
        "expected every patient in one part, got abdomen/Ann in 2: "
        "abdomen/scan1 (train), abdomen/scan2 (validation); curate the data again"
    )


def test_a_divided_group_is_named_once(tmp_path: Path) -> None:
    """The group says it already where the patient is divided too."""
    masks = {"liver": disc(SHAPE, 30, 30, 9)}
    made = [
        Made(f"d/{k}", masks, part, patient="Bob", seed=k)
        for k, part in enumerate(("train", "test"))  # type: ignore[arg-type]
    ]
    (leak,) = divided(make_collection(tmp_path, made).samples)
    assert (leak.what, leak.name, leak.parts) == ("group", "d/Bob", ("train", "test"))


def test_one_person_of_two_datasets_in_two_parts(tmp_path: Path) -> None:
    """The id tells persons apart; the groups were made without knowing of each other."""
    masks = {"tumour": disc(SHAPE, 30, 30, 9)}
    made = [
        Made("ct/STS_001", masks, "train", patient="STS_001", seed=1),
        Made("pet/sts_001", masks, "test", patient="sts_001", modality="PET", seed=2),
        Made("mr/patient001", masks, "train", patient="patient001", seed=3),
        Made("us/patient001", masks, "test", patient="patient001", seed=4),
    ]
    (leak,) = divided(make_collection(tmp_path, made).samples)
    assert (leak.what, leak.name) == ("patient", "sts_001")
    assert leak.keys == ("ct/STS_001", "pet/sts_001")


def test_one_group_of_two_datasets_in_two_parts(tmp_path: Path) -> None:
    masks = {"tumour": disc(SHAPE, 30, 30, 9)}
    made = [
        Made("ct/a", masks, "train", group="ct/a", seed=1),
        Made("pet/b", masks, "test", group="ct/a", seed=1),
    ]
    samples = make_collection(tmp_path, made).samples
    (leak,) = divided(samples)
    assert (leak.what, leak.name) == ("group", "ct/a")
    assert alike_samples(samples, {sample.key: "0" * 64 for sample in samples}) == []


def test_the_same_picture_in_two_parts(tmp_path: Path) -> None:
    masks = {"lesion": rectangle(SHAPE, (10, 20, 40, 50))}
    copy = Made("copied/z", masks, "validation", modality="US", seed=100)
    make_collection(tmp_path, [*usual(SHAPE), copy])
    found = checked(tmp_path)
    (error,) = found.errors
    assert "every 2D image in one part" in error
    assert "breast/a (train), copied/z (validation)" in error
    assert found.alike[0].bits == 0


def test_look_alikes_are_listed(tmp_path: Path) -> None:
    """The same 2D image, brighter: other pixels, hardly another hash."""
    masks = {"lesion": rectangle(SHAPE, (10, 20, 40, 50))}

    class Brighter(Made):
        def picture(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
            return (super().picture() * 0.9 + 20).astype(np.uint8)

    copy = Brighter("copied/z", masks, "validation", modality="US", seed=100)
    make_collection(tmp_path, [*usual(SHAPE), copy])
    found = checked(tmp_path)
    assert found.passed
    (pair,) = found.alike
    assert (pair.first, pair.second, pair.parts) == (
        "breast/a",
        "copied/z",
        ("train", "validation"),
    )
    assert pair.bits <= 8
    assert any("1 pairs of different parts look alike" in w for w in found.warnings)


def test_look_alikes_are_only_of_other_parts_and_groups(usual_root: Path) -> None:
    samples = Collection(usual_root).samples
    everywhere = {sample.key: "0" * 64 for sample in samples}
    for pair in alike_samples(samples, everywhere):
        assert pair.parts[0] != pair.parts[1]
    one_group = [replace(s, group="one", dataset="d") for s in samples]
    assert alike_samples(one_group, everywhere) == []
    assert len(alike_samples(samples, everywhere, most=2)) == 2
    assert alike_samples(samples, {}) == []


def test_hash_distance_is_hamming(usual_root: Path) -> None:
    first, second = Collection(usual_root).of("train")[0], Collection(usual_root).of("test")[0]
    hashes = {first.key: "f" + "0" * 63, second.key: "1" + "0" * 63}
    assert alike_samples([first, second], hashes)[0].bits == 3


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    make_collection(tmp_path, usual(SHAPE))
    shard = tmp_path / "shards" / "00001.zip"
    shard.write_bytes(shard.read_bytes()[:200])
    found = checked(tmp_path)
    assert {damage.shard for damage in found.damaged} == {"00001.zip"}
    (error,) = found.errors
    assert f"got {len(found.damaged)} of 11 that cannot be used" in error
    assert "00001.zip" in error


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"area": 3}, "has another area than 3"),
        ({"box": (0, 0, 5, 5)}, "has another box"),
        ({"id": 9}, "is not in its labels"),
        ({"layer": 5}, "is not in its labels"),
    ],
)
def test_labels_that_disagree_with_the_index(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    collection = make_collection(tmp_path, usual(SHAPE))
    first, *others = collection.samples
    wrong = replace(first, targets=(first.targets[0]._replace(**change), *first.targets[1:]))
    Collection.write(tmp_path, [wrong, *others], {})
    (damage,) = checked(tmp_path).damaged
    assert damage.key == first.key
    assert reason in damage.reason


def test_a_part_of_the_samples_is_read(usual_root: Path) -> None:
    found = checked(usual_root, samples=4)
    assert found.read == 4
    assert "4 of 11 samples were read; --all" in found.warnings
    assert checked(usual_root, samples=4, all=True).read == 11


def test_tiny_targets(tmp_path: Path) -> None:
    """512 x 256 pixels are 256 x 128 on the masks of mobile-sam: a quarter of the pixels is left."""
    shape = (512, 256)
    masks = {"tiny": rectangle(shape, (0, 0, 5, 5)), "small": rectangle(shape, (9, 9, 15, 15))}
    collection = make_collection(tmp_path, [Made("d/1", masks), Made("d/2", masks, "validation")])
    sizes = sizes_of(collection.samples, CARDS["mobile-sam"].preprocessing)
    assert [size.pixels for size in sizes[:2]] == [36 / 4, 49 / 4]
    assert [size.share for size in sizes[:2]] == [36 / 512 / 256, 49 / 512 / 256]
    overall = summarise(sizes)[-1]
    assert (overall.name, overall.targets, overall.tiny) == ("all", 4, 2)
    squashed = sizes_of(collection.samples, CARDS["medsam-vit-b"].preprocessing)
    assert squashed[0].pixels == 36 / 2  # both sides to 256
    found = checked(tmp_path)
    assert found.passed
    assert any(w.startswith("2 of 4 targets (50.00%)") for w in found.warnings)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    """Slices of thick stacks are made square: 32 rows of 4 mm are as long as 128 columns of 1 mm."""
    made = Made("d/1", {"a": rectangle((32, 128), (0, 0, 7, 1))})
    (sample,) = make_collection(tmp_path, [made]).samples
    thick = replace(sample, pixel=(1.0, 4.0))
    (size,) = sizes_of([thick], CARDS["mobile-sam"].preprocessing)
    assert size.pixels == pytest.approx(16 * (256 / 128) * (256 / 32))


def test_all_targets_tiny(tmp_path: Path) -> None:
    masks = {"dot": rectangle((256, 256), (9, 9, 11, 11))}
    make_collection(tmp_path, [Made("d/1", masks), Made("d/2", masks, "validation")])
    (error,) = checked(tmp_path).errors
    assert error.startswith("expected targets of 10 pixels and more on the 256 x 256 masks")
    assert "got 2 with fewer, which are all; cut" in error


def test_too_little_memory_and_slow_reading_are_warnings(usual_root: Path) -> None:
    found = checked(usual_root)
    found.estimate = estimate(replace(COST, memory_bytes=1000, busy=True), Plan(), 6)
    found.read_seconds = 20.0
    said = "; ".join(warnings_of(found))
    assert "GiB are needed where 0.0 GiB are; take fewer images at a time" in said
    assert (
        "reading takes 20 s per image, longer than computing: give the loader 5 processes" in said
    )
    assert "other programs were at work" in said
    found.estimate = estimate(replace(COST, memory_bytes=10**9), Plan(), 6)
    assert "GiB are needed" not in "; ".join(warnings_of(found))


def test_plans_and_options_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="n_steps of 0 or more, got -1"):
        Plan(n_steps=-1)
    with pytest.raises(InputError, match="batch_size of 1 or more"):
        Plan(batch_size=0)
    with pytest.raises(InputError, match="panels of 1 or more"):
        PreflightOptions(panels=0)


def test_command_line(usual_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "check"
    arguments = [str(usual_root), "-o", str(out), "--no-measure", "--model", "lite-medsam"]
    assert run(["check", *arguments]) == 0
    said = capsys.readouterr()
    assert "11 images with 15 masks: 6 for training" in said.out
    assert "warning: licences of" in said.err
    names = {"preflight.md", "preflight.json", "sheet.png", "sizes.png"}
    assert {path.name for path in out.iterdir()} - {LIST} == names
    with PilImage.open(out / "sheet.png") as page, PilImage.open(out / "sizes.png") as plot:
        assert page.width == COLUMNS * (PANEL + GAP) + GAP
        assert plot.width == 7 * 150
    facts = json.loads((out / "preflight.json").read_text())
    assert facts["passed"]
    assert facts["sha256"] == Collection(usual_root).sha256
    text = (out / "preflight.md").read_text()
    assert text.startswith("# Check of a collection: ready for training")
    assert "| breast | CC BY-NC 4.0; unknown | not known to be |" in text
    assert run(["check", *arguments, "--json"]) == 0
    assert answer("curate check", capsys.readouterr().out)["read"] == 11
    assert run(["statistics", str(usual_root), "-o", str(out)]) == 0
    assert "15 masks" in capsys.readouterr().out
    assert run(["statistics", str(usual_root), "-o", str(out), "--json"]) == 0
    assert answer("curate statistics", capsys.readouterr().out)["total"]["images"] == 11


def test_errors_are_lines_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_collection(tmp_path, [made for made in usual(SHAPE) if made.split == "train"])
    assert run(["check", str(tmp_path), "--no-measure"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: expected a validation part")]
    assert "not ready" in (tmp_path / "preflight" / "preflight.md").read_text()


def test_clips_are_estimated_where_there_are_some_and_a_model_with_memory(
    usual_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_as(monkeypatch, SHAPES, {"sam2.1-t": SMALL_SAM2})
    options = PreflightOptions(quiet=True, model="sam2.1-t")
    assert preflight(usual_root, Plan(n_steps=0), options).estimate is not None
    pictures = tmp_path / "pictures"
    make_collection(pictures, [made for made in usual(SHAPE) if made.key.count("/") == 1])
    none = preflight(pictures, Plan(n_steps=0, frames=3), options)
    assert none.estimate is None
    assert "time and memory are not estimated: no clips to train on" in none.warnings
    films = moving_data(tmp_path / "films").root
    found = preflight(films, Plan(n_steps=1, frames=3), options).estimate
    assert found is not None
    assert (found.images, found.objects) == (3, 2)  # films for training; a ball and a plate
    assert "per epoch of 3 clips" in str(found)
    options = PreflightOptions(quiet=True, model="mobile-sam")
    plain = preflight(films, Plan(frames=3), options)
    assert plain.estimate is None
    why = "time and memory are not estimated: mobile-sam has no memory to train on clips"
    assert why in plain.warnings


def test_refusals(tmp_path: Path, usual_root: Path) -> None:
    with pytest.raises(InputError, match="a folder made by promptseg curate"):
        run(["check", str(tmp_path)])
    with pytest.raises(ModelError, match="SAM 3 family to train, got sam3-tracker of sam3-tracker"):
        checked(tmp_path, model="sam3-tracker")
    with pytest.raises(ModelError, match="did you mean mobile-sam"):
        run(["check", str(usual_root), "--model", "mobilesam"])
    with pytest.raises(InputError, match="a preset out of medsam"):
        run(["check", str(usual_root), "--preset", "sam4"])
    with pytest.raises(InputError, match="check or statistics"):
        run(["examine"])
    Collection.write(tmp_path, [], {})
    with pytest.raises(InputError, match="a collection with samples"):
        run(["check", str(tmp_path)])


def test_pictures_without_texture_have_no_hash() -> None:
    from promptseg.datasets.manifest import perceptual_hashes

    assert perceptual_hashes(Image.from_array(np.zeros((8, 8), np.uint8))) == []
