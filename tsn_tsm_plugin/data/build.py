"""build_dataset, build_loader, ...: build datasets and loaders from a recipe."""

import functools
import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.node import plain
from tsn_tsm_plugin.data.annotations import read_label_map
from tsn_tsm_plugin.data.collate import collate_clips
from tsn_tsm_plugin.data.datasets import SplitRequest
from tsn_tsm_plugin.data.motion.dataset import prepare_motion
from tsn_tsm_plugin.data.reader import DEFAULT_DECODER
from tsn_tsm_plugin.data.samplers import EvalBatchSampler, ShardedBatchSampler, TrainBatchSampler
from tsn_tsm_plugin.data.signal_safe_loader import SignalSafeDataLoader
from tsn_tsm_plugin.data.stage_shards import staging_folder, with_staged_shards
from tsn_tsm_plugin.data.video_dataset import ListedVideo, VideoListDataset
from tsn_tsm_plugin.data.workers import usable_cpus
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import is_url, join
from tsn_tsm_plugin.registry import DATASETS, DECODERS, bind_arguments
from tsn_tsm_plugin.transforms.build import build_clip_transform, build_index_sampler
from tsn_tsm_plugin.transforms.modality import MODALITIES

logger = get_logger(__name__)


def list_path(cfg: CfgNode, split: str) -> str:
    """Return the list file of a split, in the dataset's folder; see :func:`ensure_data_dir`."""
    return split_lists(cfg, split)[0][0]


def split_lists(cfg: CfgNode, split: str) -> list[tuple[str, str]]:
    """Return the list files of a split, each with the folder or URL put before its paths.

    Without a test list, the test split has the list of validation.

    Raises:
        ConfigError: If the data folder does not exist.
    """
    files = {
        "train": cfg.DATA.TRAIN_LIST,
        "val": cfg.DATA.VAL_LIST,
        "test": cfg.DATA.TEST_LIST or cfg.DATA.VAL_LIST,
    }
    if split not in files:
        raise ValueError(f"split must be one of {list(files)}, got {split!r}.")
    lists = [(files[split], cfg.DATA.PATH_PREFIX)]
    if split == "train":
        lists += cfg.DATA.FURTHER_TRAIN_LISTS
    data_dir = ensure_data_dir(cfg)
    return [(join(data_dir, file), join(data_dir, prefix)) for file, prefix in lists]


def is_data_at_hand(cfg: CfgNode) -> bool:
    """Return whether the dataset's folder exists, or is reachable through iopath only."""
    data_dir = cfg.DATA.PATH_TO_DATA_DIR
    return is_url(data_dir) or Path(data_dir).is_dir()


def ensure_data_dir(cfg: CfgNode) -> str:
    """Return the dataset's folder or URL; create it first if ``DATA.CREATE_IF_MISSING`` is set.

    Several ranks and processes may call this together: one process makes the folder, the others wait.

    Raises:
        ConfigError: If the folder does not exist and ``DATA.CREATE_IF_MISSING`` is empty.
    """
    data_dir = cfg.DATA.PATH_TO_DATA_DIR
    if is_data_at_hand(cfg):
        return data_dir
    if cfg.DATA.CREATE_IF_MISSING == "motion":
        return str(prepare_motion(data_dir, num_workers=usable_cpus()))
    raise ConfigError(
        f"DATA.PATH_TO_DATA_DIR must be an existing folder, got {data_dir!r}. Set it to the folder of "
        "the dataset; `tsn-tsm-prepare-dataset --help` prepares one."
    )


def read_class_names(cfg: CfgNode) -> list[str]:
    """Return the names of the classes from ``DATA.LABEL_MAP``, or numbers if there is no label map.

    Raises:
        ConfigError: If the label map does not name exactly ``MODEL.NUM_CLASSES`` classes.
    """
    num_classes = cfg.MODEL.NUM_CLASSES
    if not cfg.DATA.LABEL_MAP:
        return [str(label) for label in range(num_classes)]
    path = join(ensure_data_dir(cfg), cfg.DATA.LABEL_MAP)
    names = read_label_map(path)
    if len(names) != num_classes:
        raise ConfigError(
            f"DATA.LABEL_MAP must name MODEL.NUM_CLASSES = {num_classes} classes, "
            f"but {path} names {len(names)}."
        )
    return names


def build_dataset(cfg: CfgNode, split: str) -> VideoListDataset:
    """Build the dataset of a split, creating the embedded dataset first if the recipe requests it.

    Args:
        cfg: The recipe.
        split: ``"train"``, ``"val"`` (one view) or ``"test"`` (the views of ``TEST``).

    Raises:
        ConfigError: If the data folder does not exist, or a component does not take its options.
        AnnotationError: If the list file is missing or malformed.
    """
    (list_file, prefix), *further = split_lists(cfg, split)
    modality = MODALITIES[cfg.DATA.MODALITY]
    lines = {"separator": cfg.DATA.PATH_LABEL_SEPARATOR}
    files = {"template": cfg.DATA.FRAME_TEMPLATE, "start_index": cfg.DATA.FRAME_START_INDEX}
    preset = {"videos": lines, "frames": {**lines, **files}}.get(cfg.DATA.FORMAT, {})
    request = SplitRequest(
        split,
        list_file=list_file,
        prefix=prefix,
        num_classes=cfg.MODEL.NUM_CLASSES,
        multi_label=cfg.DATA.MULTI_LABEL,
        index_sampler=build_index_sampler(cfg, split),
        clip_transform=build_clip_transform(cfg, split),
        seed=cfg.RNG_SEED,
        reader=reader_options(cfg, split),
        num_stacked=modality.num_stacked,
        is_flow=modality.is_flow,
    )
    options = {**preset, **plain(cfg.DATA.FORMAT_OPTIONS)}
    create = functools.partial(DATASETS.create, cfg.DATA.FORMAT, options=options, key="DATA.FORMAT_OPTIONS")
    dataset: VideoListDataset = create(request)
    for file, folder in further:
        dataset.entries += create(replace(request, list_file=file, prefix=folder)).entries
    return dataset


