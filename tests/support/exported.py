"""run_exported: run an exported file, to compare it with the original network."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def run_exported(path: Path, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Return the outputs of a ``.pt2`` or ``.onnx`` file."""
    if path.suffix == ".pt2":
        outputs = torch.export.load(path).module()(*inputs.values())
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    named = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
    return [torch.from_numpy(value) for value in session.run(None, named)]
