"""Meaning of YAML in a recipe, and bounds on its size."""

import os

import pytest
import yaml

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.config.yaml_text import RecipeDumper, parse
from tsn_tsm_plugin.errors import ConfigError


@pytest.mark.parametrize("written", ["1:59", "0_1", "1_000", "0x10", "2020-01-02", "on", "yes"])
def test_a_word_that_only_yaml_1_1_counts_with_is_no_number(written):
    with pytest.raises(ConfigError, match=f"SOLVER.MAX_EPOCH must be an integer, got '{written}'"):
        load_cfg("recipe.yaml", ["SOLVER.MAX_EPOCH", written], text="")
    with pytest.raises(ConfigError, match=f"recipe.yaml:1: SOLVER.MAX_EPOCH must be .*, got '{written}'"):
        load_cfg("recipe.yaml", text=f"SOLVER: {{MAX_EPOCH: {written}}}")


@pytest.mark.parametrize("tag", ["!!int '1:59'", "!!int ''", "!!float '1:59.5'", "!!int " + "9" * 5000])
def test_a_number_by_force_is_refused_in_one_line(tag):
    with pytest.raises(ConfigError, match="recipe.yaml:1: .* is not a number"):
        load_cfg("recipe.yaml", text=f"SOLVER: {{MAX_EPOCH: {tag}}}")


@pytest.mark.parametrize(
    "value",
    [["1:59", "on", "~", "1e4", "010", "", "true", ".inf"], [1, 1e-5, 1e300, True, None, {"a": [-1.5]}]],
)
def test_what_is_written_is_read_as_the_same_value(value):
    text = yaml.dump(value, Dumper=RecipeDumper)
    again = parse(text)
    assert again == value == yaml.safe_load(text)
    assert [type(item) for item in again] == [type(item) for item in value]


BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text, problem",
    [
        (BOMB, "too large: 10000 values at most"),
        ("a: &a [*a]", "too large: 10000 values at most"),
        ("a: &a {b: *a}", "too large: 10000 values at most"),
        ("[" * 5000, "too deep: 32 levels at most"),
        ("{a: " * 5000, "too deep: 32 levels at most"),
        ("a: [" + "1, " * 20_000 + "1]", "too large: 10000 values at most"),
        ("a: '" + "x" * (1 << 20) + "'", "longer than 1048576 characters"),
    ],
    ids=["aliases", "its own list", "its own mapping", "lists", "mappings", "values", "characters"],
)
def test_a_config_without_end_is_refused_at_once(text, problem, tmp_path):
    with pytest.raises(ConfigError, match=problem):
        load_cfg("recipe.yaml", text=text)
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        load_cfg(tmp_path / "recipe.yaml")
    if len(text) < 100_000:
        with pytest.raises(ConfigError, match="SOLVER.STEPS must be a list"):
            load_cfg("recipe.yaml", ["SOLVER.STEPS", text], text="")


def test_a_tree_of_bases_without_end_is_refused(tmp_path):
    for number in range(20):
        base = f"{number + 1}.yaml"
        (tmp_path / f"{number}.yaml").write_text(f"_BASE_: [{base}, {base}]")
    (tmp_path / "20.yaml").write_text("RNG_SEED: 1")
    with pytest.raises(ConfigError, match="must not read more than 64 files through _BASE_"):
        load_cfg(tmp_path / "0.yaml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_faults_of_a_recipe_and_of_its_bases_are_listed_together(tmp_path):
    (tmp_path / "base.yaml").write_text("RNG_SEED: [\n")
    text = (
        f"_BASE_: [{tmp_path}/gone.yaml, {tmp_path}/base.yaml]\nRNG_SEED: a\nLOG_PERIOD: 1\nLOG_PERIOD: 2\n"
    )
    with pytest.raises(ConfigError) as error:
        load_cfg("recipe.yaml", ["MODEL.ARCH=tsx", "RNG_SEED"], text=text)
    message = str(error.value)
    assert message.startswith("recipe.yaml: 6 faults\n")
    for part in (
        "gone.yaml: no such file, named as _BASE_ in recipe.yaml",
        "base.yaml:2: not valid YAML",
        "recipe.yaml:2: RNG_SEED must be an integer, got 'a'",
        "recipe.yaml:4: LOG_PERIOD is set twice, first in line 3",
        "command line: MODEL.ARCH must be one of 'tsn', 'tsm', got 'tsx'",
        "override RNG_SEED has no value",
    ):
        assert part in message


def test_a_text_is_a_recipe_in_the_folder_of_its_name(tmp_path):
    (tmp_path / "base.yaml").write_text("RNG_SEED: 3")
    cfg = load_cfg(tmp_path / "mine.yaml", text="_BASE_: base.yaml")
    assert (cfg.RNG_SEED, cfg.OUTPUT_DIR) == (3, "runs/tsm/mine")
