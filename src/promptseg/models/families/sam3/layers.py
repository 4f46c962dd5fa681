"""Answers of every layer of SAM 3's decoder to several phrases at once: what training judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptseg.models.families.sam3.detect import PADDED, Words

__all__ = ["Layers", "every_layer", "read_phrases"]


class Layers(NamedTuple):
    """Answers about P phrases, of L layers with Q queries each; the last layer's are the answer.

    Attributes:
        scores: (L, P, Q) logits that a query is an instance, if there is any.
        boxes: (L, P, Q, 4) centre, width and height in parts of the input.
        presence: (L, P) logits that there is an instance at all.
        masks: (P, Q, h, w) mask logits of the last layer.
        whole: (P, h, w) logits of all instances together.
    """

    scores: Tensor
    boxes: Tensor
    presence: Tensor
    masks: Tensor
    whole: Tensor

    def of(self, phrases: Tensor) -> Layers:
        """Return the answers about some of the phrases, given by their numbers."""
        return Layers(
            self.scores[:, phrases],
            self.boxes[:, phrases],
            self.presence[:, phrases],
            self.masks[phrases],
            self.whole[phrases],
        )


def read_phrases(network: Any, tokens: Tensor) -> Words:
    """Read phrases, given as (P, L) token numbers with 0 behind their ends; as `read`, but several."""
    known = (tokens != 0).long()
    said = network.text_encoder(input_ids=tokens, attention_mask=known).last_hidden_state
    return Words(network.text_projection(said), known)


def every_layer(
    network: Any, levels: Sequence[Tensor], words: Words, boxes: Tensor, labels: Tensor
) -> Layers:
    """Find phrases with every layer of the decoder; `detect` takes the answers of the last one alone.

    Args:
        network: of `build`, in any mode.
        levels: of one slice, (1, C, h, w) each, or of the slice of each phrase, (P, C, h, w).
        words: P phrases.
        boxes: (P, N, 4) examples of each, centre, width and height in parts of the input; N from 1 on.
        labels: (P, N) 1 an example of what is meant, 0 of what is not, `PADDED` none.
    """
    count = len(words.known)
    sine = network.vision_encoder.neck.position_encoding
    features = [level.expand(count, -1, -1, -1) for level in levels]
    places = [sine(level.shape, level.device, level.dtype) for level in features]
    there = labels != PADDED
    examples = network.geometry_encoder(
        box_embeddings=boxes,
        box_mask=there,
        box_labels=labels.where(there, labels.new_zeros(())),
        img_feats=tuple(features),
        img_pos_embeds=tuple(places),
    )
    prompt = torch.cat([words.features, examples.last_hidden_state], dim=1)
    known = torch.cat([words.known.bool(), examples.attention_mask], dim=1)
    encoded = network.detr_encoder(
        vision_features=[features[-1]],
        text_features=prompt,
        vision_pos_embeds=[places[-1]],
        text_mask=known,
    )
    decoded = network.detr_decoder(
        vision_features=encoded.last_hidden_state,
        text_features=encoded.text_features,
        vision_pos_encoding=encoded.pos_embeds_flattened,
        text_mask=known,
        spatial_shapes=encoded.spatial_shapes,
    )
    states = decoded.intermediate_hidden_states
    scores = network.dot_product_scoring(
        decoder_hidden_states=states, text_features=encoded.text_features, text_mask=known
    ).squeeze(-1)
    moved = network.detr_decoder.box_head(states)
    found = network.mask_decoder(
        decoder_queries=states[-1],
        backbone_features=features,
        encoder_hidden_states=encoded.last_hidden_state,
        prompt_features=prompt,
        prompt_mask=known,
    )
    return Layers(
        scores,
        (_logits(decoded.reference_boxes) + moved).sigmoid(),
        decoded.presence_logits.squeeze(-1),
        found.pred_masks,
        found.semantic_seg[:, 0],
    )


def _logits(parts: Tensor) -> Tensor:
    """The inverse of a sigmoid, of values that are kept 1e-3 from 0 and 1, as the network has it."""
    least = 1e-3
    parts = parts.clamp(0, 1)
    return (parts.clamp(min=least) / (1 - parts).clamp(min=least)).log()
