"""optimize_for_inference: folded normalisation, 16-bit weights and fused kernels.

Source of the folding: Ioffe, Szegedy, "Batch Normalization", arXiv:1502.03167, section 3.1. With fixed
statistics, a batch norm is an affine map of each channel and can be merged into a convolution.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from tsn_tsm_plugin.layers.memory_format import to_channels_last
from tsn_tsm_plugin.models.deploy.compile import compile_or_warn
from tsn_tsm_plugin.models.deploy.fused_residual import fuse_residual_blocks_
from tsn_tsm_plugin.models.deploy.reparameterize import reparameterize_

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)
_SIZE = (3, 224, 224)
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def optimize_for_inference(
    model: nn.Module,
    *,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    example: Tensor | None = None,
) -> nn.Module:
    """Return a faster copy of a network with the same outputs, for evaluation only.

    A BatchNorm is folded into a convolution if it is the only reader of the convolution's output. Other
    BatchNorms, such as DenseNet's before its activations, stay. A run on the meta device finds the readers.
    Weights become channels_last. Branches of a MobileOne are folded as well. In bf16 on a CPU, ReLUs and
    additions of a ResNet are fused into its convolutions.

    A given ``dtype`` leaves the classifier and the scores in float32. The scores of a ResNet-50 differ from
    the original by less than 1e-4 of their standard deviation in float32. They differ by about 0.002 in
    TF32 (emulated on a CPU), the default of convolutions on GPUs since Ampere. In bf16 they differ by about
    0.01 to 0.05.

    Example:
        >>> from tsn_tsm_plugin import create_tsm
        >>> model = create_tsm(backbone="resnet18", num_classes=8, num_segments=4).eval()
        >>> fast = optimize_for_inference(model)
        >>> any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
        False
        >>> video = torch.rand(1, 3, 4, 64, 64)
        >>> with torch.inference_mode():
        ...     torch.allclose(fast(video), model(video), atol=1e-4)
        True

    Args:
        model: A TSN or TSM, or any network together with ``example``; not modified.
        dtype: Type of the backbone's weights and features. ``torch.bfloat16`` is three times faster on
            CPUs with AVX512-BF16; ``torch.float16`` is for GPUs; ``None`` keeps the type. Weights are
            cast once; autocast gives the same scores and casts them for every batch.
        compile: Use ``torch.compile``, which needs a C++ compiler and takes minutes. A failure is logged
            as a warning and the network is returned uncompiled. On a CPU it did not speed up a ResNet-50.
        example: An input, of which only the shape is used. Default: (1, C, num_segments, H, W) in the
            backbone's size.

    Returns:
        A module of the same class and interface in eval mode, or ``torch.compile``'s wrapper of it.

    Raises:
        ValueError: If ``dtype`` is not supported, or the model's input shape is unknown and ``example`` is
            missing.
    """
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(f"dtype must be None or one of {', '.join(map(str, _DTYPES))}, got {dtype}.")
    shape = _example_shape(model) if example is None else tuple(example.shape)
    optimized = to_channels_last(copy.deepcopy(model)).eval().requires_grad_(False)
    reparameterize_(optimized)
    for convolution, normalisation in _foldable_pairs(optimized, shape).items():
        _fold_(optimized, convolution, normalisation)
    if dtype is not None:
        _cast_backbone_(getattr(optimized, "backbone", optimized), dtype)
    fuse_residual_blocks_(optimized)
    return _compiled(optimized, shape) if compile else optimized


def _example_shape(model: nn.Module) -> tuple[int, ...]:
    num_segments = getattr(model, "num_segments", None)
    if not isinstance(num_segments, int):
        raise ValueError(
            f"example must be given for a {type(model).__name__}, which has no num_segments: an input "
            "of the shape that it takes."
        )
    _, height, width = getattr(getattr(model, "backbone", None), "input_size", _SIZE)
    return (1, getattr(model, "in_channels", 3), num_segments, height, width)


class _TensorUseCounter(TorchFunctionMode):
    """Count the calls that read the values of each tensor.

    Attributes:
        num_readers: Calls that had the tensor among their arguments, by its ``id``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_readers: dict[int, int] = {}
        self._alive: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make a call, and count its arguments unless it reads only metadata such as ``x.shape``."""
        out = func(*args, **(kwargs or {}))
        if out is None or any(True for _ in _tensors([out])):
            for value in _tensors([*args, *(kwargs or {}).values()]):
                self.num_readers[id(value)] = self.num_readers.get(id(value), 0) + 1
                # Keep the tensors alive: an id may be reused after deletion.
                self._alive.append(value)
        return out


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _foldable_pairs(model: nn.Module, shape: tuple[int, ...]) -> dict[str, str]:
    """Return the name of the BatchNorm that can be folded into each convolution."""
    probe = copy.deepcopy(model).to("meta")
    made: list[tuple[str, Tensor]] = []
    read: list[tuple[str, Tensor]] = []
    for name, module in probe.named_modules():
        # Subclasses may do more, such as standardising their weight.
        if type(module) in _CONVOLUTIONS:
            module.register_forward_hook(lambda _, __, out, name=name: made.append((name, out)))
        elif type(module) in _NORMALISATIONS and module.running_mean is not None:
            module.register_forward_pre_hook(lambda _, inputs, name=name: read.append((name, inputs[0])))
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad(), _TensorUseCounter() as flow:
        probe(torch.empty(shape, device="meta", dtype=dtype))
    makers = {id(out): name for name, out in made}
    num_calls = Counter(name for name, _ in made + read)
    pairs = {
        makers[id(seen)]: name
        for name, seen in read
        if flow.num_readers[id(seen)] == 1 and id(seen) in makers
    }
    return {a: b for a, b in pairs.items() if num_calls[a] == num_calls[b] == 1}


def _fold_(model: nn.Module, convolution: str, normalisation: str) -> None:
    norm = cast(nn.BatchNorm2d, model.get_submodule(normalisation))
    fused = fuse_conv_bn_eval(cast(nn.Conv2d, model.get_submodule(convolution)), norm)
    # timm's norm layer also applies the activation, which stays.
    rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
    model.set_submodule(convolution, fused)
    model.set_submodule(normalisation, rest)


def _cast_inputs(dtype: torch.dtype, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)


def _cast_output(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.float()


def _cast_backbone_(network: nn.Module, dtype: torch.dtype) -> None:
    network.to(dtype)
    network.register_forward_pre_hook(partial(_cast_inputs, dtype))
    network.register_forward_hook(_cast_output)


def _compiled(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    parameter = next(model.parameters())
    # Freezing makes the weights constants, which the CPU's kernels then keep in their own layout.
    options: dict[str, Any] | None = {"freezing": True} if parameter.device.type == "cpu" else None

    def compiled_and_run() -> nn.Module:
        compiled = torch.compile(model, options=options)
        with torch.no_grad():
            compiled(torch.zeros(shape, device=parameter.device))
        return cast(nn.Module, compiled)

    hint = "The network is returned uncompiled. Set compile=False to avoid this warning."
    return compile_or_warn(compiled_and_run, hint=hint) or model
