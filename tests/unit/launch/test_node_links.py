"""The nodes of a job connect to each other before the work; a node that the others do not reach is blamed."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from launch.rank.node_check import UnhealthyNodeError, check_links, gloo_addresses, nodes_to_blame

NODES = ["a", "b", "c", "d"]
NOWHERE = "255.255.255.255"  # A connection to it is refused at once.


def check(folder, *, nodes=NODES, absent=0, addresses=None):
    """Run the check on all nodes but the last ``absent`` ones; return the error of the first node."""

    def one(index):
        here = (addresses or {}).get(nodes[index], ["127.0.0.1"])
        try:
            check_links(folder, nodes, index, addresses=here, start_seconds=1.0, seconds=2.0)
        except UnhealthyNodeError as error:
            return error
        return None

    with ThreadPoolExecutor(len(nodes)) as pool:
        first, *others = pool.map(one, range(len(nodes) - absent))
    assert others == [None] * len(others)
    return first


def test_nodes_that_reach_each_other_pass(tmp_path):
    assert check(tmp_path, addresses={"b": ["127.0.0.1", "localhost"]}) is None


@pytest.mark.parametrize(
    ("node", "pairs"), [("a", "a and b, a and c, a and d"), ("c", "a and c, b and c, c and d")]
)
def test_a_node_that_publishes_an_address_without_a_route_is_blamed(tmp_path, node, pairs):
    error = check(tmp_path, addresses={node: ["127.0.0.1", NOWHERE]})

    assert error.nodes == [node]
    message = f"node {node} is not healthy: no connection between {pairs} within 2 s (--health-check)"
    assert str(error) == message


@pytest.mark.parametrize("answer", [b"another node", None])
def test_a_port_at_which_something_else_answers_or_nothing_does_is_no_connection(tmp_path, answer):
    (tmp_path / "d.missed").write_text("[]")
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "d.address").write_text(json.dumps([["127.0.0.1"], server.getsockname()[1]]))

        def serve():
            links = [server.accept()[0] for _ in range(3)]
            for link in links if answer else []:
                link.sendall(answer)
                link.close()

        thread = threading.Thread(target=serve)
        thread.start()
        error = check(tmp_path, absent=1)
        thread.join()

    assert error.nodes == ["d"]


def test_one_of_two_nodes_is_blamed_if_it_does_not_reach_itself(tmp_path):
    error = check(tmp_path, nodes=["a", "b"], addresses={"b": [NOWHERE]})

    assert error.nodes == ["b"]


def test_a_node_that_does_not_start_is_blamed(tmp_path):
    assert check(tmp_path, nodes=["a", "b"], absent=1).nodes == ["b"]


def test_two_nodes_that_do_not_reach_each_other_are_not_blamed_and_the_ways_on_are_named(tmp_path):
    (tmp_path / "b.missed").write_text('["a"]')
    (tmp_path / "b.address").write_text(json.dumps([[NOWHERE], 1]))
    error = check(tmp_path, nodes=["a", "b"], absent=1)

    assert error.nodes == []
    assert str(error) == (
        "no connection between a and b within 2 s (--health-check). The bad node is unknown. Submit the run "
        "again into its OUTPUT_DIR with `--exclude NODE`, with `--env GLOO_SOCKET_IFNAME=NAME` or with "
        "`--health-check 0`."
    )


@pytest.mark.parametrize(
    ("missed", "blamed"),
    [
        ("a:bcd b:a c:a d:a", "a"),
        ("a:cd b:cd c:abd d:abc", "cd"),
        ("a:b b: c: d:", "ab"),
        ("a:d b: c: d:d", "d"),
        ("a:a b: c: d:", ""),
        ("a:cd b:cd c:ab d:ab", ""),
        ("a:bcd b:acd c:abd d:abc", ""),
        ("a: b: c:", "d"),
        ("a:b b:a c:", ""),
        ("a:", ""),
    ],
)
def test_at_most_half_of_the_nodes_are_blamed_so_that_the_others_are_connected(missed, blamed):
    reports = {report[0]: list(report[2:]) for report in missed.split()}
    assert nodes_to_blame(NODES, reports) == list(blamed)


def test_gloo_listens_at_the_interfaces_of_its_variable(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    assert gloo_addresses() == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["localhost", "no.such.host.invalid"])
def test_gloo_listens_at_the_host_name_or_at_loopback(monkeypatch, name):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert gloo_addresses() in (["127.0.0.1"], ["::1"])
