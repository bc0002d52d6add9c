import json
import threading
from types import SimpleNamespace

import pytest

from launch.rank.rendezvous import master_address, open_store


def open_one(file, rank, **more):
    fixed = {"world_size": 2, "hostname": "localhost", "timeout_seconds": 20.0, "is_hopeless": lambda: False}
    return open_store(file, rank=rank, **{**fixed, **more})


def test_the_others_find_rank_0_on_a_port_that_nobody_chose(tmp_path):
    file = tmp_path / "rendezvous.json"
    found = {}
    other = threading.Thread(target=lambda: found.update(other=open_one(file, rank=1)))
    other.start()

    store, line = open_one(file, rank=0)
    other.join()

    address, port = json.loads(file.read_text())
    assert line == f"rendezvous at {address}:{port} (address from the node's name)"
    store.set("greeting", "hello")
    assert found["other"][0].get("greeting") == b"hello"


def test_a_rank_does_not_wait_for_a_rank_0_that_has_failed(tmp_path):
    with pytest.raises(TimeoutError, match="rank 0 published no address in .* it failed before"):
        open_one(tmp_path / "rendezvous.json", rank=1, is_hopeless=lambda: True)


def test_an_address_that_is_given_wins(monkeypatch):
    monkeypatch.setenv("LAUNCH_MASTER_ADDR", "10.0.0.1")

    assert master_address("localhost") == ("10.0.0.1", "LAUNCH_MASTER_ADDR")


def test_a_name_that_does_not_resolve_is_looked_up_in_slurm(monkeypatch):
    shown = SimpleNamespace(stdout="NodeName=n1 NodeAddr=10.0.0.2 NodeHostName=n1 State=IDLE")
    monkeypatch.setattr("launch.rank.rendezvous.slurm.ask", lambda *_: shown)

    assert master_address("no-such-node.invalid") == ("10.0.0.2", "NodeAddr of scontrol")


def test_without_slurms_knowledge_the_node_that_launched_is_taken(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.3")

    assert master_address("no-such-node.invalid") == ("10.0.0.3", "SLURM_LAUNCH_NODE_IPADDR")
