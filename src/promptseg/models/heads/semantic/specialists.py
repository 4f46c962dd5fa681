"""Networks that are trained for one task, from random weights: what others are compared with."""

from __future__ import annotations

from promptseg.models.card import ModelCard
from promptseg.models.preprocess import Preprocessing

__all__ = ["EXTERNAL", "SPECIALISTS", "SWIN_FEATURES"]

SPECIALISTS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard(
            name="deeplabv3plus",
            title="DeepLabV3+ with ResNet-50, to be trained from random weights",
            build="deeplabv3plus",
            preprocessing=Preprocessing(224, "minmax", "stretch"),
            prompts=frozenset(),
            modalities="none before its training",
            weights="",
            licence="Apache-2.0",
            source="promptseg, after Chen et al.",
            citation="Chen et al., Encoder-decoder with atrous separable convolution, ECCV 2018",
            weak_at="whatever it was not trained on",
            family="specialist",
        ),
        ModelCard(
            name="swin-unetr",
            title="Swin UNETR of MONAI, to be trained from random weights, in 2D or 3D",
            build="swin-unetr",
            preprocessing=Preprocessing(224, "minmax", "stretch"),
            prompts=frozenset(),
            modalities="none before its training",
            weights="",
            licence="Apache-2.0",
            source="MONAI",
            citation="Hatamizadeh et al., Swin UNETR, BrainLes 2021",
            weak_at="whatever it was not trained on",
            family="specialist",
        ),
    )
}
"""By name. MedSAM trains DeepLabV3+ on 224 pixels a side, scaled by minimum and maximum."""

EXTERNAL = {
    "nnunet": "nnU-Net, a program of its own, whose declared dependencies would replace torch: install "
    "it in an environment of its own (pip install --no-deps nnunetv2, then what it misses), train it "
    "there, and score its masks with promptseg evaluate --predictions"
}
"""Programs that are compared with and not driven from here, with what to do."""

SWIN_FEATURES = 48
"""Of Swin UNETR, as published; a multiple of 12."""
