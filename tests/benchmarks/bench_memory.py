"""Memory of a training step, counted without doing it; on a GPU what PyTorch allocated is put beside it.

    python tests/benchmarks/bench_memory.py [--batch 8] [--size 224] [--mit CHECKOUT] [--write]

The step runs on tensors that have shapes and no contents, in seconds and on any machine. Every storage is
counted from the operation that makes it until nobody holds it any more: weights, gradients, momentum, what
autograd keeps for the backward pass, and what lives for a moment only. The working
space of convolutions and memory that PyTorch's allocator holds back are not counted.
"""

import argparse
import gc
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import peers
import torch
from measuring import command_line, hardware_name, write_note
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tsn_tsm_plugin import create_tsm, create_tsn
from tsn_tsm_plugin.layers import NON_LOCAL_KINDS
from tsn_tsm_plugin.layers.activation_checkpoint import checkpoint_activations
from tsn_tsm_plugin.transforms.normalize import Normalize

NUM_SEGMENTS, NUM_CLASSES = 8, 400
MIB = 2**20
# MiB for 8 clips of 8 frames of 224 pixels.
TARGETS = {"bf16": 3600, "bf16, checkpointed": 2000}
MAX_NON_LOCAL = 1.05  # times plain TSM in the same precision


@dataclass
class Variant:
    """A network and how it is trained."""

    create: Callable[[], nn.Module]
    is_bf16: bool = False


@dataclass
class Count:
    """Bytes of one step.

    Attributes:
        states: Weights, buffers, gradients and momentum.
        kept: What is held between the forward and the backward pass besides, by what made it: the type of
            the module, or "casts" for copies of weights and features in another precision.
        peak: The most that lives at one time.
    """

    states: int
    kept: Counter[str]
    peak: int


