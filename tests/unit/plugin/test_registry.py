import importlib
import importlib.metadata
import re
import sys
import threading

import pytest
from support.distributions import write_distribution
from support.fresh_process import run_fresh

from tsn_tsm_plugin import registry
from tsn_tsm_plugin.errors import PluginError, UnknownComponentError
from tsn_tsm_plugin.registry import BACKBONES, REGISTRIES, Registry


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path whose distributions the registries see for the length of one test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.rescan()
    yield tmp_path
    monkeypatch.undo()
    registry.rescan()


@pytest.fixture
def colours(site):
    """A registry with one third-party entry, teal."""
    write_distribution(
        site,
        "colour-pack",
        version="2.3",
        modules={"colour_pack": "def teal(): return 'teal'"},
        entry_points={"tsn_tsm_plugin.colours": {"teal": "colour_pack:teal"}},
    )
    return Registry("colour", "tsn_tsm_plugin.colours")


def test_names_lists_a_third_party_without_importing_it(colours):
    assert colours.names() == ["teal"]
    assert "colour_pack" not in sys.modules


def test_get_imports_on_demand(colours):
    assert colours.get("teal")() == "teal"


def test_an_entry_names_its_package(colours):
    (entry,) = colours.entries()

    assert (entry.kind, entry.name, entry.target) == ("colour", "teal", "colour_pack:teal")
    assert (entry.distribution, entry.version) == ("colour-pack", "2.3")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_command(colours):
    message = "colour 'teel' is not registered; nearest: teal. See them all with `tsn-tsm-list-components"
    with pytest.raises(UnknownComponentError, match=re.escape(message)):
        colours.get("teel")


def test_an_unknown_name_far_from_all_is_answered_with_all(colours):
    with pytest.raises(UnknownComponentError, match="known: teal"):
        colours.get("xyz")


def test_a_broken_third_party_fails_only_when_asked_for(site, colours):
    write_distribution(
        site,
        "broken-pack",
        version="0.4",
        modules={"broken_pack": "raise RuntimeError('no paint')"},
        entry_points={"tsn_tsm_plugin.colours": {"red": "broken_pack:red"}},
    )
    registry.rescan()

    assert colours.names() == ["red", "teal"]
    assert colours.get("teal")() == "teal"
    message = "colour 'red' from broken-pack 0.4 (broken_pack:red) failed to import: RuntimeError: no paint."
    with pytest.raises(PluginError, match=re.escape(message)) as caught:
        colours.get("red")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_missing_attribute_names_its_distribution(site, colours):
    write_distribution(
        site,
        "empty-pack",
        modules={"empty_pack": ""},
        entry_points={"tsn_tsm_plugin.colours": {"blue": "empty_pack:blue"}},
    )
    registry.rescan()

    with pytest.raises(PluginError, match="empty-pack 1.0.*AttributeError.*Repair or uninstall empty-pack"):
        colours.get("blue")


def test_a_missing_requirement_is_answered_with_the_pip_line(site, colours):
    write_distribution(
        site,
        "needy-pack",
        modules={"needy_pack": "import paint_tins.large"},
        entry_points={"tsn_tsm_plugin.colours": {"green": "needy_pack:green"}},
    )
    registry.rescan()

    with pytest.raises(PluginError, match="pip install paint_tins"):
        colours.get("green")


def test_a_component_must_be_callable(site, colours):
    write_distribution(
        site,
        "number-pack",
        modules={"number_pack": "nine = 9"},
        entry_points={"tsn_tsm_plugin.colours": {"nine": "number_pack:nine"}},
    )
    registry.rescan()

    with pytest.raises(PluginError, match="must be callable, got int"):
        colours.get("nine")


def test_two_distributions_with_one_name_are_both_named(site, colours):
    write_distribution(
        site,
        "rival-pack",
        version="7.0",
        modules={"rival_pack": "def teal(): return 'rival teal'"},
        entry_points={"tsn_tsm_plugin.colours": {"teal": "rival_pack:teal"}},
    )
    registry.rescan()

    with pytest.raises(PluginError, match="two or more claim it") as caught:
        colours.get("teal")
    assert "colour-pack 2.3" in str(caught.value) and "rival-pack 7.0" in str(caught.value)
    assert [entry.distribution for entry in colours.entries()] == ["colour-pack", "rival-pack"]


