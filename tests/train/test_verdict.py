"""Verdicts on made validations, whose differences are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from promptseg.errors import InputError
from promptseg.train.comparison import needed_for
from promptseg.train.drift import drift_of, linear_cka
from promptseg.train.validate import Answer, Validation
from promptseg.train.verdict import compare
from train.made_answers import made_validation

ALL = frozenset({"box", "point", "mask"})
BOX = frozenset({"box"})


def test_a_clear_improvement() -> None:
    verdict = compare(made_validation(), made_validation(lambda *_: 0.05, noise=1), ALL)
    assert verdict.outcome == "improvement"
    assert [c.prompt for c in verdict.comparisons] == ["box", "box+8", "point", "point+8"]
    for c in verdict.comparisons:
        assert c.difference == pytest.approx(0.05, abs=0.01)
        assert c.low < c.difference < c.high
        assert c.significantly_better
        assert c.p < 0.001
        assert (c.objects, c.patients) == (32, 16), "patients of two datasets share their names"
        assert c.better > c.worse
    assert verdict.reasons[0].startswith("significantly better: +5.")
    assert not verdict.forgotten


def test_a_clear_loss() -> None:
    verdict = compare(made_validation(), made_validation(lambda *_: -0.05), ALL)
    assert verdict.outcome == "worse"
    assert "significantly worse: -5.0 points of DSC with a box (" in verdict.reasons[0]
    assert all(c.kept is False for c in verdict.comparisons)


def test_nothing_changed() -> None:
    verdict = compare(made_validation(), made_validation(), ALL)
    assert verdict.outcome == "no improvement"
    assert "significantly better" in verdict.reasons[0]
    assert verdict.comparisons[0].p == 1.0
    assert all(c.kept for c in verdict.comparisons)
    assert verdict.drift.relative_l2 == 0
    assert verdict.drift.cosine == pytest.approx(1)
    assert verdict.drift.cka == pytest.approx(1)


def test_chance_is_no_improvement() -> None:
    """Noise that sums to about nothing: the rate is about 5 % for any number of patients."""
    outcomes = [
        compare(made_validation(noise=2 * k + 1), made_validation(noise=2 * k + 2), ALL).outcome
        for k in range(40)
    ]
    assert outcomes.count("improvement") <= 5


def test_a_gain_here_does_not_pay_for_a_loss_there() -> None:
    after = made_validation(lambda m, prompt, s: 0.1 if prompt == "box" else -0.03)
    verdict = compare(made_validation(), after, ALL)
    assert verdict.outcome == "worse"
    assert any("worse: -3.0 points of DSC with a click" in r for r in verdict.reasons)
    assert any("better: +10.0 points of DSC with a box" in r for r in verdict.reasons)


def test_one_modality_falls() -> None:
    def after(fall: float) -> Validation:
        return made_validation(lambda m, p, s: fall if m == "US" else 0.2, modalities=three)

    three = ("CT", "MR", "US")
    before = made_validation(modalities=three)
    verdict = compare(before, after(-0.03), ALL)
    assert all(c.significantly_better for c in verdict.comparisons)
    assert verdict.outcome == "no improvement"
    assert "on US, a box lost 3.0 points of DSC" in verdict.reasons[0]
    assert "better" in verdict.reasons[-1]
    assert verdict.modalities["CT"][0].difference == pytest.approx(0.2)
    assert compare(before, after(-0.015), ALL).outcome == "improvement"


def test_a_forgotten_prompt_is_named() -> None:
    """Trained with boxes alone: corrections fall, and that does not hide."""
    after = made_validation(lambda m, prompt, s: 0.05 if s == 0 and prompt == "box" else -0.1)
    verdict = compare(made_validation(), after, BOX)
    assert verdict.outcome == "improvement"
    assert verdict.forgotten == ("box+8", "point", "point+8")
    assert [c.asked for c in verdict.comparisons] == [True, False, False, False]
    assert any(r.startswith("forgotten: a box with 8 rounds") for r in verdict.reasons)
    assert compare(made_validation(), after, ALL).outcome == "worse"


@pytest.mark.parametrize("patients", [1, 5])
def test_too_few_patients(patients: int) -> None:
    before = made_validation(patients=patients, modalities=("CT",))
    after = made_validation(lambda *_: 0.2, patients=patients, modalities=("CT",))
    verdict = compare(before, after, ALL, "the test part")
    assert verdict.outcome == "too few to tell"
    said = (
        f"{patients} patient{'s' if patients > 1 else ''} in the test part, at least 6 are needed"
    )
    assert verdict.reasons[0] == said
    assert math.isnan(verdict.comparisons[0].p)
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["comparisons"][0]["p"] is None


def test_six_patients_can_tell() -> None:
    before = made_validation(patients=6, modalities=("CT",))
    after = made_validation(lambda *_: 0.05, patients=6, modalities=("CT",), noise=3)
    assert compare(before, after, ALL).outcome == "improvement"


def test_one_lucky_patient_is_no_improvement() -> None:
    """The 95 % interval alone would not refuse it."""
    before = made_validation(patients=12, modalities=("CT",))
    after = made_validation(patients=12, modalities=("CT",))
    after.answers = [
        a._replace(dsc=a.dsc + (0.3 if a.patient in "01" else 0.001 * (-1) ** int(a.patient)))
        for a in after.answers
    ]
    verdict = compare(before, after, BOX)
    assert verdict.comparisons[0].difference > 0.02
    assert verdict.outcome == "no improvement"
    assert "the most: +" in verdict.reasons[0]


def test_nothing_that_was_asked_with_was_measured() -> None:
    verdict = compare(made_validation(), made_validation(lambda *_: 0.2), frozenset({"mask"}))
    assert verdict.outcome == "no improvement"
    assert "no kind of prompt" in verdict.reasons[0]


def test_listening() -> None:
    deaf = made_validation(lambda m, p, step: -0.02 * step)
    verdict = compare(made_validation(), deaf, ALL)
    before, after = verdict.listening
    assert before.gain == pytest.approx(0.02)
    assert before.rounds == pytest.approx([0.02] * 8)
    assert before.worsened == 0
    assert before.shifted == pytest.approx(0.15)
    assert after.gain == pytest.approx(0, abs=1e-9)
    worse = compare(made_validation(), made_validation(lambda m, p, s: -0.05 * s), ALL)
    assert worse.listening[1].worsened == 1
    assert verdict.curves["box"][0][8] - verdict.curves["box"][0][0] == pytest.approx(0.16)


def test_perfect_answers_are_nothing_to_correct() -> None:
    def answers(scores: list[float]) -> Validation:
        about = ("s", "d", "CT", "p", "1", "box")
        return Validation([Answer(*about, k, score, 0.9) for k, score in enumerate(scores)])

    perfect = answers([0.5, 1.0, 1.0, 1.0])
    slipped = answers([0.5, 0.4, 0.6, 1.0])
    verdict = compare(perfect, slipped, ALL)
    assert verdict.listening[0].worsened == 0
    assert verdict.listening[1].worsened == pytest.approx(1 / 3)
    assert math.isnan(verdict.listening[0].shifted)


def test_validations_that_do_not_pair() -> None:
    before = made_validation()
    for other in (made_validation(patients=7), made_validation(corrections=4), Validation()):
        with pytest.raises(InputError, match="of the same objects"):
            compare(before, other, ALL)
    with pytest.raises(InputError, match="of the same objects"):
        compare(Validation(), Validation(), ALL)


def test_without_corrections() -> None:
    verdict = compare(made_validation(corrections=0), made_validation(corrections=0), BOX)
    assert [c.prompt for c in verdict.comparisons] == ["box", "point"]
    assert math.isnan(verdict.listening[0].gain)
    json.dumps(verdict.to_json(), allow_nan=False)


def test_what_a_prompt_needs() -> None:
    assert needed_for("box") == {"box"}
    assert needed_for("point+8") == {"point", "mask"}
    assert needed_for("box+8") == {"box", "point", "mask"}


def test_as_plain_values() -> None:
    said: dict[str, Any] = compare(made_validation(), made_validation(), ALL).to_json()
    assert said["listening"]["before"]["gain"] == pytest.approx(0.02)
    assert said["macro"]["after"]["box"] == pytest.approx(said["comparisons"][0]["after"])
    assert len(said["curves"]["point"]["before"]) == 9
    assert said["drift"]["samples"] == 16


def test_drift() -> None:
    rng = np.random.default_rng(0)
    one = {str(k): rng.normal(size=(6, 8, 8)).astype(np.float16) for k in range(4)}
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    turned = {
        k: (2 * np.einsum("ij,jkl->ikl", rotation, v)).astype(np.float16) for k, v in one.items()
    }
    drift = drift_of(one, turned)
    assert drift.cka == pytest.approx(1, abs=1e-3)
    assert drift.relative_l2 > 0.9
    double = drift_of(one, {k: 2 * v for k, v in one.items()})
    assert double.relative_l2 == pytest.approx(1)
    assert double.cosine == pytest.approx(1)
    other = {k: rng.normal(size=(6, 8, 8)).astype(np.float16) for k in one}
    assert drift_of(one, other).cka < 0.1
    assert drift_of(one, {}).samples == 0
    with pytest.raises(InputError, match="one architecture"):
        drift_of(one, {k: v[:2] for k, v in one.items()})


def test_cka_against_its_definition() -> None:
    """HSIC of linear kernels, normalised, written with Gram matrices."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 3))
    y[:, 0] += x[:, 0]
    centre = np.eye(20) - 1 / 20
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    expected = np.trace(k @ m) / math.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert linear_cka(x, y) == pytest.approx(expected)
    assert math.isnan(linear_cka(np.ones((4, 2)), y[:4]))


def test_small_significant_changes_are_judged_by_the_interval() -> None:
    verdict = compare(made_validation(), made_validation(lambda *_: -0.001), ALL)
    assert verdict.outcome == "worse"
    assert all(c.kept for c in verdict.comparisons), "a loss of more than 2 points is ruled out"
    assert replace(verdict.comparisons[0], asked=False).forgotten
