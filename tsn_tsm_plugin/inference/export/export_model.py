"""A trained network as a file for other programs, and a description of what goes in and comes out."""

import json
from pathlib import Path
from typing import Any

from tsn_tsm_plugin import __version__
from tsn_tsm_plugin.atomic_files import (
    HINT_FILE,
    os_errors_as_run_folder_errors,
    replace_when_whole,
    write_atomically,
)
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.inference.export.sidecar_json import description_path
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.models.deploy.export import ExportPlan, export, plan_clip_export, plan_stream_export
from tsn_tsm_plugin.transforms.build import frames_of_view

SUFFIXES = {"torch_export": ".pt2", "onnx": ".onnx"}


def check_export_name(out: Path, *, form: str) -> None:
    """Refuse a name with the suffix of something else, before there is any work to lose.

    Raises:
        ConfigError: If the suffix is not that of ``form``.
    """
    if out.suffix.lower() != SUFFIXES[form]:
        raise ConfigError(
            f"The format {form} is written to a file that ends in {SUFFIXES[form]}, got {out}. "
            f"Give {out.with_suffix(SUFFIXES[form])}, or another format."
        )


def export_trained(
    trained: TrainedModel,
    out: Path,
    *,
    form: str,
    streaming: bool = False,
    normalize: bool = False,
) -> tuple[ExportPlan, Path]:
    """Write the network to ``out``, and beside it a description, see :func:`write_description`.

    Both appear when they are whole; until then older ones stay.

    Args:
        trained: The network.
        out: The file to write.
        form: ``"torch_export"`` or ``"onnx"``.
        streaming: Export one step of the online network, with its state as inputs and outputs.
        normalize: Put the normalisation inside, so that the file takes uint8 RGB.

    Returns:
        What was exported, and the description's file.

    Raises:
        ConfigError: If ``out`` has the suffix of another format, or its description's names are taken.
        RunFolderError: If the disk is full or the folder cannot be written.
        ValueError: If ``streaming`` is asked for and the network needs frames that a stream has not seen.
        ImportError: If a package is missing.
    """
    check_export_name(out, form=form)
    description_path(out)  # A name that is taken is told before the work.
    data = trained.cfg.DATA
    mean, std = (list(data.MEAN), list(data.STD)) if normalize else ([], [])
    if streaming:
        plan = plan_stream_export(trained.model, size=data.TEST_CROP_SIZE, mean=mean, std=std)
    else:
        num_frames = frames_of_view(trained.cfg, "test")
        plan = plan_clip_export(
            trained.model, num_frames=num_frames, size=data.TEST_CROP_SIZE, mean=mean, std=std
        )
    with os_errors_as_run_folder_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_whole(out) as unfinished:
        export(plan, unfinished, form=form)
    described = write_description(trained, plan, out, form=form, streaming=streaming, normalize=normalize)
    return plan, described


def write_description(
    trained: TrainedModel,
    plan: ExportPlan,
    out: Path,
    *,
    form: str,
    streaming: bool,
    normalize: bool,
    **more: Any,
) -> Path:
    """Write ``OUT.json``: everything that a program needs to use the file.

    Where that name is another file's, it is ``OUT.onnx.json`` or ``OUT.pt2.json``, see
    :func:`~tsn_tsm_plugin.inference.export.sidecar_json.description_path`.

    Returns:
        The file that was written.
    """
    cfg = trained.cfg
    description = {
        "file": out.name,
        "format": form,
        "made_by": f"tsn_tsm_plugin {__version__}",
        "model": trained.description,
        "weights": Path(trained.weights).name,
        "classes": trained.class_names,
        "inputs": {
            name: {"shape": ["batch", *value.shape[1:]], "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in plan.inputs.items()
        },
        "outputs": plan.outputs,
        "layout": "(batch, RGB, height, width)" if streaming else "(batch, RGB, frame, height, width)",
        "pixels": {
            "colour": "RGB, 0-255",
            "short_side": cfg.DATA.TEST_SHORT_SIDE,
            "crop": cfg.DATA.TEST_CROP_SIZE,
            "mean": list(cfg.DATA.MEAN),
            "std": list(cfg.DATA.STD),
            "normalized_inside": normalize,
        },
        "sampling": {
            "kind": "every frame in turn" if streaming else cfg.DATA.TEST_SAMPLER or cfg.DATA.SAMPLER,
            "frames": 1 if streaming else frames_of_view(cfg, "test"),
            "views_in_time": 1 if streaming else cfg.TEST.NUM_ENSEMBLE_VIEWS,
        },
        "scores": "before any softmax",
        "streaming": streaming,
        **more,
    }
    if streaming:
        description["state"] = (
            "every state.SITE is zeros before the first frame, and next.SITE of the frame before thereafter"
        )
    path = description_path(out)
    with write_atomically(path, hint=HINT_FILE) as file:
        json.dump(description, file, indent=2, ensure_ascii=False)
        file.write("\n")
    return path
