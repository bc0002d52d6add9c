import functools
import sys
import types

import pytest

from tsn_tsm_plugin.pytorchvideo_patch.ledger import Ledger, Patch, PatchStatus


@pytest.fixture
def host(monkeypatch):
    """A foreign module with one function, greet."""
    module = types.ModuleType("somebodys_host")
    module.greet = lambda: "hello"
    monkeypatch.setitem(sys.modules, "somebodys_host", module)
    return module


def ledger_of(*patches):
    return Ledger(patches, guards={})


def louder(greet):
    @functools.wraps(greet)
    def greet_louder():
        return greet().upper()

    return greet_louder


LOUDER = Patch("somebodys_host", "greet", louder, True)
WAVE = Patch("somebodys_host", "wave", lambda _: lambda: "o/", False)


def test_a_function_is_extended_and_a_name_added(host):
    ledger_of(LOUDER, WAVE).activate()

    assert (host.greet(), host.wave()) == ("HELLO", "o/")


def test_the_module_is_afterwards_what_it_was(host):
    before = dict(vars(host))
    ledger = ledger_of(LOUDER, WAVE)
    ledger.activate()

    assert ledger.deactivate() is True
    assert dict(vars(host)) == before


def test_another_ledger_takes_over_what_the_first_one_did(host):
    before = dict(vars(host))
    first, second = ledger_of(LOUDER, WAVE), ledger_of(LOUDER, WAVE)
    first.activate()
    active = dict(vars(host))
    second.activate()
    assert dict(vars(host)) == active

    assert second.deactivate() is True
    assert dict(vars(host)) == before


def test_a_foreign_wrapper_that_copies_our_mark_is_not_taken_for_ours(host):
    ledger_of(LOUDER).activate()
    ours = host.greet

    @functools.wraps(ours)
    def foreign():
        return ours() + "!"

    host.greet = foreign
    second = ledger_of(LOUDER)
    second.activate()
    assert host.greet() == "HELLO!"

    assert second.deactivate() is True
    assert host.greet is foreign


def test_what_the_host_lacks_is_reported_and_not_invented(host):
    del host.greet
    ledger = ledger_of(LOUDER)
    ledger.activate()

    assert not hasattr(host, "greet")
    assert ledger.rows() == [PatchStatus("somebodys_host.greet", "extends", "missing")]
    assert ledger.deactivate() is True


def test_an_addition_that_somebody_deleted_needs_no_restoring(host):
    ledger = ledger_of(WAVE)
    ledger.activate()
    del host.wave

    assert ledger.deactivate() is True
    assert not hasattr(host, "wave")
