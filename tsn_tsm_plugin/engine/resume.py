"""check_resume, results_of_finished_run, with_fitting_batches, ...: checks before a run resumes."""

import json
from pathlib import Path
from typing import Any

import torch

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.defaults import KEYS, flatten
from tsn_tsm_plugin.config.key import FIXED, FIXED_WITHIN_EPOCH
from tsn_tsm_plugin.config.run_dir import AUTO_CLIPS, MAX_CLIPS, changed_settings
from tsn_tsm_plugin.config.yaml_text import parse
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_newest_checkpoint
from tsn_tsm_plugin.engine.device import compute_device
from tsn_tsm_plugin.errors import CheckpointError, RunFolderError, first_line
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.models import build_model
from tsn_tsm_plugin.models.memory_estimate import available_memory, estimate_memory
from tsn_tsm_plugin.paths import read_text
from tsn_tsm_plugin.runs.run_folder import RunFolder, describe_environment, kept_lines

logger = get_logger(__name__)


def check_resume(cfg: CfgNode, run_dir: Path) -> bool:
    """Return whether the run in a folder is complete; raise the error with which it would refuse to go on.

    Raises:
        RunFolderError: If ``TRAIN.AUTO_RESUME`` is off, or the run is complete and the recipe has changed.
        CheckpointError: If all checkpoints are damaged, or a fixed setting has changed.
    """
    if not list_checkpoints(run_dir / "checkpoints"):
        return False  # RunFolder would create the folder of a run that is only planned.
    folder = RunFolder(run_dir)
    found = newest_checkpoint(cfg, folder)
    if found is None:
        return False
    if results_of_finished_run(cfg, folder, found[1]) is not None:
        return True
    compare_configs(found[1], cfg.dump())
    return False


