"""SAM 3 at full size under random weights: time and memory of a picture, and of loading a large file.

    python benchmarks/sam3.py picture -o result.md   # eager, bfloat16, OpenVINO, the official code
    python benchmarks/sam3.py load -o result.md      # a file of 10 GB of the official form

One process and one thread unless said otherwise; contenders take turns, call by call, on the same
picture and weights. On a shared machine wall time says little, so what is reported is processor time of
all threads. Memory is the largest resident size; of the load, that without the pages of the mapped file
as well, which the system takes back when it needs them. `--small` does the same with a network of 112
pixels, to try the script.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

PHRASE = "liver"
CONTENDERS = ("official", "eager", "bfloat16", "openvino")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("picture", "load"))
    parser.add_argument("--small", action="store_true", help="112 pixels, to try the script")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--folder", type=Path, help="for the large file, which is removed again")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = _picture(arguments) if arguments.what == "picture" else _load(arguments)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def _shape(small: bool) -> Any:
    from promptseg.models.families.sam3.build import SHAPES
    from small_sam3 import SHAPE

    return SHAPE if small else SHAPES["sam3"]


def _picture(arguments: argparse.Namespace) -> str:
    """Processor seconds of the image encoder and of a phrase on its features, by contender."""
    from promptseg.models.families.sam3.build import network_of
    from promptseg.models.families.sam3.keys import own_names

    shape = _shape(arguments.small)
    slice_ = torch.rand(1, 3, shape.image_size, shape.image_size) * 2 - 1
    torch.manual_seed(0)
    official = _official(shape) if "official" in arguments.contenders else None
    network = network_of(shape, seeded=official is None)
    if official is not None:
        network.load_state_dict(own_names(official.state_dict()))  # the same memory
    network.eval().requires_grad_(False)
    calls: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    if official is not None:
        calls["official"] = _official_calls(official, slice_)
    if "eager" in arguments.contenders:
        calls["eager"] = _own_calls(network, slice_)
    if "openvino" in arguments.contenders:
        calls["openvino"] = _openvino_calls(network, slice_, arguments.threads)
    seconds: dict[str, list[list[float]]] = {}
    peak: dict[str, float] = {}
    with torch.inference_mode():
        for number in range(-1, arguments.rounds):  # the first warms up
            for name, parts in calls.items():
                _take(name, parts, number, seconds, peak)
        if "bfloat16" in arguments.contenders:  # last, as its weights take the place of the others
            calls["bfloat16"] = _own_calls(network.bfloat16(), slice_.bfloat16())
            for number in range(-1, arguments.rounds):
                _take("bfloat16", calls["bfloat16"], number, seconds, peak)
    whole = {name: [median(part) for part in parts] for name, parts in seconds.items()}
    base = sum(whole["official"]) if "official" in whole else None
    lines = [
        f"# SAM 3 on a picture, {date.today()}",
        "",
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} million random weights, "
        f"{shape.image_size} pixels, {arguments.threads} thread(s), median of {arguments.rounds} "
        "rounds; processor seconds. Memory is the largest resident size up to then, with all "
        "contenders before it in the same process.",
        "",
        "| contender | image encoder | one phrase | ratio to the official code | memory (GiB) |",
        "|---|---|---|---|---|",
    ]
    for name, (encoder, phrase) in whole.items():
        ratio = "-" if base is None else f"{(encoder + phrase) / base:.2f}"
        lines.append(f"| {name} | {encoder:.2f} | {phrase:.2f} | {ratio} | {peak[name]:.1f} |")
    return "\n".join(lines)


def _take(
    name: str,
    parts: tuple[Callable[[], Any], Callable[[], Any]],
    number: int,
    seconds: dict[str, list[list[float]]],
    peak: dict[str, float],
) -> None:
    own = seconds.setdefault(name, [[], []])
    for kept, call in zip(own, parts, strict=True):
        start = time.process_time()
        call()
        if number >= 0:
            kept.append(time.process_time() - start)
    peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: round {number + 1}", file=sys.stderr)


def _tokens() -> Tensor:
    """Numbers of a phrase, made up: weights are random anyway."""
    tokens = torch.zeros(1, 32, dtype=torch.long)
    tokens[0, :3] = torch.tensor([49_406, 123, 49_407])
    return tokens


def _own_calls(network: Any, slice_: Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    from promptseg.models.families.sam3.detect import detect, encode, read

    with torch.inference_mode():
        levels = encode(network, slice_)
    nothing = torch.zeros(0, 4, dtype=slice_.dtype), torch.zeros(0, dtype=torch.long)

    def phrase() -> Any:
        return detect(network, levels, read(network, _tokens()), *nothing)

    return lambda: encode(network, slice_), phrase


def _openvino_calls(
    network: Any, slice_: Tensor, threads: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The image encoder on OpenVINO in float32; phrases are eager."""
    import openvino

    class Levels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = network.vision_encoder

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.encoder(x).fpn_hidden_states[:3])

    with torch.no_grad():
        model = openvino.convert_model(Levels().eval(), example_input=slice_)
    compiled = openvino.compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    )
    request = compiled.create_infer_request()
    _, phrase = _own_calls(network, slice_)
    return lambda: request.infer([slice_.numpy()]), phrase


