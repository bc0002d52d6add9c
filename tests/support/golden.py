"""Checkpoints and inputs of the golden files: their weights are a formula of the name, not stored numbers.

A golden file holds the names and shapes of a reference implementation's checkpoint, and its scores; see
tests/golden/README.md.
"""

import json
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class GoldenModel:
    """One file of tests/golden/models or tests/golden/state_dicts."""

    name: str
    input_shape: tuple[int, ...]
    shapes: dict[str, list[int]]
    scores: Tensor | None

    @classmethod
    def read(cls, name: str) -> "GoldenModel":
        content = json.loads((GOLDEN / f"{name}.json").read_text())
        scores = torch.tensor(content["scores"]) if "scores" in content else None
        return cls(name, tuple(content["input_shape"]), content["state_dict"], scores)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the checkpoint that the reference implementation loaded."""
        return {name: formula_value(name, shape) for name, shape in self.shapes.items()}

    def shapes_only(self) -> dict[str, Tensor]:
        """Return the checkpoint without values, for a model on the meta device."""
        return {name: torch.empty(shape, device="meta") for name, shape in self.shapes.items()}

    def video(self) -> Tensor:
        """Return the input, (B, C, T, H, W)."""
        values = np.random.RandomState(1234).standard_normal(self.input_shape)
        return torch.from_numpy(values.astype(np.float32)).transpose(-3, -4)

    def deviation(self, model: nn.Module) -> float:
        """Return the largest distance to the reference's scores, relative to their standard deviation."""
        assert self.scores is not None
        with torch.inference_mode():
            scores = model.eval()(self.video())
        return float((scores - self.scores).abs().max() / self.scores.std())


def formula_value(name: str, shape: list[int]) -> Tensor:
    """Return the tensor that the golden files define by a name and a shape."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    name = name.removeprefix("module.")
    if ".nl." in name:
        name = "non_local_block." + name
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) >= 2:
        values = rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        values = values * (0.3 if "non_local_block" in name else 1.0)
        if re.search(r"inception_|conv1_7x7|conv2_3x3", name):
            values = values * 2.0  # Without residuals the signal would vanish before the scores.
    elif name.endswith("weight"):
        values = rng.uniform(0.5, 1.0, shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return torch.from_numpy(np.asarray(values).astype(np.float32))
