"""Encoder and decoder on every engine, beside the official network, transformers, ONNX Runtime.

Every contender runs in a process of its own, processes take turns over several rounds, threads are
pinned; the official network comes from its own distribution, in eager float32. `lite-medsam` has its
real weights, `sam-vit-b` random ones (the same for all). Reported: median and spread, ratio to the
official network in the same run, achieved TFLOP/s and their share of the machine's measured matmul
peak, peak memory, relative L2 distance of the embedding of a synthetic picture.

    python benchmarks/encoder.py --model lite-medsam --threads 1 -o result.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))

OURS = ("eager", "eager-bf16", "openvino", "openvino-bf16", "native-bf16")
GPU = ("eager", "eager-bf16", "compile-bf16")
PEERS = ("official", "transformers", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("lite-medsam", "sam-vit-b"), default="lite-medsam")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=3, help="timed calls a process and round")
    parser.add_argument("--contenders", nargs="*", help="default: all that fit the device")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_one(arguments)))
        return
    names = arguments.contenders or list(_all(arguments))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for name in names:
                answer = _child(arguments, name, folder)
                if answer is not None:
                    found[name].append(answer)
                print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr)
        peaks = _child(arguments, "peak", folder) or {}
    report = _report(arguments, found, peaks)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def _all(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.device != "cpu":
        return ("official", *GPU)
    peers = PEERS if arguments.model == "sam-vit-b" else ("official", "onnxruntime")
    return (*peers, *OURS)


def _child(arguments: argparse.Namespace, name: str, folder: str) -> dict[str, Any] | None:
    """One contender in a process of its own; None if it cannot run."""
    command = [sys.executable, __file__, "--one", name, "--folder", folder]
    for option in ("model", "threads", "device", "calls"):
        command += [f"--{option}", str(getattr(arguments, option))]
    threads = {k: str(arguments.threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, "PROMPTSEG_THREADS": str(arguments.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"{name} does not run: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _one(arguments: argparse.Namespace) -> dict[str, Any]:
    import resource

    import torch

    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    if arguments.one == "peak":
        from promptseg.runtime.measure import matmul_peak

        return {
            "float32": matmul_peak(torch.float32, device),
            "bfloat16": matmul_peak(torch.bfloat16, device),
            "flops": _flops(arguments.model),
        }
    encode, decode = _contender(arguments, device)

    def timed(call: Callable[[], Any]) -> list[float]:
        call()
        times = []
        for _ in range(arguments.calls):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return times

    with torch.inference_mode():
        embedding = encode()
        times = timed(encode)
        answers = timed(lambda: decode(embedding)) if decode else []
        values = embedding.float().cpu().numpy()
    reference = arguments.folder / "reference.npy"
    if arguments.one == "official":
        np.save(reference, values)
    distance = None
    if reference.exists():
        expected = np.load(reference)
        distance = float(np.linalg.norm(values - expected) / np.linalg.norm(expected))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**30
    return {"encode": times, "decode": answers, "distance": distance, "memory": memory}


def _contender(arguments: argparse.Namespace, device: Any) -> tuple[Callable[[], Any], Any]:
    """Its encoder on the synthetic picture, and its decoder of a box on an embedding."""

    from promptseg.runtime.phantom import phantom_input

    picture, box = phantom_input(256 if arguments.model == "lite-medsam" else 1024, device)
    name = arguments.one
    if name == "official":
        network = _official(arguments.model).to(device)

        def decode(embedding: Any) -> Any:
            sparse, dense = network.prompt_encoder(points=None, boxes=box, masks=None)
            position = network.prompt_encoder.get_dense_pe()
            return network.mask_decoder(
                image_embeddings=embedding,
                image_pe=position,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )

        return lambda: network.image_encoder(picture), decode
    if name == "transformers":
        from transformers import SamConfig, SamModel

        model = SamModel(SamConfig()).eval()  # ViT-B; its weights do not matter for the time
        return lambda: model.get_image_embeddings(picture), None
    network, identity = _ours(arguments.model, device)
    if name == "onnxruntime":
        return _onnx(network, picture, arguments), None
    from promptseg.runtime.engines import engine_named
    from promptseg.runtime.runner import Runner

    runner = Runner(network, engine_named(name), arguments.threads, identity)
    return lambda: runner.encode(picture), lambda e: runner.decode(e, boxes=box)


def _official(model: str) -> Any:
    import peer

    from promptseg import assets

    if model == "lite-medsam":
        return peer.official_lite_medsam(assets.fetch("lite-medsam", quiet=True))
    registry = peer.import_peer(*peer.SEGMENT_ANYTHING).sam_model_registry
    network = registry["vit_b"](checkpoint=None)
    network.load_state_dict(_random_weights(), strict=False)
    return network.eval().requires_grad_(False)


def _ours(model: str, device: Any) -> tuple[Any, str]:
    from promptseg import assets
    from promptseg.models.cards import find_card
    from promptseg.models.checkpoint import build_network, read_checkpoint
    from promptseg.models.families.sam import build_sam_vit_b
    from promptseg.runtime import prepare

    if model == "lite-medsam":
        file = assets.fetch("lite-medsam", quiet=True)
        network = build_network(find_card(model), read_checkpoint(file), file)
        return prepare(network, device), assets.sha256_of(file)
    network = build_sam_vit_b()
    network.load_state_dict(_random_weights())
    return prepare(network, device), "benchmark-random-vit-b"


def _random_weights() -> dict[str, Any]:
    """The same random weights of SAM with ViT-B for every contender."""
    import torch

    from promptseg.models.families.sam import build_sam_vit_b

    generator = torch.Generator().manual_seed(0)
    tensors = build_sam_vit_b().state_dict()
    for name, value in tensors.items():
        if "norm" in name and name.endswith("weight"):
            value.fill_(1)
        elif value.is_floating_point():
            value.normal_(0, 0.02, generator=generator)
    return tensors


def _onnx(network: Any, picture: Any, arguments: argparse.Namespace) -> Callable[[], Any]:
    import onnxruntime
    import torch

    from promptseg.export.write import write_onnx
    from promptseg.runtime.parts import parts_of

    path = arguments.folder / "encoder.onnx"
    if not path.exists():
        write_onnx(parts_of(network)["encoder"], arguments.folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: picture.numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def _flops(model: str) -> dict[str, int]:
    """Operations of the plain network's encoder and decoder; nothing is computed."""
    import torch

    from promptseg.models.families.sam import build_lite_medsam, build_sam_vit_b, vit
    from promptseg.runtime.measure import count_flops

    vit._MOST_BIASED = 1 << 30  # the official formula, without further channels for the positions
    size = 256 if model == "lite-medsam" else 1024
    with torch.device("meta"):
        network = (build_lite_medsam if model == "lite-medsam" else build_sam_vit_b)().eval()
        slices, image = torch.zeros(1, 3, size, size), torch.zeros(1, 256, 64, 64)
        tokens = torch.zeros(1, 2, 256)
        encoder = count_flops(network.image_encoder, slices)
        decoder = count_flops(network.mask_decoder, image, image, tokens, image, False)
    return {"encoder": encoder, "decoder": decoder}


