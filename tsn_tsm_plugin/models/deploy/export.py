"""ExportPlan, export: write networks as ``torch.export`` or ONNX files that run without this library.

Axes: B videos or streams, C channels, T frames, H rows, W columns, K classes.
"""

import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.atomic_files import HINT_FILE, replace_when_whole, write_atomically
from tsn_tsm_plugin.models.streaming.streaming_tsm import StreamingStep

FORMATS = ("torch_export", "onnx")
_OPSET = 18


class NormalizedInput(nn.Module):
    """Normalise RGB in 0-255, then apply the wrapped network.

    Args:
        network: Network whose first input has the channels on axis 1.
        mean: One number per channel, in 0-255.
        std: One number per channel, in 0-255.
        to_bgr: Whether the network takes BGR.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float], to_bgr: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.to_bgr = to_bgr
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, pixels: Tensor, *state: Tensor) -> Any:
        """Map uint8 pixels and the state to the network's outputs."""
        shape = (-1, *[1] * (pixels.ndim - 2))
        floats = (pixels.float() - self.mean.view(shape)) / self.std.view(shape)
        return self.network(floats.flip(1) if self.to_bgr else floats, *state)


@dataclass(frozen=True)
class ExportPlan:
    """A network prepared for export.

    Attributes:
        network: Module that maps ``inputs`` to ``outputs``; all tensors have the batch on axis 0.
        inputs: An example of each input, with a batch of two, by name.
        outputs: Names of the outputs.
    """

    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]


def plan_clip_export(
    model: nn.Module,
    *,
    num_frames: int,
    size: int,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    to_bgr: bool = False,
) -> ExportPlan:
    """Plan the export of a network on clips: ``video`` (B, 3, T, H, W) to ``scores`` (B, K), no softmax.

    Args:
        model: A TSN or TSM; not modified.
        num_frames: T.
        size: H and W.
        mean: Mean of each channel; if given, the exported network takes and normalises uint8 RGB.
        std: Standard deviation of each channel; required with ``mean``.
        to_bgr: Whether ``model`` takes BGR; used with ``mean``.
    """
    video = _example((2, getattr(model, "in_channels", 3), num_frames, size, size), is_pixels=bool(mean))
    return ExportPlan(_prepared(model, mean, std, to_bgr), {"video": video}, ["scores"])


def plan_stream_export(
    model: nn.Module,
    *,
    size: int,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    to_bgr: bool = False,
) -> ExportPlan:
    """Plan the export of one step of an online TSM.

    Inputs: ``frame`` (B, 3, H, W), and one ``state.SITE`` (B, F, h, w) per shifted site; the first states are
    zeros. Outputs: ``scores`` (B, K), and one ``next.SITE`` per site, the state for the next frame.

    Args:
        model: A causal TSM.
        size: H and W.
        mean: Mean of each channel; if given, the exported network takes and normalises uint8 RGB.
        std: Standard deviation of each channel; required with ``mean``.
        to_bgr: Whether ``model`` takes BGR; used with ``mean``.

    Raises:
        ValueError: If the TSM needs frames that a stream has not seen.
    """
    step = StreamingStep(model)
    inputs = {"frame": _example((2, 3, size, size), is_pixels=bool(mean))}
    for name, shape in step.state_shapes(size, size).items():
        inputs[f"state.{name}"] = torch.zeros(2, *shape)
    return ExportPlan(
        _prepared(step, mean, std, to_bgr), inputs, ["scores", *(f"next.{n}" for n in step.state_names)]
    )


def _example(shape: tuple[int, ...], *, is_pixels: bool) -> Tensor:
    if is_pixels:
        return torch.randint(0, 256, shape, dtype=torch.uint8)
    return torch.randn(shape)


def _prepared(network: nn.Module, mean: Sequence[float], std: Sequence[float], to_bgr: bool) -> nn.Module:
    # Exporters expect contiguous weights on the CPU.
    network = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
    return NormalizedInput(network, mean=mean, std=std, to_bgr=to_bgr).eval() if mean else network


def export(
    plan: ExportPlan, path: str | Path, *, form: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the network to a file in which the batch may have any size.

    Args:
        plan: Result of :func:`plan_clip_export` or :func:`plan_stream_export`.
        path: ``.pt2`` for ``torch.export.load``, ``.onnx`` for ONNX.
        form: ``"torch_export"`` or ``"onnx"``.
        metadata: Texts to keep in the file: ``metadata_props`` of ONNX, ``extra_files`` of ``torch.export``.

    Raises:
        ValueError: If ``form`` is unknown.
        ImportError: If ``form`` is ``"onnx"`` and its packages are not installed.
        OSError: If the file cannot be written.
    """
    if form not in FORMATS:
        raise ValueError(f"form must be one of {', '.join(FORMATS)}, got {form!r}.")
    program = trace(plan)
    if form == "torch_export":
        # Save to memory first: torch's file writer aborts the process if the disk is full.
        content = io.BytesIO()
        torch.export.save(program, content, extra_files=dict(metadata or {}))
        with write_atomically(Path(path), binary=True, hint=HINT_FILE) as file:
            file.write(content.getbuffer())
        return
    try:
        import onnx_ir
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX needs more packages: pip install 'tsn_tsm_plugin[export]'.") from error
    written = torch.onnx.export(
        program,
        input_names=list(plan.inputs),
        output_names=plan.outputs,
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    assert written is not None
    for value in (*written.model.graph.inputs, *written.model.graph.outputs):
        # The exporter gives the batch axis a different name in each value.
        assert value.shape is not None
        value.shape = onnx_ir.Shape(["batch", *list(value.shape)[1:]])
    written.model.metadata_props.update(metadata or {})
    with replace_when_whole(path) as unfinished:
        written.save(str(unfinished), external_data=False)


def trace(plan: ExportPlan) -> torch.export.ExportedProgram:
    """Return the network as a graph with a batch axis of any size."""
    batch = torch.export.Dim("batch", min=1)
    first, *state = ({0: batch} for _ in plan.inputs)
    shapes = (first, tuple(state)) if state else (first,)
    with torch.no_grad():
        return torch.export.export(plan.network, tuple(plan.inputs.values()), dynamic_shapes=shapes)