def _official(shape: Any) -> Any:
    from models.sam3_peer import official_sam3
    from promptseg import assets

    return official_sam3(shape, assets.fetch("sam3-words", quiet=True))


def _official_calls(official: Any, slice_: Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """As its processor of pictures calls it."""
    import pytest

    stage = sys.modules["sam3.model.data_misc"].FindStage(
        img_ids=torch.zeros(1, dtype=torch.long),
        text_ids=torch.zeros(1, dtype=torch.long),
        **dict.fromkeys(("input_boxes", "input_boxes_mask", "input_boxes_label")),
        **dict.fromkeys(("input_points", "input_points_mask")),
    )
    with torch.inference_mode():
        seen = official.backbone.forward_image(slice_)

    def phrase() -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
            return official.forward_grounding(
                backbone_out={**seen, **official.backbone.forward_text([PHRASE], device="cpu")},
                find_input=stage,
                geometric_prompt=official._get_dummy_prompt(1),
                find_target=None,
            )

    return lambda: official.backbone.forward_image(slice_), phrase


def _load(arguments: argparse.Namespace) -> str:
    """Memory and time of loading a training's file of the official form: weights and AdamW's state."""
    from promptseg.models import checkpoint
    from promptseg.models.cards import CARDS
    from promptseg.models.families.sam3 import build

    shape = _shape(arguments.small)
    build.SHAPES["bench"] = shape
    CARDS["bench"] = replace(CARDS["medical-sam3"], name="bench", build="bench", weights="")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "checkpoint.pt"
        _write(path, shape)
        size = path.stat().st_size
        gc.collect()
        with _watched() as seen:
            start = time.perf_counter()
            card, file, tensors = checkpoint.open_checkpoint(f"bench={path}")
            network = checkpoint.build_network(card, tensors, file)
            seconds = time.perf_counter() - start
        count = sum(p.numel() for p in network.parameters())
    return "\n".join(
        [
            f"# Loading a file of the official form, {date.today()}",
            "",
            f"{size / 2**30:.2f} GiB: weights under official names with the tracker and complex "
            f"buffers, and two moments of each. {count / 1e6:.1f} million weights were used.",
            "",
            "| largest resident size | without pages of mapped files | seconds |",
            "|---|---|---|",
            f"| {seen['rss'] / 2**30:.2f} GiB | {seen['anon'] / 2**30:.2f} GiB | {seconds:.0f} |",
        ]
    )


def _write(path: Path, shape: Any) -> None:
    """Write the file without ever holding it: every tensor lies in a mapped file of its own."""
    weights = path.parent / "weights"
    weights.mkdir()

    def mapped(number: int, like: Tensor, std: float) -> Tensor:
        file = weights / str(number)
        with file.open("wb") as stream:
            stream.truncate(max(4, 4 * like.numel()))  # sparse
        flat = torch.from_file(str(file), shared=True, size=max(1, like.numel()))
        if std:
            flat.normal_(std=std)
        return flat[: like.numel()].view(like.shape)

    official = {name: tensor.to("meta") for name, tensor in _official(shape).state_dict().items()}
    gc.collect()
    model = {
        f"detector.{name}": torch.zeros(tensor.shape, dtype=tensor.dtype)
        if tensor.is_complex()
        else mapped(n, tensor, 0.02)
        for n, (name, tensor) in enumerate(official.items())
    }
    model["tracker.no_mem_embed"] = torch.zeros(1, 1, shape.dim)
    first = len(model)
    state = {
        n: {
            "exp_avg": mapped(first + 2 * n, tensor, 0.0),
            "exp_avg_sq": mapped(first + 2 * n + 1, tensor, 0.0),
        }
        for n, tensor in enumerate(official.values())
    }
    torch.save({"model": model, "optimizer": {"state": state}, "epoch": 10}, path)
    for file in weights.iterdir():
        file.unlink()


@contextmanager
def _watched() -> Iterator[dict[str, int]]:
    """The largest resident size while something goes on, with and without pages of mapped files."""
    import threading

    seen = {"rss": 0, "anon": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            facts = {line.split(":")[0]: line.split()[1] for line in lines if "kB" in line}
            seen["rss"] = max(seen["rss"], int(facts["VmRSS"]) * 1024)
            seen["anon"] = max(seen["anon"], int(facts["RssAnon"]) * 1024)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
