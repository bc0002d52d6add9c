"""check_before_run: check everything that a run needs before its first step or job."""

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.defaults import value_of
from tsn_tsm_plugin.config.values import named_options
from tsn_tsm_plugin.data.build import build_dataset, ensure_data_dir, is_data_at_hand, read_class_names
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints
from tsn_tsm_plugin.engine.find_weights import list_weights, load_initial_weights, load_tested_weights
from tsn_tsm_plugin.engine.freezing import FrozenModules
from tsn_tsm_plugin.errors import ConfigError, TsnTsmError, first_line
from tsn_tsm_plugin.models import build_model
from tsn_tsm_plugin.paths import is_url
from tsn_tsm_plugin.runs.loggers import missing_package
from tsn_tsm_plugin.solver import build_optimizer
from tsn_tsm_plugin.transforms.build import build_batch_transform

_Load = Callable[[CfgNode, nn.Module, Sequence[str]], Any]


def check_before_run(
    cfg: CfgNode,
    task: str,
    *,
    world_size: int = 1,
    run_dir: str | Path = "",
    needs_data: bool = True,
    opens_tested_weights: bool = False,
) -> None:
    """Raise one error with all faults found; open no video and write nothing.

    Check lists, label map, weights, network, frozen parts, transforms, decoder, output folder and packages.
    Skip a dataset that the run itself creates.

    Args:
        cfg: The recipe.
        task: ``"train"`` or ``"evaluate"``.
        world_size: Number of processes.
        run_dir: Folder that the task writes into; empty: ``OUTPUT_DIR``.
        needs_data: Whether a missing data folder is a fault.
        opens_tested_weights: Whether the weights to test are opened too; a job would open them late.

    Raises:
        ConfigError: If there are faults; one fault per line.
    """
    folder = Path(run_dir or cfg.OUTPUT_DIR).expanduser()
    data = list(_faults_of_data(cfg, task, needs_data=needs_data))
    network = list(_faults_of_network(cfg, task))
    class_names = read_class_names(cfg) if is_data_at_hand(cfg) and not data else []
    if task == "evaluate":
        weights = _faults_of_weights(
            cfg,
            "TEST.CHECKPOINT_FILE_PATH",
            load_tested_weights,
            class_names,
            is_opened=opens_tested_weights and not network,
        )
    else:
        weights = _faults_of_initial_weights(cfg, folder, class_names, is_network_sound=not network)
    faults = [
        *_faults_of_size(cfg, task, world_size),
        *data,
        *network,
        *weights,
        *_faults_of_folder(folder),
        *_faults_of_packages(cfg),
    ]
    if faults:
        count = "" if len(faults) == 1 else f"{len(faults)} faults, found before the run began:\n  "
        raise ConfigError(count + "\n  ".join(fault.replace("\n", "\n    ") for fault in faults))


def used_splits(cfg: CfgNode, task: str) -> list[str]:
    """Return the splits that a task reads; without held-out lists training neither validates nor tests."""
    held_out = ["test"] if cfg.DATA.TEST_LIST or cfg.DATA.VAL_LIST else []
    if task == "evaluate":
        return ["test"]
    if cfg.DATA.VAL_LIST and cfg.TRAIN.EVAL_PERIOD:
        held_out.insert(0, "val")
    return ["train", *held_out]


def _attempt(work: Callable[[], Any], prefix: str = "") -> list[str]:
    """Return the message of a user error of ``work``, or an empty list."""
    try:
        work()
    except TsnTsmError as error:
        return [f"{prefix}{error}"]
    return []


def _faults_of_size(cfg: CfgNode, task: str, world_size: int) -> Iterator[str]:
    batch = cfg.TRAIN.BATCH_SIZE
    if task == "train" and batch % world_size:
        yield (
            f"TRAIN.BATCH_SIZE must be a multiple of the number of processes, got {batch} for {world_size}. "
            "Change one of them."
        )
    if cfg.MODEL.NUM_CLASSES < 2 and not cfg.DATA.MULTI_LABEL:
        yield (
            f"MODEL.NUM_CLASSES must be at least 2, got {cfg.MODEL.NUM_CLASSES}: one class leaves "
            "nothing to classify. A single yes-or-no label needs DATA.MULTI_LABEL True."
        )


def _faults_of_data(cfg: CfgNode, task: str, *, needs_data: bool) -> Iterator[str]:
    if task == "evaluate" and not (cfg.DATA.TEST_LIST or cfg.DATA.VAL_LIST):
        yield "DATA.TEST_LIST must name the videos to test, got '' for it and for DATA.VAL_LIST."
        return
    if cfg.DATA.STAGE_TO and cfg.DATA.FORMAT != "shards":
        yield f"DATA.STAGE_TO needs DATA.FORMAT shards, got {cfg.DATA.FORMAT!r}: only shards are copied."
    if not is_data_at_hand(cfg):
        if needs_data and not cfg.DATA.CREATE_IF_MISSING:
            yield from _attempt(lambda: ensure_data_dir(cfg))
        return
    yield from _attempt(lambda: read_class_names(cfg))
    if task == "train":
        yield from _attempt(lambda: build_batch_transform(cfg))
    lists = {
        "train": "TRAIN_LIST",
        "val": "VAL_LIST",
        "test": "TEST_LIST" if cfg.DATA.TEST_LIST else "VAL_LIST",
    }
    splits: dict[str, str] = {}
    for split in used_splits(cfg, task):
        splits.setdefault(lists[split], split)
    for name, split in splits.items():
        yield from _attempt(functools.partial(build_dataset, cfg, split), f"DATA.{name}: ")


