"""Options of teaching words, defined once for Python, the command line and configuration files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from promptseg.bounds import check_bounds
from promptseg.errors import InputError

__all__ = ["TeachOptions"]

_Texts = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(kw_only=True)
class TeachOptions:
    """Teach a model for words the classes of a collection, in minutes.

    Only what belongs to the new words learns, on kept embeddings: what the model says of the words that
    it knew before stays the same. Pieces without a thing are cut out of the images, and as many with
    it. What came of it is measured on the test part, or on validation if there is none.
    """

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Collection made by promptseg curate."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for weights, card, report and embeddings."""

    base: str = "promptseg-words"
    """Model that learns: promptseg-words, or the folder or file of an earlier teaching."""

    word: _Texts = ()
    """CLASS=WORD[;SYNONYM...]: what a class of the collection is called; may be repeated (default:
    every class that is no word of the model yet, by its own name)."""

    name: str | None = None
    """What the new model is called (default: after the base and the folder)."""

    train_images: int | None = None
    """Images of the training part that are learnt from, datasets in turn (default: all)."""

    pieces: int = 2
    """Pieces without a thing that are cut out of an image for each word, and as many with it."""

    updates: int = 300
    """Updates at most, of 8 images each."""

    minutes: float = 10.0
    """Minutes of learning at most; the learning rate falls to 0 by then."""

    learning_rate: float = 3e-3
    """Of AdamW, at its highest."""

    engine: str = "auto"
    """What executes the image encoder; see promptseg benchmark --show."""

    threads: int | None = None
    """CPU threads (default: PROMPTSEG_THREADS, or all)."""

    seed: int = 0
    """Of pieces, order and first weights."""

    config: Path | None = None
    """YAML file of these options."""

    overwrite: bool = False
    """Start anew in a folder that holds another teaching."""

    quiet: bool = False
    """No progress, no summary."""

    json: bool = False
    """Print the report as JSON."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def renamed(self) -> dict[str, tuple[str, ...]]:
        """Return the new names of classes, by class: the word first, then its synonyms.

        Raises:
            InputError: something else than CLASS=WORD[;SYNONYM...], or a class twice.
        """
        found: dict[str, tuple[str, ...]] = {}
        for text in self.word:
            of, equals, words = text.partition("=")
            names = tuple(word.strip() for word in words.split(";") if word.strip())
            if not equals or not of.strip() or not names:
                raise InputError("--word CLASS=WORD[;SYNONYM...]", repr(text), "correct it")
            if of.strip() in found:
                raise InputError("every class once", f"{of.strip()} twice", "leave one out")
            found[of.strip()] = names
        return found
