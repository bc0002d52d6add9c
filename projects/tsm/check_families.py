"""Check TSM on a small network of every family of timm and torchvision, and write ``families.md``.

    python projects/tsm/check_families.py                            # all families, hours on two CPU cores
    python projects/tsm/check_families.py timm/swin torchvision/vit  # these only; other rows are kept

A family is the part of the names before the first digit or underscore, with the version (``resnetv2``).
``families.json`` names the network of each family; a new family gets its smallest network. The page lists
the four checks.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.layers import TemporalShift
from tsn_tsm_plugin.models import StreamingTSM, create_tsm
from tsn_tsm_plugin.models.deploy.export import plan_clip_export, trace
from tsn_tsm_plugin.models.recognizer import TSM

HERE = Path(__file__).resolve().parent
NUM_FRAMES = 2
# Side of the frames, to save time; networks that need another size get that size.
SMALL_SIZE = 64
CHECKS = ("order", "stream", "step", "export")
MARKS = {True: "yes", False: "no", None: ""}
LAYOUTS = {(1,): "maps", (-1,): "channels last", (-1, 1): "both"}
# Networks of more than 80 million parameters are checked with two blocks, to save time.
SHALLOW = {
    f"timm/{name}": {"depth": 2}
    for name in (
        "aimv2_large_patch14_224",
        "beit_base_patch16_224",
        "beitv2_base_patch16_224",
        "deepseek_vit_412m",
        "gemma4_vit_167m",
        "naflexvit_base_patch16_parfac_gap",
        "qwen3_vit_88m",
        "samvit_base_patch16_224",
    )
}


def families() -> dict[str, list[str]]:
    """Return the names of the networks by family."""
    found: dict[str, list[str]] = {}
    networks = {
        "timm": (timm.list_models(), r"[a-z]+?(v\d)?(?=[\d_]|$)"),
        "torchvision": (
            torchvision.models.list_models(module=torchvision.models),
            r"[a-z]+(_(v\d|x|y)(?=_))?",
        ),
    }
    for library, (names, pattern) in networks.items():
        for name in names:
            match = re.match(pattern, name)
            found.setdefault(f"{library}/{match.group() if match else name}", []).append(f"{library}/{name}")
    return found


def smallest(names: list[str]) -> str:
    """Return the network with the fewest parameters."""
    sizes = {}
    for full_name in names:
        library, _, name = full_name.partition("/")
        if library == "torchvision":
            sizes[full_name] = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
            continue
        try:
            with torch.device("meta"):
                network = timm.create_model(name, num_classes=0)
        except Exception:  # A few networks compute with values in their constructors.
            continue
        sizes[full_name] = sum(parameter.numel() for parameter in network.parameters())
    return min(sizes or names, key=lambda name: sizes.get(name, 0))


def create(name: str, **options: Any) -> TSM:
    """Create a TSM whose classifier does not hide small differences."""
    torch.manual_seed(0)
    options |= {"num_classes": 5, "num_segments": NUM_FRAMES, "dropout_rate": 0.0, "fc_init_std": 1.0}
    options |= {"backbone": name, "backbone_options": SHALLOW.get(name, {})}
    try:
        model = create_tsm(**options, image_size=SMALL_SIZE)
    except ConfigError:
        model = create_tsm(**options)
    _start_branches(model)
    _measure_statistics(model)
    return model


@torch.no_grad()
def _start_branches(model: nn.Module) -> None:
    """Set weights of residual branches that start at zero, as training would."""
    for name, parameter in model.named_parameters():
        if (
            (parameter.ndim <= 1 or name.endswith("gain"))
            and not name.endswith("bias")
            and float(parameter.detach().abs().max()) < 1e-2
        ):
            nn.init.constant_(parameter, 0.5)


@torch.no_grad()
def _measure_statistics(model: TSM) -> None:
    """Give batch norms the statistics of a clip, so that features keep their size in deep networks."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.momentum is not None]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        model.train()(video_for(model))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def video_for(model: TSM) -> torch.Tensor:
    """Return a clip of the size that the network takes, (1, 3, T, H, W)."""
    _, height, width = model.backbone.input_size
    return torch.randn(1, 3, NUM_FRAMES, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def sees_order(model: TSM) -> bool:
    """Return whether a clip and its reverse give different scores."""
    video = video_for(model)
    scores = model.eval()(video)
    return bool((scores - model(video.flip(2))).abs().max() > 1e-6 * scores.abs().max())


@torch.no_grad()
def streams(model: TSM) -> bool:
    """Return whether a causal network gives the same scores frame by frame."""
    video = video_for(model)
    stream = StreamingTSM(model.eval())
    scores = torch.stack([stream(frame) for frame in video.unbind(2)]).mean(0)
    expected = model(video)
    return bool((scores - expected).abs().max() < 1e-3 * expected.abs().max())


def steps(model: TSM) -> bool:
    """Return whether one step of training gives the shifted layers finite gradients."""
    video = video_for(model).repeat(2, 1, 1, 1, 1)
    nn.functional.cross_entropy(model.train()(video), torch.tensor([0, 1])).backward()
    layers = [module for module in model.modules() if isinstance(module, TemporalShift)]
    gradients = [p.grad for layer in layers for p in layer.parameters()]
    return any(g is not None for g in gradients) and all(
        bool(g.isfinite().all()) for g in gradients if g is not None
    )


@torch.no_grad()
def exports(model: TSM) -> bool:
    """Return whether ``torch.export`` gives a program with the same scores."""
    video = video_for(model).repeat(2, 1, 1, 1, 1)
    plan = plan_clip_export(model.eval(), num_frames=NUM_FRAMES, size=video.shape[-1])
    scores, expected = trace(plan).module()(video), model(video)
    return bool((scores - expected).abs().max() < 1e-3 * expected.abs().max())


def reason_of(error: Exception) -> str:
    """Return the first line of an error, or its type."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return line if len(line) < 200 else f"{line[:200]}..."


def check(name: str) -> dict[str, Any]:
    """Return the row of a network."""
    row: dict[str, Any] = {"network": name}
    try:
        model = create(name)
    except Exception as error:
        return {**row, "reason": reason_of(error)}
    shifts = [module for module in model.modules() if isinstance(module, TemporalShift)]
    row["num_sites"] = len(shifts)
    row["sites"] = sorted({re.sub(r"\d+", "*", site.removeprefix("trunk.")) for site in model.shift_sites})
    row["layout"] = LAYOUTS[tuple(sorted({shift.channel_axis for shift in shifts}))]
    for key, test in (("order", sees_order), ("export", exports), ("step", steps), ("stream", streams)):
        if key == "stream":
            model = create(name, causal=True)
        try:
            row[key] = test(model)
        except Exception as error:
            row[key] = False
            row.setdefault("reason", f"{key}: {reason_of(error)}")
    return row


def page(rows: dict[str, dict[str, Any]]) -> str:
    """Return the page in Markdown."""
    good = sum(
        "num_sites" in row and all(row.get(key) is not False for key in CHECKS) for row in rows.values()
    )
    num_exported = sum(row.get("export") is not None for row in rows.values())
    lines = [
        "# TSM on families of timm and torchvision",
        "",
        "`python projects/tsm/check_families.py` writes this page. It checks one small network of each",
        f"of the {len(rows)} families:",
        "",
        "- order: a clip and its reverse give different scores;",
        "- stream: the causal network gives the same scores on a stream;",
        "- step: a step of training gives the shifted layers finite gradients;",
        f"- export: the exported program gives the same scores (checked for {num_exported} families).",
        "",
        f"{good} families pass all checks. Networks of timm with more than 80 million parameters",
        "were cut to two blocks.",
    ]
    for library in ("timm", "torchvision"):
        of_library = {name: row for name, row in sorted(rows.items()) if name.startswith(f"{library}/")}
        lines += ["", f"## {library}: {len(of_library)} families", "", *table(of_library)]
    return "\n".join(lines) + "\n"


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of a table."""
    lines = [
        "| family | network | shifted submodules | sites | layout | order | stream | step | export |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for family, row in rows.items():
        names = f"{family.partition('/')[2]} | {row['network'].partition('/')[2]}"
        if "num_sites" not in row:
            fault = row["reason"].removeprefix(f"Backbone {row['network']!r} ").partition(":")[0]
            lines.append(f"| {names} | refused: it {fault} | | | | | | |")
            continue
        marks = " | ".join(MARKS[row.get(key)] for key in CHECKS)
        sites = ", ".join([*(f"`{site}`" for site in row["sites"][:3]), *["..."] * (len(row["sites"]) > 3)])
        lines.append(f"| {names} | {sites} | {row['num_sites']} | {row['layout']} | {marks} |")
    return lines


def main() -> None:
    """Check the families named on the command line, or all families."""
    records = HERE / "families.json"
    rows = json.loads(records.read_text()) if records.exists() else {}
    known = families()
    for family in sys.argv[1:] or known:
        start = time.time()
        rows[family] = check(rows.get(family, {}).get("network") or smallest(known[family]))
        print(f"{family:20} {time.time() - start:5.1f} s {json.dumps(rows[family])}", flush=True)
        records.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    (HERE / "families.md").write_text(page(rows))


if __name__ == "__main__":
    main()
