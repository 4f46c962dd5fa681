"""A SAM for inference, put together from rewritten parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptseg.models.families.sam import Sam
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.models.families.sam.vit import ViT
from promptseg.models.families.words.network import WordsHead, WordsSam
from promptseg.runtime.rewrite.mask_decoder import FusedMaskDecoder
from promptseg.runtime.rewrite.ready import made_ready
from promptseg.runtime.rewrite.tiny_vit import FusedTinyViT
from promptseg.runtime.rewrite.vit import FusedViT

__all__ = ["FusedSam", "FusedWords", "asked_for", "can_prepare", "prepare", "prepare_words"]


class FusedSam(nn.Module):
    """Image encoder, prompt encoder and mask decoder for inference; asked like `Sam`.

    Args:
        network: the network it takes its weights from, in evaluation mode.
    """

    def __init__(self, network: Sam) -> None:
        super().__init__()
        encoder = network.image_encoder
        if isinstance(encoder, TinyViT):
            self.image_encoder: FusedTinyViT | FusedViT = FusedTinyViT(encoder)
        elif isinstance(encoder, ViT):
            self.image_encoder = FusedViT(encoder)
        else:
            raise TypeError(f"expected a TinyViT or ViT, got {type(encoder).__name__}")
        self.prompt_encoder = network.prompt_encoder
        position = network.prompt_encoder.dense_position()
        self.mask_decoder = FusedMaskDecoder(network.mask_decoder, position)

    def encode(self, slices: Tensor) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, 256, 64, 64) embeddings."""
        embedding: Tensor = self.image_encoder(slices)
        return embedding

    def embed_prompts(
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Map prompts of B objects to (B, tokens, C) and (B, C, h, w) or (1, C, 1, 1) embeddings."""
        sparse, dense = self.prompt_encoder(points, boxes, masks)
        return sparse, dense if masks is not None else dense[:1, :, :1, :1]

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Map embeddings and prompts to mask logits and predicted IoU; see `Sam.decode`."""
        sparse, dense = self.embed_prompts(points, boxes, masks)
        logits, quality = self.mask_decoder(embedding, sparse, dense)
        return asked_for(logits, multimask), asked_for(quality, multimask)


class FusedWords(FusedSam):
    """A SAM with a head for words, which runs as it is.

    Attributes:
        words: the head.
    """

    words: WordsHead


def asked_for(answers: Tensor, multimask: bool) -> Tensor:
    """Choose, of the four answers along axis 1, the multimask output or the single one."""
    return answers[:, 1:] if multimask else answers[:, :1]


def can_prepare(network: Sam) -> bool:
    """Tell whether there is a rewrite of its image encoder."""
    return isinstance(network.image_encoder, TinyViT | ViT)


def prepare(network: Sam, device: torch.device) -> FusedSam:
    """Make a network ready to run on a device; embeddings stay within 1e-5 of the plain network."""
    return made_ready(FusedSam, network, device)


def prepare_words(network: WordsSam, device: torch.device) -> FusedWords:
    """Make a network with a head for words ready to run on a device."""
    ready = made_ready(FusedWords, network, device)
    ready.words = network.words.eval().requires_grad_(False).to(device)
    return ready
