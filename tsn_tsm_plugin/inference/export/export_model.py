"""export_trained, describe: write a trained network for other programs, with a description."""

import json
from pathlib import Path
from typing import Any

from tsn_tsm_plugin import __version__
from tsn_tsm_plugin.atomic_files import os_errors_as_run_folder_errors, write_text_atomically
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.engine.score_split import resolve_view_average
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.inference.export.sidecar_json import sidecar_json_path
from tsn_tsm_plugin.inference.preprocessing import check_takes_frames
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.models.deploy.export import ExportPlan, export, plan_clip_export, plan_stream_export
from tsn_tsm_plugin.registry import SAMPLERS
from tsn_tsm_plugin.transforms.build import build_clip_transform, frames_of_view

METADATA_KEY = "tsn_tsm_plugin.json"
"""Key of the description in the exported file."""

# n: frames of the video; T: frames of a view; V: views; i: 0 to T - 1; v: 0 to V - 1; window: in frames.
_INDICES = {
    "uniform": "view 0: floor(n / T * i + n / T / 2); view 1, if any: floor(n / T * i)",
    "dense": "(floor(v * max(0, n - window) / max(1, V - 1)) + i * floor(window / T)) modulo n",
}
_CROPS = {
    1: "center: top = floor((height - crop) / 2), left = floor((width - crop) / 2)",
    3: "along the longer side: first, last, middle",
    10: "left-top, right-top, left-bottom, right-bottom, center, each followed by its mirror image",
}
_STREAM = {"kind": "every frame in turn", "frames": 1, "views_in_time": 1, "indices": "every frame"}

SUFFIXES = {"torch_export": ".pt2", "onnx": ".onnx"}


def check_export_name(out: Path, *, form: str) -> None:
    """Refuse a file name with another suffix, before the export.

    Raises:
        ConfigError: If the suffix does not fit ``form``.
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
    """Write the network to ``out``, with its description in and next to the file, see :func:`describe`.

    Both files are replaced atomically.

    Args:
        trained: The network.
        out: The file to write.
        form: ``"torch_export"`` or ``"onnx"``.
        streaming: Export one step of the online network, with its state as inputs and outputs.
        normalize: Include the normalisation, so that the exported network takes uint8 RGB.

    Returns:
        The export plan and the path of the description.

    Raises:
        ConfigError: If ``out`` has the wrong suffix, or both names of the description are taken.
        RunFolderError: If the disk is full or the folder cannot be written.
        ValueError: If ``streaming`` is set and the network uses future frames.
        ImportError: If a package is missing.
    """
    check_export_name(out, form=form)
    sidecar_json_path(out)  # Report a taken name before the export.
    data = trained.cfg.DATA
    if streaming or normalize:
        check_takes_frames(trained.cfg, "Export with --streaming or --normalize")
    inside: dict[str, Any] = {}
    if normalize:
        inside = {"mean": list(data.MEAN), "std": list(data.STD), "to_bgr": data.CHANNEL_ORDER == "bgr"}
    if streaming:
        plan = plan_stream_export(trained.model, size=data.TEST_CROP_SIZE, **inside)
    else:
        num_frames = frames_of_view(trained.cfg, "test")
        plan = plan_clip_export(trained.model, num_frames=num_frames, size=data.TEST_CROP_SIZE, **inside)
    with os_errors_as_run_folder_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    description = describe(trained, plan, form=form, streaming=streaming, normalize=normalize)
    export(plan, out, form=form, metadata={METADATA_KEY: json.dumps(description)})
    return plan, write_description(description, out)


def describe(
    trained: TrainedModel, plan: ExportPlan, *, form: str, streaming: bool, normalize: bool, **more: Any
) -> dict[str, Any]:
    """Return the description that other programs need to reproduce the scores."""
    cfg = trained.cfg
    channels = "RGB" if normalize else cfg.DATA.CHANNEL_ORDER.upper()
    description = {
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
        "layout": f"(batch, {channels}, {'' if streaming else 'frame, '}height, width)",
        "pixels": _pixels(cfg, normalize),
        "sampling": _STREAM if streaming else _sampling(cfg),
        "scores": "before any softmax",
        "probabilities": "sigmoid" if cfg.DATA.MULTI_LABEL else "softmax",
        "streaming": streaming,
        **more,
    }
    if streaming:
        description["state"] = (
            "every state.SITE is zeros before the first frame, and next.SITE of the frame before thereafter"
        )
    else:
        description["views"] = {
            "count": cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS,
            "order": "crop after crop; in a crop view after view",
            "average": resolve_view_average(cfg, trained.model),
        }
    return description


def _pixels(cfg: CfgNode, normalize: bool) -> dict[str, Any]:
    return {
        "colour": "RGB, 0-255",
        "scaled_side": "short",
        "short_side": cfg.DATA.TEST_SHORT_SIDE,
        "long_side": "floor(long * short_side / short + 0.5)",
        "interpolation": "bilinear",
        "coordinates": "half_pixel: source = (target + 0.5) * source_size / target_size - 0.5",
        "antialias": False,
        "scaled_by": "the decoder (swscale)"
        if cfg.DATA.SCALE_IN_DECODER
        else "OpenCV's INTER_LINEAR on uint8",
        "crop": cfg.DATA.TEST_CROP_SIZE,
        "pipeline": repr(build_clip_transform(cfg, "test")),
        "crops": _CROPS.get(cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.NUM_SPATIAL_CROPS),
        "mean": list(cfg.DATA.MEAN),
        "std": list(cfg.DATA.STD),
        "normalization": "(pixel - mean) / std",
        "channel_order": f"{cfg.DATA.CHANNEL_ORDER.upper()}, after the normalization",
        "normalized_inside": normalize,
    }


def _sampling(cfg: CfgNode) -> dict[str, Any]:
    kind = cfg.DATA.TEST_SAMPLER or cfg.DATA.SAMPLER
    sampling = {
        "kind": kind,
        "frames": frames_of_view(cfg, "test"),
        "views_in_time": cfg.TEST.NUM_ENSEMBLE_VIEWS,
        "indices": _INDICES.get(kind, f"as {SAMPLERS.get(kind).__module__} does"),
    }
    return sampling | ({"window": cfg.DATA.DENSE_WINDOW} if kind == "dense" else {})


def write_description(description: dict[str, Any], out: Path) -> Path:
    """Write ``OUT.json``, or ``OUT.onnx.json`` or ``OUT.pt2.json`` if ``OUT.json`` describes another file.

    See :func:`~tsn_tsm_plugin.inference.export.sidecar_json.sidecar_json_path`.

    Returns:
        The written file.
    """
    path = sidecar_json_path(out)
    text = json.dumps({"file": out.name, **description}, indent=2, ensure_ascii=False)
    write_text_atomically(path, text + "\n")
    return path
