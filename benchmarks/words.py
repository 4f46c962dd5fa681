"""promptseg-words on images it was not trained on: is it there, where is it, and would less do?

    python benchmarks/words.py data/words data/lite data/external -o RESULTS --model promptseg-words \
        --choose-refining                       # on the validation part, once; written beside
    python benchmarks/words.py data/words data/lite data/external -o RESULTS --boxes   # of lite-medsam
    python benchmarks/words.py data/words data/lite data/external -o RESULTS --model promptseg-words

Presence: area under the curve within each dataset and part, images and pieces with the thing against
those without. Beside it: a network that sees the modality and a thumbnail of 16 x 16 pixels, trained on
the same images. Masks: DSC of the union, on whole images that have the thing, found or not (nothing
found is 0), on their own grid; beside it lite-medsam with the exact box of every object (the largest
forty). Intervals of 95 % by drawing patients (images where those are not known).
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from words_data import WORDS, clip, external, pool

from promptseg.datasets.collection import Collection
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.models.families.sam.model import SamEmbedding
from promptseg.models.protocol import Phrase, SlicePrompt
from promptseg.progress import step_progress
from promptseg.runtime import set_threads
from promptseg.train.words.features import WordFeatures
from promptseg.train.words.images import WordImage

REFINING = ("none", "box", "box+mask")
TESTED = ("test", "held", "external")
RESAMPLES = 1000
MOST_BOXES = 40
FEW = 4  # images that ways to refine are chosen on, of a dataset
HIDDEN = 32

Row = dict[str, str | float]


def dsc(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total


def auc(scores: NDArray[np.float64], there: NDArray[np.bool_]) -> float:
    """Area under the curve: how often one with is above one without; ties count half."""
    yes, no = scores[there], scores[~there]
    if not len(yes) or not len(no):
        return float("nan")
    order = np.concatenate([yes, no])
    _, inverse, counts = np.unique(order, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[: len(yes)].sum() - len(yes) * (len(yes) + 1) / 2) / len(yes) / len(no))


def embedding(
    features: WordFeatures, number: int, image: WordImage, model: Predictor
) -> SamEmbedding:
    """What is kept of an image, as the model's own."""
    values = torch.from_numpy(features.embedding(number))
    transform = model.card.preprocessing.input_transform(*image.size, image.pixel)
    return SamEmbedding(values, transform)


