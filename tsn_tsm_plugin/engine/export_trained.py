"""A trained network as a file for other programs, and a description of what goes in and comes out."""

import json
from pathlib import Path
from typing import Any

from tsn_tsm_plugin import __version__
from tsn_tsm_plugin.engine.atomic import write_atomically
from tsn_tsm_plugin.engine.trained import TrainedModel
from tsn_tsm_plugin.models.export import ExportPlan, export, plan_clip_export, plan_stream_export

SUFFIXES = {"torch_export": ".pt2", "onnx": ".onnx"}


def export_trained(
    trained: TrainedModel,
    out: Path,
    *,
    form: str,
    streaming: bool = False,
    normalize: bool = False,
) -> ExportPlan:
    """Write the network to ``out`` and describe it in a file of the same name with the suffix ``.json``.

    Args:
        trained: The network.
        out: The file to write.
        form: ``"torch_export"`` or ``"onnx"``.
        streaming: Export one step of the online network, with its state as inputs and outputs.
        normalize: Put the normalisation inside, so that the file takes uint8 RGB.

    Returns:
        What was exported.

    Raises:
        ValueError: If ``streaming`` is asked for and the network needs frames that a stream has not seen.
        ImportError: If a package is missing.
    """
    data = trained.cfg.DATA
    mean, std = (list(data.MEAN), list(data.STD)) if normalize else ([], [])
    if streaming:
        plan = plan_stream_export(trained.model, size=data.TEST_CROP_SIZE, mean=mean, std=std)
    else:
        num_frames = trained.cfg.TEST.NUM_FRAMES or data.NUM_FRAMES
        plan = plan_clip_export(
            trained.model, num_frames=num_frames, size=data.TEST_CROP_SIZE, mean=mean, std=std
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    export(plan, out, form=form)
    write_description(trained, plan, out, form=form, streaming=streaming, normalize=normalize)
    return plan


def write_description(
    trained: TrainedModel,
    plan: ExportPlan,
    out: Path,
    *,
    form: str,
    streaming: bool,
    normalize: bool,
    **more: Any,
) -> None:
    """Write ``OUT.json``: everything that a program needs to use the file."""
    cfg = trained.cfg
    description = {
        "file": out.name,
        "format": form,
        "made_by": f"tsn_tsm_plugin {__version__}",
        "model": trained.description,
        "weights": trained.weights,
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
            "kind": "every frame in turn" if streaming else cfg.TSN.TEST_SAMPLING or cfg.TSN.SAMPLING,
            "frames": 1 if streaming else cfg.TEST.NUM_FRAMES or cfg.DATA.NUM_FRAMES,
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
    with write_atomically(out.with_suffix(".json")) as file:
        json.dump(description, file, indent=2, ensure_ascii=False)
        file.write("\n")
