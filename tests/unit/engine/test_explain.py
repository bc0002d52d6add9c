import numpy as np
import pytest
import torch
from support.trained import write_checkpoint
from support.videos import write_video
from torch import nn

from tsn_tsm_plugin.inference.grad_cam import explain_video, grad_cam, heated
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.models import TSN, TSNHead


class BrightnessBackbone(nn.Module):
    """Its one feature is the brightness of a cell of 8 x 8 pixels, so where it looks is known."""

    num_features = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x.mean(1, keepdim=True), 8)


def bright_corner() -> tuple[TSN, torch.Tensor]:
    head = TSNHead(in_features=1, num_classes=2)
    head.fc.weight.data.copy_(torch.tensor([[1.0], [-1.0]]))
    model = TSN(
        backbone=BrightnessBackbone(), head=head, backbone_name="brightness", num_classes=2, num_segments=2
    ).eval()
    video = torch.zeros(1, 3, 2, 32, 32)
    video[:, :, 1, :8, :8] = 1
    return model, video


def test_the_heat_is_where_the_evidence_is_in_space_and_time():
    model, video = bright_corner()
    heat = grad_cam(model, video, 0)
    assert heat.shape == (2, 32, 32)
    assert heat[0].max() == 0 and heat.max() == 1
    assert heat[1, :8, :8].min() > 0.2 and heat[1, 16:, 16:].abs().max() < 0.05


def test_evidence_against_a_class_gives_no_heat():
    model, video = bright_corner()
    assert grad_cam(model, video, 1).max() == 0


def test_no_parameter_gets_a_gradient():
    model, video = bright_corner()
    grad_cam(model, video, 0)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("num_frames", [1, 4, 5])
def test_a_sheet_has_room_for_every_frame(tmp_path, num_frames):
    trained = load_trained(write_checkpoint(tmp_path / "w.pt", "DATA.NUM_FRAMES", str(num_frames)))
    sheet = explain_video(trained, str(write_video(tmp_path / "v.mp4", 20)))
    rows, columns = -(-num_frames // 4), min(num_frames, 4)
    assert sheet.height > rows * 2 * 224 and sheet.width > columns * 224


def test_heat_brings_colour_and_no_heat_leaves_grey():
    image = np.full((16, 16, 3), (120, 60, 30), np.uint8)
    heat = np.zeros((16, 16))
    heat[:, 8:] = 1.0
    pixels = heated(image, heat).astype(int)
    assert np.ptp(pixels[:, 0], axis=-1).max() <= 3
    assert np.ptp(pixels[:, -1], axis=-1).min() > 40


def test_a_network_that_pools_an_odd_number_of_frames_is_explained(tmp_path):
    options = ["TSM.TEMPORAL_POOL", "True", "DATA.NUM_FRAMES", "5"]
    trained = load_trained(write_checkpoint(tmp_path / "w.pt", *options))
    sheet = explain_video(trained, str(write_video(tmp_path / "v.mp4", 20)))
    assert sheet.width > 3 * 224
