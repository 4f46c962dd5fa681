"""Semantic networks against torch-em and micro-sam under the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.peer import SEGMENT_ANYTHING, import_peer
from models.torch_em_peer import adapters, torch_em
from promptseg.models.families.sam.vit import ViT
from promptseg.models.heads.semantic.adapters import VolumeEncoder
from promptseg.models.heads.semantic.network import Semantic2d, Semantic3d, Shape

pytestmark = pytest.mark.peer

CLASSES = 5


def scramble(network: nn.Module, seed: int = 0) -> None:
    """Random weights and running statistics, so that no part keeps a value that hides a mistake."""
    chance = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.randn(value.shape, generator=chance) * (0.1 if value.ndim > 1 else 0.3)
            )
            if name.endswith("running_var"):
                value.abs_().add_(0.5)


class Encoder(nn.Module):
    """Stands for SAM's encoder in torch-em's network: it takes its channels from here."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.img_size = 64
        self.in_chans = 3
        self.patch_embed = nn.Module()
        self.neck = nn.Sequential(*(nn.Conv2d(k, channels, 1) for k in (8, channels, channels)))
        self.proj = nn.Conv2d(3, channels, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("channels", [256, 24])
def test_the_2d_network_is_torch_ems(transposed: bool, channels: int) -> None:
    official: Any = (
        torch_em("unetr")
        .UNETR(
            img_size=64,
            backbone="sam",
            encoder=Encoder(channels),
            out_channels=CLASSES,
            use_sam_stats=False,
            use_skip_connection=False,
            use_conv_transpose=transposed,
        )
        .eval()
    )
    shape = Shape("", CLASSES, side=64, transposed=transposed)
    own = Semantic2d(Encoder(channels), shape, channels).eval()
    scramble(official)
    own.load_state_dict(official.state_dict())
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, theirs = own(x), official(x)
    assert ours.shape == theirs.shape == (2, CLASSES, 64, 64)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_adapters_are_micro_sams() -> None:
    modeling = import_peer(*SEGMENT_ANYTHING, ".modeling")
    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
    official_vit = modeling.ImageEncoderViT(
        **sizes, out_chans=16, use_rel_pos=True, window_size=3, global_attn_indexes=(1,)
    )
    official = adapters().ImageEncoderViT3DWrapper(official_vit, num_heads=3, embed_dim=48)
    encoder = ViT(48, 2, 3, whole=(1,), image_size=64, patch=8, window=3, out_channels=16)
    own = VolumeEncoder(encoder)
    for adapted in own.adapted:  # published adapters have 384 channels whatever the width
        for end in ("", "_2"):
            setattr(adapted, f"adapter_linear_down{end}", nn.Linear(48, 384, bias=False))
            setattr(adapted, f"adapter_linear_up{end}", nn.Linear(384, 48, bias=False))
            setattr(
                adapted, f"adapter_conv{end}", nn.Conv3d(384, 384, (3, 1, 1), padding=(1, 0, 0))
            )
    scramble(official)
    own.load_state_dict(official.state_dict())
    x = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(own(x, 3), official(x, 3), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(own(x, 3), own(x, 1), atol=1e-2)


def test_the_3d_decoder_is_put_together_of_torch_ems_parts() -> None:
    """As MedicoSAM's `SimpleUNETR3D` does it, whose repository is no distribution."""
    unet, unetr = torch_em("unet"), torch_em("unetr")
    deconv = unetr.Deconv2DBlock
    official = nn.ModuleDict(
        {
            "decoder": unet.Decoder(
                [512, 256, 128, 64], [2, 2, 2], unet.ConvBlock2d, unet.Upsampler2d
            ),
            **{
                f"deconv{k + 1}": deconv(a, b, use_conv_transpose=False)
                for k, (a, b) in enumerate([(256, 512), (512, 256), (256, 128), (128, 64)])
            },
            "base": unet.ConvBlock2d(256, 512),
            "deconv_out": unet.Upsampler2d(2, 64, 64),
            "decoder_head": unet.ConvBlock2d(128, 64),
            "fusion_3d": nn.Sequential(
                nn.Conv3d(64, 64, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm3d(64),
                nn.ReLU(),
                nn.Conv3d(64, 64, kernel_size=1, bias=True),
                nn.BatchNorm3d(64),
                nn.ReLU(),
            ),
            "classifier": nn.Conv3d(64, CLASSES, 1),
        }
    ).eval()
    own = Semantic3d(nn.Identity(), Shape("", CLASSES, depth=3)).eval()
    scramble(official)
    own.load_state_dict(official.state_dict())
    z = torch.randn(2, 3, 256, 4, 4, generator=torch.Generator().manual_seed(1))
    flat = z.flatten(0, 1)
    with torch.inference_mode():
        joints = [official["deconv1"](flat)]
        joints += [official["deconv2"](joints[-1])]
        joints += [official["deconv3"](joints[-1])]
        last = official["deconv4"](joints[-1])
        x = official["decoder"](official["base"](flat), encoder_inputs=joints)
        x = official["decoder_head"](torch.cat([official["deconv_out"](x), last], dim=1))
        x = x.view(2, 3, -1, *x.shape[-2:]).permute(0, 2, 1, 3, 4)
        theirs = official["classifier"](official["fusion_3d"](x))
        torch.testing.assert_close(own.classify(z), theirs, atol=1e-4, rtol=1e-4)
