"""Networks that are trained for one task, from random weights: what others are compared with."""

from __future__ import annotations

from dataclasses import replace

from promptseg.models.card import ModelCard
from promptseg.models.preprocess import Preprocessing

__all__ = ["NNUNET_RECIPE", "SPECIALISTS", "SWIN_FEATURES", "boxed_card"]

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
        ModelCard(
            name="nnunet",
            title="nnU-Net v2, a program of its own, to be trained from random weights, in 2D or 3D",
            build="nnunet",
            preprocessing=Preprocessing(224, "minmax", "stretch"),  # its plans have their own
            prompts=frozenset(),
            modalities="none before its training",
            weights="",
            licence="Apache-2.0",
            source="nnunetv2",
            citation="Isensee et al., nnU-Net, Nature Methods 2021",
            weak_at="whatever it was not trained on",
            family="specialist",
        ),
    )
}
"""By name. MedSAM trains DeepLabV3+ on 224 pixels a side, scaled by minimum and maximum."""

NNUNET_RECIPE = (
    "nnU-Net's declared dependencies would replace torch, so it has an environment of its own: "
    "python -m venv nnunet; with its pip install torch (the build of your choice), then acvl-utils "
    "batchgenerators batchgeneratorsv2 'blosc2>=3.3.2' einops scikit-learn scikit-image SimpleITK "
    "pandas nibabel matplotlib seaborn tifffile requests graphviz imagecodecs yacs; last, with "
    "--no-deps, 'nnunetv2==2.8.1' 'dynamic-network-architectures==0.4.4'; then export "
    "PROMPTSEG_NNUNET=nnunet/bin/python. Masks that it made elsewhere are scored by promptseg evaluate "
    "--predictions"
)
"""How to have nnU-Net, which is a program of its own and never installed from here."""

SWIN_FEATURES = 48
"""Of Swin UNETR, as published; a multiple of 12."""


def boxed_card(name: str, side: int, features: int) -> ModelCard:
    """Return the card of a specialist that is told by a box what to look for.

    Args:
        name: of the specialist.
        side: of its input.
        features: of Swin UNETR; 0 for another.
    """
    known = SPECIALISTS[name]
    return replace(
        known,
        title=f"{known.title.partition(',')[0]}, with the box as a channel",
        build=f"{name}:{side}:{features}",
        preprocessing=replace(known.preprocessing, size=side),
        prompts=frozenset({"box"}),
    )
