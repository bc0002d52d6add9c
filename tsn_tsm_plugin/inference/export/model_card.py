"""publish, model_card: a safetensors file with its recipe, and a model card."""

import contextlib
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData

from tsn_tsm_plugin import __version__
from tsn_tsm_plugin.atomic_files import write_atomically
from tsn_tsm_plugin.checkpoints.metadata import attributes_of_model
from tsn_tsm_plugin.checkpoints.safetensors_file import to_safetensors, weights_hash
from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.engine.find_weights import PUBLISHED_WEIGHTS
from tsn_tsm_plugin.errors import ConfigError, RunFolderError
from tsn_tsm_plugin.inference.export.strip_local_paths import redact_recipe, strip_local_path
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.models.complexity import measure_complexity
from tsn_tsm_plugin.paths import is_url, read_bytes, read_text
from tsn_tsm_plugin.safe_text import markdown_fence, markdown_text
from tsn_tsm_plugin.storage import upload_folder
from tsn_tsm_plugin.transforms.build import frames_of_view

logger = get_logger(__name__)

CARD_FILE = "README.md"
_HINT = "Free disk space, or give another folder with --out."
_LIBRARY = "tsn_tsm_plugin"


def publish(
    trained: TrainedModel, folder: str, *, results: dict[str, Any] | None = None, licence: str = ""
) -> list[str]:
    """Write weights and model card into a folder that ``load_trained`` can read.

    The weights are data and cannot run code. Optimiser state, host names and the output folder are removed.
    Paths and URLs in the recipe are reduced to their last component.

    Args:
        trained: The network.
        folder: A local folder, ``hf://USER/NAME`` for the Hugging Face hub, or another URL.
        results: Results of these weights, as in ``results.json``, for the card.
        licence: Licence of the weights in the Hugging Face hub's spelling, such as ``cc-by-4.0``.

    Returns:
        The written paths.

    Raises:
        ConfigError: If the folder holds a README.md that is not a model card, or the licence is not a name.
        RunFolderError: If the files cannot be written.
    """
    if licence and not re.fullmatch(r"[A-Za-z0-9.+-]+", licence, re.ASCII):
        raise ConfigError(f"--license must be one name such as apache-2.0 or cc-by-nc-4.0, got {licence!r}.")
    public = _public(trained)
    weights = to_safetensors(
        public.model.state_dict(),
        attributes=attributes_of_model(public.model),
        config=public.cfg.dump(),
        class_names=public.class_names,
    )
    files = {
        PUBLISHED_WEIGHTS: weights,
        CARD_FILE: model_card(trained, results=results or {}, licence=licence).encode(),
    }
    try:
        if is_url(folder):
            _upload(folder, files)
        else:
            _write(Path(folder), files)
    except OSError as error:
        raise RunFolderError(f"{folder} could not be written: {error.strerror or error}. {_HINT}") from error
    return [f"{folder}/{name}" for name in files]


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / CARD_FILE
    if card.is_file() and not _is_ours(read_bytes(card).decode("utf-8", "replace")):
        raise ConfigError(f"{card} is no model card and would be lost: give a folder of its own with --out.")
    with contextlib.ExitStack() as stack:  # Both files or none.
        for name, data in files.items():
            file = stack.enter_context(write_atomically(folder / name, binary=True, hint=_HINT))
            file.write(data)


def _is_ours(card: str) -> bool:
    try:
        return bool(ModelCard(card, ignore_metadata_errors=True).data.get("library_name") == _LIBRARY)
    except (ValueError, TypeError, yaml.YAMLError):
        return False


