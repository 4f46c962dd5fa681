"""Script that runs in the Python that has nnU-Net; so nothing of promptseg is imported here.

    python program.py about                    says the versions of nnU-Net and torch
    python program.py plan ORDER.json          fingerprint, plans, preprocessed data
    python program.py train ORDER.json         trains; leaves weights.npz and trained.json
    python program.py serve ORDER.json         predicts what lines on the standard input ask for

Answers are lines of JSON on the standard output that begin with `_MARK`; whatever else is printed there
is nnU-Net's own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_MARK = "promptseg:"
_THINNEST = 4  # its augmentation pads by 3 voxels, mirrored
_ALLOWED = (
    "dynamic_network_architectures.",
    "torch.nn.",
)  # what plans may name, which are not trusted


def main() -> None:
    """Do what the first word says."""
    what, *rest = sys.argv[1:]
    if what == "about":
        _about()
        return
    order = json.loads(Path(rest[0]).read_text(encoding="utf-8"))
    os.environ["nnUNet_compile"] = "f"  # noqa: SIM112 (its own spelling)
    for name in ("raw", "preprocessed", "results"):  # read when nnU-Net is imported
        os.environ[f"nnUNet_{name}"] = str(Path(order["folder"]) / name)
    # its planner divides by it; a training with 0 starts no processes
    os.environ["nnUNet_n_proc_DA"] = "1" if what == "plan" else "0"  # noqa: SIM112
    {"plan": _plan, "train": _train, "serve": _serve}[what](order)


def _say(**facts: Any) -> None:
    print(_MARK + json.dumps(facts), flush=True)


def _about() -> None:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in ("nnunetv2", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    _say(**found)


def _plan(order: dict[str, Any]) -> None:
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        preprocess_dataset,
    )

    extract_fingerprint_dataset(order["number"], num_processes=1, show_progress_bar=False)
    memory = {} if order["memory"] is None else {"gpu_memory_target_in_gb": order["memory"]}
    planner = ExperimentPlanner(order["number"], **memory)
    if order["features"] is not None:
        planner.UNet_base_num_features = order["features"]
    planner.plan_experiment()
    plans = Path(order["folder"]) / "preprocessed" / order["name"] / "nnUNetPlans.json"
    content = json.loads(plans.read_text())
    if order["configuration"] not in content["configurations"]:
        raise SystemExit(f"nnU-Net plans no {order['configuration']} for these data")
    thinnest = min(content["configurations"][order["configuration"]]["patch_size"])
    if thinnest < _THINNEST:
        raise SystemExit(
            f"patches of {thinnest} slices or pixels, and nnU-Net's blurring needs {_THINNEST}: learn "
            "from thicker volumes, or slice by slice with --preset semantic-2d"
        )
    if order["batch_size"] is not None:
        content["configurations"][order["configuration"]]["batch_size"] = order["batch_size"]
        plans.write_text(json.dumps(content, indent=1))
    preprocess_dataset(
        order["number"], configurations=(order["configuration"],), num_processes=(1,)
    )
    splits = plans.with_name("splits_final.json")
    splits.write_text(json.dumps([{"train": order["train"], "val": order["validation"]}]))


def _trainer_named(name: str) -> Any:
    """Import a trainer from the file that defines it.

    nnU-Net's own search imports one file after the other, and fails at those that want packages which
    the trainer asked for does without (timm).
    """
    import nnunetv2

    package = Path(nnunetv2.__path__[0])
    for file in sorted((package / "training" / "nnUNetTrainer").rglob("*.py")):
        if f"class {name}(" in file.read_text(encoding="utf-8"):
            parts = file.relative_to(package).with_suffix("").parts
            return getattr(importlib.import_module(".".join((package.name, *parts))), name)
    raise SystemExit(f"nnU-Net has no trainer of the name {name}")


def _train(order: dict[str, Any]) -> None:
    import numpy as np
    import torch
    from nnunetv2.run import run_training

    run_training.recursive_find_trainer_class_by_name = _trainer_named
    torch.set_num_threads(order["threads"])
    torch.manual_seed(order["seed"])
    np.random.seed(order["seed"])
    device = torch.device(order["device"])
    again = bool(order["again"])
    trainer = run_training.get_trainer_from_args(
        order["name"],
        order["configuration"],
        0,
        order["trainer"],
        continue_training=again,
        device=device,
    )
    trainer.num_epochs = order["epochs"]
    trainer.num_iterations_per_epoch = order["iterations"]
    trainer.num_val_iterations_per_epoch = max(1, order["iterations"] // 5)
    trainer.save_every = 1
    run_training.maybe_load_checkpoint(trainer, again, False)
    folder = Path(order["folder"])
    spent, asked_by = _Spent(order, folder / "spent.json", again), os.getppid()
    trainer.on_train_start()
    for _ in range(
        trainer.current_epoch, trainer.num_epochs
    ):  # as its `run_training`, but for time
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        trained: list[Any] = []
        while len(trained) < trainer.num_iterations_per_epoch:
            gone = spent.share()
            if gone >= 1 and trained:
                break
            if os.getppid() != asked_by:
                raise SystemExit("nobody waits for this training any more")
            _slow_down(trainer, gone)
            trained.append(trainer.train_step(next(trainer.dataloader_train)))
        spent.updates += len(trained)
        trainer.on_train_epoch_end(trained)
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            seen = [
                trainer.validation_step(next(trainer.dataloader_val))
                for _ in range(trainer.num_val_iterations_per_epoch)
            ]
            trainer.on_validation_epoch_end(seen)
        trainer.on_epoch_end()
        loss = float(trainer.logger.get_value("train_losses", step=-1))
        _say(epoch=trainer.current_epoch, loss=loss, updates=spent.updates)
        spent.keep()
        if spent.share() >= 1:
            break
    trainer.on_train_end()
    weights = {name: value.numpy() for name, value in trainer.network.cpu().state_dict().items()}
    np.savez(folder / "weights.npz", **weights)
    said = {
        "plans": trainer.plans_manager.plans,
        "dataset": trainer.dataset_json,
        "configuration": order["configuration"],
        "mirror_axes": list(trainer.inference_allowed_mirroring_axes or ()),
        "epochs": trainer.current_epoch,
        "updates": spent.updates,
        "cpu_seconds": spent.seconds()[1],
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
    }
    (folder / "trained.json").write_text(json.dumps(said, default=_plain))
    _say(done=True)


class _Spent:
    """Time that a training has taken so far, before interruptions too.

    Args:
        order: with `minutes` and `cpu_minutes`, which are None where there is no limit.
        file: that keeps it.
        again: whether the training goes on.
    """

    def __init__(self, order: dict[str, Any], file: Path, again: bool) -> None:
        self._file, self._limits = file, (order["minutes"], order["cpu_minutes"])
        kept = json.loads(file.read_text()) if again and file.exists() else {}
        self.updates = int(kept.get("updates", 0))
        self._before = tuple(kept.get("seconds", (0.0, 0.0)))
        self._started = time.monotonic(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Return the seconds so far, by the clock and of the processor."""
        wall, cpu = time.monotonic() - self._started[0], time.process_time() - self._started[1]
        return self._before[0] + wall, self._before[1] + cpu

    def share(self) -> float:
        """Return the share that has been used of the nearest limit; 0 where there is no limit."""
        each = zip(self.seconds(), self._limits, strict=True)
        return max((s / (60 * limit) for s, limit in each if limit is not None), default=0.0)

    def keep(self) -> None:
        """Write it down."""
        said = {"updates": self.updates, "seconds": self.seconds()}
        self._file.write_text(json.dumps(said), encoding="utf-8")


