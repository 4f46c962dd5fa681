"""Fine-tuned weights know by hash what they have seen, and tell nobody's name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from promptseg import assets
from promptseg.datasets.collection import Collection
from promptseg.datasets.manifest import ManifestRow, read_manifest, write_manifest
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.jobs.train import train
from promptseg.models.cards import TrainedOn
from promptseg.models.checkpoint import identify, open_checkpoint, read_checkpoint
from promptseg.train.pages import reported_on
from promptseg.train.seen import images_seen, reported_and_seen
from promptseg.train.setting import StartingWeights, open_parts
from train.conftest import Options


def listed(collection: Collection) -> list[ManifestRow]:
    """What curate would write: every case with hashes of its own."""
    cases = sorted({(s.dataset, s.case, s.patient) for s in collection.samples})
    return [
        ManifestRow(dataset, case, patient, f"{k:064x}", f"{k + 99:064x}")
        for k, (dataset, case, patient) in enumerate(cases)
    ]


@pytest.fixture
def collection(data: Path) -> Iterator[Collection]:
    """The collection with its manifest, for one test."""
    found = Collection(data)
    path = write_manifest(listed(found), data / "manifest.csv")
    yield found
    path.unlink()


def test_a_training_lists_what_it_learnt_from_or_chose_by(
    collection: Collection, options: Options
) -> None:
    parts = open_parts(options())
    rows = {(r.dataset, r.case): r for r in listed(collection)}
    used = {(s.dataset, s.case) for s in [*parts.train, *parts.validation]}
    assert 0 < len(used) < len(rows)
    base = StartingWeights.load(options().model, quiet=True).card
    found = images_seen(parts, base)
    assert {r.sha256 for r in found} == {rows[key].sha256 for key in used}
    assert {(r.case, r.patient) for r in found} == {("", "")}


def test_weights_tuned_again_keep_what_the_first_training_saw(
    collection: Collection, options: Options, tmp_path: Path
) -> None:
    assert not train(options()).interrupted
    run = tmp_path / "run"
    first = read_manifest(run / "trained_on.csv")
    text = (run / "trained_on.csv").read_text() + (run / "card.json").read_text()
    assert "patient1" not in text
    card = identify(read_checkpoint(run / "model.pth"), run / "model.pth")
    assert card.trained_on is not None
    assert card.trained_on.images == len(first)
    assert card.trained_on.sha256 == assets.sha256_of(run / "trained_on.csv")
    assert f"{len(first)}, by hash in trained_on.csv" in (run / "card.md").read_text()
    named, _, _ = open_checkpoint(f"tiny={run / 'model.pth'}")
    assert (named.name, named.trained_on) == ("tiny", card.trained_on)
    parts = open_parts(options())
    kept = replace(parts, train=parts.train[:1], validation=parts.validation[:1])
    assert {r.sha256 for r in images_seen(kept, card)} == {r.sha256 for r in first}


def test_a_collection_without_hashes_is_said(
    data: Path, options: Options, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING, "promptseg"):
        assert not train(options()).interrupted
    assert "images have no hash in manifest.csv" in caplog.text
    run = tmp_path / "run"
    assert not (run / "trained_on.csv").exists()
    assert "trained_on" not in json.loads((run / "card.json").read_text())["data"]
    assert identify(read_checkpoint(run / "model.pth"), run / "model.pth").trained_on is None


def test_images_of_the_report_that_the_start_has_seen_are_counted(
    collection: Collection, options: Options, tmp_path: Path
) -> None:
    parts = open_parts(options())
    base = StartingWeights.load(options().model, quiet=True).card
    assert reported_and_seen(parts, base) == 0
    hashes = []
    for sample in parts.report:
        pixels, _ = collection.read(sample)
        hashes.append(Image(pixels, Geometry.pixels(pixels.shape[:2])).sha256())
    path = write_manifest([ManifestRow("d", "", "", hashes[0], "")], tmp_path / "seen.csv")
    told = replace(base, trained_on=TrainedOn(str(path), assets.sha256_of(path), 1))
    assert reported_and_seen(parts, told) == hashes.count(hashes[0])
    said = reported_on({"reported_on": "the test part", "reported_and_seen": 1})
    assert "had been trained on 1 of its images" in said
    assert reported_on({"reported_on": "the test part"}) == "Measured on the test part."
