"""Evaluation: every video of a split once, all its views, over any number of ranks."""

import time
from typing import Any

import torch
from torch import nn

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import read_class_names
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_newest_checkpoint
from tsn_tsm_plugin.engine.device import compute_device
from tsn_tsm_plugin.engine.interruption import StopRequested, never
from tsn_tsm_plugin.engine.score_split import run_model, view_average_of
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.evaluation import write_dump
from tsn_tsm_plugin.log import get_logger, setup_logging
from tsn_tsm_plugin.models import TSM, TSN, build_model, load_weights
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.plots import plot_confusion_matrix
from tsn_tsm_plugin.runs.report import write_report
from tsn_tsm_plugin.runs.results import format_results, summarize
from tsn_tsm_plugin.runs.run_folder import RunFolder, describe_environment

logger = get_logger(__name__)


def evaluate(cfg: CfgNode) -> dict[str, Any]:
    """Test a model with the views of ``TEST`` and write ``results.json`` and the plots.

    Runs in this process, as a rank of a process group that exists already, or as one of torchrun.

    Args:
        cfg: The recipe. Without ``TEST.CHECKPOINT_FILE_PATH`` the newest checkpoint of ``OUTPUT_DIR`` is
            tested.

    Returns:
        What ``results.json`` holds; the same on every rank.

    Raises:
        ConfigError: On a recipe that cannot work.
        CheckpointError: If there are no weights, or they do not fit the model.
        VideoError: If more than ``DATA.MAX_BAD_VIDEOS`` videos are unreadable, or all of them.
    """
    joined = distributed.init_process_group_from_env()
    ranks = Ranks()
    folder = ranks.on_main(lambda: RunFolder(cfg.OUTPUT_DIR))
    setup_logging(folder.log, rank=ranks.rank)
    if ranks.is_main and not folder.config.exists():
        folder.write_text(folder.config, cfg.dump())
        folder.write_json(folder.environment, describe_environment(world_size=ranks.world_size))
    model = build_model(cfg, with_backbone_weights=False)
    weights = _load_tested_weights(cfg, model, folder)
    logger.info(f"{model.describe()}; weights: {weights}")
    model.to(compute_device())
    results = test_model(cfg, model, folder, ranks, about={"weights": weights})
    if ranks.is_main:
        write_report(cfg, folder)
    logger.info(f"Results, also in {folder.results}:\n{format_results(results)}")
    if joined:
        distributed.destroy()
    return results


def _load_tested_weights(cfg: CfgNode, model: nn.Module, folder: RunFolder) -> str:
    """Load what is to be tested and return the path of its file."""
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        load_weights(model, cfg.TEST.CHECKPOINT_FILE_PATH)
        return str(cfg.TEST.CHECKPOINT_FILE_PATH)
    if not list_checkpoints(folder.checkpoints):
        raise CheckpointError(
            f"There are no weights to test: {folder.checkpoints} holds no checkpoint. Train first, or set "
            "TEST.CHECKPOINT_FILE_PATH (--weights)."
        )
    found = load_newest_checkpoint(folder.checkpoints)
    assert found is not None
    path, state = found
    load_weights(model, state)
    return str(path)


def test_model(
    cfg: CfgNode,
    model: TSN | TSM,
    folder: RunFolder,
    ranks: Ranks,
    *,
    about: dict[str, Any],
    stop_requested: StopRequested = never,
) -> dict[str, Any]:
    """Run the final evaluation on a model and write ``results.json`` and the confusion matrix.

    Args:
        cfg: The recipe.
        model: On its device, without a wrapper.
        folder: Where the files go.
        ranks: All of them call this.
        about: What else ``results.json`` shall say, such as where the weights are from.
        stop_requested: Polled between batches.

    Returns:
        What ``results.json`` holds.

    Raises:
        EvaluationStopped: If a stop was requested on any rank.
        VideoError: If too many videos are unreadable.
    """
    begun = time.perf_counter()
    predictions, num_bad = run_model(cfg, model, "test", folder, ranks, stop_requested=stop_requested)
    seconds = time.perf_counter() - begun
    class_names = read_class_names(cfg)
    num_views = predictions.view_logits.shape[1]
    view_average = view_average_of(cfg, model)
    results = {
        **summarize(predictions, class_names=class_names, view_average=view_average),
        "num_bad_videos": num_bad,
        "views_per_video": num_views,
        "view_average": view_average,
        "seconds": round(seconds, 2),
        "clips_per_second": round(len(predictions) * num_views / seconds, 2),
        "model": model.describe(),
        **about,
    }
    if ranks.is_main:
        folder.write_json(folder.results, results)
        if cfg.TEST.SAVE_RESULTS_PATH:
            dump = folder.path / cfg.TEST.SAVE_RESULTS_PATH
            write_dump(predictions, dump, class_names=class_names, view_average=view_average)
            logger.info(f"The scores of all videos and views are in {dump}")
        if "confusion_matrix" in results:
            confusion_KK = torch.tensor(results["confusion_matrix"])
            plot_confusion_matrix(confusion_KK, class_names, folder.plots / "confusion_matrix.png")
    return results
