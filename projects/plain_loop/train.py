"""A training loop to copy and change: TSM on a list of videos, from parts and without a recipe.

    python projects/plain_loop/train.py --data ~/datasets/motion --backbone resnet18

The data folder has ``train.txt`` and ``val.txt``, whose lines are ``path label``. The embedded dataset is
made by ``tsn-tsm-prepare-dataset motion --out ~/datasets/motion``.
"""

import argparse
import functools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tsn_tsm_plugin import create_tsm
from tsn_tsm_plugin.data.annotations import read_video_list
from tsn_tsm_plugin.data.collate import collate_clips
from tsn_tsm_plugin.data.samplers import EvalBatchSampler, TrainBatchSampler
from tsn_tsm_plugin.data.video_dataset import VideoListDataset
from tsn_tsm_plugin.engine import OptimizerStep
from tsn_tsm_plugin.engine.device import batches_on, compute_device
from tsn_tsm_plugin.solver import LrSchedule, tsm_param_groups
from tsn_tsm_plugin.solver.schedule import cosine
from tsn_tsm_plugin.transforms import (
    Normalize,
    create_test_transform,
    create_tsn_train_transform,
    uniform_sampler,
)


def create_loader(args: argparse.Namespace, split: str) -> DataLoader:
    """Return the batches of a split: uint8 videos (B, 3, T, H, W) and labels (B,)."""
    is_training = split == "train"
    create = create_tsn_train_transform if is_training else create_test_transform
    videos = VideoListDataset(
        read_video_list(args.data / f"{split}.txt", prefix=args.data),
        index_sampler=uniform_sampler(args.frames, mode="train" if is_training else "test"),
        clip_transform=create(short_side=args.size * 8 // 7, crop_size=args.size),
    )
    sampler = (
        TrainBatchSampler(len(videos), batch_size=args.batch, seed=0)
        if is_training
        else EvalBatchSampler(len(videos), batch_size=args.batch)
    )
    return DataLoader(
        videos,
        batch_sampler=sampler,
        collate_fn=collate_clips,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def focal_loss(logits_BK: Tensor, label_B: Tensor, *, gamma: float) -> Tensor:
    """Return the loss of each clip, (B,); put yours in its place (Lin et al., arXiv:1708.02002)."""
    log_shares_B = logits_BK.log_softmax(dim=1).gather(1, label_B[:, None])[:, 0]
    return -((1 - log_shares_B.exp()) ** gamma) * log_shares_B


def train_epoch(
    model: nn.Module, step: OptimizerStep, schedule: LrSchedule, loader: DataLoader, *, epoch: int
) -> float:
    """Train for an epoch and return the mean loss of a clip; wait for the device only at the end."""
    model.train()
    loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    loss, num_clips = torch.zeros((), dtype=torch.float64, device=step.device), 0
    for number, batch in enumerate(batches_on(step.device, loader)):
        if batch["video_name"]:  # All videos of a batch may be unreadable.
            schedule.set_lr_(step.optimizer, epoch * len(loader) + number)
            loss += step(batch, num_clips=len(batch["label"])).loss
            num_clips += len(batch["label"])
    return loss.item() / max(num_clips, 1)


@torch.inference_mode()
def accuracy(model: nn.Module, normalize: nn.Module, loader: DataLoader, device: torch.device) -> float:
    """Return the top-1 accuracy in percent."""
    model.eval()
    hits, num_clips = torch.zeros((), device=device), 0
    for batch in batches_on(device, loader):
        if batch["video_name"]:
            hits += (model(normalize(batch["video"])).argmax(dim=1) == batch["label"]).sum()
            num_clips += len(batch["label"])
    return 100 * hits.item() / max(num_clips, 1)


def train(args: argparse.Namespace) -> nn.Module:
    """Train, print the figures of each epoch, and return the network."""
    torch.manual_seed(0)
    device = compute_device()
    train_loader, val_loader = create_loader(args, "train"), create_loader(args, "val")
    labels = [entry.label for entry in train_loader.dataset.entries]  # type: ignore[attr-defined]
    model = create_tsm(backbone=args.backbone, num_classes=max(labels) + 1, num_segments=args.frames)
    model.to(device)
    normalize = Normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]).to(device)
    groups = tsm_param_groups(model, weight_decay=5e-4)
    step = OptimizerStep(
        model,
        torch.optim.SGD(groups, lr=args.lr, momentum=0.9, fused=True),
        normalize=normalize,
        device=device,
        loss=functools.partial(focal_loss, gamma=args.gamma),
        clip_grad_l2norm=20.0,
    )
    schedule = LrSchedule(
        args.lr,
        decay=cosine(num_epochs=args.epochs, end_factor=0.0),
        num_epochs=args.epochs,
        steps_per_epoch=len(train_loader),
        per_step=True,
        warmup_epochs=1,
    )
    for epoch in range(args.epochs):
        loss = train_epoch(model, step, schedule, train_loader, epoch=epoch)
        top1 = accuracy(model, normalize, val_loader, device)
        print(f"epoch {epoch + 1}: loss {loss:.4f}, validation top-1 {top1:.1f} %", flush=True)
    torch.save(model.state_dict(), args.out)
    return model


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the videos and their lists")
    parser.add_argument("--out", type=Path, default=Path("tsm.pt"), help="file of the trained weights")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--frames", type=int, default=8, help="frames of a clip")
    parser.add_argument("--size", type=int, default=56, help="pixels of a frame's side")
    parser.add_argument("--batch", type=int, default=32, help="clips in a step")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.02, help="highest learning rate")
    parser.add_argument("--gamma", type=float, default=0.0, help="of the focal loss; 0 is cross entropy")
    parser.add_argument("--workers", type=int, default=2, help="processes that read videos")
    args = parser.parse_args(argv)
    args.data = args.data.expanduser()
    train(args)


if __name__ == "__main__":
    main()