def chosen(features: WordFeatures, parts: Sequence[str], most: int) -> set[str]:
    """Keys of whole images of some parts, drawn from each dataset and part."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for facts in features.facts:
        if facts.part in parts and facts.kind == "whole" and facts.there:
            groups[facts.dataset, facts.part].append(facts.key)
    rng = np.random.default_rng(0)
    return {keys[k] for keys in groups.values() for k in rng.permutation(len(keys))[:most]}


def whole(options: argparse.Namespace, keys: set[str]) -> Iterator[tuple[WordImage, str]]:
    """Whole images by their keys; what is read for nothing costs little."""
    ours, others = Collection(options.collection), Collection(options.external)
    ours.samples = [s for s in ours.samples if s.key in keys]
    others.samples = [s for s in others.samples if s.key in keys]
    for source in (pool(ours), external(others), clip(Path(os.environ["PROMPTSEG_DATA"]))):
        yield from ((image, part) for image, part in source if image.key in keys)


def found_mask(model: Predictor, seen: SamEmbedding, name: str, at: float) -> NDArray[np.bool_]:
    """The union of what a word finds."""
    (found,) = model.find(seen, [Phrase(name)], at)
    mask = np.zeros(seen.transform.original, bool)
    for instance in found.instances:
        mask |= instance.mask
    return mask


def refining(model: Predictor, features: WordFeatures, options: argparse.Namespace) -> list[Row]:
    """Union DSC of every way to refine; validation, and training for words that have none there."""
    rows: list[Row] = []
    head = model.model.head  # type: ignore[attr-defined]
    about = head.about
    place = {f.key: n for n, f in enumerate(features.facts)}
    validated = {w for f in features.facts if f.part == "validation" for w in f.there}
    for part in ("validation", "train"):
        for image, _ in whole(options, chosen(features, [part], FEW)):
            for word in features.facts[place[image.key]].there:
                if part == "train" and word in validated:
                    continue
                name, truth = WORDS.names[word], image.mask(word)
                seen = embedding(features, place[image.key], image, model)
                for how in REFINING:
                    ways = dict.fromkeys(WORDS.names, how)
                    head.about = about._replace(vocabulary=about.vocabulary.refined(ways))
                    value = dsc(found_mask(model, seen, name, 0.0), truth)
                    rows.append({"word": name, "part": part, "refine": how, "dsc": value})
    head.about = about
    return rows


def tested(features: WordFeatures, options: argparse.Namespace) -> Iterator[tuple[WordImage, str]]:
    """Whole images that masks are measured on; of CT nothing but the validation part is left."""
    keys = chosen(features, TESTED, options.images)
    keys |= {k for k in chosen(features, ["validation"], options.images) if k.startswith("ct_")}
    return whole(options, keys)


def boxes(other: Predictor, features: WordFeatures, options: argparse.Namespace) -> list[Row]:
    """Union DSC of exact boxes in another model."""
    from scipy import ndimage

    place = {f.key: n for n, f in enumerate(features.facts)}
    stores = [EmbeddingStore(folder, 1e6) for folder in options.embeddings]
    rows: list[Row] = []
    with step_progress("boxes", 200) as update:
        for number, (image, _) in enumerate(tested(features, options)):
            update(number, image.dataset)
            seen = (
                stores[0].encode(other, [image.picture], image.pixel)[0][0]
                if stores
                else other.encode([image.picture], image.pixel)[0]
            )
            for word in features.facts[place[image.key]].there:
                truth = image.mask(word)
                objects, count = ndimage.label(truth)
                areas = np.bincount(objects.ravel(), minlength=count + 1)[1:]
                at = ndimage.find_objects(objects)
                asked = [
                    SlicePrompt(box=(x.start, y.start, x.stop - 1, y.stop - 1))
                    for y, x in (at[k] for k in np.argsort(-areas)[:MOST_BOXES])
                ]
                union = other.decode(seen, asked).masks.any(0)
                row = {"key": image.key, "word": WORDS.names[word], "boxes": len(asked)}
                rows.append({**row, "lite_medsam": dsc(union, truth)})
    return rows


def masks(
    model: Predictor,
    known: dict[tuple[str, str], Row],
    features: WordFeatures,
    options: argparse.Namespace,
) -> list[Row]:
    """Union DSC of words, beside what is known of exact boxes."""
    place = {f.key: n for n, f in enumerate(features.facts)}
    rows: list[Row] = []
    with step_progress("masks", 200) as update:
        for number, (image, part) in enumerate(tested(features, options)):
            update(number, image.dataset)
            seen = embedding(features, place[image.key], image, model)
            for word in features.facts[place[image.key]].there:
                name, truth = WORDS.names[word], image.mask(word)
                clock = time.perf_counter(), time.process_time()
                mask = found_mask(model, seen, name, 0.5)
                seconds = time.perf_counter() - clock[0], time.process_time() - clock[1]
                rows.append(
                    {
                        "dataset": image.dataset,
                        "part": part,
                        "patient": image.patient,
                        "key": image.key,
                        "word": name,
                        "dsc": dsc(mask, truth),
                        "found": float(mask.any()),
                        "lite_medsam": known[image.key, name]["lite_medsam"],
                        "seconds": seconds[0],
                        "cpu_seconds": seconds[1],
                    }
                )
    return rows


def presence(model: Predictor, features: WordFeatures) -> list[Row]:
    """Of all images with known answers."""
    from promptseg.train.words.learn import inside_of

    head = model.model.head  # type: ignore[attr-defined]
    rows: list[Row] = []
    for number, facts in enumerate(features.facts):
        if facts.part not in (*TESTED, "validation"):
            continue
        with torch.inference_mode():
            one = torch.from_numpy(features.embedding(number))
            seen = head(one, torch.tensor(facts.known), inside_of([facts.extent]))
        for word, logit in zip(facts.known, seen.presence[0].tolist(), strict=True):
            rows.append(
                {
                    "dataset": facts.dataset,
                    "part": facts.part,
                    "patient": facts.patient,
                    "key": facts.key,
                    "kind": facts.kind,
                    "word": WORDS.names[word],
                    "there": float(word in facts.there),
                    "score": logit,
                }
            )
    return rows


def thumbnails(features: WordFeatures) -> dict[tuple[str, str], float]:
    """(key, word) -> logit of a network that sees modality and thumbnail, trained on these images."""
    torch.manual_seed(0)
    modalities = sorted({f.modality for f in features.facts})
    pixels = torch.from_numpy(np.array(features.thumbnails)).flatten(1).float() / 255
    kinds = torch.tensor([[f.modality == m for m in modalities] for f in features.facts]).float()
    inputs = torch.cat([pixels - 0.3, kinds], 1)
    known = torch.zeros(len(inputs), len(WORDS), dtype=torch.bool)
    there = torch.zeros(len(inputs), len(WORDS))
    for n, facts in enumerate(features.facts):
        known[n, list(facts.known)] = True
        there[n, list(facts.there)] = 1
    train = torch.tensor([f.part == "train" for f in features.facts])
    watch = torch.tensor([f.part == "validation" for f in features.facts])
    best: tuple[float, torch.Tensor] = (np.inf, torch.zeros(0))
    network = torch.nn.Sequential(
        *(torch.nn.Linear(inputs.shape[1], HIDDEN), torch.nn.GELU()),
        *(torch.nn.Dropout(0.3), torch.nn.Linear(HIDDEN, len(WORDS))),
    )
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.1)
    for step in range(600):
        network.train()
        chosen = train.nonzero()[torch.randperm(int(train.sum()))[:256], 0]
        logits = network(inputs[chosen])
        own = known[chosen]
        loss = F.binary_cross_entropy_with_logits(logits[own], there[chosen][own])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 24:  # the step that does best on the validation part is kept
            network.eval()
            with torch.no_grad():
                every = network(inputs)
                own = known & watch[:, None]
                value = float(F.binary_cross_entropy_with_logits(every[own], there[own]))
            if value < best[0]:
                best = value, every
    return {
        (facts.key, WORDS.names[word]): float(best[1][n, word])
        for n, facts in enumerate(features.facts)
        for word in facts.known
    }


def interval(rows: list[Row], value: str, seed: int = 0) -> tuple[float, float, float]:
    """Mean, and 95 % by drawing patients."""
    by: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by[f"{row['dataset']}/{row['patient']}"].append(float(row[value]))
    sums = np.array([sum(v) for v in by.values()])
    counts = np.array([len(v) for v in by.values()])
    mean = float(sums.sum() / counts.sum())
    if len(by) < 2:
        return mean, float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(by), np.full(len(by), 1 / len(by)), RESAMPLES)
    low, high = np.quantile(draws @ sums / (draws @ counts), [0.025, 0.975])
    return mean, float(low), float(high)


def auc_interval(rows: list[Row], value: str, seed: int = 0) -> tuple[float, float, float]:
    """Area under the curve, and 95 % by drawing patients; draws without both kinds do not count."""
    scores = np.array([float(r[value]) for r in rows])
    there = np.array([r["there"] == 1 for r in rows])
    names = np.array([f"{r['dataset']}/{r['patient']}" for r in rows])
    patients = np.unique(names)
    mean = auc(scores, there)
    if len(patients) < 2:
        return mean, float("nan"), float("nan")
    of = {p: np.flatnonzero(names == p) for p in patients}
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES // 2):
        chosen = np.concatenate([of[p] for p in rng.choice(patients, len(patients))])
        draws.append(auc(scores[chosen], there[chosen]))
    kept = np.array(draws)[~np.isnan(draws)]
    low, high = np.quantile(kept, [0.025, 0.975])
    return mean, float(low), float(high)


def said(values: tuple[float, float, float]) -> str:
    mean, low, high = values
    return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def grouped(rows: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """(word, dataset, part) -> rows."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row["word"]), str(row["dataset"]), str(row["part"])].append(row)
    order = {name: k for k, name in enumerate(WORDS.names)}
    return dict(sorted(found.items(), key=lambda item: (order[item[0][0]], item[0][1:])))