def _slow_down(trainer: Any, gone: float) -> None:
    """Lower the learning rate with the time where that ends before the epochs do.

    nnU-Net's own schedule, (1 - epoch / epochs) ** 0.9, would else end in the middle.
    """
    if gone * trainer.num_epochs > trainer.current_epoch:
        trainer.lr_scheduler.step(min(gone, 0.999) * trainer.num_epochs)


def _serve(order: dict[str, Any]) -> None:
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.set_num_threads(order["threads"])
    device = torch.device(order["device"])
    plans = PlansManager(order["plans"])
    configuration = plans.get_configuration(order["configuration"])
    labels = plans.get_label_manager(order["dataset"])
    kwargs, imported = (
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
    )
    named = [configuration.network_arch_class_name, *(kwargs[k] for k in imported if kwargs[k])]
    if strange := [name for name in named if not str(name).startswith(_ALLOWED)]:
        raise SystemExit(f"plans that name {strange[0]!r}, which is no part of a network")
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        kwargs,
        imported,
        len(order["dataset"]["channel_names"]),
        labels.num_segmentation_heads,
        deep_supervision=False,
    )
    with np.load(order["weights"], allow_pickle=False) as archive:
        weights = {name: torch.from_numpy(archive[name]) for name in archive.files}
    network.load_state_dict(weights)
    predictor = nnUNetPredictor(use_mirroring=False, device=device, allow_tqdm=False)
    predictor.manual_initialization(
        network.to(device), plans, configuration, [weights], order["dataset"], "nnUNetTrainer", None
    )
    _say(ready=True)
    for line in sys.stdin:
        asked = json.loads(line)
        image = np.load(asked["image"], allow_pickle=False)
        try:
            about = {"spacing": asked["spacing"]}
            _, chances = predictor.predict_single_npy_array(image, about, None, None, True)
            np.save(asked["answer"], np.asarray(chances, np.float32))
            _say(done=True)
        except Exception as error:  # said there, where the question came from
            _say(error=f"{type(error).__name__}: {error}"[:500])


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as JSON takes them."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


if __name__ == "__main__":
    main()
