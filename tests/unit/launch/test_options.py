import re

import pytest

from launch.cluster.options import Options, cluster_options, minutes_of, resolve_options, with_environment
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


def test_a_time_in_the_cluster_file_needs_no_quotes(tmp_path):
    options = resolve_options({"cluster": write_cluster(tmp_path, "time: 1:30:00\n")})

    assert minutes_of(options.time) == 90


def test_lists_of_flags_come_after_the_lists_of_the_file(tmp_path):
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


def test_what_only_slurm_knows_is_reported_where_it_is_not_used():
    assert cluster_options(Options(partition="gpu", setup=["module load cuda"], tasks_per_node=2)) == [
        "--partition",
        "--setup",
    ]


@pytest.mark.parametrize(
    ("word", "kind", "number"),
    [("4", "", 4), ("a100:4", "a100", 4), ("-1", "", -1), ("nvidia_h100:1", "nvidia_h100", 1)],
)
def test_gpus_are_a_number_or_a_kind_and_a_number(tmp_path, word, kind, number):
    cluster = write_cluster(tmp_path, f"gpus_per_node: {word}\n")

    for options in (resolve_options({"gpus_per_node": word}), resolve_options({"cluster": cluster})):
        assert (options.gpu_type, options.gpus_per_node) == (kind, number)


@pytest.mark.parametrize("word", ["four", "a100:", ":4", "a100:4:2", "a100:-1 x", ""])
def test_gpus_that_are_no_number_are_refused(word):
    with pytest.raises(LaunchError, match="--gpus-per-node must be a number or TYPE:NUMBER such as a100:4"):
        resolve_options({"gpus_per_node": word})


@pytest.mark.parametrize(
    ("word", "way"),
    [
        ("gpus-per-node=h100:1", "use --gpus-per-node"),
        ("gpus_per_node=1", "use --gpus-per-node"),
        ("gres=gpu:h100:1", "use --gpus-per-node TYPE:NUMBER"),
        ("array=0-3", "use --sweep"),
        ("--nodes=2", "use --nodes"),
        ("output=/dev/null", "set OUTPUT_DIR"),
        ("signal=TERM@1", "use --signal-delay"),
        ("export=NONE", "add to it by --env KEY=VALUE"),
        ("partition=x", "use --partition"),
        ("job-name=x", "use --name"),
        ("distribution=cyclic", "ranks fill one node after the other"),
    ],
)
def test_what_the_launcher_asks_for_itself_is_refused_with_the_way_to_set_it(word, way):
    with pytest.raises(LaunchError, match="would break what the launcher asks for") as error:
        resolve_options({"sbatch": [word]})

    assert way in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "a\n#SBATCH --nodes=9"},
        {"comment": "a\rb"},
        {"setup": ["a\nb"]},
        {"env": ["A=1\nB=2"]},
        {"env": ["A B=1"]},
        {"env": ["A\n=1"]},
        {"sbatch": ["licenses=a\nb"]},
        {"sbatch": ["a\nb=1"]},
    ],
)
def test_control_characters_become_no_lines_of_the_script(given):
    with pytest.raises(LaunchError, match="--(name|comment|setup|env|sbatch) must"):
        resolve_options(given)


def test_what_sbatch_reads_from_the_shell_fills_what_is_left_open(monkeypatch):
    monkeypatch.setenv("SBATCH_ACCOUNT", "physics")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "90")
    monkeypatch.setenv("SBATCH_PARTITION", "long")

    options = with_environment(Options(partition="short"))

    assert (options.account, options.time, options.partition) == ("physics", "90", "short")
