"""evaluate, evaluate_model: test every view of every video of a split, on any number of ranks."""

import contextlib
import itertools
import json
import shutil
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.checkpoints.safetensors_file import weights_hash
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.defaults import KEYS, flatten
from tsn_tsm_plugin.config.key import FREE
from tsn_tsm_plugin.config.node import plain
from tsn_tsm_plugin.data.build import list_path, read_class_names
from tsn_tsm_plugin.engine.device import compute_device
from tsn_tsm_plugin.engine.find_weights import load_tested_weights
from tsn_tsm_plugin.engine.interruption import StopRequested, never
from tsn_tsm_plugin.engine.preflight import check_before_run
from tsn_tsm_plugin.engine.score_split import SplitScorer
from tsn_tsm_plugin.evaluation import confusion_matrix, write_dump
from tsn_tsm_plugin.layers.memory_format import to_channels_last
from tsn_tsm_plugin.log import get_logger, setup_logging, warn_on_failure
from tsn_tsm_plugin.models import TSM, TSN, build_model
from tsn_tsm_plugin.paths import read_bytes
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.partial_scores import PartialScores
from tsn_tsm_plugin.runs.plots import plot_calibration, plot_confusion_matrix
from tsn_tsm_plugin.runs.report import write_report
from tsn_tsm_plugin.runs.results import format_results, predicted_classes, summarize
from tsn_tsm_plugin.runs.run_folder import RunFolder, describe_environment
from tsn_tsm_plugin.runs.stage_data import stage_data

logger = get_logger(__name__)

_PARTIAL = "partial_scores_"


def evaluate(cfg: CfgNode) -> dict[str, Any]:
    """Test a model with the views of ``TEST`` and write the results into a separate folder.

    The folder is ``TEST.OUTPUT_DIR`` or ``OUTPUT_DIR/evaluate/<time>``, so files of a training are kept. A
    failed evaluation leaves no folder. An interrupted evaluation leaves the scores so far, from which the
    same evaluation continues.

    The call runs in this process, as a rank of an existing process group, or as a rank of torchrun.

    Args:
        cfg: The recipe. Without ``TEST.CHECKPOINT_FILE_PATH`` the newest checkpoint of ``OUTPUT_DIR`` is
            tested.

    Returns:
        Content of ``results.json``; the same on every rank.

    Raises:
        ConfigError: If the recipe cannot work.
        CheckpointError: If there are no weights, or the weights do not fit the model.
        VideoError: If more than ``DATA.MAX_BAD_VIDEOS`` videos, or all videos, are unreadable.
    """
    joined = distributed.init_process_group_from_env()
    ranks = Ranks()
    setup_logging(rank=ranks.rank)
    ranks.on_main(lambda: check_before_run(cfg, "evaluate", run_dir=cfg.TEST.OUTPUT_DIR))
    stage_data(cfg, ["test"], ranks)
    model = build_model(cfg, with_backbone_weights=False)
    weights = load_tested_weights(cfg, model, read_class_names(cfg))
    to_channels_last(model).to(compute_device())
    path = ranks.on_main(lambda: _evaluation_folder(cfg))
    with _removed_on_failure(path, ranks):
        folder = ranks.on_main(lambda: RunFolder(path, is_training=False))
        setup_logging(folder.log, rank=ranks.rank)
        logger.info(f"{model.describe()}; weights: {weights}")
        if ranks.is_main:
            folder.write_text(folder.config, cfg.dump())
            folder.write_json(folder.environment, describe_environment(world_size=ranks.world_size))
        results = evaluate_model(
            cfg,
            model,
            folder,
            ranks,
            about={"weights": weights},
            partial_root=path if cfg.TEST.OUTPUT_DIR else path.parent,
        )
        if ranks.is_main:
            with warn_on_failure(folder.report):
                write_report(cfg, folder)
    with warn_on_failure("The table of results"):
        logger.info(f"Results, also in {folder.results}:\n{format_results(results)}")
    if joined:
        distributed.destroy()
    return results


def _evaluation_folder(cfg: CfgNode) -> Path:
    """Return the folder of an evaluation; folders of the same second are numbered."""
    if cfg.TEST.OUTPUT_DIR:
        return Path(cfg.TEST.OUTPUT_DIR).expanduser()
    base = Path(cfg.OUTPUT_DIR).expanduser() / "evaluate" / time.strftime("%Y%m%d-%H%M%S")
    names = (base if n == 1 else base.with_name(f"{base.name}_{n}") for n in itertools.count(1))
    return next(path for path in names if not path.exists())


