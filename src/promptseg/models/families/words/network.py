"""A SAM with a head for words."""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
from torch import Tensor

from promptseg.errors import ModelError
from promptseg.models.families.sam.build import Sam, build_mobile_sam
from promptseg.models.families.words.head import WordHead
from promptseg.models.families.words.vocabulary import Vocabulary

__all__ = ["HEAD", "STATE", "About", "WordsHead", "WordsSam", "build_words"]

HEAD = "words."
"""How the names of the head's tensors begin."""

STATE = HEAD + "_extra_state"
"""The tensor of bytes that says what the head is for."""


class About(NamedTuple):
    """Facts about a head: its words, and the model whose embeddings it reads.

    Attributes:
        vocabulary: the words of its rows.
        base: the model whose embeddings it was trained on.
        encoder_sha256: of that model's image encoder; see `promptseg.models.base_weights`.
    """

    vocabulary: Vocabulary
    base: str
    encoder_sha256: str

    def packed(self) -> Tensor:
        """Pack these facts into a tensor of bytes, which travels with the weights."""
        said = {
            "base": self.base,
            "encoder_sha256": self.encoder_sha256,
            "words": json.loads(self.vocabulary.to_json()),
        }
        return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)

    @classmethod
    def unpacked(cls, state: Tensor, where: str) -> About:
        """Read what `packed` wrote, in a file that is not trusted.

        Raises:
            ModelError: anything else.
        """
        try:
            said = json.loads(bytes(state.to(torch.uint8).flatten().tolist()))
            base, sha256 = str(said["base"]), str(said["encoder_sha256"])
            words = json.dumps(said["words"])
        except (ValueError, KeyError, TypeError):
            raise ModelError(
                "a head that says its words", f"{where}, which does not", "get it again"
            ) from None
        return cls(Vocabulary.from_json(words, where), base, sha256)


class WordsHead(WordHead):
    """A head that knows its words; they are part of its state."""

    about = About(Vocabulary(()), "", "")

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the words that it knows, one for each of its rows."""
        return self.about.vocabulary

    def get_extra_state(self) -> Tensor:
        """Return the facts about it, as `About.packed` writes them."""
        return self.about.packed()

    def set_extra_state(self, state: Tensor) -> None:
        """Take the facts that `get_extra_state` gave."""
        self.about = About.unpacked(state, "the weights")


class WordsSam(Sam):
    """SAM with a head that looks for words on its embeddings."""

    def __init__(self, sam: Sam, words: WordsHead) -> None:
        super().__init__(sam.image_encoder, sam.prompt_encoder)
        self.words = words


def build_words() -> WordsSam:
    """Build MobileSAM's network with a head."""
    return WordsSam(build_mobile_sam(), WordsHead())
