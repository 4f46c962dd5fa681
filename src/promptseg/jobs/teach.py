"""Teaching words from beginning to end: embeddings, learning, scores, weights with a card."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptseg import assets
from promptseg._version import __version__
from promptseg.datasets.collection import Collection, Sample
from promptseg.errors import InputError, ModelError, OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import AUTO, CARDS, FINETUNED, finetuned_card, model_file
from promptseg.models.checkpoint import CARD
from promptseg.models.families.words.file import head_tensors
from promptseg.models.families.words.model import WordsModel
from promptseg.models.families.words.network import WordsHead
from promptseg.models.families.words.vocabulary import Concept
from promptseg.progress import step_progress
from promptseg.provenance import DISCLAIMER
from promptseg.runtime import set_threads
from promptseg.train.card_page import seen_images
from promptseg.train.pages import number, table
from promptseg.train.release import TRAINED_ON, data_facts, write_safetensors, write_seen
from promptseg.train.seen import images_seen
from promptseg.train.setting import Parts
from promptseg.train.validate import choose_validation
from promptseg.train.words.features import WordFeatures
from promptseg.train.words.images import WordImage
from promptseg.train.words.learn import Learning, learn
from promptseg.train.words.options import TeachOptions
from promptseg.train.words.teach import (
    Scores,
    changes,
    choose_refining,
    made_room,
    new_words,
    scored,
    several,
    taught_images,
)

__all__ = ["Taught", "teach"]

log = logging.getLogger("promptseg")

_WEIGHTS = "model.safetensors"
_IMAGES = "embeddings"
_OURS = (_WEIGHTS, CARD, "card.md", "report.json", "train.csv", TRAINED_ON)
_KEPT = tuple(
    f"{_IMAGES}/{name}"
    for name in ("features.f16", "masks.u8", "thumbnails.u8", "images.jsonl", "about.json")
)


@dataclass(frozen=True)
class Taught:
    """Outcome of a teaching.

    Attributes:
        folder: of the weights and the card.
        name: of the new model.
        words: every new word -> how well it does.
        part: that was scored on.
        images: that were learnt from, without pieces.
        forgotten: the largest change of any answer about an old word, as logits.
    """

    folder: Path
    name: str
    words: dict[str, Scores]
    part: str
    images: int
    forgotten: float

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return {
            "name": self.name,
            "words": {name: scores.to_json() for name, scores in self.words.items()},
            "part": self.part,
            "images": self.images,
            "forgotten": self.forgotten,
        }

    def lines(self) -> list[str]:
        """Return the lines that a person is told."""
        told = [
            f"{name}: union DSC {number(s.dsc)} on {s.images} {self.part} images, presence AUC "
            f"{number(s.auc)}"
            for name, s in self.words.items()
        ]
        told.append(f"largest change of an old word's answers: {self.forgotten:.2g}")
        told.append(f"weights  {self.folder / _WEIGHTS} ({self.name})")
        return told


def teach(options: TeachOptions) -> Taught:
    """Teach a model for words the classes of a collection.

    Args:
        options: what, to which model, and how.

    Raises:
        InputError: nothing to teach, a class that is not there, a collection without a training part.
        ModelError: a base that takes no words, or has no room for more.
        OutputError: a folder with something else in it.
    """
    set_threads(options.threads)
    renamed = options.renamed()
    collection = Collection(options.input)
    train = collection.of("train")
    if not train:
        raise InputError("a collection with a training part", f"{options.input} without one")
    if options.train_images is not None:
        train = choose_validation(train, options.train_images, options.seed)
    base = _base(options)
    model = base.model
    assert isinstance(model, WordsModel)
    report = collection.report_part
    parts: dict[str, list[Sample]] = {"train": train, "validation": collection.of("validation")}
    parts[report] = collection.of(report)
    taught = new_words([s for each in parts.values() for s in each], model.head.vocabulary, renamed)
    concepts = list({c.name: c for c in taught.values()}.values())
    vocabulary = model.head.vocabulary.with_more(concepts)
    name = _name(options, base)
    _take_folder(options)
    features = WordFeatures(_image_folder(options, base, collection, taught))
    whole: dict[str, WordImage] = {}

    def images() -> Any:
        for image, part in taught_images(
            collection, parts, vocabulary, taught, options.pieces, options.seed
        ):
            if image.kind == "whole":
                whole[image.key] = image
            yield image, part

    count = sum(map(len, parts.values())) * (1 + 2 * options.pieces * len(concepts))
    with step_progress("embeddings", count, options.quiet) as show:
        features.add(images(), base, show=lambda n: show(n, ""))
    head = made_room(model.head, vocabulary, options.seed)
    rows = [vocabulary.index(concept) for concept in concepts]
    how = Learning(
        updates=options.updates,
        learning_rate=options.learning_rate,
        warmup=min(20, options.updates // 5),
        average=0.95,
        others=0,
        own=True,
        minutes=options.minutes,
        seed=options.seed,
    )
    wanted = {s.key for s in train}
    numbers = [
        n
        for n, f in enumerate(features.facts)
        if f.part == "train" and f.key.partition("#")[0] in wanted
    ]
    before = model.head
    with step_progress(f"{base.card.name}, words", options.updates, options.quiet) as show:
        learnt = learn(
            head,
            features,
            numbers=numbers,
            absent=lambda _: (),
            how=how,
            log=options.output / "train.csv",
            show=show,
            words=rows,
        )
    assert isinstance(learnt, WordsHead)
    model.head = learnt
    chosen_on = "validation" if parts["validation"] else "train"
    ways = {
        vocabulary.names[row]: choose_refining(base, features, whole, row, chosen_on)
        for row in rows
    }
    together = {vocabulary.names[row]: several(features, whole, row) for row in rows}
    learnt.about = learnt.about._replace(vocabulary=_settled(learnt, ways, together))
    scores = {vocabulary.names[row]: scored(base, features, whole, row, report) for row in rows}
    found = Taught(
        options.output, name, scores, report, len(train), changes(before, learnt, features)
    )
    _write(options, base, collection=collection, parts=parts, head=learnt, found=found, how=how)
    return found


def _base(options: TeachOptions) -> Predictor:
    """The model that learns.

    Raises:
        ModelError: one that knows no words.
    """
    if options.base == AUTO:
        raise ModelError("a model for words", AUTO, "use promptseg-words")
    base = Predictor.load(options.base, "cpu", options.quiet, options.engine)
    if not isinstance(base.model, WordsModel):
        raise ModelError(
            "a model for words, such as promptseg-words", base.card.name, "name it with --base"
        )
    return base


def _name(options: TeachOptions, base: Predictor) -> str:
    name = options.name or re.sub(
        r"[^A-Za-z0-9._-]+",
        "-",
        f"{base.card.base or base.card.name}-{options.output.resolve().name}",
    )
    finetuned_card({**_PLAIN, "name": name, "words": ["any"]}, "--name")
    return name


_PLAIN = {
    "base": "promptseg-words",
    "modalities": "any",
    "licence": "any",
    "prompts": ["text"],
}


def _take_folder(options: TeachOptions) -> None:
    """Refuse what is no folder, or holds other things than a teaching; list what is written."""
    folder = options.output
    own = OwnFolder(folder)
    own.take("train words", *_OURS, *_KEPT)
    if not own.is_ours and folder.exists() and any(folder.iterdir()):
        raise OutputError(
            "a new folder, or one with a teaching", f"{folder} with other files", "choose another"
        )
    if own.is_ours and (folder / CARD).exists() and not options.overwrite:
        raise OutputError(
            "a new folder", f"{folder} with taught weights", "add --overwrite, or choose another"
        )
    own.check(*_OURS)
    check_outputs(
        (folder / name for name in _OURS),
        overwrite=True,
        reads=Reads([model_file(options.base)[1], options.config]),
    )
    if options.overwrite:
        own.remove(*_OURS)
    own.claim(*_OURS, *_KEPT)


def _image_folder(
    options: TeachOptions, base: Predictor, collection: Collection, taught: dict[str, Concept]
) -> Path:
    """The folder of embeddings; those of other data, or for other words, are made anew."""
    folder = options.output / _IMAGES
    model = base.model
    assert isinstance(model, WordsModel)
    about = {
        "collection_sha256": collection.sha256,
        "encoder_sha256": model.head.about.encoder_sha256,
        "engine": base.engine,
        "words": [*model.head.vocabulary.names, *(f"{k}={c.name}" for k, c in taught.items())],
        "pieces": [options.pieces, options.seed],
        "labels": 3,  # of which kind; earlier versions lost words, or took them for absent
    }
    said = folder / "about.json"
    text = json.dumps(about)
    if not said.exists() or said.read_text(encoding="utf-8") != text:
        for name in _KEPT:
            (options.output / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(said) as path:
            path.write_text(text, encoding="utf-8")
    return folder


def _settled(head: WordsHead, ways: dict[str, str], together: dict[str, bool]) -> Any:
    from promptseg.models.families.words.vocabulary import Vocabulary

    return Vocabulary(
        Concept(
            c.name,
            c.modalities,
            c.synonyms,
            c.code,
            together.get(c.name, c.instances),
            ways.get(c.name, c.refine),
        )
        for c in head.vocabulary.concepts
    )


def _write(
    options: TeachOptions,
    base: Predictor,
    collection: Collection,
    parts: dict[str, list[Sample]],
    head: WordsHead,
    found: Taught,
    how: Learning,
) -> None:
    """Weights first, the card last, so that it never describes others."""
    used = Parts(
        collection,
        train=parts["train"],
        validation=parts["validation"],
        report=parts[found.part],
        held_out=found.part != "validation",
    )
    seen = write_seen(images_seen(used, base.card), options.output)
    data = {**data_facts(collection, parts), **seen}
    new = sorted(
        {m for c in head.vocabulary.concepts if c.name in found.words for m in c.modalities}
    )
    card: dict[str, Any] = {
        "schema": FINETUNED,
        "name": found.name,
        "base": base.card.base or base.card.name,
        "started_from": {"model": base.card.name, "sha256": base.weights_sha256},
        "prompts": sorted(base.card.prompts),
        "asked_with": ["text"],
        "modalities": f"{', '.join(new) or 'unknown'} (taught); before: {base.card.modalities[:300]}",
        "licence": CARDS["promptseg-words"].licence
        + ("; training data under other terms, see card.md" if data["warnings"] else ""),
        "notice": DISCLAIMER,
        "strategy": "words",
        "training": {
            **asdict(how),
            "reported_on": found.part,
            "forgotten": found.forgotten,
        },
        "data": data,
        "words": list(head.vocabulary.names),
        "scores": found.to_json()["words"],
        "citation": base.card.citation,
        "promptseg": __version__,
        "files": {},
    }
    tensors = head_tensors(head, half=True)
    write_safetensors(
        options.output / _WEIGHTS,
        {k: v.contiguous() for k, v in tensors.items()},
        {"format": "pt", "name": found.name, "base": str(card["base"])},
    )
    file = options.output / _WEIGHTS
    card["files"] = {_WEIGHTS: {"size": file.stat().st_size, "sha256": assets.sha256_of(file)}}
    for name, text in (
        ("report.json", json.dumps(found.to_json(), indent=1) + "\n"),
        ("card.md", _page(card, found)),
        (CARD, json.dumps(card, indent=1, allow_nan=False) + "\n"),
    ):
        with atomic_path(options.output / name) as path:
            path.write_text(text, encoding="utf-8")


def _page(card: dict[str, Any], found: Taught) -> str:
    """The text of card.md."""
    rows = [
        [name, s.images, number(s.dsc), number(s.auc), number(s.found)]
        for name, s in found.words.items()
    ]
    datasets = [
        [name, "; ".join(facts["licences"]) or "not stated"]
        for name, facts in card["data"]["datasets"].items()
    ]
    return (
        "\n\n".join(
            [
                f"# {card['name']}",
                f"{card['base']} with more words. **{card['notice']}.**",
                table(
                    ["fact", "value"],
                    [
                        ["words", ", ".join(card["words"])],
                        ["licence of the weights", card["licence"]],
                        ["started from", f"{card['started_from']['model']}"],
                        ["images it has seen", seen_images(card)],
                        ["cite", card["citation"]],
                        ["made by", f"promptseg {card['promptseg']}"],
                    ],
                ),
                f"## New words, on the {found.part} part",
                table(["word", "images with it", "union DSC", "presence AUC", "found"], rows),
                "Presence: whole images and pieces with the thing against those without. What the "
                "words find in images of other origin is not known.",
                "## Old words",
                f"The largest change of any answer about them on these images: {found.forgotten:.2g} "
                "(as logits).",
                "## Data",
                table(["dataset", "licences"], datasets),
                *card["data"]["warnings"],
                "## Use",
                f"```bash\npromptseg segment --model {_WEIGHTS} -i IMAGE -o MASK --text "
                f"'{next(iter(found.words))}'\n```",
                "Keep card.json beside the weights.",
            ]
        )
        + "\n"
    )