@contextlib.contextmanager
def _removed_on_failure(path: Path, ranks: Ranks) -> Iterator[None]:
    """Remove a new folder without partial scores, and its empty parents, if the block fails."""
    is_new = not path.exists()
    try:
        yield
    except BaseException:
        if ranks.is_main and is_new and not list(path.glob(f"{_PARTIAL}*")):
            setup_logging(rank=ranks.rank)
            shutil.rmtree(path, ignore_errors=True)
            for parent in path.parents[:2]:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        raise


def _list_hash(cfg: CfgNode) -> str:
    try:
        return sha256(read_bytes(list_path(cfg, "test"))).hexdigest()
    except OSError:  # A registered dataset may have no list.
        return ""


def _identity(cfg: CfgNode, hash_of_weights: str, hash_of_list: str, *, world_size: int) -> str:
    """Return 16 digits that depend on everything that affects the scores of a rank."""
    settings = {key: value for key, value in flatten(plain(cfg)).items() if KEYS[key].on_resume != FREE}
    decisive = [hash_of_weights, hash_of_list, world_size, settings]
    return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def evaluate_model(
    cfg: CfgNode,
    model: TSN | TSM,
    folder: RunFolder,
    ranks: Ranks,
    *,
    about: dict[str, Any],
    stop_requested: StopRequested = never,
    partial_root: Path | None = None,
) -> dict[str, Any]:
    """Run the final evaluation on a model and write ``results.json`` and the confusion matrix.

    Args:
        cfg: The recipe.
        model: Network on its device, without a wrapper.
        folder: Folder of the files.
        ranks: Ranks; all of them call this function.
        about: Further entries of ``results.json``, such as the source of the weights.
        stop_requested: Polled between batches.
        partial_root: Folder of the partial scores; default: ``folder``.

    Returns:
        Content of ``results.json``.

    Raises:
        EvaluationStopped: If a stop was requested on any rank.
        VideoError: If too many videos are unreadable.
    """
    begun = time.perf_counter()
    scorer = SplitScorer(cfg, model, "test", ranks)
    hash_of_weights, hash_of_list = weights_hash(model.state_dict()), _list_hash(cfg)
    identity = _identity(cfg, hash_of_weights, hash_of_list, world_size=ranks.world_size)
    partial = PartialScores(
        (partial_root or folder.path) / f"{_PARTIAL}{identity}",
        rank=ranks.rank,
        minutes=cfg.TEST.CHECKPOINT_MINUTES,
    )
    predictions, num_bad = scorer(
        model, bad_videos_file=folder.bad_videos, stop_requested=stop_requested, partial=partial
    )
    seconds = time.perf_counter() - begun
    num_scored_now = len(predictions) - ranks.sum([partial.num_read])[0]
    class_names = read_class_names(cfg)
    num_views = predictions.view_logits.shape[1]
    view_average = scorer.view_average
    results = {
        **summarize(predictions, class_names=class_names, view_average=view_average),
        "num_bad_videos": num_bad,
        "views_per_video": num_views,
        "view_average": view_average,
        "seconds": round(seconds, 2),
        "clips_per_second": round(num_scored_now * num_views / seconds, 2),
        "model": model.describe(),
        "weights_hash": hash_of_weights,
        "config_hash": sha256(cfg.dump().encode()).hexdigest(),
        "list_hash": hash_of_list,
        **about,
    }
    if ranks.is_main:
        folder.write_json(folder.results, results)
        partial.remove()
        if cfg.TEST.SAVE_RESULTS_PATH:
            dump = folder.path / cfg.TEST.SAVE_RESULTS_PATH
            write_dump(predictions, dump, class_names=class_names, view_average=view_average)
            logger.info(f"The scores of all videos and views are in {dump}")
        if "calibration" in results:
            matrix, curve = folder.plots / "confusion_matrix.png", folder.plots / "calibration.png"
            with warn_on_failure(matrix):
                predicted_B = predicted_classes(predictions)
                plot_confusion_matrix(
                    confusion_matrix(predictions.label, predicted_B, num_classes=len(class_names)),
                    class_names,
                    matrix,
                )
            if results["ece"] is not None:
                with warn_on_failure(curve):
                    plot_calibration(results["calibration"], results["ece"], curve)
    return results
