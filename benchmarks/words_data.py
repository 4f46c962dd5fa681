"""Images of promptseg-words: the pool, pieces of it, slices without their thing, and external sets.

    python benchmarks/words_data.py data/lite data/external -o data/words --embeddings runs/embeddings

Collections are those of recipes/lite. Parts are those of the pool's split.csv, but for sets of which it
trains on everything: of usgra the last 49 images of 244 and of BU-BIL culture D1 are held out (part
"held": patients are not known). What is there already is not made again.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

import promptseg
from promptseg.datasets.collection import Collection, Sample
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.models.families.words.concepts import CONCEPTS
from promptseg.models.families.words.vocabulary import Vocabulary
from promptseg.progress import step_progress
from promptseg.runtime import set_threads
from promptseg.train.words.features import WordFeatures
from promptseg.train.words.images import WordImage, cut_out, named_places, whole_image

WORDS = Vocabulary(CONCEPTS)
LABELLED = {
    "hc18": ["fetal head"],
    "dsb2018": ["nucleus"],
    "bubil": ["cell"],
    "sunnybrook": ["left ventricle cavity"],
    "usgra": ["peripheral nerve", "blood vessel"],
    "ibsi_sts": ["soft-tissue sarcoma"],
    "vocalfolds": ["vocal folds", "glottal space", "surgical tool", "intubation tube"],
    "spider": ["vertebra"],
    "acdc": ["left ventricle cavity"],
    "monuseg": ["nucleus"],
    "wbc": ["nucleus"],
    "ultrasound__nerve": ["peripheral nerve"],
}
"""What a dataset labels wherever it is, by a part of its name."""
PIECES = {"train": 12, "validation": 4, "test": 12, "held": 10}
"""Pieces without the thing for each dataset and part; as many with it."""
EMPTY = {
    "train": 2,
    "validation": 1,
    "test": 4,
    "external": 1,
}  # slices of a volume without its thing
OTHERS = {"WBC nucleus": "nucleus", "brachial plexus nerve": "peripheral nerve"}


def places(dataset: str) -> tuple[int, ...]:
    """The words that a dataset labels."""
    names = next((n for part, n in LABELLED.items() if part in dataset), [])
    return tuple(WORDS.names.index(name) for name in names)


def part_of(sample: Sample, last: set[str]) -> str:
    """Its part; see above."""
    name = sample.key.rpartition("/")[2]
    if "usgra" in sample.dataset:
        return "held" if sample.key in last else "train"
    if "bubil" in sample.dataset:
        return "held" if name.startswith("D1") else "train"
    if name.startswith("patient1_seq1"):
        return "validation"
    return sample.split


def pool(collection: Collection) -> Iterator[tuple[WordImage, str]]:
    """Whole images."""
    for sample, part in _with_parts(collection):
        named = named_places([sample], WORDS)
        yield whole_image(collection, sample, named, places(sample.dataset)), part


def _with_parts(collection: Collection) -> list[tuple[Sample, str]]:
    ours = [s for s in collection.samples if places(s.dataset)]
    last = set(sorted(s.key for s in ours if "usgra" in s.dataset)[-49:])
    return [(sample, part_of(sample, last)) for sample in ours]


def pieces(collection: Collection, parts: Sequence[str]) -> Iterator[tuple[WordImage, str]]:
    """Pieces of some parts, with the thing and without it; sets of few images have few."""
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample, part in _with_parts(collection):
        groups[part, sample.dataset].append(sample)
    for (part, dataset), samples in sorted(groups.items()):
        words = places(dataset)[:2]
        want = min(PIECES[part] * len(words), len(samples))
        if part not in parts or len(samples) < 10:
            continue
        chance = np.random.default_rng([1, *dataset.encode(), *part.encode()])
        made = 0
        for n in chance.permutation(len(samples)):
            if made >= want:
                break
            named = named_places([samples[n]], WORDS)
            image = whole_image(collection, samples[n], named, places(dataset))
            for piece in cut_out(image, words[made % len(words)], 1, 0):
                yield piece, part
                made += piece.kind == "without"


def empty(pool_folder: Path, data: Path, parts: dict[str, str]) -> Iterator[tuple[WordImage, str]]:
    """Slices of volumes without their thing."""
    predictor = promptseg.load("lite-medsam", engine="eager")
    folders = [*pool_folder.glob("volume/*ibsi_sts*"), *data.glob("volume/*ibsi_sts*")]
    folders += [data / "volume" / "mr__acdc_cardiac"]
    for folder in sorted(folders):
        for file in sorted(folder.glob("*_image.nii.gz")):
            case = file.name.removesuffix("_image.nii.gz")
            part = parts.get(f"{folder.name}/{case}", "external")
            modality = folder.name[:3].strip("_").upper().replace("PET", "PET")
            image = promptseg.read(file)
            label = promptseg.read(Path(str(file).replace("_image", "_label")))
            wanted = 3 if "acdc" in folder.name else 1
            rule = predictor.intensity(image, promptseg.SegmentOptions(modality=modality))
            there = [k for k in range(len(label.array)) if (label.array[k] == wanted).any()]
            free = [k for k in range(len(label.array)) if k not in there]
            spread = sorted(
                {*np.linspace(0, len(free) - 1, min(EMPTY[part], len(free))).astype(int)}
            )
            for k in (free[n] for n in spread):
                picture = np.ascontiguousarray(rule.apply(image.slice(k, "z")))
                if picture.std() < 1:
                    continue
                nothing = np.zeros(picture.shape[:2], np.uint8)
                yield (
                    WordImage(
                        *(
                            f"{folder.name}/{case}/{k:04d}#empty",
                            folder.name,
                            case.partition("_E")[0],
                        ),
                        *(modality, picture, nothing, nothing.astype(np.uint16)),
                        known=places(folder.name),
                        kind="empty",
                    ),
                    part,
                )


def external(collection: Collection) -> Iterator[tuple[WordImage, str]]:
    """Other datasets of the same words: pictures and slices."""
    for sample in collection.samples:
        if places(sample.dataset):
            targets = [t._replace(name=OTHERS.get(t.name, t.name)) for t in sample.targets]
            renamed = replace(sample, targets=tuple(targets))
            named = named_places([renamed], WORDS)
            yield whole_image(collection, renamed, named, places(sample.dataset)), "external"


def clip(data: Path) -> Iterator[tuple[WordImage, str]]:
    """The clip of the larynx of another patient."""
    values = {1: "vocal folds", 3: "glottal space", 5: "surgical tool", 6: "intubation tube"}
    folder = data / "video" / "video__vocalfolds" / "patient2_seq5"
    from scipy import ndimage

    for file in sorted((folder / "frames").glob("*.png")):
        picture = np.asarray(PilImage.open(file).convert("RGB"))
        found = np.asarray(PilImage.open(folder / "masks" / file.name))
        labels, objects = (np.zeros(found.shape, kind) for kind in (np.uint8, np.uint16))
        for value, name in values.items():
            labels[found == value] = WORDS.names.index(name) + 1
            parts, _ = ndimage.label(found == value)
            objects[found == value] = parts[found == value] + objects.max()
        yield (
            WordImage(
                *(f"video__vocalfolds/patient2/{file.stem}", "video__vocalfolds", "patient2"),
                *("endoscopy", picture, labels, objects),
                known=places("vocalfolds"),
            ),
            "external",
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("collection", type=Path)
    parser.add_argument("external", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, action="append", default=[])
    parser.add_argument("--engine", default="openvino")
    parser.add_argument(
        "--kept", action="store_true", help="only whole images whose embeddings are kept already"
    )
    parser.add_argument(
        "--skip", action="append", default=[], help="a source that is there already"
    )
    options = parser.parse_args()
    set_threads(1)
    predictor = Predictor.load("mobile-sam", "cpu", True, options.engine)
    pool_folder, data = (Path(os.environ[n]) for n in ("PROMPTSEG_POOL", "PROMPTSEG_DATA"))
    with (pool_folder / "split.csv").open() as stream:
        parts = {f"{row['dataset']}/{row['case']}": row["part"] for row in csv.DictReader(stream)}
    stores = [EmbeddingStore(folder, 1e6) for folder in options.embeddings]
    features = WordFeatures(options.output)
    ours = Collection(options.collection)
    for name, images in (
        ("pool", pool(ours)),
        ("other patient", clip(data)),
        ("external", external(Collection(options.external))),
        ("pieces", pieces(ours, [part for part, count in PIECES.items() if count])),
        ("empty slices", empty(pool_folder, data, parts)),
    ):
        if name in options.skip:
            continue
        with step_progress(name, 3000) as update:
            features.add(
                images,
                *(predictor, stores, lambda n, update=update: update(n, "")),
                as_named=("promptseg-lite",),
                only_kept=options.kept and name in ("pool", "external"),
            )


if __name__ == "__main__":
    main()
