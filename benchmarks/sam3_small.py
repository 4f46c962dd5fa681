"""What a tiny SAM 3 learns of the names of the training pool, from random weights on one core.

    python benchmarks/sam3_small.py data/lite --external data/external -o RESULTS --minutes 30

The network (84 pixels, 2 to 3 million parameters, most of them the table of words) is drawn, trained by
recipes/words/train.yaml on the training part of the first collection and asked, by words alone, about
images of its test part and of the second collection, datasets in turn: for every name on the image that
it was trained on, and for as many that are not there. Counted are DSC of the union of what is found,
where nothing found counts 0, and how often it is known whether there is anything (presence above 0.5);
means over datasets of the means of a dataset. Names are compared by `promptseg.terms`. `rows.csv` has
every answer.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml

from promptseg.datasets.collection import Collection, Sample, masks_of
from promptseg.formats.files import atomic_path
from promptseg.inference.predictor import Predictor
from promptseg.jobs.train import train
from promptseg.metrics.overlap import count
from promptseg.models.cards import CARDS
from promptseg.models.families.sam3.build import SHAPES, Sam3Shape
from promptseg.models.protocol import Phrase
from promptseg.simulate import generator
from promptseg.terms.phrases import may_be_the_same
from promptseg.train.options import TrainOptions
from promptseg.train.validate import choose_validation
from promptseg.train.vocabulary import Vocabulary, named

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from train.shapes import places_known, tiny_sam3

NAME = "sam3-tiny"
SHAPE = Sam3Shape(
    image_size=84,
    width=96,
    mlp=256,
    depth=4,
    heads=4,
    window=3,
    whole=(1, 3),
    pretrained=84,
    dim=64,
    hidden=128,
    attention_heads=4,
    layers=(2, 2, 1),
    queries=16,
    words=(32, 2, 4, 64),
    dropout=0.0,
)
RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "words"


class Asked(NamedTuple):
    """One answer.

    Attributes:
        part: "internal" or "external".
        dataset, sample: of the image.
        name: asked for.
        there: whether it is on the image.
        presence: 0..1, that there is anything.
        best: the highest score.
        dsc: of the union of what is found; 1 where there is nothing and nothing is found.
    """

    part: str
    dataset: str
    sample: str
    name: str
    there: bool
    presence: float
    best: float
    dsc: float


def start(path: Path) -> None:
    """Write random weights that are drawn to be learnt from; see tests/train/shapes.py."""
    network = tiny_sam3(0, SHAPE)
    places_known(network, SHAPE, extent=0.4, reach=0.8)
    torch.save(network.state_dict(), path)


def asked(
    predictor: Predictor, collection: Collection, samples: list[Sample], words: list[str], part: str
) -> list[Asked]:
    """What the model says of names that it was trained on, on some images."""
    rows = []
    for sample in samples:
        picture, labels = collection.read(sample, keep_8bit=predictor.card.keep_8bit)
        (embedding,) = predictor.encode([picture], sample.pixel)
        there = {
            word: [
                t
                for name, those in named(sample).items()
                if may_be_the_same(name, word)
                for t in those
            ]
            for word in words
        }
        on = [word for word in words if there[word]]
        away = [word for word in words if not there[word]]
        chance = generator(0, sample.key, "absent")
        most = max(1, len(on))
        for word in (*on, *(away[k] for k in sorted(chance.permutation(len(away))[:most]))):
            (found,) = predictor.find(embedding, [Phrase(word)])
            shape = labels.shape[1:]
            mask = np.zeros(shape, dtype=bool)
            for instance in found.instances:
                mask |= instance.mask
            truth = np.zeros(shape, dtype=bool)
            for one in masks_of(there[word], labels):
                truth |= one
            dsc = count(truth, mask).dsc if truth.any() else float(not mask.any())
            about = (part, sample.dataset, sample.key, word, bool(there[word]))
            rows.append(Asked(*about, float(found.presence or 0), found.best, dsc))
    return rows


def summary(rows: list[Asked]) -> list[str]:
    """Lines of a table: per dataset, and means over them."""
    lines = [
        "| part | dataset | asked for what is there | presence | DSC "
        "| for what is not | presence | empty |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part in dict.fromkeys(row.part for row in rows):
        own = [row for row in rows if row.part == part]
        cells: dict[str, list[list[float]]] = defaultdict(list)
        for dataset in sorted({row.dataset for row in own}):
            texts = []
            for there in (True, False):
                those = [r for r in own if r.dataset == dataset and r.there == there]
                right = [float((r.presence > 0.5) == there) for r in those]
                texts += [str(len(those))]
                for values in (right, [r.dsc for r in those]):
                    texts.append(f"{np.mean(values):.2f}" if values else "-")
                if those:
                    cells[f"{there}"].append(
                        [float(np.mean(right)), float(np.mean([r.dsc for r in those]))]
                    )
            lines.append(f"| {part} | {dataset} | {' | '.join(texts)} |")
        means = [
            f"{len(cells[k])} datasets | "
            + " | ".join(f"{v:.2f}" for v in np.mean(cells[k], axis=0))
            if cells[k]
            else "0 datasets | - | -"
            for k in ("True", "False")
        ]
        lines.append(f"| {part} | **mean** | {' | '.join(means)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("--external", type=Path, help="a collection of other sources")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--images", type=int, default=120, help="of each part, at most")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    card = CARDS["sam3"]
    SHAPES[NAME] = SHAPE
    preprocessing = replace(card.preprocessing, size=SHAPE.image_size)
    CARDS[NAME] = replace(card, name=NAME, build=NAME, weights="", preprocessing=preprocessing)
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "start.pth").exists():
        start(folder / "start.pth")
    recipe = yaml.safe_load((RECIPE / "train.yaml").read_text(encoding="utf-8"))
    trained = train(
        TrainOptions(
            input=arguments.collection,
            output=folder / "run",
            model=f"{NAME}={folder / 'start.pth'}",
            phrases=RECIPE / "phrases.json",
            minutes=arguments.minutes,
            updates=arguments.updates,
            quiet=True,
            threads=1,
            **recipe,
        )
    )
    if trained.interrupted:
        return
    collection = Collection(arguments.collection)
    train_part = [s for s in collection.samples if s.split == "train"]
    words = list(Vocabulary(train_part).names)
    predictor = Predictor.load(folder / "run" / "model.safetensors", engine="eager")
    tests = choose_validation(collection.of("test"), arguments.images, 0)
    rows = asked(predictor, collection, tests, words, "internal")
    if arguments.external:
        other = Collection(arguments.external)
        samples = choose_validation(other.samples, arguments.images, 0)
        rows += asked(predictor, other, samples, words, "external")
    with atomic_path(folder / "rows.csv") as path, path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(Asked._fields)
        writer.writerows(rows)
    said = json.loads((folder / "run" / "card.json").read_text(encoding="utf-8"))
    table = "\n".join(
        [*summary(rows), "", f"{said.get('training', {}).get('updates', '?')} updates."]
    )
    with atomic_path(folder / "table.md") as path:
        path.write_text(table + "\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