def _faults_of_network(cfg: CfgNode, task: str) -> Iterator[str]:
    """Build the network on the meta device, run a clip, and check that parameters can be trained."""
    try:
        with torch.device("meta"):
            model = build_model(cfg, with_backbone_weights=False)
        size = cfg.DATA.TRAIN_CROP_SIZE if task == "train" else cfg.DATA.TEST_CROP_SIZE
        with torch.no_grad():
            shape = (1, model.in_channels, cfg.DATA.NUM_FRAMES, size, size)
            model.eval()(torch.empty(shape, device="meta"))
        if task == "train":
            FrozenModules(
                model,
                frozen_modules=tuple(cfg.MODEL.FROZEN_MODULES),
                frozen_stages=cfg.MODEL.FROZEN_STAGES,
                partial_bn=cfg.MODEL.PARTIAL_BN,
            )
            if not any(parameter.requires_grad for parameter in model.parameters()):
                yield (
                    "MODEL.FROZEN_MODULES must leave something to train, got "
                    f"{list(cfg.MODEL.FROZEN_MODULES)!r}, which freezes every parameter."
                )
                return
            build_optimizer(cfg, model)
    except (TsnTsmError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        # Backbones of other libraries raise various errors for sizes and options.
        yield f"MODEL.BACKBONE {cfg.MODEL.BACKBONE}: {first_line(error)}"


def _faults_of_initial_weights(
    cfg: CfgNode, run_dir: Path, class_names: Sequence[str], *, is_network_sound: bool
) -> Iterator[str]:
    """Open the weights to start from; a resumed run needs none."""
    if list_checkpoints(run_dir / "checkpoints"):
        return
    imagenet = _local(cfg.MODEL.BACKBONE_WEIGHTS)
    is_file = any(mark in imagenet for mark in ("/", "\\")) or imagenet.endswith(
        (".pt", ".pth", ".safetensors", ".ckpt")
    )
    if is_file and not Path(imagenet).expanduser().is_file():
        yield f"MODEL.BACKBONE_WEIGHTS {imagenet} is not a file. Give the path of ImageNet weights."
    elif is_file and is_network_sound:
        yield from _attempt(lambda: build_model(cfg), "MODEL.BACKBONE_WEIGHTS: ")
    yield from _faults_of_weights(
        cfg, "TRAIN.CHECKPOINT_FILE_PATH", load_initial_weights, class_names, is_opened=is_network_sound
    )


def _faults_of_weights(
    cfg: CfgNode, key: str, load: _Load, class_names: Sequence[str], *, is_opened: bool
) -> Iterator[str]:
    path = _local(value_of(cfg, key))
    if is_opened and path and Path(path).exists():
        yield from _attempt(lambda: _load_without_memory(load, cfg, class_names), f"{key}: ")
    else:
        yield from _faults_of_file(path, key)


def _load_without_memory(load: _Load, cfg: CfgNode, class_names: Sequence[str]) -> None:
    with torch.device("meta"):
        model = build_model(cfg, with_backbone_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of each tensor: the meta device holds no values.
        load(cfg, model, class_names)


def _local(path: str) -> str:
    """Return a path of this machine as it is, and an empty text for weights that are fetched."""
    return "" if is_url(path) or path.startswith("zoo:") else path


def _faults_of_file(path: str, key: str) -> list[str]:
    return _attempt(lambda: _check_file(path), f"{key}: ") if path else []


def _check_file(path: str) -> None:
    if not list_weights(path)[0].is_file():
        raise ConfigError(f"{path} is not a file: give the path of a checkpoint, or of a run folder.")


def _faults_of_folder(run_dir: Path) -> Iterator[str]:
    there = next((folder for folder in (run_dir, *run_dir.parents) if folder.exists()), Path())
    if not there.is_dir() or not os.access(there, os.W_OK):
        yield f"OUTPUT_DIR {run_dir} cannot be written: {there} is not a folder that you may write to."


def _faults_of_packages(cfg: CfgNode) -> Iterator[str]:
    """Check the packages of loggers, which are imported late."""
    if cfg.TENSORBOARD.ENABLE and (fault := missing_package("tensorboard")):
        yield f"TENSORBOARD.ENABLE {fault}, or set it to False."
    for name in dict(named_options(item) for item in cfg.LOGGERS):
        if fault := missing_package(name):
            yield f"LOGGERS {name} {fault}, or remove it from LOGGERS."
