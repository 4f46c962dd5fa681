"""How far to go from the starting weights to trained ones: shares compared on the validation part.

    python benchmarks/lite_share.py COLLECTION --trained runs/lite/best.safetensors \
        -o RESULTS/share.csv --weights promptseg-lite.safetensors --embeddings runs/embeddings

Weights in between keep more of what the start knew (Wortsman et al., CVPR 2022). The share with the
best mean over boxes, clicks and their corrections is written in float16; nothing of the test parts is
looked at.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from promptseg.datasets.collection import Collection
from promptseg.inference.predictor import Predictor
from promptseg.models.checkpoint import build_network, read_checkpoint
from promptseg.runtime import set_threads
from promptseg.train.kept import keep_embeddings
from promptseg.train.mixing import mixed
from promptseg.train.setting import StartingWeights
from promptseg.train.validate import choose_validation, validate
from promptseg.train.warm import write_warm


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("collection", type=Path)
    parser.add_argument("--start", default="mobile-sam")
    parser.add_argument(
        "--trained", type=Path, required=True, help="weights whose encoder is the start's"
    )
    parser.add_argument(
        "--updates", type=int, default=0, help="that the trained weights have behind them"
    )
    parser.add_argument("--share", type=float, action="append")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--corrections", type=int, default=2)
    parser.add_argument("--embeddings", type=Path, default=Path("runs/embeddings"))
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    set_threads(options.threads)
    start = StartingWeights.load(options.start, quiet=False)
    own = {k: v.clone() for k, v in start.network().state_dict().items()}
    trained = read_checkpoint(options.trained)
    collection = Collection(options.collection)
    samples = choose_validation(collection.of("validation"), options.images, 0)
    cpu = torch.device("cpu")
    first = Predictor.of_network(start.card, start.network(), cpu, start.file, "eager")
    kept = keep_embeddings(first, collection, samples, options.embeddings, lambda *_: None)
    rows, best = [], (0.0, 0.0)
    for share in options.share or (0.0, 0.25, 0.5, 0.75, 1.0):
        network = build_network(
            start.card, mixed([own, trained], (1 - share, share)), options.trained
        )
        model = Predictor.of_network(start.card, network, cpu, start.file, "eager")
        found = validate(
            model, collection, samples, corrections=options.corrections, max_objects=1, kept=kept
        )
        means = found.means()
        score = sum(means.values()) / len(means)
        rows.append({"share": share, **means, "score": score})
        print(rows[-1], flush=True)
        best = max(best, (score, share))
    with options.output.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_warm(options.weights, mixed([own, trained], (1 - best[1], best[1])), options.updates)
    print(f"share {best[1]:g} to {options.weights}")


if __name__ == "__main__":
    main()
