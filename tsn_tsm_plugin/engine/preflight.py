"""check_before_run: check everything that a run needs before its first step or job."""

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tsn_tsm_plugin.checkpoints.zoo import is_fetched
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.defaults import value_of
from tsn_tsm_plugin.config.values import named_options
from tsn_tsm_plugin.data.build import build_dataset, ensure_data_dir, is_data_at_hand, read_class_names
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints
from tsn_tsm_plugin.engine.find_weights import list_weights, load_initial_weights, load_tested_weights
from tsn_tsm_plugin.engine.freezing import freeze_modules
from tsn_tsm_plugin.errors import ConfigError, TsnTsmError, first_line
from tsn_tsm_plugin.models import build_model
from tsn_tsm_plugin.runs.loggers import missing_package
from tsn_tsm_plugin.solver import build_optimizer
from tsn_tsm_plugin.transforms.build import build_batch_transform

# Pairs of backbone and weights that this process has read.
_read: set[tuple[str, str]] = set()


def check_before_run(
    cfg: CfgNode,
    task: str,
    *,
    world_size: int = 1,
    has_gpus: bool = True,
    run_dir: str | Path = "",
    before: str = "run",
) -> None:
    """Raise one error with all faults found; open no video and write nothing.

    Check lists, label map, weights, network, frozen parts, transforms, decoder, output folder and packages.
    Skip a dataset that the run itself creates.

    Args:
        cfg: The recipe.
        task: ``"train"`` or ``"evaluate"``.
        world_size: Number of processes.
        has_gpus: Whether the processes have GPUs.
        run_dir: Folder that the task writes into; empty: ``OUTPUT_DIR``.
        before: ``"run"``, ``"job"``: fetch the backbone's weights and open the weights to test, which a job
            does late, or ``"dry run"``: the data may be missing.

    Raises:
        ConfigError: If there are faults; one fault per line.
    """
    folder = Path(run_dir or cfg.OUTPUT_DIR).expanduser()
    data = list(_faults_of_data(cfg, task, needs_data=before != "dry run"))
    model, fault = _network(cfg, task)
    class_names = read_class_names(cfg) if is_data_at_hand(cfg) and not data else []
    faults = [
        *_faults_of_size(cfg, task, world_size, has_gpus=has_gpus),
        *data,
        *fault,
        *_faults_of_weights(cfg, task, folder, model, class_names, before),
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


def _faults_of_size(cfg: CfgNode, task: str, world_size: int, *, has_gpus: bool) -> Iterator[str]:
    batch = cfg.TRAIN.BATCH_SIZE
    if task == "train" and batch % world_size:
        yield (
            f"TRAIN.BATCH_SIZE must be a multiple of the number of processes, got {batch} for {world_size}. "
            "Change one of them."
        )
    if task == "train" and cfg.BN.NORM_TYPE == "sync_batchnorm" and world_size > 1 and not has_gpus:
        yield (
            f"BN.NORM_TYPE must be 'batchnorm' for {world_size} processes on CPUs, got 'sync_batchnorm': "
            "PyTorch synchronises batch norm between GPUs only. Use one process, GPUs or 'batchnorm'."
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


def _network(cfg: CfgNode, task: str) -> tuple[nn.Module | None, list[str]]:
    """Build the network on the meta device, run a clip, and check that parameters can be trained.

    Returns:
        The network, or the fault.
    """
    try:
        with torch.device("meta"):
            model = build_model(cfg, with_backbone_weights=False)
        size = cfg.DATA.TRAIN_CROP_SIZE if task == "train" else cfg.DATA.TEST_CROP_SIZE
        with torch.no_grad():
            shape = (1, model.in_channels, cfg.DATA.NUM_FRAMES, size, size)
            model.eval()(torch.empty(shape, device="meta"))
        if task == "train":
            freeze_modules(cfg, model)
            if not any(parameter.requires_grad for parameter in model.parameters()):
                frozen = list(cfg.MODEL.FROZEN_MODULES)
                return None, [
                    f"MODEL.FROZEN_MODULES must leave something to train, got {frozen!r}, which freezes "
                    "every parameter."
                ]
            build_optimizer(cfg, model)
    except (TsnTsmError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        # Backbones of other libraries raise various errors for sizes and options.
        return None, [f"MODEL.BACKBONE {cfg.MODEL.BACKBONE}: {first_line(error)}"]
    return model, []


def _faults_of_weights(
    cfg: CfgNode, task: str, run_dir: Path, model: nn.Module | None, class_names: Sequence[str], before: str
) -> Iterator[str]:
    """Open the weights to test or to start from; a resumed run needs none."""
    load: Callable[..., Any] = load_tested_weights
    key, is_opened = "TEST.CHECKPOINT_FILE_PATH", before != "run"
    if task == "train":
        if list_checkpoints(run_dir / "checkpoints"):
            return
        key, load, is_opened = "TRAIN.CHECKPOINT_FILE_PATH", load_initial_weights, True
        yield from _faults_of_backbone_weights(cfg, is_sound=model is not None, may_fetch=before == "job")
    path = _local(value_of(cfg, key))
    if model is not None and is_opened and path and Path(path).exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of each tensor: the meta device holds no values.
            yield from _attempt(lambda: load(cfg, model, class_names), f"{key}: ")
    elif path:
        yield from _attempt(lambda: _check_file(path), f"{key}: ")


def _faults_of_backbone_weights(cfg: CfgNode, *, is_sound: bool, may_fetch: bool) -> Iterator[str]:
    weights = cfg.MODEL.BACKBONE_WEIGHTS
    path, pair = _local(weights), (cfg.MODEL.BACKBONE, weights)
    is_file = any(mark in path for mark in ("/", "\\")) or path.endswith(
        (".pt", ".pth", ".safetensors", ".ckpt")
    )
    if is_file and not Path(path).expanduser().is_file():
        yield f"MODEL.BACKBONE_WEIGHTS {path} is not a file. Give the path of ImageNet weights."
        return
    is_wanted = is_file or (weights and may_fetch and not cfg.TRAIN.CHECKPOINT_FILE_PATH)
    if is_sound and is_wanted and pair not in _read:
        faults = _attempt(lambda: build_model(cfg), "MODEL.BACKBONE_WEIGHTS: ")
        yield from faults
        if not faults:
            _read.add(pair)


def _local(path: str) -> str:
    """Return a path of this machine as it is, and an empty text for weights that are fetched."""
    return "" if is_fetched(path) else path


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
