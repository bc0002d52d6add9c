"""MMAction2's configs of TSN and TSM, as a table of facts, compared with the converted recipes.

The table was read off 306 versions of 135 configs by running them, apart from this library's reading. A test
writes a config with the facts of a row, and converts it.
"""

import json
from pathlib import Path

import pytest
from support.mmaction2_config import render_config

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.config.defaults import value_of
from tsn_tsm_plugin.migrate.mmaction2.convert import convert_settings
from tsn_tsm_plugin.migrate.mmaction2.python_literals import read_literals

TABLE = json.loads((Path(__file__).parents[2] / "golden" / "mmaction2_configs.json").read_text())


def facts_of(row: dict) -> dict:
    common = {key: value for key, value in TABLE["common"].items() if key not in row.get("absent", [])}
    return common | {key: value for key, value in row.items() if key != "absent"}


def batches(size: int) -> list[list[str]]:
    names = list(TABLE["configs"])
    return [names[start : start + size] for start in range(0, len(names), size)]


@pytest.mark.parametrize("names", batches(51), ids=lambda names: names[0].rpartition("/")[2])
def test_a_recipe_has_the_settings_of_the_published_config(tmp_path, names):
    schema = get_cfg()
    wrong = []
    for name in names:
        facts = facts_of(TABLE["configs"][name])
        path = tmp_path / "config.py"
        path.write_text(render_config(facts, is_new="v1" in name or "dev" in name or "main" in name))
        literals = read_literals(path)
        recipe = convert_settings(literals.settings).values
        for key, value in facts.items():
            if "." in key:
                ours = recipe.get(key, value_of(schema, key))
                wrong += [f"{name}: {key} is {ours!r}, not {value!r}"] if ours != value else []
    assert wrong == []


def test_the_table_has_many_configs_with_many_facts_each():
    assert len(TABLE["configs"]) > 250
    assert min(len(facts_of(row)) for row in TABLE["configs"].values()) >= 15
    lengths = sorted(len(facts_of(row)) for row in TABLE["configs"].values())
    assert lengths[len(lengths) // 2] >= 40