def test_override_settles_a_clash(site, colours):
    @colours.register("teal", override=True)
    def my_teal():
        return "my teal"

    assert colours.get("teal") is my_teal
    assert [entry.distribution for entry in colours.entries()] == ["(run time)"]
    colours.unregister("teal")
    assert colours.get("teal")() == "teal"


def test_a_registration_may_not_take_an_installed_name_silently(colours):
    with pytest.raises(
        PluginError, match=r"claims the name of colour 'teal' from colour-pack 2.3.*override=True"
    ):
        colours.register("teal")(lambda: None)


def test_two_definitions_of_one_name_clash():
    shades = Registry("shade", "tsn_tsm_plugin.shades")

    @shades.register("dark")
    def first():
        return 1

    with pytest.raises(PluginError, match="shade 'dark' must have one definition"):

        @shades.register("dark")
        def second():
            return 2

    assert shades.get("dark") is first


def test_a_reloaded_module_registers_again_and_the_new_object_wins(tmp_path, monkeypatch):
    (tmp_path / "reload_me.py").write_text(
        "from tsn_tsm_plugin.registry import BACKBONES\n"
        "@BACKBONES.register('reload_me')\n"
        "def build(*, weights=''): return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("reload_me")
    before = module.build
    try:
        importlib.reload(module)
        assert BACKBONES.get("reload_me") is module.build
        assert module.build is not before
    finally:
        BACKBONES.unregister("reload_me")


def test_an_entry_point_target_may_also_be_decorated(colours):
    import colour_pack

    colours.register("teal")(colour_pack.teal)

    assert colours.get("teal") is colour_pack.teal


def test_unregister_refuses_what_was_not_registered_here(colours):
    with pytest.raises(UnknownComponentError, match="not registered in this process.*pip uninstall"):
        colours.unregister("teal")


def test_entry_points_are_scanned_once(colours, monkeypatch):
    scans = []
    scan = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda: scans.append(1) or scan())
    registry.rescan()

    for _ in range(3):
        colours.get("teal")
        BACKBONES.names()

    assert len(scans) == 1


def test_threads_that_ask_at_once_get_one_object(colours):
    start = threading.Barrier(8)
    seen = []

    def ask():
        start.wait()
        seen.append(colours.get("teal"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8 and len(set(seen)) == 1


def test_our_own_components_come_through_the_same_groups():
    resnet50 = next(entry for entry in BACKBONES.entries() if entry.name == "resnet50")

    assert resnet50.target == "tsn_tsm_plugin.models.backbones.resnet:resnet50"
    assert resnet50.distribution == "tsn_tsm_plugin"


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_kind_documents_its_contract(kind):
    assert REGISTRIES[kind].kind == kind
    assert len(REGISTRIES[kind].__doc__.split()) > 5


def test_a_bare_checkout_is_asked_to_install(monkeypatch):
    def nothing_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", nothing_installed)
    monkeypatch.setattr(importlib.metadata, "entry_points", importlib.metadata.EntryPoints)
    registry.rescan()
    try:
        with pytest.raises(PluginError, match=re.escape("not installed") + ".*pip install -e ."):
            BACKBONES.get("resnet50")
    finally:
        monkeypatch.undo()
        registry.rescan()


def test_listing_every_registry_imports_no_component():
    script = """
import sys
from tsn_tsm_plugin.registry import REGISTRIES
print(sum(len(registry.names()) for registry in REGISTRIES.values()) > 10)
print([name for name in sys.modules if name.split('.')[0] in ('pytorchvideo', 'timm', 'av')])
print([name for name in sys.modules if name.startswith(('tsn_tsm_plugin.models', 'tsn_tsm_plugin.data'))])
"""
    assert run_fresh(script) == "True\n[]\n[]\n"
