"""convert_file, convert_settings: an MMAction2 config as a recipe, with notes on unconverted settings.

Configs of TSN and TSM of 0.x and 1.x are supported. Readers pop the settings that they convert; the remaining
settings are reported.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.mmaction2.data import read_data
from tsn_tsm_plugin.migrate.mmaction2.hooks import read_run
from tsn_tsm_plugin.migrate.mmaction2.model import read_model
from tsn_tsm_plugin.migrate.mmaction2.python_literals import read_literals
from tsn_tsm_plugin.migrate.mmaction2.schedule import read_optimizer, read_schedule
from tsn_tsm_plugin.migrate.mmaction2.settings import Settings, at, ignore, report_unconverted, section
from tsn_tsm_plugin.migrate.recipe import Recipe

# Settings of logging and of the environment: not part of a recipe here.
_OF_THE_RUN = (
    "checkpoint_config", "cudnn_benchmark", "default_hooks", "default_scope", "dist_params", "env_cfg",
    "file_client_args", "find_unused_parameters", "gpu_ids", "launcher", "log_config", "log_level",
    "log_processor", "mp_start_method", "opencv_num_threads", "resume", "resume_from", "test_evaluator",
    "val_evaluator", "vis_backends", "visualizer", "work_dir", "workflow",
)  # fmt: skip


# Settings that the readers convert: their remaining parts are reported, even if other values were made of
# them.
_SECTIONS = (
    "auto_scale_lr", "custom_hooks", "data", "evaluation", "fp16", "lr_config", "model", "module_hooks",
    "optim_wrapper", "optimizer", "optimizer_config", "param_scheduler", "randomness", "runner", "test_cfg",
    "test_dataloader", "train_cfg", "train_dataloader", "val_cfg", "val_dataloader",
)  # fmt: skip


def convert_settings(
    settings: Settings, *, num_gpus: int = 8, num_videos: int | None = None, helpers: Collection[str] = ()
) -> Recipe:
    """Return the recipe of a config.

    Example:
        >>> settings = {
        ...     "model": {"backbone": {"type": "ResNetTSM", "depth": 50}, "cls_head": {"num_classes": 174}},
        ...     "load_from": None,
        ...     "fp16": {"loss_scale": 512},
        ... }
        >>> recipe = convert_settings(settings)
        >>> recipe.values["MODEL.ARCH"], recipe.values["MODEL.BACKBONE"], recipe.values["MODEL.NUM_CLASSES"]
        ('tsm', 'resnet50', 174)
        >>> recipe.notes
        ['not carried over: fp16.loss_scale = 512']

    Args:
        settings: Settings of the config and its bases; emptied by the conversion.
        num_gpus: The config holds the batch of one GPU; the recipe's batch is this many times larger.
        num_videos: Videos of the training list, to convert iterations to epochs.
        helpers: Names whose values are part of other settings; unknown settings are reported there.

    Raises:
        ConfigError: If a setting that must be a dictionary has another type.
    """
    recipe = Recipe()
    test = section(settings, "test_cfg")
    read_model(section(settings, "model"), test, recipe)
    read_data(settings, recipe, num_gpus=num_gpus)
    read_optimizer(settings, recipe, num_gpus=num_gpus)
    read_schedule(settings, recipe, num_videos=num_videos)
    read_run(settings, recipe)
    ignore(test, type=("TestLoop",))
    ignore(section(settings, "val_cfg"), type=("ValLoop",))
    ignore(settings, omnisource=(False,))
    of_the_run = [f"{name}{at(settings, name)}" for name in _OF_THE_RUN if settings.get(name)]
    ignore(settings, *_OF_THE_RUN, *(name for name in helpers if name not in _SECTIONS))
    if "MODEL.NUM_CLASSES" not in recipe.values:
        recipe.notes.append("check MODEL.NUM_CLASSES: the config does not set it; 400 is the default")
    report_unconverted(settings, recipe.notes)
    if of_the_run:
        recipe.notes.append(f"skipped, settings of the run's environment: {', '.join(of_the_run)}")
    return recipe


def convert_file(path: Path, *, library: Path | None = None, **numbers: Any) -> Recipe:
    """Return the recipe of a config file; settings that could not be read are noted first.

    Args:
        path: The config file.
        library: Folder of MMAction2's configs, for bases that lie there.
        numbers: ``num_gpus`` and ``num_videos`` of :func:`convert_settings`.

    Raises:
        ConfigError: If the file cannot be read or converted.
    """
    literals = read_literals(path, library=library)
    try:
        recipe = convert_settings(literals.settings, helpers=literals.helpers, **numbers)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    recipe.notes[:0] = [f"not read: {skipped}" for skipped in literals.skipped]
    return recipe
