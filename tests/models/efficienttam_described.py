"""EfficientTAM by an independent description: names and shapes of its tensors, and its encoder.

After the official configurations and Xiong et al. (2024): a ViT without relative positions, windows of
14 in which padding takes part, every third block over the whole grid; then a 1 x 1 and a 3 x 3
convolution with a norm of channels behind each. All else is SAM 2.0's without what finer features need.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def shapes_of(width: int, depth: int = 12, dim: int = 256) -> Shapes:
    """Name -> shape of every tensor of the image encoder."""
    trunk, neck = "image_encoder.trunk.", "image_encoder.neck.convs.0."
    found: Shapes = {
        f"{trunk}pos_embed": (1, 197, width),
        f"{trunk}patch_embed.proj.weight": (width, 3, 16, 16),
        f"{trunk}patch_embed.proj.bias": (width,),
        f"{neck}conv_1x1.weight": (dim, width, 1, 1),
        f"{neck}conv_3x3.weight": (dim, dim, 3, 3),
        **{f"{neck}norm_{k}.{part}": (dim,) for k in (0, 1) for part in ("weight", "bias")},
    }
    for k in range(depth):
        block = f"{trunk}blocks.{k}."
        for norm in ("norm1", "norm2"):
            found |= {f"{block}{norm}.weight": (width,), f"{block}{norm}.bias": (width,)}
        for layer, into, out in (
            ("attn.qkv", width, 3 * width),
            ("attn.proj", width, width),
            ("mlp.layers.0", width, 4 * width),
            ("mlp.layers.1", 4 * width, width),
        ):
            found |= {f"{block}{layer}.weight": (out, into), f"{block}{layer}.bias": (out,)}
    return found


def encoded(tensors: dict[str, Tensor], images: Tensor, heads: int, depth: int = 12) -> Tensor:
    """(B, 3, S, S) -> (B, dim, S / 16, S / 16), step by step, one window after the other."""
    own = {k.removeprefix("image_encoder."): v for k, v in tensors.items()}
    patches = images.unfold(2, 16, 16).unfold(3, 16, 16)  # (B, 3, h, w, 16, 16)
    weight, bias = own["trunk.patch_embed.proj.weight"], own["trunk.patch_embed.proj.bias"]
    x = torch.einsum("bchwij,dcij->bhwd", patches, weight) + bias
    h, w = x.shape[1:3]
    learned = own["trunk.pos_embed"][0, 1:].T.reshape(1, -1, 14, 14)
    if (h, w) != (14, 14):
        learned = torch.nn.functional.interpolate(learned, (h, w), mode="bicubic")
    x = x + learned[0].permute(1, 2, 0)
    for k in range(depth):
        block = {
            name.removeprefix(f"trunk.blocks.{k}."): v
            for name, v in own.items()
            if name.startswith(f"trunk.blocks.{k}.")
        }
        y = _normed(x, block["norm1.weight"], block["norm1.bias"])
        if k % 3 == 2:
            y = _attended(y, block, heads)
        else:
            rows, columns = (14 * math.ceil(n / 14) for n in (h, w))
            padded = y.new_zeros(len(y), rows, columns, y.shape[-1])
            padded[:, :h, :w] = y
            for top in range(0, rows, 14):
                for left in range(0, columns, 14):
                    window = padded[:, top : top + 14, left : left + 14].clone()
                    padded[:, top : top + 14, left : left + 14] = _attended(window, block, heads)
            y = padded[:, :h, :w]
        x = x + y
        y = _normed(x, block["norm2.weight"], block["norm2.bias"])
        y = y @ block["mlp.layers.0.weight"].T + block["mlp.layers.0.bias"]
        y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
        x = x + y @ block["mlp.layers.1.weight"].T + block["mlp.layers.1.bias"]
    neck = {k.removeprefix("neck.convs.0."): v for k, v in own.items() if k.startswith("neck.")}
    x = _normed(
        x @ neck["conv_1x1.weight"][:, :, 0, 0].T, neck["norm_0.weight"], neck["norm_0.bias"]
    )
    x = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), neck["conv_3x3.weight"], padding=1)
    x = _normed(x.permute(0, 2, 3, 1), neck["norm_1.weight"], neck["norm_1.bias"])
    return x.permute(0, 3, 1, 2)


def _attended(x: Tensor, block: dict[str, Tensor], heads: int) -> Tensor:
    b, h, w, dim = x.shape
    all_ = x.reshape(b, h * w, dim) @ block["attn.qkv.weight"].T + block["attn.qkv.bias"]
    q, k, v = all_[..., :dim], all_[..., dim : 2 * dim], all_[..., 2 * dim :]
    width, found = dim // heads, []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width)
        found.append(scores.softmax(-1) @ v[..., part])
    y = torch.cat(found, -1) @ block["attn.proj.weight"].T + block["attn.proj.bias"]
    return y.reshape(b, h, w, dim)


def _normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * weight + bias
