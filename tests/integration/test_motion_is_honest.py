"""The frames that recipes read from the motion dataset are no clue for a network without a sense of time."""

import pytest
import torch

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.data.build import build_loader
from tsn_tsm_plugin.data.motion.dataset import prepare_motion
from tsn_tsm_plugin.models import create_tsm, create_tsn


@pytest.fixture(scope="module")
def partners(tmp_path_factory):
    """Labels and videos of both directions of a scene, uint8 (2, C, T, H, W) as the recipes read them."""
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES = 8
    cfg.DATA.PATH_TO_DATA_DIR = str(
        prepare_motion(tmp_path_factory.mktemp("honest") / "motion", num_train=1, num_val=24)
    )
    cfg.DATA.TEST_SHORT_SIDE = 72
    cfg.DATA.TRAIN_CROP_SIZE = 64
    cfg.DATA_LOADER.NUM_WORKERS = 0
    clips = {}
    for batch in build_loader(cfg, "val"):
        for video, label in zip(batch["video"], batch["label"].tolist(), strict=True):
            frame_set = frozenset(frame.numpy().tobytes() for frame in video.unbind(1))
            clips.setdefault(frame_set, {})[label] = video
    return [(sorted(pair), torch.stack([pair[label] for label in sorted(pair)])) for pair in clips.values()]


def test_each_set_of_sampled_frames_belongs_to_both_classes_of_a_pair(partners):
    pairs = [[label, label + 1] for label in (0, 2, 4, 6)]

    assert sorted(labels for labels, _ in partners) == sorted(3 * pairs)


def test_tsn_scores_both_directions_alike_and_tsm_does_not(partners):
    torch.manual_seed(0)
    arguments = {"backbone": "resnet18", "num_classes": 8, "num_segments": 8, "fc_init_std": 1.0}
    tsn, tsm = create_tsn(**arguments).eval(), create_tsm(**arguments).eval()
    for _, video in partners[:4]:
        video = (video.float() - 128.0) / 64.0
        with torch.inference_mode():
            forwards, backwards = tsn(video)
            torch.testing.assert_close(forwards, backwards, rtol=0.0, atol=1e-4 * forwards.abs().max().item())
            forwards, backwards = tsm(video)
            assert (forwards - backwards).abs().max() > 1e-2 * forwards.abs().max()
