"""How ranks average gradients: each option against plain averaging, on two gloo processes."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.ranks import spawn
from support.runs import TinyBackbone
from torch import Tensor, nn

from tsn_tsm_plugin.engine.ddp import data_parallel
from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.errors import ConfigError

OPTIONS = {
    "one bucket each": {"bucket_cap_mb": 0.001},
    "copied gradients": {"gradient_as_bucket_view": False},
    "static graph": {"static_graph": True},
    "bf16": {"gradient_compression": "bf16"},
    "all": {"bucket_cap_mb": 1.0, "static_graph": True, "gradient_compression": "bf16"},
}
CPU = torch.device("cpu")


class Fold(nn.Module):
    def forward(self, video_BCTHW: Tensor) -> Tensor:
        return video_BCTHW[:, :, 0].float() / 255


def train(folder: Path, name: str, options: dict, *, max_clips: int = 0) -> None:
    """Take some steps on other clips on each rank, and keep losses, weights and statistics."""
    rank = dist.get_rank()
    torch.manual_seed(0)
    network = nn.Sequential(TinyBackbone(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    step = OptimizerStep(
        network,
        optimizer,
        wrap=partial(data_parallel, device=CPU, **options),
        normalize=Fold(),
        device=CPU,
        clip_grad_l2norm=5.0,
        max_clips_per_forward=max_clips,
    )
    generator = torch.Generator().manual_seed(rank)
    losses = []
    for _ in range(6):
        video = torch.randint(0, 256, (4, 3, 1, 16, 16), generator=generator, dtype=torch.uint8)
        batch = {"video": video, "label": torch.arange(4) % 3}
        losses.append(step(batch, num_clips=8, world_size=2).loss.item())
    torch.save({"losses": losses, **network.state_dict()}, folder / f"{name}_{rank}.pt")


def trained(folder: Path, name: str, options: dict, **more) -> list[dict]:
    """Return what both ranks kept."""
    spawn(2, folder, partial(train, folder, name, options, **more))
    return [torch.load(folder / f"{name}_{rank}.pt", weights_only=True) for rank in range(2)]


def is_weight(name: str) -> bool:
    return name != "losses" and "running" not in name


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("plain"), "plain", {"gradient_as_bucket_view": False})


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_with_every_option_both_ranks_have_one_set_of_weights_on_the_plain_path(tmp_path, plain, options):
    ranks = trained(tmp_path, "option", options)

    is_exact = "gradient_compression" not in options
    for name in filter(is_weight, ranks[0]):
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        assert not is_exact or torch.equal(ranks[0][name], plain[0][name]), name
    for mine, theirs in zip(ranks, plain, strict=True):
        assert mine["losses"] == pytest.approx(theirs["losses"], rel=0 if is_exact else 5e-3)
    assert is_exact or ranks[0]["losses"] != plain[0]["losses"]


def test_bf16_gradients_of_parts_are_rounded_once(tmp_path):
    whole, parts = (
        trained(tmp_path, f"of_{clips}", {"gradient_compression": "bf16"}, max_clips=clips)
        for clips in (0, 2)
    )

    assert torch.equal(parts[0]["3.weight"], parts[1]["3.weight"])
    assert parts[0]["losses"][0] == pytest.approx(whole[0]["losses"][0], rel=0.05)  # batch norm sees less


def test_each_rank_keeps_the_running_statistics_of_its_own_clips(plain):
    assert not torch.equal(plain[0]["0.norm.running_mean"], plain[1]["0.norm.running_mean"])


def refused(match: str) -> None:
    def cannot(tensor: Tensor) -> None:
        raise RuntimeError("Invalid scalar type")

    dist.all_reduce = cannot
    with pytest.raises(ConfigError, match=match):
        data_parallel(nn.Linear(1, 1), device=CPU, gradient_compression="bf16")


def test_a_backend_that_cannot_add_bf16_is_named_with_its_error(tmp_path):
    match = (
        r"GRADIENT_COMPRESSION 'bf16' needs .* got gloo of .* reports: Invalid scalar type\. Set it to 'off'"
    )
    spawn(1, tmp_path, partial(refused, match))