def reader_options(cfg: CfgNode, split: str) -> dict[str, Any]:
    """Return the decoding options of a split as keyword arguments of `VideoReader`.

    Raises:
        ConfigError: If ``DATA.DECODING_BACKEND`` does not take ``DATA.DECODER_OPTIONS``.
    """
    decoder = DEFAULT_DECODER if cfg.DATA.DECODING_BACKEND == "auto" else cfg.DATA.DECODING_BACKEND
    options = plain(cfg.DATA.DECODER_OPTIONS)
    if options:
        label = f"DATA.DECODER_OPTIONS of decoder {decoder!r}"
        bind_arguments(DECODERS.get(decoder), label, "", num_threads=1, **options)
    short_side = 0
    if cfg.DATA.SCALE_IN_DECODER:
        short_side = cfg.DATA.TRAIN_SHORT_SIDE if split == "train" else cfg.DATA.TEST_SHORT_SIDE
    return {"decoder": decoder, "decoder_options": options, "short_side": short_side}


def class_counts(entries: Sequence[ListedVideo], *, num_classes: int) -> list[int]:
    """Return the number of videos of each class; a video with several labels counts for each label."""
    counts = [0] * num_classes
    for entry in entries:
        for label in (entry.label,) if isinstance(entry.label, int) else entry.label:
            counts[label] += 1
    return counts


def _build_batch_sampler(
    cfg: CfgNode, split: str, *, entries: Sequence[ListedVideo], world_size: int, rank: int
) -> ShardedBatchSampler:
    if split == "train":
        labels = [entry.label for entry in entries if isinstance(entry.label, int)]
        try:
            return TrainBatchSampler(
                len(entries),
                batch_size=cfg.TRAIN.BATCH_SIZE // world_size,
                world_size=world_size,
                rank=rank,
                seed=cfg.RNG_SEED,
                num_repeats=cfg.TRAIN.NUM_REPEATS,
                balanced_labels=labels if cfg.TRAIN.CLASS_BALANCED else None,
                class_power=cfg.TRAIN.CLASS_POWER,
                drop_last=cfg.TRAIN.DROP_LAST,
            )
        except ValueError as error:
            raise ConfigError(f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE}: {error}") from error
    batch_size = max(1, cfg.TEST.BATCH_SIZE // world_size)
    return EvalBatchSampler(len(entries), batch_size=batch_size, world_size=world_size, rank=rank)


def build_loader(cfg: CfgNode, split: str, *, world_size: int = 1, rank: int = 0) -> DataLoader:
    """Build one rank's loader of a split.

    Call the loader's ``batch_sampler.set_epoch(epoch, start_batch=0)`` before each epoch of training.
    ``collate_clips`` makes the batches. Each worker computes on one thread, as in PyTorch, and holds back
    stop signals.

    Args:
        cfg: The recipe.
        split: ``"train"`` (shuffled, ``TRAIN.BATCH_SIZE`` over all ranks), ``"val"`` or ``"test"`` (each
            video once over all ranks, ``TEST.BATCH_SIZE`` over all ranks).
        world_size: Number of ranks.
        rank: Number of this rank.

    Raises:
        ConfigError: If the data folder does not exist.
        AnnotationError: If the list file is missing or malformed.
    """
    dataset = build_dataset(cfg, split)
    if cfg.DATA.STAGE_TO:
        dataset.entries = with_staged_shards(dataset.entries, staging_folder(cfg.DATA.STAGE_TO))
    num_workers = cfg.DATA_LOADER.NUM_WORKERS
    return SignalSafeDataLoader(
        dataset,
        batch_sampler=_build_batch_sampler(
            cfg, split, entries=dataset.entries, world_size=world_size, rank=rank
        ),
        collate_fn=functools.partial(
            collate_clips, multi_label_classes=cfg.MODEL.NUM_CLASSES if cfg.DATA.MULTI_LABEL else 0
        ),
        num_workers=num_workers,
        multiprocessing_context=_start_method(cfg.DATA_LOADER.START_METHOD) if num_workers else None,
        # Keep the workers of training only: validation workers would hold memory between epochs.
        persistent_workers=num_workers > 0 and split == "train",
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and torch.cuda.is_available(),
    )


def _start_method(wanted: str) -> str:
    """Return the start method of workers: the wanted method, or spawn if the system lacks it."""
    if wanted in multiprocessing.get_all_start_methods():
        return wanted
    logger.warning(f"DATA_LOADER.START_METHOD {wanted} does not exist here; workers start by spawn.")
    return "spawn"