def tables(there: list[Row], where: list[Row]) -> list[str]:
    """The summary."""
    lines = [
        "## Presence",
        "",
        "| word | dataset | part | with / without | area under the curve | thumbnail and modality |",
        "|---|---|---|---|---|---|",
    ]
    for (word, dataset, part), rows in grouped(there).items():
        yes = sum(r["there"] == 1 for r in rows)
        if (0 < yes < len(rows) and part != "validation") or (dataset.startswith("ct_") and yes):
            cells = (auc_interval(rows, v) for v in ("score", "thumbnail"))
            numbers = " | ".join(map(said, cells))
            lines.append(f"| {word} | {dataset} | {part} | {yes} / {len(rows) - yes} | {numbers} |")
    lines += [
        "",
        "## Masks",
        "",
        "| word | dataset | part | images | patients | found | union DSC | lite-medsam, exact boxes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (word, dataset, part), rows in grouped(where).items():
        patients = len({r["patient"] for r in rows})
        found = np.mean([float(r["found"]) for r in rows])
        cells = (interval(rows, v) for v in ("dsc", "lite_medsam"))
        numbers = " | ".join(map(said, cells))
        lines.append(
            f"| {word} | {dataset} | {part} | {len(rows)} | {patients} | {found:.2f} | {numbers} |"
        )
    return lines


def write(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("features", type=Path, help="of benchmarks/words_data.py")
    parser.add_argument("collection", type=Path)
    parser.add_argument("external", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="promptseg-words")
    parser.add_argument("--images", type=int, default=12, help="with masks, of a dataset and part")
    parser.add_argument("--embeddings", type=Path, action="append", default=[])
    parser.add_argument("--boxes", action="store_true", help="only lite-medsam's exact boxes")
    parser.add_argument("--choose-refining", action="store_true")
    options = parser.parse_args()
    set_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    features = WordFeatures(options.features)
    if options.boxes:
        other = Predictor.load("lite-medsam", "cpu", True, "openvino")
        write(options.output / "boxes.csv", boxes(other, features, options))
        return
    model = Predictor.load(options.model, "cpu", True, "eager")
    if options.choose_refining:
        rows = refining(model, features, options)
        write(options.output / "refining.csv", rows)
        for name in WORDS.names:
            own = [r for r in rows if r["word"] == name]
            parts = {str(r["part"]) for r in own}
            part = "validation" if "validation" in parts else "train"
            means = {
                how: np.mean([r["dsc"] for r in own if (r["part"], r["refine"]) == (part, how)])
                for how in REFINING
            }
            print(name, part, {k: round(float(v), 3) for k, v in means.items()})
        return
    there = presence(model, features)
    small = thumbnails(features)
    for row in there:
        row["thumbnail"] = small[str(row["key"]), str(row["word"])]
    write(options.output / "presence.csv", there)
    with (options.output / "boxes.csv").open(encoding="utf-8") as stream:
        known: dict[tuple[str, str], Row] = {
            (row["key"], row["word"]): {**row, "lite_medsam": float(row["lite_medsam"])}
            for row in csv.DictReader(stream)
        }
    where = masks(model, known, features, options)
    write(options.output / "masks.csv", where)
    (options.output / "tables.md").write_text("\n".join(tables(there, where)) + "\n")


if __name__ == "__main__":
    main()
