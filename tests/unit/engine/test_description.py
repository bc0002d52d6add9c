import json

import pytest

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.inference.export.sidecar_json import sidecar_json_path


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def describe(path, owner: str) -> None:
    path.write_text(json.dumps({"file": owner}))


def test_a_lone_file_is_described_under_its_own_name(folder):
    assert sidecar_json_path(folder / "model.onnx").name == "model.json"
    assert sidecar_json_path(folder / "model.int8.onnx").name == "model.int8.json"


def test_the_description_of_the_same_file_is_written_anew(folder):
    describe(folder / "model.json", "model.onnx")
    assert sidecar_json_path(folder / "model.onnx").name == "model.json"


def test_the_description_of_another_file_that_is_there_stays(folder):
    (folder / "model.pt2").touch()
    describe(folder / "model.json", "model.pt2")
    assert sidecar_json_path(folder / "model.onnx").name == "model.onnx.json"
    assert sidecar_json_path(folder / "model.pt2").name == "model.json"


def test_the_description_of_a_file_that_is_gone_is_replaced(folder):
    describe(folder / "model.json", "model.pt2")
    assert sidecar_json_path(folder / "model.onnx").name == "model.json"


def test_a_file_never_has_two_descriptions(folder):
    describe(folder / "model.onnx.json", "model.onnx")
    assert sidecar_json_path(folder / "model.onnx").name == "model.onnx.json"


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"file": 3}', "no json", "\xff"])
def test_a_file_that_is_no_description_stays(folder, content):
    (folder / "a.json").write_text(content, encoding="latin-1")
    assert sidecar_json_path(folder / "a.npy").name == "a.npy.json"
    (folder / "a.npy.json").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match="a.json and .*a.npy.json do not describe .*a.npy.*another name"):
        sidecar_json_path(folder / "a.npy")