def _report(
    arguments: argparse.Namespace, found: dict[str, list[dict[str, Any]]], peaks: dict[str, Any]
) -> str:
    import torch

    from promptseg.runtime.machine import describe_machine, version_of

    machine = describe_machine()
    versions = ", ".join(
        f"{n} {version_of(n)}" for n in ("openvino", "onnxruntime", "transformers") if version_of(n)
    )
    flops = peaks.get("flops", {})
    lines = [
        f"# {arguments.model} on {arguments.device}, {arguments.threads} threads ({date.today()})",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {', '.join(machine['instructions'])}, "
        f"{machine['memory_gib']} GiB; GPU: {machine['gpu'] or 'none'}; torch {torch.__version__}, "
        f"{versions}. Batch 1. Encoder {flops.get('encoder', 0) / 1e9:.1f} GFLOP, decoder "
        f"{flops.get('decoder', 0) / 1e9:.1f} GFLOP. Measured matmul peak: float32 "
        f"{peaks.get('float32', 0) / 1e12:.2f}, bfloat16 {peaks.get('bfloat16', 0) / 1e12:.2f} "
        f"TFLOP/s. {arguments.rounds} rounds of alternating processes, {arguments.calls} calls each: "
        "median (fastest-slowest).",
        "",
        "| contender | encoder ms | x official | TFLOP/s | of peak | decoder ms | x official "
        "| distance | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    times = {
        name: {part: [t for a in answers for t in a[part]] for part in ("encode", "decode")}
        for name, answers in found.items()
    }
    base = times.get("official")
    for name, own in times.items():
        rate = flops.get("encoder", 0) / median(own["encode"])
        peak = peaks.get("bfloat16" if name.endswith("bf16") else "float32", float("nan"))
        cells = [name, _spread(own["encode"]), _ratio(base, own, "encode"), f"{rate / 1e12:.3f}"]
        cells += [f"{rate / peak:.0%}", _spread(own["decode"]), _ratio(base, own, "decode")]
        distance = found[name][-1]["distance"]
        cells.append("" if distance is None or name == "transformers" else f"{distance:.1e}")
        cells.append(f"{max(a['memory'] for a in found[name]):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(times: list[float]) -> str:
    from promptseg.runtime.measure import spread

    return spread(times) if times else ""


def _ratio(base: dict[str, list[float]] | None, own: dict[str, list[float]], part: str) -> str:
    if not base or not own[part] or not base[part]:
        return ""
    return f"{median(base[part]) / median(own[part]):.2f}"


if __name__ == "__main__":
    main()
