"""Weights to give away: a safetensors file that carries its recipe, and a page that says what it is."""

import json
from pathlib import Path
from typing import Any

import torch
from iopath.common.file_io import g_pathmgr
from safetensors.torch import save

from tsn_tsm_plugin import __version__
from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.engine.trained import TrainedModel
from tsn_tsm_plugin.models.complexity import measure_complexity

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"


def share(trained: TrainedModel, folder: str, *, results: dict[str, Any] | None = None) -> list[str]:
    """Write weights and model card into a folder, from where ``load_trained`` reads them.

    The weights are read as data and cannot run code. Nothing of the run that is private goes along: no
    optimiser state, no host names, no output folder.

    Args:
        trained: The network.
        folder: Any path that iopath can write; made if it is local.
        results: The ``results.json`` of the run, for the card.

    Returns:
        The paths that were written.
    """
    g_pathmgr.mkdirs(folder)
    weights_path, card_path = f"{folder}/{WEIGHTS_FILE}", f"{folder}/{CARD_FILE}"
    with g_pathmgr.open(weights_path, "wb") as file:
        file.write(as_safetensors(trained))
    with g_pathmgr.open(card_path, "w") as file:
        file.write(model_card(trained, results=results or {}))
    return [weights_path, card_path]


def as_safetensors(trained: TrainedModel) -> bytes:
    """Return the content of a safetensors file with the recipe and the class names in its metadata."""
    state = {name: value.cpu().contiguous() for name, value in trained.model.state_dict().items()}
    return save(
        state, metadata={"config": _public_config(trained), "class_names": json.dumps(trained.class_names)}
    )


def _public_config(trained: TrainedModel) -> str:
    cfg = trained.cfg.clone()
    cfg.defrost()
    # Where this machine keeps things is nobody else's business, and of no use to them.
    cfg.OUTPUT_DIR = ""
    cfg.TRAIN.CHECKPOINT_FILE_PATH = cfg.TEST.CHECKPOINT_FILE_PATH = ""
    cfg.DATA.PATH_TO_DATA_DIR = Path(cfg.DATA.PATH_TO_DATA_DIR).name
    return cfg.dump()


def model_card(trained: TrainedModel, *, results: dict[str, Any]) -> str:
    """Return the page: what the network is, how it was trained and tested, how to load it.

    Args:
        trained: The network.
        results: With ``top1``, ``top5``, ``mean_class``, ``num_videos``, as far as they are known.
    """
    cfg = trained.cfg
    dataset = Path(cfg.DATA.PATH_TO_DATA_DIR).name or "a dataset of its own"
    accuracy = [
        f"| {name} | {results[key]:.2f} |"
        for key, name in (("top1", "top-1"), ("top5", "top-5"), ("mean_class", "mean class"))
        if key in results
    ]
    tested = [
        "## Accuracy",
        "",
        f"On {results.get('num_videos', '?')} videos of {dataset}, in percent.",
        "",
        "| | |",
        "| --- | ---: |",
        *accuracy,
        "",
    ]
    lines = [
        "---",
        "library_name: tsn_tsm_plugin",
        "pipeline_tag: video-classification",
        "tags: [video, action-recognition, pytorchvideo, " + cfg.MODEL.ARCH + "]",
        "---",
        "",
        f"# {cfg.MODEL.ARCH.upper()} {cfg.MODEL.BACKBONE} on {dataset}",
        "",
        trained.description + ".",
        "",
        *_facts(trained),
        "",
        *(tested if accuracy else []),
        "## Use",
        "",
        "```bash",
        f"python -m tsn_tsm_plugin.tools.predict --weights {WEIGHTS_FILE} VIDEO...",
        "```",
        "",
        "```python",
        "from tsn_tsm_plugin.engine.trained import load_trained",
        "",
        f'trained = load_trained("{WEIGHTS_FILE}")',
        f"scores = trained.model(video)  # (B, 3, {cfg.DATA.NUM_FRAMES}, "
        f"{cfg.DATA.TEST_CROP_SIZE}, {cfg.DATA.TEST_CROP_SIZE}), normalised RGB",
        "```",
        "",
        "## Classes",
        "",
        ", ".join(trained.class_names),
        "",
        "## Recipe",
        "",
        "```yaml",
        _public_config(trained).rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _facts(trained: TrainedModel) -> list[str]:
    cfg = trained.cfg
    num_frames = cfg.TEST.NUM_FRAMES or cfg.DATA.NUM_FRAMES
    cost = measure_complexity(trained.model, num_frames=num_frames, size=cfg.DATA.TEST_CROP_SIZE)
    return [
        "| | |",
        "| --- | --- |",
        f"| parameters | {cost.num_parameters:,} |",
        f"| multiply-adds of a view | {cost.num_operations / 1e9:.2f} G |",
        f"| input | {num_frames} frames of {cfg.DATA.TEST_CROP_SIZE} x {cfg.DATA.TEST_CROP_SIZE}, "
        f"short side {cfg.DATA.TEST_SHORT_SIDE} |",
        f"| mean, std | {list(cfg.DATA.MEAN)}, {list(cfg.DATA.STD)} of RGB in 0-255 |",
        f"| classes | {cfg.MODEL.NUM_CLASSES}, label map {label_map_hash(trained.class_names)[:12]} |",
        f"| made by | tsn_tsm_plugin {__version__}, torch {torch.__version__} |",
    ]
