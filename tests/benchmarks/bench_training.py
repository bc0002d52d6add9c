"""Time and memory of a training step, and the effect of each option.

    python tests/benchmarks/bench_training.py [--backbone resnet50] [--size 224] [--batch 16] [--threads 2]
    [--write]

Each variant runs in its own process. Its peak of memory is PyTorch's on a GPU. On a CPU it is the growth of
the resident set since before the first step. Time is the fastest step after the first two, because other
processes only add time. With one thread on a CPU it is the process's own time, to which they add nothing.
"""

import argparse
import resource
import time
from typing import Any

import torch
from measuring import clock_of, command_line, float32_name, hardware_name, hardware_tag, write_note
from processes import in_fresh_process

from tsn_tsm_plugin import create_tsm
from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.layers.activation_checkpoint import checkpoint_activations
from tsn_tsm_plugin.solver import tsm_param_groups
from tsn_tsm_plugin.transforms.normalize import Normalize

NUM_SEGMENTS, SIZE = 8, 224
VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "accumulation in 4 parts": {"parts": 4},
    "bf16": {"mixed_precision": "bf16"},
    "checkpointed activations": {"checkpointed": "all"},
    "bf16, in 4 parts": {"mixed_precision": "bf16", "parts": 4},
    "bf16, checkpointed": {"mixed_precision": "bf16", "checkpointed": "all"},
    "all three": {"mixed_precision": "bf16", "parts": 4, "checkpointed": "all"},
    "bf16, non-local": {"mixed_precision": "bf16", "non_local": "embedded_gaussian"},
    "the same, checkpointed there": {
        "mixed_precision": "bf16",
        "non_local": "embedded_gaussian",
        "checkpointed": "non_local",
    },
}
PURPOSES = """
Accumulation is for a batch that does not fit: the same update, but batch norm sees a part at a time.
bf16 is for speed, and halves activations; weights and optimiser stay float32.
Checkpointed activations are for clips of which not even one fits: the same update for a second forward pass.
Checkpointed there are only the blocks that a non-local block follows (NONLOCAL.ACT_CHECKPOINT True).
"""


def measure(args: argparse.Namespace, variant: dict[str, Any]) -> tuple[float, float]:
    """Return seconds per step and MiB of peak memory of a variant."""
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = create_tsm(
        backbone=args.backbone, num_segments=NUM_SEGMENTS, non_local=variant.get("non_local")
    ).to(device)
    model.train()
    if "checkpointed" in variant:
        checkpoint_activations(model.backbone, which=variant["checkpointed"])
    step = OptimizerStep(
        model,
        torch.optim.SGD(tsm_param_groups(model, weight_decay=1e-4), lr=1e-3, momentum=0.9, fused=True),
        normalize=Normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]).to(device),
        device=device,
        clip_grad_l2norm=20.0,
        mixed_precision=variant.get("mixed_precision", "off"),
        max_clips_per_forward=-(-args.batch // variant.get("parts", 1)),
    )
    shape = (args.batch, 3, NUM_SEGMENTS, args.size, args.size)
    batch = {
        "video": torch.randint(0, 256, shape, dtype=torch.uint8),
        "label": torch.zeros(args.batch).long(),
    }
    clock, _ = clock_of(device, num_threads=args.threads)
    before = peak_mib(device)
    seconds = []
    for _ in range(args.steps + 2):
        begun = clock()
        step(batch, num_clips=args.batch)
        seconds.append(clock() - begun)
    return min(seconds[2:]), peak_mib(device) - before * (device.type == "cpu")


def peak_mib(device: torch.device) -> float:
    """Return the peak of memory so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def table(args: argparse.Namespace) -> str:
    """Measure every variant and return the figures with what they were measured on."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, clock = clock_of(device, num_threads=args.threads)
    lines = [
        f"TSM {args.backbone}, {NUM_SEGMENTS} frames, {args.size} px, {args.batch} clips in a step, "
        f"{float32_name(device)}, {args.threads} threads, torch {torch.__version__}, "
        f"{hardware_name(device)}, {clock}, {time.strftime('%Y-%m-%d')}",
        "",
        f"{'variant':<29}{'s/step':>8}{'time x':>8}{'clips/s':>9}{'peak MiB':>10}{'memory x':>10}",
    ]
    plain: tuple[float, float] | None = None
    for name, variant in VARIANTS.items():
        seconds, mib = in_fresh_process(measure, args, variant)
        plain = plain or (seconds, mib)
        lines.append(
            f"{name:<29}{seconds:>8.2f}{seconds / plain[0]:>8.2f}{args.batch / seconds:>9.1f}{mib:>10.0f}"
            f"{mib / plain[1]:>10.2f}"
        )
    return "\n".join(lines) + "\n" + PURPOSES.rstrip()


def subject_of(args: argparse.Namespace) -> str:
    """Return a name that figures of another network or another size do not take."""
    size = "" if args.size == SIZE else f"_{args.size}px"
    return f"training_{args.backbone}{size}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels")
    parser.add_argument("--batch", type=int, default=16, help="clips in a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--write", action="store_true", help="keep the table in results/")
    args = parser.parse_args()
    text = table(args)
    print(text)
    if args.write:
        note = f"`{command_line()}`\n\n```\n{text}\n```\n"
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tag = hardware_tag(device, num_threads=args.threads)
        write_note(note, subject=subject_of(args), hardware=tag)


if __name__ == "__main__":
    main()
