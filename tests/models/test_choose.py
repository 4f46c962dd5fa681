"""Choosing a model by evidence, from tables done by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from promptseg import assets
from promptseg.errors import ModelError
from promptseg.models.cards import CARDS
from promptseg.models.choose import choose
from promptseg.models.evidence import (
    Evidence,
    evidence,
    evidence_from_csv,
    evidence_to_csv,
    look_up,
)


def measured(
    model: str, dsc: float, modality: str = "any", prompt: str = "box", protocol: str = "2d"
) -> Evidence:
    sha = assets.manifest()[CARDS[model].weights].sha256
    numbers = (3, 4, 5, dsc, dsc - 0.1, dsc, dsc + 0.1)
    return Evidence(model, sha, modality, prompt, protocol, *numbers, "rows.csv", "2026-01-01")


LITE, MOBILE, SAM = "lite-medsam", "mobile-sam", "sam-vit-b"
TABLE = [
    measured(LITE, 0.6),
    measured(MOBILE, 0.7),
    measured(LITE, 0.8, "XR"),
    measured(MOBILE, 0.7, "XR"),
    measured(MOBILE, 0.4, prompt="point"),
    measured(LITE, 0.5, "CT", protocol="3d"),
    measured(MOBILE, 0.4, "CT", protocol="3d"),
    measured(MOBILE, 0.9, "MR", protocol="3d"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights, the only one."""
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROMPTSEG_WEIGHTS", str(tmp_path))
    return tmp_path


def put(folder: Path, *models: str) -> None:
    for name in models:
        (folder / assets.manifest()[CARDS[name].weights].file).write_bytes(b"weights")


@pytest.mark.parametrize(
    ("modality", "protocol", "model"),
    [
        ("XR", "2d", LITE),
        ("US", "2d", MOBILE),  # not measured: all modalities pooled
        (None, "2d", MOBILE),
        ("unknown", "2d", MOBILE),
        ("CT", "3d", LITE),
        ("XR", "3d", LITE),  # no volumes: slices of the modality
        ("MR", "3d", MOBILE),  # one model alone in volumes compares nothing: slices, pooled
    ],
)
def test_the_best_at_hand_is_chosen(
    modality: str | None, protocol: str, model: str, here: Path
) -> None:
    put(here, LITE, MOBILE)
    choice = choose({"box"}, modality, protocol, TABLE)
    assert choice.model == model
    assert not choice.fetched
    assert {row.model for row in choice.evidence} == {LITE, MOBILE}


def test_the_reason_is_one_line_with_the_numbers(here: Path) -> None:
    put(here, LITE, MOBILE)
    assert str(choose({"box"}, "XR", table=TABLE)) == (
        "lite-medsam: mean DSC 0.80 against 0.70 of mobile-sam with box prompts on XR, slices "
        "(n=5 objects, 3 datasets)"
    )
    assert "on all modalities pooled" in choose({"box"}, "US", table=TABLE).why


def test_only_models_that_take_the_prompts(here: Path) -> None:
    put(here, LITE, MOBILE)
    choice = choose({"point", "box"}, table=TABLE)
    assert str(choice) == "mobile-sam: the only model at hand that takes box and point prompts"
    assert choice.prompts == ("box", "point")
    with pytest.raises(ModelError, match=r"weights of promptseg-words or .* at hand, got none"):
        choose({"box", "text"}, table=TABLE)


def test_what_was_not_measured_loses_to_what_was(here: Path) -> None:
    put(here, SAM, MOBILE)
    assert choose({"point"}, table=TABLE).model == MOBILE
    choice = choose({"mask"}, table=TABLE)
    assert choice.model == MOBILE
    assert choice.evidence == ()
    assert "was measured" in choice.why


def test_nothing_at_hand_takes_the_best_that_can_be_fetched(here: Path) -> None:
    choice = choose({"box"}, "XR", table=TABLE)
    assert (choice.model, choice.fetched) == (LITE, True)
    put(here, MOBILE)
    choice = choose({"box"}, "XR", table=TABLE)  # worse, but here
    assert (choice.model, choice.fetched) == (MOBILE, False)
    assert "the only model at hand" in choice.why


def test_evidence_counts_for_the_weights_that_were_measured(here: Path) -> None:
    put(here, LITE, MOBILE)
    others = [replace(row, weights_sha256="0" * 64) for row in TABLE if row.model == MOBILE]
    assert choose({"box"}, table=[TABLE[0], *others]).model == LITE
    put(here, "medicosam-vit-b")  # no published hash: that of the file decides
    file = here / assets.manifest()["medicosam-vit-b"].file
    mine = replace(measured(LITE, 0.99), model="medicosam-vit-b")
    assert choose({"box"}, table=[*TABLE, mine]).model == MOBILE
    mine = replace(mine, weights_sha256=assets.sha256_of(file))
    assert choose({"box"}, table=[*TABLE, mine]).model == "medicosam-vit-b"


def test_a_tie_goes_to_the_model_named_first() -> None:
    table = [measured(MOBILE, 0.7), measured(LITE, 0.7)]
    assert look_up(table, [LITE, MOBILE], "CT", ["box"], "2d")[0].model == LITE
    assert look_up(table, [MOBILE, LITE], "CT", ["box"], "2d")[0].model == MOBILE
    assert look_up(table, [], "CT", ["box"], "2d") == []


def test_corrections_come_first_where_there_are_several_kinds() -> None:
    both = measured(MOBILE, 0.9, prompt="box+corrections"), measured(MOBILE, 0.7)
    assert look_up(both, [MOBILE], "CT", ["box+corrections", "box"], "2d") == [both[0]]


def test_the_table_survives_its_file_and_the_committed_one_is_sound() -> None:
    assert evidence_from_csv(evidence_to_csv(TABLE)) == [
        replace(row, **{k: round(getattr(row, k), 4) for k in ("mean_dsc", "q1", "median", "q3")})
        for row in TABLE
    ]
    table = evidence()
    manifest = assets.manifest()
    assert {row.model for row in table} <= set(CARDS)
    for row in table:
        assert row.weights_sha256 == manifest[CARDS[row.model].weights].sha256
        assert 0 <= row.q1 <= row.median <= row.q3 <= 1
        assert 0 < row.datasets <= row.cases <= row.objects
        assert row.date
        assert row.source
    keys = [(r.model, r.modality, r.prompt, r.protocol) for r in table]
    assert len(keys) == len(set(keys))
