"""The folder of an evaluation is of what is evaluated, not of its name."""

import pytest
from support.runs import write_dataset, write_recipe

from launch.submit_job.evaluation_folder import evaluation_config
from tsn_tsm_plugin.config import load_cfg


@pytest.fixture
def folder_of(tmp_path):
    data = write_dataset(tmp_path / "data", num_train=1, num_val=2)
    recipe = write_recipe(tmp_path, data=data)
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"first")

    def folder(*opts):
        cfg = evaluation_config(load_cfg(recipe, list(opts)), str(weights), tmp_path / "out")
        assert cfg.OUTPUT_DIR == cfg.TEST.OUTPUT_DIR
        assert str(weights) == cfg.TEST.CHECKPOINT_FILE_PATH
        return cfg.OUTPUT_DIR

    folder.weights, folder.data = weights, data
    return folder


def test_the_same_content_has_the_same_folder(folder_of):
    assert folder_of() == folder_of("OUTPUT_DIR=elsewhere")


def test_a_replaced_file_has_another_folder(folder_of):
    before = folder_of()
    folder_of.weights.write_bytes(b"second")

    assert folder_of() != before


def test_another_protocol_has_another_folder(folder_of):
    assert folder_of("TEST.BATCH_SIZE=7") != folder_of()


def test_another_list_has_another_folder(folder_of):
    before = folder_of()
    lists = folder_of.data / "val.txt"
    lists.write_text(lists.read_text().splitlines()[0] + "\n")

    assert folder_of() != before