def newest_checkpoint(cfg: CfgNode, folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """Return path and content of the checkpoint to resume, or ``None`` for a new run."""
    if cfg.TRAIN.AUTO_RESUME:
        return load_newest_checkpoint(folder.checkpoints)
    if list_checkpoints(folder.checkpoints):
        raise RunFolderError(
            f"{folder.path} already holds the checkpoints of a run, and TRAIN.AUTO_RESUME is off. Set it to "
            "go on with that run, set another OUTPUT_DIR, or remove the folder."
        )
    return None


def is_within_epoch(content: dict[str, Any]) -> bool:
    """Return whether a checkpoint lies in the middle of an epoch."""
    return 0 < content["batch"] < content["steps_per_epoch"]


def compare_configs(content: dict[str, Any], config: str) -> None:
    """Log the changes since a checkpoint; refuse incompatible changes.

    Args:
        content: Content of the checkpoint.
        config: The current config, YAML.

    Raises:
        CheckpointError: If a fixed setting has changed.
    """
    changed = changed_settings(content["config"], config)
    within, fixed = "", {FIXED}
    if is_within_epoch(content):
        within, fixed = " in the middle of an epoch", {FIXED, FIXED_WITHIN_EPOCH}
    refused = [text for name, text in changed.items() if KEYS[name].on_resume in fixed]
    if refused:
        raise CheckpointError(
            f"The run cannot go on{within} with another {'; '.join(refused)}. Change it back, or start in a "
            "new OUTPUT_DIR."
        )
    if changed:
        logger.warning("The recipe has changed since the checkpoint: " + "; ".join(changed.values()))


def results_of_finished_run(
    cfg: CfgNode, folder: RunFolder, content: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the results of a complete run, or ``None`` if the run is not complete.

    Args:
        cfg: The current recipe.
        folder: The run folder.
        content: Content of the folder's newest checkpoint.

    Raises:
        RunFolderError: If the run is complete and the recipe has changed.
    """
    try:
        num_done = content["epoch"] + (content["batch"] >= content["steps_per_epoch"])
    except TypeError:
        return None  # Restoring the checkpoint reports its fault.
    results = _read_results(folder)
    is_trained = num_done >= cfg.SOLVER.MAX_EPOCH or results.get("stopped_early", False)
    is_tested = results.get("step") == content["step"] or not (cfg.DATA.TEST_LIST or cfg.DATA.VAL_LIST)
    if not (is_trained and is_tested and folder.weights.is_file()):
        return None
    ways = (
        f"To train longer, set SOLVER.MAX_EPOCH above {num_done} with OUTPUT_DIR {folder.path}; for other "
        f"settings set another OUTPUT_DIR; to start afresh remove the folder."
    )
    what = f"The run in {folder.path} is complete ({num_done} epochs, {content['step']} steps)"
    changed = list(changed_settings(content["config"], cfg.dump()).values())
    if changed:
        raise RunFolderError(f"{what}, and was made with other settings ({'; '.join(changed)}). {ways}")
    logger.info(f"{what}: nothing was trained or written. {ways}")
    return results


def _read_results(folder: RunFolder) -> dict[str, Any]:
    try:
        results = json.loads(read_text(folder.results))
    except (OSError, ValueError):
        return {}
    return results if isinstance(results, dict) else {}


def record_settings(
    cfg: CfgNode, folder: RunFolder, content: dict[str, Any] | None, *, world_size: int
) -> None:
    """Write ``config.yaml`` and ``environment.json``, and the changes since the checkpoint."""
    if content is not None:
        note_changed_settings(cfg, folder, content)
    folder.write_text(folder.config, cfg.dump())
    folder.write_json(folder.environment, describe_environment(world_size=world_size))


def note_changed_settings(cfg: CfgNode, folder: RunFolder, content: dict[str, Any]) -> None:
    """Record the changed settings and their first step in ``config_changes.jsonl``.

    Changes from the checkpoint's step on are removed: no weights were trained with them.
    """
    changed = list(changed_settings(content["config"], cfg.dump()).values())
    known = kept_lines(folder.config_changes)
    lines = [line for line in known if _first_step(line) < content["step"]]
    if changed:
        lines.append(json.dumps({"from_step": content["step"], "changed": changed}))
    if lines != known:
        folder.write_text(folder.config_changes, "".join(f"{line}\n" for line in lines))


def _first_step(line: str) -> int:
    try:
        return int(json.loads(line)["from_step"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return -1  # A damaged line is kept.


def with_fitting_batches(cfg: CfgNode, content: dict[str, Any] | None, *, world_size: int) -> CfgNode:
    """Compare a step with this machine's memory; return the recipe with a forward pass that fits.

    With ``TRAIN.MAX_CLIPS_PER_FORWARD`` -1, the recipe gets the number of clips that fit, or the resumed
    run's number. With 0, a run that resumes on fewer processes keeps the clips of a forward pass and adds up
    gradients. Otherwise the recipe is unchanged, and a step that does not fit causes a warning.

    Args:
        cfg: The recipe.
        content: Content of the checkpoint to resume.
        world_size: Number of processes; their memory is counted as if all ran on this machine.
    """
    clips = max(1, cfg.TRAIN.BATCH_SIZE // world_size)
    asked = cfg.TRAIN.MAX_CLIPS_PER_FORWARD
    if asked == AUTO_CLIPS and content is not None:
        saved = flatten(parse(content["config"])).get(MAX_CLIPS, 0)
        return cfg.changed({MAX_CLIPS: saved})
    if asked == 0 and content is not None and len(content.get("random_state", [])) > world_size:
        before = max(1, cfg.TRAIN.BATCH_SIZE // len(content["random_state"]))
        logger.info(
            f"Resumed on {world_size} instead of {len(content['random_state'])} processes: each adds up the "
            f"gradients of forward passes of {before} clips. The global batch stays the same."
        )
        return cfg.changed({MAX_CLIPS: before})
    device = compute_device()
    try:
        with torch.device("meta"):
            model = build_model(cfg, with_backbone_weights=False)
        estimate = estimate_memory(
            model,
            num_frames=cfg.DATA.NUM_FRAMES,
            size=cfg.DATA.TRAIN_CROP_SIZE,
            optimizer=cfg.SOLVER.OPTIMIZING_METHOD,
            is_half=cfg.TRAIN.MIXED_PRECISION != "off",
        )
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        logger.info(f"The memory of a step cannot be estimated: {first_line(error)}.")
        return cfg.changed({MAX_CLIPS: 0}) if asked == AUTO_CLIPS else cfg
    available = available_memory(device)
    if device.type == "cpu":
        available //= world_size
    largest = estimate.largest(available)
    in_one_pass = clips if asked in (0, AUTO_CLIPS) else min(asked, clips)
    if asked == AUTO_CLIPS:
        fitting = min(clips, largest)
        logger.info(
            f"A forward pass takes {fitting} of {clips} clips: about {_gib(estimate.of(fitting))} of "
            f"{_gib(available)}."
        )
        return cfg.changed({MAX_CLIPS: fitting})
    if in_one_pass > largest:
        logger.warning(
            f"A step needs about {_gib(estimate.of(in_one_pass))}, and {_gib(available)} are free: "
            f"{largest} clips at a time would fit. Set TRAIN.MAX_CLIPS_PER_FORWARD to {largest}, or to -1 "
            "for as many as fit (the batch stays the same), or lower TRAIN.BATCH_SIZE."
        )
    return cfg


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
