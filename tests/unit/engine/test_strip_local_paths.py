"""A recipe for others keeps only the last name of each local path."""

import pytest

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.inference.export.strip_local_paths import redact_recipe, strip_local_path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/home/jane/lists/train.txt", "train.txt"),
        ("/home/jane/my videos/", "my videos"),
        ("~/lists/train.txt", "train.txt"),
        ("~jane/lists/train.txt", "train.txt"),
        ("$HOME/lists/train.txt", "train.txt"),
        ("${SCRATCH}/train.txt", "train.txt"),
        ("../../jane/train.txt", "train.txt"),
        ("./train.txt", "train.txt"),
        ("C:\\Users\\jane\\train.txt", "train.txt"),
        ("C:/Users/jane/train.txt", "train.txt"),
        ("\\\\server\\jane\\train.txt", "train.txt"),
        ("file:///home/jane/train.txt", "train.txt"),
        ("file:/home/jane/train.txt", "train.txt"),
        ("s3://jane-bucket/lists/train.txt", "train.txt"),
        ("s3://jane-bucket", ""),
        ("jane@server:/export/train.txt", "train.txt"),
        ("https://jane:secret@example.org/nets/r50.pth?token=secret#x", "r50.pth"),
        ("https://example.org", ""),
        ("timm/local-dir:/home/jane/net", "timm/local-dir:net"),
        ("reader:path=/home/jane/net", "reader:path=net"),
    ],
)
def test_a_path_keeps_its_last_name(text, name):
    assert strip_local_path(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "lists/train.txt",
        "torchvision/resnet18",
        "timm/hf_hub:timm/resnet18",
        "IMAGENET1K_V1",
        "img_{:05}.jpg",
        "backbone.layer1",
        "rand-m9-mstd0.5-inc1",
        "pushing / pulling",
        "$20 bill",
        "~100 people",
    ],
)
def test_other_texts_stay(text):
    assert strip_local_path(text) == text


def test_the_recipe_keeps_its_settings_and_its_source_keeps_its_paths():
    cfg = get_cfg()
    cfg.OUTPUT_DIR = "runs/jane"
    cfg.TRAIN.CHECKPOINT_FILE_PATH = "runs/jane/best.pt"
    cfg.DATA.PATH_TO_DATA_DIR = "jane/k400/"
    cfg.DATA.LABEL_MAP = "/home/jane/labels.txt"
    cfg.MODEL.FROZEN_MODULES = ["backbone.conv1", "/home/jane/module"]
    cfg.DATA.FLIP_LABEL_PAIRS = [[86, 87]]
    cfg.freeze()
    public = redact_recipe(cfg)

    assert public.OUTPUT_DIR == public.TRAIN.CHECKPOINT_FILE_PATH == ""
    assert public.DATA.PATH_TO_DATA_DIR == "k400"
    assert public.DATA.LABEL_MAP == "labels.txt"
    assert public.MODEL.FROZEN_MODULES == ["backbone.conv1", "module"]
    assert public.DATA.FLIP_LABEL_PAIRS == [[86, 87]]
    assert public.SOLVER.dump() == get_cfg().SOLVER.dump()
    assert cfg.DATA.LABEL_MAP == "/home/jane/labels.txt"
