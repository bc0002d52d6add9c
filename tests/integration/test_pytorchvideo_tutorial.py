"""The shape of PyTorchVideo's training tutorial, with our model, samplers, transforms and decoder by name.

The tutorial's LightningModule and LightningDataModule are driven by Lightning if it is installed. Otherwise
the few lines that matter of ``lightning.Trainer.fit`` drive them.
"""

import importlib.util

import pytest
import torch
from pytorchvideo import data as video_data
from support.videos import write_video
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler

from tsn_tsm_plugin.pytorchvideo_patch.activate import activate
from tsn_tsm_plugin.transforms import MixCollate

activate()
SIZES = {"min_size": 32, "max_size": 40, "crop_size": 32}
HAS_LIGHTNING = importlib.util.find_spec("lightning") is not None
if HAS_LIGHTNING:
    from lightning import LightningDataModule, LightningModule, Trainer
else:
    LightningModule, LightningDataModule = nn.Module, object


class KineticsDataModule(LightningDataModule):
    def __init__(self, folder, method):
        super().__init__()
        self.folder = folder
        self.method = method

    def loader(self, split, *, sampler, transform, collate=None):
        from pytorchvideo.transforms import create_video_transform

        dataset = video_data.Kinetics(
            data_path=str(self.folder / split),
            clip_sampler=sampler,
            video_sampler=SequentialSampler,
            decode_audio=False,
            decoder="exact",
            transform=create_video_transform(video_key="video", **transform, **SIZES),
        )
        workers = {"num_workers": 1, "multiprocessing_context": self.method} if self.method else {}
        return DataLoader(dataset, batch_size=2, collate_fn=collate, **workers)

    def train_dataloader(self):
        return self.loader(
            "train",
            sampler=video_data.make_clip_sampler("uniform_segments", 4, mode="train"),
            transform={"mode": "train", "aug_type": "color_jitter", "aug_paras": {"brightness": 0.2}}
            | {"num_samples": None},
            collate=MixCollate("mixup", num_classes=2, alpha=0.8),
        )

    def val_dataloader(self):
        return self.loader(
            "val",
            sampler=video_data.make_clip_sampler("constant_clips_per_video", 2.0, 1),
            transform={"mode": "val", "aug_type": "twice_sample", "num_samples": 4},
        )


class VideoClassificationModule(LightningModule):
    def __init__(self):
        super().__init__()
        import pytorchvideo.models.hub as hub

        self.model = hub.tsm_r18(model_num_class=2, input_clip_length=4, dropout_rate=0.0)

    def forward(self, video):
        return self.model(video)

    def training_step(self, batch, batch_index):
        return nn.functional.cross_entropy(self(batch["video"]), batch["label"])

    def validation_step(self, batch, batch_index):
        # Two views of four frames, view after view.
        views = torch.cat(batch["video"].tensor_split(2, 2))
        return self(views).unflatten(0, (2, -1)).mean(0).argmax(1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinetics")
    for split in ("train", "val"):
        for label in ("opening", "closing"):
            (folder / split / label).mkdir(parents=True)
            for index in range(2):
                write_video(folder / split / label / f"{index}.mp4", 20 + index, fps=10)
    return folder


@pytest.mark.parametrize("method", [None, "forkserver"])
def test_the_tutorial_trains_and_validates(folder, method):
    torch.manual_seed(0)
    module, data = VideoClassificationModule(), KineticsDataModule(folder, method)
    before = {name: value.clone() for name, value in module.state_dict().items()}

    optimizer = module.configure_optimizers()
    losses = []
    for index, batch in enumerate(data.train_dataloader()):
        assert batch["video"].shape == (2, 3, 4, 32, 32) and batch["label"].shape == (2, 2)
        loss = module.training_step(batch, index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    module.eval()
    with torch.no_grad():
        predicted = [module.validation_step(batch, i) for i, batch in enumerate(data.val_dataloader())]

    assert len(losses) == 2 and all(loss == loss for loss in losses)
    assert sum(len(labels) for labels in predicted) == 4
    assert any(not torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.extras
@pytest.mark.skipif(not HAS_LIGHTNING, reason="lightning is not installed")
def test_lightning_itself_runs_the_tutorial(folder, tmp_path):
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path
    )
    trainer.fit(VideoClassificationModule(), KineticsDataModule(folder, None))

    assert trainer.global_step == 2