class Ledger(TorchDispatchMode):
    """Counts the bytes that live, each storage once, under the type of the module that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.live: Counter[str] = Counter()
        self.peak = 0
        self._known: set[int] = set()
        self._modules: list[str] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> "Ledger":
        enter = module_hooks.register_module_forward_pre_hook(self._enter_module)
        leave = module_hooks.register_module_forward_hook(self._leave_module, always_call=True)
        self._hooks = [enter, leave]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        self._modules.append(type(module).__name__)

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        self._modules.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        maker = self._modules[-1] if self._modules else "step"
        if func is torch.ops.aten._to_copy.default:
            maker = "casts"
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._add(leaf, maker)
        return output

    def _add(self, tensor: Tensor, maker: str) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.live[maker] += storage.nbytes()
        self.peak = max(self.peak, self.live.total())
        weakref.finalize(storage, self._drop, storage._cdata, maker, storage.nbytes())

    def _drop(self, key: int, maker: str, num_bytes: int) -> None:
        self._known.discard(key)
        self.live[maker] -= num_bytes


class Step:
    """One step after the other: normalise, forward, backward, SGD with momentum, as the engine does them."""

    def __init__(self, network: nn.Module, args: argparse.Namespace, *, is_bf16: bool, device: str) -> None:
        self._network = network.train()
        self._shape = (args.batch, 3, NUM_SEGMENTS, args.size, args.size)
        self._is_bf16 = is_bf16
        self._device = device
        self._normalize = Normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]).to(device)
        self._optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def __call__(self, between: Callable[[], None] = lambda: None) -> None:
        """Take a step; ``between`` is called between the forward and the backward pass."""
        self._optimizer.zero_grad(set_to_none=True)
        video = torch.zeros(self._shape, dtype=torch.uint8, device=self._device)
        label = torch.zeros(len(video), dtype=torch.long, device=self._device)
        normalized = self._normalize(video)
        with torch.autocast(self._device, torch.bfloat16, enabled=self._is_bf16):
            scores = self._network(normalized)
        loss = F.cross_entropy(scores.float(), label)
        between()
        loss.backward()
        self._optimizer.step()


def count(variant: Variant, args: argparse.Namespace) -> Count:
    """Count the second step, which has momentum from the start."""
    network = variant.create()
    kept: Counter[str] = Counter()
    with FakeTensorMode(), Ledger() as ledger:
        empty_(network)
        step = Step(network, args, is_bf16=variant.is_bf16, device="cpu")
        step()
        states, ledger.peak = ledger.live.total(), 0
        step(between=lambda: kept.update(ledger.live))
    del kept["step"]  # The states but for the gradients, which are gone at that moment.
    return Count(states, +kept, ledger.peak)


def empty_(network: nn.Module) -> None:
    """Give a network weights without contents, in place; under ``FakeTensorMode``."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            empty = torch.empty_strided(parameter.shape, parameter.stride(), dtype=parameter.dtype)
            setattr(module, name, nn.Parameter(empty, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_strided(buffer.shape, buffer.stride(), dtype=buffer.dtype))


def measure(variant: Variant, args: argparse.Namespace) -> int:
    """Return the bytes that PyTorch allocated at most on the GPU, in the third step."""
    gc.collect()
    torch.cuda.empty_cache()
    network = variant.create().to("cuda")
    step = Step(network, args, is_bf16=variant.is_bf16, device="cuda")
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        step()
    return torch.cuda.max_memory_allocated()


def checkpointed(network: nn.Module, *, which: str = "all") -> nn.Module:
    """Let blocks of a network's backbone forget their activations."""
    checkpoint_activations(network.backbone, which=which)  # type: ignore[arg-type]
    return network


def variants(checkout: Path) -> tuple[dict[str, Variant], list[str]]:
    """Return what is counted by name, and which peers are absent and why."""
    options: dict[str, Any] = {"num_segments": NUM_SEGMENTS, "num_classes": NUM_CLASSES}
    found = {
        "float32": Variant(lambda: create_tsm(**options)),
        "bf16": Variant(lambda: create_tsm(**options), is_bf16=True),
        "bf16, checkpointed": Variant(lambda: checkpointed(create_tsm(**options)), is_bf16=True),
        "plain ResNet-50, float32": Variant(lambda: create_tsn(**options)),
        "plain ResNet-50, bf16": Variant(lambda: create_tsn(**options), is_bf16=True),
    }
    for kind in NON_LOCAL_KINDS:
        for name, is_bf16 in (("float32", False), ("bf16", True)):
            create = partial(create_tsm, non_local=kind, **options)
            found[f"non-local {kind}, {name}"] = Variant(create, is_bf16)
            saving = partial(lambda create: checkpointed(create(), which="non_local"), create)
            found[f"non-local {kind}, checkpointed there, {name}"] = Variant(saving, is_bf16)
    absent = []
    for name, create in [
        ("MMAction2", lambda: peers.mmaction2(**options)),
        ("mit-han-lab", lambda: peers.mit(checkout, **options)),
    ]:
        try:
            create()
        except ImportError as error:
            absent.append(f"{name}: {error}")
        else:
            found |= {f"{name}, float32": Variant(create), f"{name}, bf16": Variant(create, is_bf16=True)}
    return found, absent


def table(counts: dict[str, Count], measured: dict[str, int]) -> list[str]:
    """Return a row for each variant, in MiB."""
    heads = ["states", "kept for the backward pass", "counted peak", *(["measured peak"] if measured else [])]
    lines = [f"| MiB | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for name, found in counts.items():
        values = [found.states, found.kept.total(), found.peak, *([measured[name]] if measured else [])]
        lines.append(f"| {name} | {' | '.join(f'{value / MIB:.0f}' for value in values)} |")
    return lines


def makers(counts: dict[str, Count]) -> list[str]:
    """Return what made the kept tensors, in MiB, for each variant."""
    names = [name for name, _ in sum((found.kept for found in counts.values()), Counter()).most_common()]
    names = [name for name in names if any(found.kept[name] >= MIB for found in counts.values())]
    lines = [f"| MiB | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    for variant, found in counts.items():
        lines.append(f"| {variant} | {' | '.join(f'{found.kept[name] / MIB:.0f}' for name in names)} |")
    return lines


def verdicts(counts: dict[str, Count]) -> list[str]:
    """Return a line for each target: what was counted, what is asked for, and whether it holds."""
    lines = []
    for name, limit in TARGETS.items():
        peak = counts[name].peak / MIB
        lines.append(f"- {name}: {peak:.0f} MiB of at most {limit}: {'holds' if peak <= limit else 'MISSED'}")
    for name, found in counts.items():
        if name.startswith("non-local"):
            plain = counts[name.rpartition(", ")[2]].peak
            ratio = found.peak / plain
            verdict = "holds" if ratio <= MAX_NON_LOCAL else "MISSED"
            lines.append(f"- {name}: {100 * (ratio - 1):+.1f} % of at most +5 %: {verdict}")
    return lines


def report(args: argparse.Namespace) -> str:
    """Count, measure where there is a GPU, and return the figures as a Markdown note."""
    chosen, absent = variants(args.mit)
    counts = {name: count(variant, args) for name, variant in chosen.items()}
    has_gpu = torch.cuda.is_available()
    measured = {name: measure(variant, args) for name, variant in chosen.items()} if has_gpu else {}
    title = f"counted and measured on {hardware_name(torch.device('cuda'))}" if has_gpu else "counted"
    unmeasured = [] if has_gpu else ["", "**Nothing here was measured**: this machine has no GPU."]
    is_target = (args.batch, args.size) == (8, 224)
    return "\n".join(
        [
            f"# Training memory of TSM-R50, {title}",
            "",
            f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}; `{command_line()}`",
            "",
            f"A step of {args.batch} clips of {NUM_SEGMENTS} x {args.size} x {args.size} with SGD and "
            "momentum. *States* are weights, buffers, gradients and momentum; *counted peak* is the most "
            "that lives at one time, without the convolutions' working space. *Checkpointed there*: "
            "`NONLOCAL.ACT_CHECKPOINT True`.",
            *unmeasured,
            *(["", "Absent: " + "; ".join(absent) + "."] if absent else []),
            "",
            *table(counts, measured),
            "",
            "Operations that made the kept tensors; *casts* are copies in bf16 of weights and of the clip:",
            "",
            *makers(counts),
            *(["", "Targets, as counted:", "", *verdicts(counts)] if is_target else []),
            "",
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8, help="clips of a step")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--mit", type=Path, default=Path("temporal-shift-module"), help="mit-han-lab's clone")
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    note = report(args)
    print(note, end="")
    if args.write:
        hardware = "cuda" if torch.cuda.is_available() else "counted"
        write_note(note, subject="memory", hardware=hardware)


if __name__ == "__main__":
    main()
