"""One phrase, with or without boxes, on one encoded slice -> all that SAM 3 says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["PADDED", "VISUAL", "Detections", "Words", "detect", "encode", "read"]

VISUAL = "visual"
"""What the official code says where there are boxes and no words."""
PADDED = -10
"""Label of a box that is none."""


class Words(NamedTuple):
    """A phrase as the network understands it.

    Attributes:
        features: (1, L, C).
        known: (1, L) 1 within the phrase, 0 behind its end.
    """

    features: Tensor
    known: Tensor


class Detections(NamedTuple):
    """Findings of every query of the decoder.

    Attributes:
        logits: (Q, h, w) mask logits, in the network's input.
        boxes: (Q, 4) x0, y0, x1, y1 in parts of the input.
        scores: (Q,) logits that the query is an instance, if there is any.
        presence: () logit that there is an instance at all.
    """

    logits: Tensor
    boxes: Tensor
    scores: Tensor
    presence: Tensor

    @property
    def sure(self) -> Tensor:
        """Return the score of each query, (Q,) 0..1, as the official code does: both probabilities
        multiplied.
        """
        return self.scores.sigmoid() * self.presence.sigmoid()


def encode(network: Any, images: Tensor) -> list[Tensor]:
    """Encode (B, 3, S, S) images as three levels of features, (B, C, h, w) each."""
    return list(network.vision_encoder(images).fpn_hidden_states[:3])


def read(network: Any, tokens: Tensor) -> Words:
    """Read a phrase, given as (1, L) token numbers with 0 behind its end, with the text encoder."""
    known = (tokens != 0).long()
    return Words(network.get_text_features(tokens, known).pooler_output, known)


def detect(
    network: Any,
    levels: Sequence[Tensor],
    words: Words,
    boxes: Tensor,
    labels: Tensor,
) -> Detections:
    """Find the instances of a phrase and of examples on one slice.

    Args:
        network: of `build`.
        levels: of one slice, from `encode`.
        words: the phrase, from `read`.
        boxes: (N, 4) centre x, y, width and height in parts of the input; maybe none.
        labels: (N,) 1 an example of what is meant, 0 of what is not.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

    if not len(boxes):
        # The official code adds the encoder of boxes' own token also where there is no box; the
        # network here asks that encoder only if there is one. A padded box is attended to by nothing.
        boxes, labels = boxes.new_zeros(1, 4), labels.new_full((1,), PADDED)
    sine = network.vision_encoder.neck.position_encoding
    places = [sine(level.shape, level.device, level.dtype) for level in levels]
    image = Sam3VisionEncoderOutput(
        fpn_hidden_states=(*levels, levels[-1]),  # a coarser one, which is not used
        fpn_position_encoding=(*places, places[-1]),
    )
    found = network(
        vision_embeds=image,
        text_embeds=BaseModelOutputWithPooling(pooler_output=words.features),
        attention_mask=words.known,
        input_boxes=boxes[None],
        input_boxes_labels=labels[None],
    )
    return Detections(
        found.pred_masks[0],
        found.pred_boxes[0],
        found.pred_logits[0],
        found.presence_logits[0].squeeze(-1),
    )
