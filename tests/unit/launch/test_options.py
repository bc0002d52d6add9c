import re

import pytest

from launch.cluster.options import Options, cluster_options, minutes_of, resolve_options
from launch.errors import LaunchError


def write_cluster(folder, text):
    path = folder / "site.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("1:30", 2), ("1:30:00", 90), ("2-00:00:00", 2880), ("1-12", 2160), ("0-1:30", 90)],
)
def test_time_limits_are_read_as_slurm_writes_them(time, minutes):
    assert minutes_of(time) == minutes


@pytest.mark.parametrize("time", ["", "soon", "1:2:3:4", "-5", "90m"])
def test_a_time_that_is_none_is_refused(time):
    with pytest.raises(LaunchError, match=re.escape("--time must be minutes, H:MM:SS or D-HH:MM:SS")):
        minutes_of(time)


def test_a_flag_wins_over_the_cluster_file_which_wins_over_the_default(tmp_path):
    cluster = write_cluster(tmp_path, "partition: long\nnodes: 2\n")

    options = resolve_options({"cluster": cluster, "nodes": 4})

    assert (options.partition, options.nodes, options.retries) == ("long", 4, 0)
    assert options.cluster == "slurm"


def test_a_time_in_the_cluster_file_means_what_it_says_without_quotes(tmp_path):
    options = resolve_options({"cluster": write_cluster(tmp_path, "time: 1:30:00\n")})

    assert minutes_of(options.time) == 90


def test_lists_of_flags_come_after_those_of_the_file(tmp_path):
    cluster = write_cluster(tmp_path, "setup: [module load cuda]\nenv:\n  NCCL_DEBUG: INFO\n")

    options = resolve_options({"cluster": cluster, "setup": ["ulimit -n 4096"], "env": ["A=b c"]})

    assert options.setup == ["module load cuda", "ulimit -n 4096"]
    assert options.pairs("env") == {"NCCL_DEBUG": "INFO", "A": "b c"}


def test_the_cluster_file_can_be_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LAUNCH_CLUSTER", write_cluster(tmp_path, "qos: high\n"))

    assert resolve_options({}).qos == "high"


def test_an_unknown_key_names_its_neighbour(tmp_path):
    with pytest.raises(LaunchError, match=re.escape("partitoin is not an option; did you mean partition?")):
        resolve_options({"cluster": write_cluster(tmp_path, "partitoin: long\n")})


def test_a_value_of_the_wrong_type_is_refused(tmp_path):
    with pytest.raises(LaunchError, match="nodes must be a whole number, got 'four'"):
        resolve_options({"cluster": write_cluster(tmp_path, "nodes: four\n")})


def test_a_cluster_that_is_no_file_is_refused():
    with pytest.raises(LaunchError, match="--cluster must be auto, slurm, local, debug, a file in"):
        resolve_options({"cluster": "nowhere"})


def test_an_environment_variable_needs_a_value():
    with pytest.raises(LaunchError, match="--env must be KEY=VALUE, got 'NCCL_DEBUG'"):
        resolve_options({"env": ["NCCL_DEBUG"]})


def test_every_option_of_the_example_cluster_is_known_and_no_site_is_named():
    options = resolve_options({"cluster": "example"})

    assert options.partition == Options().partition


def test_what_only_slurm_knows_is_told_where_it_is_not_used():
    assert cluster_options(Options(partition="gpu", setup=["module load cuda"], tasks_per_node=2)) == [
        "--partition",
        "--setup",
    ]
