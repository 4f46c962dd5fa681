"""The measure of a model: the DSC of evaluation, on the same prompts for every model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.made import Made, disc, make_collection, rectangle
from fakes import BrightPredictor
from promptseg.datasets.collection import Collection, masks_of
from promptseg.errors import InputError
from promptseg.inference.predictor import Predictor
from promptseg.metrics.overlap import count
from promptseg.simulate import first_prompt, generator, interactive_rounds
from promptseg.train.validate import SHIFTED, Answer, Validation, choose_validation, validate

SHAPE = (48, 64)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Five samples of two datasets; the first has four objects, one inside another."""
    several = {
        "liver": disc(SHAPE, 20, 20, 11),
        "lesion": disc(SHAPE, 20, 20, 4),
        "node": rectangle(SHAPE, (50, 30, 56, 40)),
        "dot": rectangle(SHAPE, (60, 2, 61, 3)),
    }
    made = [Made("ct/a/3", several, patient="1")]
    made += [
        Made(f"us/{k}", {"cyst": disc(SHAPE, 20 + k, 30, 9)}, patient=str(k), modality="US")
        for k in range(4)
    ]
    return make_collection(tmp_path_factory.mktemp("made"), made)


def test_answers_are_those_of_evaluation(collection: Collection) -> None:
    """Exactly what `interactive_rounds` gives, with the generator of sample, target and prompt."""
    predictor = BrightPredictor(150, "mobile-sam")
    found = validate(predictor, collection, collection.samples, corrections=3, seed=5)
    sample = collection.samples[0]
    target = sample.targets[1]
    assert (target.name, target.layer) == ("lesion", 1)
    picture, labels = collection.read(sample)
    (embedding,) = predictor.encode([picture], sample.pixel)
    truth = masks_of([target], labels)[0]
    for kind in ("box", "point"):
        rng = generator(5, sample.key, "2@1", kind)
        first = first_prompt(kind, truth, rng)  # type: ignore[arg-type]
        rounds = interactive_rounds(predictor, embedding, truth, first, 3, rng)
        expected = [count(truth, answer.mask).dsc for answer in rounds]
        ours = [a for a in found.answers if (a.sample, a.target) == (sample.key, "2@1")]
        assert [a.dsc for a in ours if a.prompt == kind] == expected
        assert [a.step for a in ours if a.prompt == kind] == [0, 1, 2, 3]


def test_the_largest_objects_are_taken(collection: Collection) -> None:
    found = validate(BrightPredictor(), collection, collection.samples[:1], max_objects=3)
    assert {a.target for a in found.answers} == {"1", "2@1", "3"}
    assert len(found.answers) == 3 * 2 * 9
    assert found.corrections == 8


def test_a_model_for_boxes_alone_is_asked_all_the_same(collection: Collection) -> None:
    predictor = BrightPredictor(card="lite-medsam")
    validate(predictor, collection, collection.samples, corrections=2)
    assert {"box"} in predictor.asked
    assert {"point"} in predictor.asked
    assert {"box", "point", "mask"} in predictor.asked
    assert predictor.card.prompts == {"box"}, "the model's own card stays"


def test_shifted_boxes(collection: Collection) -> None:
    predictor = BrightPredictor(0)  # the box is the answer
    sample = next(s for s in collection.samples if s.key == "us/0")
    found = validate(predictor, collection, [sample], corrections=0, shifted=True)
    shifted = [a for a in found.answers if a.prompt == SHIFTED]
    assert len(shifted) == 4
    x0, y0, x1, y1 = sample.targets[0].box
    assert predictor.boxes[0] == (x0, y0, x1, y1)
    w, h = 0.1 * (x1 - x0 + 1), 0.1 * (y1 - y0 + 1)
    assert np.allclose(predictor.boxes[1], (x0 - w, y0, x1 - w, y1))
    assert np.allclose(predictor.boxes[4], (x0, y0 + h, x1, y1 + h))
    assert all(0 < a.dsc < found.answers[0].dsc for a in shifted)


def test_the_order_of_samples_changes_nothing(collection: Collection) -> None:
    def ask(reverse: bool) -> list[Answer]:
        samples = collection.samples[::-1] if reverse else collection.samples
        return sorted(validate(BrightPredictor(), collection, samples, corrections=2).answers)

    assert ask(False) == ask(True)


def test_means_are_of_datasets() -> None:
    def answer(dataset: str, dsc: float, prompt: str = "box", step: int = 0) -> Answer:
        return Answer(
            "s", dataset, "CT" if dataset == "a" else "MR", "p", "1", prompt, step, dsc, 0
        )

    found = Validation(
        [answer("a", 0.2), answer("b", 0.8), answer("b", 1.0), answer("a", 0.6, step=8)]
    )
    assert found.means()["box"] == pytest.approx((0.2 + 0.9) / 2)
    assert found.means()["box+8"] == pytest.approx(0.6)
    assert np.isnan(found.means()["point"])
    assert found.means_by_modality()["MR"]["box"] == pytest.approx(0.9)
    assert list(found.means()) == ["box", "box+8", "point", "point+8"]
    assert np.isnan(Validation().means()["box"])


def test_files(collection: Collection, tmp_path: Path) -> None:
    found = validate(BrightPredictor(), collection, collection.samples, corrections=1)
    found.embeddings = {k: v + np.float16(1) for k, v in found.embeddings.items()}
    found.write(tmp_path / "v.npz")
    again = Validation.read(tmp_path / "v.npz")
    assert again.answers == found.answers
    assert again.embeddings.keys() == found.embeddings.keys()
    assert all(np.array_equal(v, again.embeddings[k]) for k, v in found.embeddings.items())
    assert [p.name for p in tmp_path.iterdir()] == ["v.npz"]
    Validation().write(tmp_path / "none.npz")
    assert Validation.read(tmp_path / "none.npz") == Validation()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="validation"):
        Validation.read(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="validation"):
        Validation.read(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match="validation"):
        Validation.read(tmp_path / "text.npz")


def test_a_choice_is_balanced_and_does_not_depend_on_order(collection: Collection) -> None:
    one = collection.samples[0]
    samples = [
        replace(one, key=f"{d}/p{p}/{k}", dataset=d, patient=f"p{p}")
        for d, patients in (("large", 10), ("small", 1))
        for p in range(patients)
        for k in range(4)
    ]
    chosen = choose_validation(samples, 8, seed=3)
    assert [s.key for s in chosen] == sorted(s.key for s in chosen)
    assert sum(s.dataset == "small" for s in chosen) == 4
    assert len({s.patient for s in chosen if s.dataset == "large"}) == 4, "patients take turns"
    assert choose_validation(samples[::-1], 8, seed=3) == chosen
    assert choose_validation(samples, 8, seed=4) != chosen
    assert len(choose_validation(samples, 1000, seed=3)) == 44
    assert choose_validation([], 5, seed=0) == []


@pytest.mark.weights
def test_a_real_model(lite_medsam: Predictor, collection: Collection) -> None:
    samples = [s for s in collection.samples if s.dataset == "us"][:2]
    found = validate(lite_medsam, collection, samples, corrections=1, shifted=True)
    assert found.means()["box"] > 0.85
    shapes = {e.shape for e in found.embeddings.values()}
    assert shapes == {(256, 8, 8)}
    assert all(e.dtype == np.float16 for e in found.embeddings.values())
