"""promptseg-words: a head for its words on the embeddings of promptseg-lite, from random weights.

    python benchmarks/words_train.py data/words -o runs/words --minutes 30

Learns from the part "train" of what benchmarks/words_data.py made; the moving average of the weights is
kept as float16. On an image it is asked for the words that its dataset labels, and for some that are
surely not there.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import save_file

from promptseg.models.base_weights import base_tensors, encoder_sha256
from promptseg.models.checkpoint import read_checkpoint
from promptseg.models.families.words.concepts import CONCEPTS
from promptseg.models.families.words.file import head_tensors
from promptseg.models.families.words.network import HEAD, About, WordsHead
from promptseg.models.families.words.vocabulary import Vocabulary
from promptseg.progress import step_progress
from promptseg.runtime import set_threads
from promptseg.train.words.features import Facts, WordFeatures
from promptseg.train.words.learn import Learning, learn

WORDS = Vocabulary(CONCEPTS)
_BODY = {"peripheral nerve", "blood vessel", "vertebra"}
MAYBE = {
    "microscopy": {"nucleus", "cell"},
    "pathology": {"nucleus", "cell", "blood vessel"},
    "US": {"peripheral nerve", "blood vessel"},
    "MR": _BODY,
    "CT": {*_BODY, "left ventricle cavity"},
    "PET": {*_BODY, "left ventricle cavity"},
    "endoscopy": {"blood vessel"},
}
"""What may be on an image though its dataset does not say so, by modality: it is not asked for."""


def surely_absent(facts: Facts) -> list[int]:
    """Words that no dataset of the modality could have left unlabelled."""
    maybe = MAYBE.get(facts.modality, set(WORDS.names))
    return [k for k, name in enumerate(WORDS.names) if k not in facts.known and name not in maybe]


def write_head(head: WordsHead, path: Path, vocabulary: Vocabulary = WORDS) -> None:
    """As a file that `promptseg segment --model` takes."""
    head = deepcopy(head)
    head.about = About(vocabulary, "promptseg-lite", encoder_sha256(base_tensors("promptseg-lite")))
    save_file({k: v.contiguous() for k, v in head_tensors(head).items()}, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", type=Path, help="of benchmarks/words_data.py")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only-words", action="store_true", help="write the vocabulary into trained weights anew"
    )
    options = parser.parse_args()
    file = options.output / "promptseg_words.safetensors"
    if options.only_words:
        head = WordsHead()
        own = read_checkpoint(file)
        head.load_state_dict({k[len(HEAD) :]: v for k, v in own.items() if k.startswith(HEAD)})
        write_head(head, file)
        return
    set_threads(1)
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    features = WordFeatures(options.images)
    numbers = [n for n, f in enumerate(features.facts) if f.part == "train"]
    how = Learning(
        updates=options.updates,
        learning_rate=options.learning_rate,
        noise=options.noise,
        minutes=options.minutes,
        seed=options.seed,
    )
    with step_progress("words", how.updates) as show:
        log = options.output / "train.csv"
        head = learn(WordsHead(), features, numbers, surely_absent, how, log, show)
    write_head(head, file)
    print(f"{len(numbers)} images of the training part")


if __name__ == "__main__":
    main()