def _upload(folder: str, files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as staged:
        for name, data in files.items():
            Path(staged, name).write_bytes(data)
        upload_folder(Path(staged), folder)


def read_matching_results(trained: TrainedModel, path: str | Path, *, is_named: bool) -> dict[str, Any]:
    """Return the content of a ``results.json`` if it belongs to these weights.

    Args:
        trained: The network.
        path: The file, or its URL.
        is_named: Whether the user gave the file; such a file must exist and belong to these weights.

    Returns:
        The content. If ``is_named`` is false, a missing file or, with a warning, a file of other weights
        gives an empty dictionary.

    Raises:
        ConfigError: If the file cannot be used.
    """
    file = str(path)
    if not is_named and not Path(file).is_file():
        return {}
    try:
        results = json.loads(read_text(file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file} is no results.json that can be read: {reason}.") from error
    if not isinstance(results, dict):
        raise ConfigError(f"{file} must hold an object as results.json does, got {type(results).__name__}.")
    if results.get("weights_hash") == weights_hash(trained.model.state_dict()):
        return results
    mismatch = f"{file} is of {results.get('weights') or 'unknown weights'}, not of {trained.weights}"
    if is_named:
        raise ConfigError(f"{mismatch}: test these with tsn-tsm-evaluate --weights {trained.weights}.")
    logger.warning(f"{mismatch}: the card gives no accuracy.")
    return {}


def _public(trained: TrainedModel) -> TrainedModel:
    """Return a copy whose recipe and class names contain no local paths."""
    names = [strip_local_path(name) for name in trained.class_names]
    return replace(trained, cfg=redact_recipe(trained.cfg), class_names=names)


def model_card(trained: TrainedModel, *, results: dict[str, Any], licence: str = "") -> str:
    """Return the model card: network, training, results and usage.

    Args:
        trained: The network.
        results: Any of ``top1``, ``top5``, ``mean_class`` and ``num_videos``.
        licence: Licence of the weights; empty: the card asks for it.
    """
    public = _public(trained)
    cfg = public.cfg
    dataset = markdown_text(cfg.DATA.PATH_TO_DATA_DIR) or "a dataset of its own"
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
    facts = ModelCardData(
        library_name=_LIBRARY,
        pipeline_tag="video-classification",
        license=licence.lower() or "other",
        tags=["video", "action-recognition", "pytorchvideo", cfg.MODEL.ARCH],
    )
    lines = [
        "---",
        *facts.to_yaml().splitlines(),
        "---",
        "",
        f"# {cfg.MODEL.ARCH.upper()} {markdown_text(cfg.MODEL.BACKBONE)} on {dataset}",
        "",
        markdown_text(trained.description.replace(trained.cfg.MODEL.BACKBONE, cfg.MODEL.BACKBONE)) + ".",
        "",
        *_facts(public),
        "",
        *(tested if accuracy else []),
        "## Use",
        "",
        "```bash",
        f"tsn-tsm-predict --weights {PUBLISHED_WEIGHTS} VIDEO...",
        "```",
        "",
        "```python",
        "from tsn_tsm_plugin import load_trained",
        "",
        f'model = load_trained("{PUBLISHED_WEIGHTS}")  # or "hf://USER/NAME"',
        'model.predict("clip.mp4")',
        f"model(video)  # uint8 RGB (B, 3, {cfg.DATA.NUM_FRAMES}, "
        f"{cfg.DATA.TEST_CROP_SIZE}, {cfg.DATA.TEST_CROP_SIZE})",
        "```",
        "",
        "Install: `pip install tsn_tsm_plugin`, or `pip install -e .` in a checkout.",
        "",
        "## Licence",
        "",
        "The code is under Apache-2.0. "
        + (
            f"The weights are under {licence}."
            if licence
            else "The licence of the weights is not given here."
        ),
        "The licence of the training videos may restrict their use.",
        "",
        "## Classes",
        "",
        ", ".join(map(markdown_text, public.class_names)),
        "",
        "## Recipe",
        "",
        *markdown_fence(cfg.dump(), "yaml"),
        "",
    ]
    return "\n".join(lines)


def _facts(trained: TrainedModel) -> list[str]:
    cfg = trained.cfg
    num_frames = frames_of_view(cfg, "test")
    cost = measure_complexity(trained.model, num_frames=num_frames, size=cfg.DATA.TEST_CROP_SIZE)
    return [
        "| | |",
        "| --- | --- |",
        f"| parameters | {cost.num_parameters:,} |",
        f"| multiply-adds of a view | {cost.num_operations / 1e9:.2f} G |",
        f"| input | {num_frames} frames of {cfg.DATA.TEST_CROP_SIZE} x {cfg.DATA.TEST_CROP_SIZE}, "
        f"short side {cfg.DATA.TEST_SHORT_SIDE} |",
        f"| mean, std | {list(cfg.DATA.MEAN)}, {list(cfg.DATA.STD)} of RGB in 0-255 |",
        f"| order of channels | {cfg.DATA.CHANNEL_ORDER.upper()} |",
        f"| classes | {cfg.MODEL.NUM_CLASSES}, label map {label_map_hash(trained.class_names)[:12]} |",
        f"| made by | tsn_tsm_plugin {__version__}, torch {torch.__version__} |",
    ]
