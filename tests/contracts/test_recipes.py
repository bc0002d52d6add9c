"""Every recipe loads, has a header that names its source, and builds a network that trains and saves."""

import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from tsn_tsm_plugin import build_model, load_cfg
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.tools.summarize import find_recipes, summarize, write_markdown

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
RECIPES = find_recipes([PROJECTS])
NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*_\d+f(_[a-z0-9_]+)?")


def id_of(recipe: Path) -> str:
    return f"{recipe.parent.name}/{recipe.stem}"


def as_small(cfg: CfgNode) -> CfgNode:
    """The same network for few classes, with random weights."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE_WEIGHTS = ""
    cfg.MODEL.NUM_CLASSES = 5
    cfg.MODEL.DROPOUT_RATE = 0.0
    return cfg


def distinct_networks() -> list[tuple[str, CfgNode]]:
    found: dict[str, tuple[str, CfgNode]] = {}
    for recipe in RECIPES:
        cfg = as_small(load_cfg(recipe))
        temporal = cfg.TSM if cfg.MODEL.ARCH == "tsm" else ""
        key = f"{cfg.MODEL}{temporal}{cfg.get('NONLOCAL', '')}{cfg.DATA.MODALITY}{cfg.DATA.NUM_FRAMES}"
        found.setdefault(key, (id_of(recipe), cfg))
    return list(found.values())


NETWORKS = distinct_networks()


def test_recipes_were_found():
    assert len(RECIPES) >= 42


@pytest.mark.parametrize("recipe", RECIPES, ids=id_of)
def test_a_recipe_lies_with_its_method_and_is_named_by_dataset_backbone_and_frames(recipe):
    cfg = load_cfg(recipe)
    assert NAME.fullmatch(recipe.stem)
    assert cfg.MODEL.ARCH == recipe.parent.name
    assert f"_{cfg.DATA.NUM_FRAMES}f" in recipe.stem


@pytest.mark.parametrize("recipe", RECIPES, ids=id_of)
def test_a_recipe_opens_with_what_it_is_and_the_command_that_runs_it(recipe):
    header = [line for line in recipe.read_text().split("_BASE_")[0].splitlines() if line.startswith("#")]
    assert len(header) >= 3
    relative = recipe.relative_to(PROJECTS.parent)
    assert any(line.startswith(f"# run: python launch/submit.py --cfg {relative}") for line in header)


@pytest.mark.parametrize("recipe", [r for r in RECIPES if "# published: top-1" in r.read_text()], ids=id_of)
def test_a_zoo_recipe_states_its_row_and_the_published_accuracy(recipe):
    text = recipe.read_text()
    assert re.search(
        r"^# published: top-1 [\d. /]+, top-5 ([\d. /]+|not printed) \(.+\)$", text, re.MULTILINE
    )
    assert re.search(r"^# zoo: TS[NM], ", text, re.MULTILINE)


def test_the_table_of_all_recipes_is_what_the_tool_writes_and_agrees_with_the_published_sizes_and_costs(
    tmp_path,
):
    page = tmp_path / "README.md"
    page.write_text((PROJECTS / "README.md").read_text())
    rows = summarize(RECIPES)
    write_markdown(page, rows)
    assert page.read_text() == (PROJECTS / "README.md").read_text()
    published = 0
    for recipe, row in zip(RECIPES, rows, strict=True):
        stated = re.search(
            r"^# model: ([\d,]+) parameters, ([\d.]+) GFLOPs \(", recipe.read_text(), re.MULTILINE
        )
        if stated is not None:
            published += 1
            assert row[4] == stated.group(1), recipe
            assert float(row[5]) == pytest.approx(float(stated.group(2)), rel=1e-3), recipe
    assert published == 40


@pytest.mark.parametrize("cfg", [cfg for _, cfg in NETWORKS], ids=[name for name, _ in NETWORKS])
def test_a_recipes_network_trains_saves_and_loads_as_itself(cfg, tmp_path):
    torch.manual_seed(0)
    size = 224 if "swin" in cfg.MODEL.BACKBONE else 64
    model = build_model(cfg)
    num_frames = 1 if cfg.MODEL.ARCH == "tsn" else cfg.DATA.NUM_FRAMES
    video = torch.randn(1, model.in_channels, num_frames, size, size)
    model.eval()(video).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    again = build_model(cfg)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.inference_mode():
        assert torch.equal(again.eval()(video), model(video))


@pytest.mark.parametrize("recipe", RECIPES, ids=id_of)
def test_a_recipes_imagenet_weights_exist_by_that_name(recipe):
    model = load_cfg(recipe).MODEL
    name, weights = model.BACKBONE, model.BACKBONE_WEIGHTS
    in_timm = f"{name}.{weights.removeprefix(f'{name}.')}" in timm.list_pretrained(f"{name}.*")
    in_torchvision = name in torchvision.models.list_models() and weights in (
        torchvision.models.get_model_weights(name).__members__
    )
    assert weights == "" or in_timm or in_torchvision
