"""SAM 3 at full size under random weights: a picture beside the official code, loading a large file.

    python benchmarks/sam3.py picture -o result.md   # eager, bfloat16, OpenVINO, the official code
    python benchmarks/sam3.py load -o result.md      # a file of 10 GB of the official form

One process, one thread and one core unless said otherwise; contenders take turns, call by call, on the
same picture and the same weights in memory, and what they find of a phrase, with boxes and without, is
compared with what the official code finds. On a shared machine wall time says little, so what is
reported is processor time of all threads. Memory is what was resident before a turn, and the
most during it; of the load, the largest resident size, and that without the pages of the mapped file,
which the system takes back when it needs them. `--small` does the same with a network of 112 pixels, to
try the script.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptseg.models.families.sam3.detect import Detections, detect, encode, read

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

PHRASE = "liver"
NOTHING = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
BOXES = torch.tensor([[0.3, 0.4, 0.25, 0.3], [0.7, 0.6, 0.4, 0.1]])  # centre, width, height
LABELS = torch.tensor([1, 0])
CONTENDERS = ("official", "eager", "bfloat16", "openvino")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("picture", "load"))
    parser.add_argument("--small", action="store_true", help="112 pixels, to try the script")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--core", type=int, help="the one to stay on (default: the system's choice)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds before those")
    parser.add_argument("--contenders", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--folder", type=Path, help="for large files, which are removed again")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    report = _picture(arguments) if arguments.what == "picture" else _load(arguments)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def _shape(small: bool) -> Any:
    from promptseg.models.families.sam3.build import SHAPES
    from small_sam3 import SHAPE

    return SHAPE if small else SHAPES["sam3"]


def _picture(arguments: argparse.Namespace) -> str:
    """Processor seconds of the image encoder and of a phrase on its features, by contender; parity."""
    from promptseg import assets
    from promptseg.models.families.sam3.tokens import Tokens

    shape = _shape(arguments.small)
    converted = _converted_elsewhere(arguments) if "openvino" in arguments.contenders else None
    slice_, official, network = _networks(shape, "official" in arguments.contenders)
    tokens = Tokens(assets.fetch("sam3-words", quiet=True))([PHRASE])
    makers: dict[str, Callable[[], Contender]] = {
        "official": lambda: _of_official(official, slice_),
        "eager": lambda: _of_ours(network, slice_, tokens),
        "openvino": lambda: _of_openvino(converted, network, slice_, tokens, arguments.threads),
        "bfloat16": lambda: _of_ours(network.bfloat16(), slice_.bfloat16(), tokens),
    }
    taken = [name for name in makers if name in arguments.contenders]
    made: dict[str, Contender] = {}
    turns = {name: Turn() for name in taken}
    with torch.inference_mode():
        for number in range(-arguments.warm_up, arguments.rounds):
            for name in taken[:-1] if taken[-1] == "bfloat16" else taken:
                made.setdefault(name, made.get(name) or makers[name]())
                turns[name].take(made[name], counts=number >= 0)
        if taken[-1] == "bfloat16":  # last, as its weights take the place of the others
            apart = _parity(turns, made)
            made["bfloat16"] = makers["bfloat16"]()
            for number in range(-arguments.warm_up, arguments.rounds):
                turns["bfloat16"].take(made["bfloat16"], counts=number >= 0)
            apart += _parity_of_answers("bfloat16", turns)
        else:
            apart = _parity(turns, made)
    base = sum(turns["official"].seconds()) if "official" in taken else None
    lines = [
        f"# SAM 3 on a picture, {date.today()}",
        "",
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} million random weights, "
        f"{shape.image_size} pixels, {arguments.threads} thread(s), core {arguments.core}, median of "
        f"{arguments.rounds} round(s) after {arguments.warm_up} to warm up; processor seconds. The "
        "official code and eager share their weights in memory; OpenVINO keeps a copy of those of the "
        "image encoder, and asks for phrases in eager.",
        "",
        "| contender | image encoder | one phrase | ratio to the official code "
        "| resident before, at most during (GiB) |",
        "|---|---|---|---|---|",
    ]
    for name, turn in turns.items():
        encoder, phrase = turn.seconds()
        ratio = "-" if base is None else f"{(encoder + phrase) / base:.2f}"
        memory = f"{turn.before / 2**30:.1f}, {turn.most / 2**30:.1f}"
        lines.append(f"| {name} | {encoder:.2f} | {phrase:.2f} | {ratio} | {memory} |")
    if apart:
        lines += ["", f"Largest differences from the official code, of {PHRASE!r}:", ""]
        lines += [
            "| contender | asked | masks | boxes | scores | presence |",
            "|---|---|---|---|---|---|",
        ]
        lines += apart
    return "\n".join(lines)


class Contender(NamedTuple):
    """One way to compute.

    Attributes:
        encode: gives the features of the picture.
        ask: of features, (N, 4) boxes and (N,) labels gives `Detections`.
    """

    encode: Callable[[], Any]
    ask: Callable[[Any, Tensor, Tensor], Detections]


@dataclass
class Turn:
    """What a contender took.

    Attributes:
        encoder, phrase: processor seconds by round.
        before, most: resident bytes.
        features, answer: of the last round.
    """

    encoder: list[float] = field(default_factory=list)
    phrase: list[float] = field(default_factory=list)
    before: int = 0
    most: int = 0
    features: Any = None
    answer: Detections | None = None

    def take(self, contender: Contender, counts: bool) -> None:
        """One picture and one phrase on it."""
        self.features = self.answer = None
        gc.collect()
        self.before = _status()["VmRSS"]
        Path("/proc/self/clear_refs").write_text("5")  # the largest resident size begins anew
        start = time.process_time()
        self.features = contender.encode()
        middle = time.process_time()
        self.answer = contender.ask(self.features, *NOTHING)
        end = time.process_time()
        self.most = max(self.most, _status()["VmHWM"])
        if counts:
            self.encoder.append(middle - start)
            self.phrase.append(end - middle)
        print(f"{middle - start:.1f} s and {end - middle:.1f} s", file=sys.stderr)

    def seconds(self) -> tuple[float, float]:
        """Medians."""
        return median(self.encoder), median(self.phrase)


def _parity(turns: dict[str, Turn], made: dict[str, Contender]) -> list[str]:
    """Lines of how far answers are from the official ones: of words, and of words with boxes."""
    if "official" not in turns:
        return []
    lines = [
        line for name in made if name != "official" for line in _parity_of_answers(name, turns)
    ]
    if "eager" in made:
        official, eager = (
            made[name].ask(turns[name].features, BOXES, LABELS) for name in ("official", "eager")
        )
        lines.append(f"| eager | with boxes | {_differences(official, eager)} |")
    return lines


def _parity_of_answers(name: str, turns: dict[str, Turn]) -> list[str]:
    if "official" not in turns:
        return []
    official, other = turns["official"].answer, turns[name].answer
    assert official is not None
    assert other is not None
    return [f"| {name} | words | {_differences(official, other)} |"]


def _differences(one: Detections, other: Detections) -> str:
    return " | ".join(
        f"{float((a.float() - b.float()).abs().max()):.1e} ({float(a.float().abs().max()):.2g})"
        for a, b in zip(one, other, strict=True)
    )


def _of_ours(network: Any, slice_: Tensor, tokens: Tensor) -> Contender:
    def ask(levels: Any, boxes: Tensor, labels: Tensor) -> Detections:
        return detect(network, levels, read(network, tokens), boxes.to(slice_.dtype), labels)

    return Contender(lambda: encode(network, slice_), ask)


def _networks(shape: Any, officially: bool) -> tuple[Tensor, Any, Any]:
    """The picture, the official network or None, and ours with the same weights; each time alike."""
    from promptseg.models.families.sam3.build import network_of
    from promptseg.models.families.sam3.keys import own_names

    torch.manual_seed(0)
    slice_ = torch.rand(1, 3, shape.image_size, shape.image_size) * 2 - 1
    official = _official(shape) if officially else None
    network = network_of(shape, seeded=official is None)
    if official is not None:
        network.load_state_dict(own_names(official.state_dict()))  # the same memory
    return slice_, official, network.eval().requires_grad_(False)


def _converted_elsewhere(arguments: argparse.Namespace) -> Path:
    """Our image encoder as a file of OpenVINO, converted by another process.

    A conversion holds the weights several times; what it took would count in the memory of all that
    comes after it.
    """
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "encoder.xml"
    context = multiprocessing.get_context("spawn")
    chosen = arguments.small, "official" in arguments.contenders, path
    process = context.Process(target=_convert, args=chosen)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the conversion for OpenVINO ended with {process.exitcode}")
    return path


def _convert(small: bool, officially: bool, path: Path) -> None:
    import openvino

    slice_, official, network = _networks(_shape(small), officially)
    del official
    for name, part in [*network.named_children()]:
        if name != "vision_encoder":
            delattr(network, name)
            del part
    gc.collect()

    class Levels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = network.vision_encoder

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.encoder(x).fpn_hidden_states[:3])

    with torch.no_grad():  # a trace would hold what every layer computes: 20 GB
        model = openvino.convert_model(torch.export.export(Levels().eval(), (slice_,)))
    openvino.save_model(model, path, compress_to_fp16=False)
    print(f"converted at {_status()['VmHWM'] / 2**30:.1f} GiB", file=sys.stderr)


def _of_openvino(
    converted: Path | None, network: Any, slice_: Tensor, tokens: Tensor, threads: int
) -> Contender:
    """The image encoder on OpenVINO in float32; phrases are eager."""
    import openvino

    compiled = openvino.compile_model(
        converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    )
    request = compiled.create_infer_request()

    def encoded() -> list[Tensor]:
        found = request.infer([slice_.numpy()])
        return [torch.from_numpy(found[k]) for k in range(3)]

    return Contender(encoded, _of_ours(network, slice_, tokens).ask)


def _official(shape: Any) -> Any:
    from models.sam3_peer import official_sam3
    from promptseg import assets

    network = official_sam3(shape, assets.fetch("sam3-words", quiet=True))
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and not tensor.any():  # else boxes would never move
            tensor.normal_(std=0.02)
    return network


def _of_official(official: Any, slice_: Tensor) -> Contender:
    """As its processor of pictures calls it."""
    import pytest

    stage = sys.modules["sam3.model.data_misc"].FindStage(
        img_ids=torch.zeros(1, dtype=torch.long),
        text_ids=torch.zeros(1, dtype=torch.long),
        **dict.fromkeys(("input_boxes", "input_boxes_mask", "input_boxes_label")),
        **dict.fromkeys(("input_points", "input_points_mask")),
    )

    def ask(seen: Any, boxes: Tensor, labels: Tensor) -> Detections:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
            prompt = official._get_dummy_prompt(1)
            for box, label in zip(boxes, labels, strict=True):
                prompt.append_boxes(box.view(1, 1, 4), label.bool().view(1, 1))
            found = official.forward_grounding(
                backbone_out={**seen, **official.backbone.forward_text([PHRASE], device="cpu")},
                find_input=stage,
                geometric_prompt=prompt,
                find_target=None,
            )
        return Detections(
            found["pred_masks"][0],
            found["pred_boxes_xyxy"][0],
            found["pred_logits"][0, :, 0],
            found["presence_logit_dec"][0],
        )

    return Contender(lambda: official.backbone.forward_image(slice_), ask)


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


def _status() -> dict[str, int]:
    """What the system counts of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if "kB" in line}


@contextmanager
def _watched() -> Iterator[dict[str, int]]:
    """The largest resident size while something goes on, with and without pages of mapped files."""
    import threading

    seen = {"rss": 0, "anon": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            facts = _status()
            seen["rss"] = max(seen["rss"], facts["VmRSS"])
            seen["anon"] = max(seen["anon"], facts["RssAnon"])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
