"""The online demo of the TSM reference code, frame by frame, from tests/golden (how: README there)."""

import pytest
import torch
from support.golden import GoldenModel

from tsn_tsm_plugin import StreamingTSM, create_tsm, load_weights
from tsn_tsm_plugin.errors import CheckpointError

# Float32 convolutions summed in another order; measured 1.1e-6.
TOLERANCE = 1e-5


def test_a_stream_agrees_with_the_reference_whose_published_file_it_loads():
    golden = GoldenModel.read("models/mit_online_mobilenetv2")
    model = create_tsm(backbone="mobilenet_v2", num_classes=27, causal=True)
    report = load_weights(model, golden.state_dict())
    assert (report.missing, report.unexpected) == ([], [])

    stream = StreamingTSM(model)
    # The file's frames are (T, 3, H, W); `video()` turns clips around.
    scores = torch.cat([stream(frame[None]) for frame in golden.video().transpose(-3, -4)])

    assert golden.scores is not None and golden.scores.shape == (12, 27)
    assert float((scores - golden.scores).abs().max() / golden.scores.std()) < TOLERANCE


def test_the_published_jester_file_does_not_load_into_a_bidirectional_network():
    golden = GoldenModel.read("models/mit_online_mobilenetv2")
    model = create_tsm(backbone="mobilenet_v2", num_classes=27)
    with pytest.raises(CheckpointError, match="the file is for causal=True .*, the model for causal=False"):
        load_weights(model, golden.state_dict())
