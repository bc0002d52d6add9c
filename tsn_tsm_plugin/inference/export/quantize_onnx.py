"""calibration_clips, quantize_onnx: write int8 ONNX files for CPUs, calibrated on clips."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsn_tsm_plugin.inference.trained_model import TrainedModel


def calibration_clips(
    trained: TrainedModel, videos: Sequence[str], *, normalize: bool
) -> Iterator[np.ndarray]:
    """Yield one clip of each video, (1, 3, T, H, W), as input of the exported network.

    Args:
        trained: Network whose recipe defines the clips.
        videos: Video files.
        normalize: Whether the network normalises its input; clips are then uint8.
    """
    for path in videos:
        prepare = trained.preprocessing
        clip = prepare.read_view(path, split="test").clip[None]
        yield clip.numpy() if normalize else prepare.normalize(clip.to(trained.device)).cpu().numpy()


def quantize_onnx(source: Path, out: Path, clips: Iterator[np.ndarray]) -> None:
    """Write an ONNX file quantised to int8, calibrated on clips.

    Weights are quantised per output channel, activations per tensor. The shift and the classifier
    stay in float32.

    Args:
        source: The float32 file, with the input ``video``.
        out: The file to write.
        clips: At least one clip for the ranges of the activations; 30 or more are enough.

    Raises:
        ImportError: If ONNX Runtime is not installed.
    """
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError("int8 needs more packages: pip install 'tsn_tsm_plugin[export]'.") from error

    inputs = ({"video": clip} for clip in clips)

    class Reader(CalibrationDataReader):
        """Pass the clips to ONNX Runtime, which reads until ``None``."""

        def get_next(self) -> dict[str, Any] | None:
            return next(inputs, None)

    prepared = out.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Add", "MaxPool"],
        )
    finally:
        prepared.unlink(missing_ok=True)
