import json

import pytest

import tsn_tsm_plugin
from tsn_tsm_plugin.errors import PluginError
from tsn_tsm_plugin.registry import REGISTRIES
from tsn_tsm_plugin.tools import list_components


def test_the_table_has_one_aligned_row_per_component(capsys):
    assert list_components.main([]) == 0

    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["kind", "name", "target", "distribution", "version", "key", "pytorchvideo"]
    assert len(rows) == len(tsn_tsm_plugin.list_components())
    (resnet50,) = [row for row in rows if row.split()[:2] == ["backbone", "resnet50"]]
    assert resnet50.split()[2:6] == [
        "tsn_tsm_plugin.models.backbones.resnet:resnet50",
        "tsn_tsm_plugin",
        tsn_tsm_plugin.__version__,
        "MODEL.BACKBONE",
    ]
    assert resnet50.index("tsn_tsm_plugin.models") == header.index("target")


def test_one_kind_may_be_asked_for(capsys):
    list_components.main(["--kind", "decoder"])

    rows = capsys.readouterr().out.splitlines()[1:]
    assert rows and all(row.startswith("decoder ") for row in rows)


def test_json_rows_carry_the_same_fields(capsys):
    list_components.main(["--json", "--kind", "head"])

    rows = json.loads(capsys.readouterr().out)
    assert {"kind", "name", "target", "distribution", "version", "key", "pytorchvideo"} == set(rows[0])
    assert {row["name"] for row in rows} == set(REGISTRIES["head"].names())


def test_an_unknown_kind_is_refused_with_the_legal_ones(capsys):
    with pytest.raises(SystemExit, match="2"):
        list_components.main(["--kind", "backbones"])
    assert "invalid choice: 'backbones'" in capsys.readouterr().err

    with pytest.raises(ValueError, match="kind must be one of backbone, head, .* got 'backbones'"):
        tsn_tsm_plugin.list_components("backbones")


def test_a_bare_checkout_gets_one_line_and_exit_code_2(capsys, monkeypatch):
    def bare(kind):
        raise PluginError("tsn_tsm_plugin is not installed")

    monkeypatch.setattr(list_components, "list_components", bare)

    assert list_components.main([]) == 2
    assert capsys.readouterr().err == "error: tsn_tsm_plugin is not installed\n"


@pytest.mark.parametrize("kind", [kind for kind, registry in REGISTRIES.items() if registry.names()])
def test_every_component_of_our_own_loads(kind):
    optional = {"torchcodec", "decord"}
    for entry in tsn_tsm_plugin.list_components(kind):
        if entry.distribution == "tsn_tsm_plugin" and entry.name not in optional:
            assert callable(REGISTRIES[kind].get(entry.name))
