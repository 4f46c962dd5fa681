"""Teaching words: a new one is learnt, old ones stay to the bit, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from json_answers import answer
from promptseg.cli.main import main
from promptseg.datasets.collection import Collection
from promptseg.datasets.manifest import ManifestRow, read_manifest, write_manifest
from promptseg.errors import InputError, ModelError, OutputError
from promptseg.inference.predictor import Predictor
from promptseg.jobs import teach as job
from promptseg.models.base_weights import base_tensors, encoder_sha256
from promptseg.models.cards import CARDS
from promptseg.models.families.words.model import WordsModel
from promptseg.models.families.words.network import About, WordsHead
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.segment.segmenter import load
from promptseg.train.words.options import TeachOptions
from train.word_collection import Shades, made_words
from verb_folders import assert_leaves_others

ENCODER = encoder_sha256(base_tensors("promptseg-lite"))


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> WordsHead:
    """A base that knows two words."""
    torch.manual_seed(0)
    head = WordsHead().eval().requires_grad_(False)
    words = Vocabulary([Concept("fetal head", ("US",)), Concept("nucleus", ("microscopy",))])
    head.about = About(words, "promptseg-lite", ENCODER)
    card = replace(CARDS["promptseg-words"], words=words.names)

    def opened(_: TeachOptions) -> Predictor:
        model = Shades(card, None, torch.device("cpu"), head)
        return Predictor(model, Path("base.safetensors"), "0" * 64)

    monkeypatch.setattr(job, "_base", opened)
    return head


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_words(tmp_path_factory.mktemp("words") / "collection")


def options(data: Path, output: Path, **changes: Any) -> TeachOptions:
    usual: dict[str, Any] = {"updates": 90, "pieces": 1, "threads": 1, "quiet": True}
    return TeachOptions(input=data, output=output, **{**usual, **changes})


@pytest.mark.slow
def test_a_new_word_is_learnt_and_the_old_ones_stay(
    data: Path, base: WordsHead, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in base.named_parameters()}
    found = job.teach(options(data, tmp_path / "out", updates=200))
    assert list(found.words) == ["bright disc"]
    scores = found.words["bright disc"]
    assert scores.images > 0
    assert scores.dsc is not None
    assert scores.dsc > 0.6
    assert scores.auc is not None
    assert scores.auc > 0.8
    assert found.forgotten == 0
    assert all(torch.equal(value, before[name]) for name, value in base.named_parameters())
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["words"] == ["fetal head", "nucleus", "bright disc"]
    assert "bright disc" in (tmp_path / "out" / "card.md").read_text()
    loaded = load(tmp_path / "out", engine="eager", threads=1)
    assert loaded.predictor.card.words == ("fetal head", "nucleus", "bright disc")
    assert loaded.predictor.card.base == "promptseg-words"
    model = loaded.predictor.model
    assert isinstance(model, WordsModel)
    (word,) = (c for c in model.head.vocabulary.concepts if c.name == "bright disc")
    assert word.modalities == ("US",)
    with pytest.raises(OutputError, match="taught weights"):
        job.teach(options(data, tmp_path / "out"))
    card["words"] = ["fetal head", "bright disc", "nucleus"]
    (tmp_path / "out" / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="keep weights and card"):
        load(tmp_path / "out", engine="eager", threads=1)


def test_classes_are_called_as_the_user_says(
    data: Path, base: WordsHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("train", "words", "-i", data, "-o", tmp_path / "out", "--updates", 1, "--pieces", 0)
    word = ("--word", "bright disc (made)=shining moon;full moon", "--threads", 1, "--json")
    assert main([*map(str, (*given, *word))]) == 0
    said = answer("train words", capsys.readouterr().out)
    assert list(said["words"]) == ["shining moon"]
    assert said["words"]["shining moon"]["auc"] is None, "nothing without it"
    loaded = load(tmp_path / "out", engine="eager", threads=1).predictor.model
    assert isinstance(loaded, WordsModel)
    assert loaded.word("full moons").name == "shining moon"


def test_the_images_it_has_seen_are_listed_with_those_of_its_base(
    data: Path, base: WordsHead, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    collection = Collection(tmp_path / "data")
    cases = [(s.dataset, s.case, s.patient) for s in collection.samples]
    hashes = {case: f"{k + 1:064x}" for k, (_, case, _) in enumerate(cases)}
    rows = [ManifestRow(*about, hashes[about[1]], "f" * 64) for about in cases]
    write_manifest(rows, tmp_path / "data" / "manifest.csv")
    chosen = options(tmp_path / "data", tmp_path / "out", updates=1, pieces=0, train_images=3)
    job.teach(chosen)
    before = CARDS["promptseg-words"].trained_on
    assert before is not None
    old = {row.sha256 for row in read_manifest(before.file)}
    listed = read_manifest(tmp_path / "out" / "trained_on.csv")
    new = {row.sha256 for row in listed} - old
    assert old < {row.sha256 for row in listed}
    watched = {hashes[s.case] for s in collection.of("validation")}
    learnt = {hashes[s.case] for s in collection.of("train")}
    assert watched < new
    assert len(new - watched) == 3
    assert new - watched < learnt
    assert "case0" not in (tmp_path / "out" / "trained_on.csv").read_text()
    card = load(tmp_path / "out", engine="eager", threads=1).predictor.card
    assert card.trained_on is not None
    assert Path(card.trained_on.file) == tmp_path / "out" / "trained_on.csv"
    assert card.trained_on.images == len(listed)
    assert f"{len(listed):,}, by hash in trained_on.csv" in (tmp_path / "out/card.md").read_text()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (("bright disc",), "CLASS=WORD"),
        (("moon=moon",), "classes out of"),
        (("bright disc (made)=nuclei",), "'nucleus'"),
        (("bright disc (made)=a", "bright disc (made)=b"), "twice"),
    ],
)
def test_words_that_cannot_be_taught_are_refused(
    word: tuple[str, ...], said: str, data: Path, base: WordsHead, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        job.teach(options(data, tmp_path / "out", word=word))
    assert not (tmp_path / "out").exists()


def test_a_base_without_words_is_refused(data: Path, tmp_path: Path) -> None:
    for base in ("promptseg-lite", "auto"):
        with pytest.raises(ModelError, match="a model for words"):
            job.teach(options(data, tmp_path / "out", base=base, engine="eager"))


def test_the_folders_of_other_verbs_are_left_alone(
    data: Path, base: WordsHead, tmp_path: Path
) -> None:
    def act(folder: Path, overwrite: bool) -> None:
        job.teach(options(data, folder, overwrite=overwrite))

    assert_leaves_others(tmp_path, "train words", act)
