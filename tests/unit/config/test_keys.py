"""One declaration for each key makes the defaults, the rules, the resume list and the reference page."""

import json

import pytest

from tsn_tsm_plugin.config import get_cfg, load_cfg
from tsn_tsm_plugin.config.defaults import FORMER_KEYS, KEYS, flatten
from tsn_tsm_plugin.config.key import FREE, ON_RESUME
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.registry import REGISTRIES
from tsn_tsm_plugin.tools.list_keys import main


def test_the_defaults_are_declared_and_follow_their_rules():
    assert set(flatten(get_cfg())) == set(KEYS)
    cfg = load_cfg("empty.yaml", text="")
    assert json.loads(json.dumps(cfg.DATA.MEAN)) == KEYS["DATA.MEAN"].default


@pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))
def test_every_key_has_a_meaning_and_a_rule_for_resumed_runs(key):
    assert key.meaning.endswith(".")
    assert key.on_resume in ON_RESUME
    assert key.component in ("", *REGISTRIES)


def test_no_key_of_the_network_its_clips_or_its_training_is_free_on_resume():
    rooms = ("MODEL.", "TSM.", "NONLOCAL.", "AUG.", "SOLVER.", "BN.", "EMA.", "DATA.")
    free = [key.name for key in KEYS.values() if key.on_resume == FREE and key.name.startswith(rooms)]
    assert free == ["DATA.STAGE_TO"]


@pytest.mark.parametrize("former", FORMER_KEYS)
def test_a_key_that_has_another_name_now_is_refused_once_with_that_name(former):
    node, name = former.split(".")
    with pytest.raises(ConfigError) as error:
        load_cfg("old.yaml", [f"{former}=1"], text=f"{node}: {{{name}: 1}}")
    assert str(error.value).count(f"{former} is called {FORMER_KEYS[former].name} now") == 1
    assert str(error.value).startswith("old.yaml: 1 fault\n")


def test_the_page_of_all_keys_is_what_the_command_prints(repository, capsys):
    assert main([]) == 0
    page = (repository / "projects/keys.md").read_text()
    assert page == capsys.readouterr().out, "tsn-tsm-list-keys > projects/keys.md"
    assert all(f"| `{name}` |" in page for name in KEYS)


def test_a_part_of_the_page_is_asked_for_by_the_start_of_its_keys(capsys):
    assert main(["DDP"]) == 0
    assert "DDP.BUCKET_CAP_MB" in (printed := capsys.readouterr().out)
    assert "SOLVER" not in printed
    assert main(["DPP"]) == 2
    assert "no key starts with 'DPP'" in capsys.readouterr().err
