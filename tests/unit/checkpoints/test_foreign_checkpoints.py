"""Files of other libraries, with their own classes in them, load without these libraries."""

import sys

import pytest
import torch
from support.foreign_checkpoints import FOREIGN, save_foreign
from support.golden import GoldenModel

from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.checkpoints.stub import Stub
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models import create_tsm, load_weights


@pytest.fixture(scope="module")
def tensors():
    return GoldenModel.read("state_dicts/mit_tsm_r18_8f").state_dict()


@pytest.fixture(scope="module")
def expected(tensors):
    model = create_tsm(backbone="resnet18")
    load_weights(model, tensors)
    return model.state_dict()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_the_weights_equal_the_bare_state_dict(tmp_path, tensors, expected, kind, is_zip):
    path = save_foreign(kind, tensors, tmp_path / "epoch_1.pth", is_zip=is_zip)
    model = create_tsm(backbone="resnet18")

    report = load_weights(model, path)

    assert report.missing == []
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert not {"mmengine", "mmcv", "deepspeed"} & set(sys.modules)


def test_numbers_arrays_and_text_beside_the_weights_are_read_and_other_objects_are_stubs(tmp_path):
    path = save_foreign("MMAction2 1.2 epoch_1", {"fc.weight": torch.ones(2)}, tmp_path / "a.pth")

    metadata = read_checkpoint(path).metadata

    assert metadata["meta"]["mmengine_version"] == "0.10.4"
    assert metadata["message_hub"]["runtime_info"]["best_score"] == 0.5
    buffer = metadata["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(buffer, Stub) and buffer.name == "mmengine.logging.history_buffer.HistoryBuffer"
    assert buffer.state["_log_history"].tolist() == [0.5, 0.25]


def test_what_lies_beside_the_network_is_reported(tmp_path, tensors):
    path = save_foreign("Lightning", tensors, tmp_path / "a.ckpt")

    assert load_weights(create_tsm(backbone="resnet18"), path).unexpected == ["criterion.weight"]


class Strange:
    """A class that no reader knows."""


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_stub_never_ends_up_among_the_weights(tmp_path, is_zip):
    weights = {"fc.weight": torch.ones(2), "fc.bias": Strange()}
    torch.save({"state_dict": weights}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)

    with pytest.raises(CheckpointError, match=r"that are not tensors .*'fc\.bias' \(<stub of .*Strange"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_whole_pickled_model_is_distinguished_from_a_state_dict(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")

    with pytest.raises(CheckpointError, match=r"of the class torch\.nn\.\S+Linear, .*save the state dict"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32], ids=str)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_weights_are_called_what_they_are(tmp_path, dtype, is_zip):
    weights = {"a": torch.ones(2), "b": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, dtype)}
    torch.save(weights, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)

    with pytest.raises(CheckpointError, match=r"not tensors among the weights: 'b' \(.*_rebuild_qtensor"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_module_without_extra_state_adds_no_weight(tmp_path):
    class Layer(torch.nn.Linear):
        def get_extra_state(self):
            return None

    torch.save(torch.nn.Sequential(Layer(2, 2)).state_dict(), tmp_path / "a.pth")

    assert sorted(read_checkpoint(tmp_path / "a.pth").state_dict) == ["0.bias", "0.weight"]


def test_a_pickled_model_in_a_dictionary_is_named_with_its_key(tmp_path):
    torch.save({"epoch": 1, "model": torch.nn.Linear(2, 2)}, tmp_path / "a.pth")

    with pytest.raises(CheckpointError, match=r"'epoch' \(int\), 'model' \(<stub of torch\.nn\.\S+Linear>\)"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_torchscript_program_is_called_one(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")

    with pytest.raises(CheckpointError, match="is a TorchScript program"):
        read_checkpoint(tmp_path / "a.pt")
