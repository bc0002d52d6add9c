"""Submitting, with commands on PATH that play SLURM."""

import json
import re

import pytest
from support.cli import submit
from support.runs import write_recipe

from launch.cluster import partitions, slurm_client


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Put an sbatch with a given answer on PATH, and what else the launcher asks."""
    commands = {
        "srun": "exit 1",
    }
    folder = tmp_path / "played"
    folder.mkdir()

    def install(sbatch, node="$(hostname | cut -d. -f1)", nodes=("4|16|(null)",)):
        forgotten = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
        commands["scontrol"] = f'[ "$2" = job ] && {{ {forgotten}; }}\necho NodeHostName={node}'
        commands["sinfo"] = "\n".join(f"echo 'main*|infinite|{kind}'" for kind in nodes)
        for name, script in {**commands, "sbatch": f'[ "$1" = --test-only ] && exit 0\n{sbatch}'}.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    def also(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    install.also = also
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    partitions.partitions.cache_clear()
    yield install
    partitions.partitions.cache_clear()


def numbered(first):
    """Return an sbatch script whose answers count up from ``first``."""
    return (
        f'last="$(dirname "$0")/last{first}"; [ -e "$last" ] || echo {first - 1} > "$last"\n'
        'echo $(($(cat "$last") + 1)) > "$last"; echo Submitted batch job "$(cat "$last")"'
    )


@pytest.fixture
def words(tmp_path):
    recipe = write_recipe(tmp_path, data=tmp_path)
    return ["--cfg", recipe, "--nodes", 2, f"OUTPUT_DIR={tmp_path / 'runs' / 'my run'}"]


def test_the_job_id_stands_alone_on_stdout_and_the_rest_on_stderr(capsys, played, words, tmp_path):
    played("echo Submitted batch job 42")

    ended = submit(capsys, *words)

    assert (ended.code, ended.out) == (0, "42\n")
    assert f"status '{tmp_path}/runs/my run'" in ended.err
    [record] = (tmp_path / "runs" / "my run" / "launch").glob("*/submission.json")
    assert json.loads(record.read_text())["job_id"] == "42"
    kept = {file.name for file in record.parent.iterdir()}
    assert kept >= {"42_submission.sh", "cluster.yaml", "code", "code.json", "config.yaml", "recipe.yaml"}


def test_a_refusal_is_passed_on_and_leaves_nothing(capsys, played, words, tmp_path):
    played("echo 'sbatch: error: Batch job submission failed: Access denied' >&2; exit 1")

    ended = submit(capsys, *words)

    assert ended.code == 2
    assert "SLURM did not take the job: Batch job submission failed: Access denied" in ended.err
    assert not (tmp_path / "runs" / "my run").exists()


def test_a_job_that_sbatch_does_not_name_is_found_by_its_script(capsys, played, words, tmp_path):
    played(f"echo \"$1\" > {tmp_path}/script; echo 'sbatch: error: Socket timed out' >&2; exit 1")
    played.also("squeue", f'echo "41|/somewhere/else.sh"; echo "42|$(cat {tmp_path}/script)"')

    ended = submit(capsys, *words)

    assert (ended.code, ended.out) == (0, "42\n")
    assert "SLURM took job 42, although sbatch reported" in ended.err
    assert asked_of_slurm(tmp_path / "runs", 42)


def test_an_answer_without_a_job_leaves_nothing(capsys, played, words, tmp_path, monkeypatch):
    monkeypatch.setattr("launch.cluster.job_requests._NUM_LOOKS", 1)
    played("echo Welcome to the cluster")
    played.also("squeue", "true")

    ended = submit(capsys, *words)

    assert ended.code == 2
    assert "SLURM did not take the job: Welcome to the cluster" in ended.err
    assert not (tmp_path / "runs" / "my run").exists()


def test_a_run_folder_that_the_nodes_cannot_see_is_refused(capsys, played, words):
    played("echo Submitted batch job 42", node="node17")

    ended = submit(capsys, *words, "OUTPUT_DIR=/tmp/runs")

    assert ended.code == 2
    assert "OUTPUT_DIR /tmp/runs lies in /tmp, which every node has for itself." in ended.err


def test_a_job_is_submitted_again_with_the_gpus_and_processes_it_had(capsys, played, words, tmp_path):
    played("echo Submitted batch job 42", nodes=["4|16|gpu:a100:8(S:0-1)"])
    assert submit(capsys, *words, "TRAIN.BATCH_SIZE=16").code == 0
    played("echo Submitted batch job 43", nodes=["4|16|gpu:a100:8(S:0-1)"])

    ended = submit(capsys, "resubmit", tmp_path / "runs" / "my run")

    assert (ended.code, ended.out) == (0, "43\n")
    first, again = (asked_of_slurm(tmp_path / "runs", job_id) for job_id in (42, 43))
    assert {"--nodes=2", "--gpus-per-node=8", "--ntasks-per-node=8"} <= again
    assert again == first


def test_a_job_is_submitted_again_on_fewer_nodes_if_the_batch_can_be_shared(capsys, played, words, tmp_path):
    played("echo Submitted batch job 42", nodes=["4|16|gpu:a100:8(S:0-1)"])
    assert submit(capsys, *words, "TRAIN.BATCH_SIZE=16").code == 0
    played("echo Submitted batch job 43", nodes=["4|16|gpu:a100:8(S:0-1)"])

    refused = submit(capsys, "resubmit", tmp_path / "runs" / "my run", "--nodes", 3)
    assert refused.code == 2
    assert "TRAIN.BATCH_SIZE must be a multiple of the number of processes, got 16 for 24" in refused.err
    ended = submit(capsys, "resubmit", tmp_path / "runs" / "my run", "--nodes", 1)
    assert (ended.code, ended.out) == (0, "43\n")
    assert {"--nodes=1", "--ntasks-per-node=8"} <= asked_of_slurm(tmp_path / "runs", 43)


def test_a_training_is_submitted_again_with_the_evaluation_that_follows_it(capsys, played, words, tmp_path):
    played(numbered(42))
    assert submit(capsys, *words, "--then-evaluate", "--sbatch", "dependency=afterok:7").code == 0
    assert "--dependency=afterok:42" in asked_of_slurm(tmp_path / "runs", 43)
    played(numbered(44))

    ended = submit(capsys, "resubmit", tmp_path / "runs" / "my run")

    assert (ended.code, ended.out) == (0, "44\n45\n")
    assert "job 45 evaluates after job 44" in ended.err
    training, evaluation = (asked_of_slurm(tmp_path / "runs", job_id) for job_id in (44, 45))
    assert not any("dependency" in line for line in training)
    assert {"--dependency=afterok:44", "--kill-on-invalid-dep=yes"} <= evaluation


def test_an_evaluation_that_is_submitted_again_alone_waits_for_nobody(capsys, played, words, tmp_path):
    played(numbered(42))
    assert submit(capsys, *words, "--then-evaluate").code == 0
    played(numbered(44))

    ended = submit(capsys, "resubmit", "43", "--runs", tmp_path / "runs")

    assert (ended.code, ended.out) == (0, "44\n")
    assert not any("dependency" in line for line in asked_of_slurm(tmp_path / "runs", 44))


@pytest.mark.parametrize("kept", ["dependency=singleton", "licenses=matlab"])
def test_what_waits_for_no_job_by_number_is_asked_for_again(capsys, played, words, tmp_path, kept):
    played(numbered(42))
    assert submit(capsys, *words, "--sbatch", kept).code == 0
    played(numbered(43))

    assert submit(capsys, "resubmit", tmp_path / "runs" / "my run").code == 0
    assert f"--{kept}" in asked_of_slurm(tmp_path / "runs", 43)


@pytest.mark.parametrize(
    ("program", "script", "reason"),
    [
        ("srun", "", "no srun on PATH"),
        (
            "scontrol",
            '[ "$2" = job ] && { echo "Invalid job id specified" >&2; exit 1; }\n'
            "echo 'fatal: Could not establish a configuration source' >&2; exit 1",
            "sbatch is on PATH, but there is no slurm.conf that names a cluster",
        ),
    ],
)
def test_resubmit_names_what_is_missing_beside_sbatch(
    capsys, played, words, tmp_path, monkeypatch, program, script, reason
):
    played("echo Submitted batch job 42")
    assert submit(capsys, *words).code == 0
    slurm_client._is_configured.cache_clear()
    if script:
        played.also(program, script)
    else:
        (tmp_path / "played" / program).unlink()
        monkeypatch.setenv("PATH", str(tmp_path / "played"))

    ended = submit(capsys, "resubmit", tmp_path / "runs" / "my run")

    assert ended.code == 2
    assert f"resubmitting needs a SLURM cluster: {reason}. Is this a login node?" in ended.err


MIXED = ("10|128|(null)", "4|64|gpu:a100:8")


def test_in_a_mixed_partition_a_job_takes_the_gpus_and_cpus_of_the_nodes_that_have_gpus(
    capsys, played, words, tmp_path
):
    played("echo Submitted batch job 42", nodes=MIXED)

    ended = submit(capsys, *words, "TRAIN.BATCH_SIZE=16", "DATA_LOADER.NUM_WORKERS=20")

    assert ended.code == 0
    assert {"--gpus-per-node=8", "--cpus-per-task=8"} <= asked_of_slurm(tmp_path / "runs", 42)
    differ = "partition main has 4 nodes with 8 GPUs and 10 nodes without GPUs: this job takes 8 of each"
    assert f"{differ} node (--gpus-per-node)" in ended.err


def test_the_nodes_without_gpus_can_be_asked_for_and_nothing_is_remarked(capsys, played, words, tmp_path):
    played("echo Submitted batch job 42", nodes=MIXED)

    ended = submit(capsys, *words, "--gpus-per-node", 0, "--cpus-per-task", 100, "--tasks-per-node", 1)

    assert ended.code == 0
    assert "GPUs" not in ended.err
    assert "--cpus-per-task=100" in asked_of_slurm(tmp_path / "runs", 42)


def test_a_remark_about_the_partition_is_made_once_for_many_jobs(capsys, played, words):
    played("echo Submitted batch job 42", nodes=MIXED)

    ended = submit(capsys, *words, "--dry-run", "TRAIN.BATCH_SIZE=16", "--sweep", "RNG_SEED", 0, 1)

    assert ended.err.count("partition main has") == 1
    assert ended.out.count("#SBATCH --gpus-per-node=8") == 2


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (
            ["--gpus-per-node", 9],
            "--gpus-per-node must be what the nodes of partition main have, got 9; "
            "it has 4 nodes with 8 GPUs and 10 nodes without GPUs.",
        ),
        (
            ["--gpus-per-node", 8, "--cpus-per-task", 9],
            "--cpus-per-task times --tasks-per-node must be at most 64 in partition main with "
            "--gpus-per-node 8, got 9 x 8 = 72.",
        ),
        (
            ["--gpus-per-node", 0, "--tasks-per-node", 2, "--cpus-per-task", 65],
            "--cpus-per-task times --tasks-per-node must be at most 128 in partition main, got 65 x 2 = 130.",
        ),
        (
            ["--nodes", 5],
            "--nodes must be at most 4 in partition main with --gpus-per-node 8 and 8 CPUs of each node, "
            "got 5; it has 4 nodes with 8 GPUs and 10 nodes without GPUs.",
        ),
        (
            ["--container-image", "tsm.sqsh"],
            "--container-image needs pyxis, which srun does not have here. Use "
            "--container-prefix 'apptainer exec --nv tsm.sqsh'.",
        ),
        (["--nodes", 15], "--nodes must be at most 14 in partition main, got 15."),
    ],
)
def test_a_request_is_held_against_the_nodes_that_could_run_it(capsys, played, words, more, fault):
    played("echo Submitted batch job 42", nodes=MIXED)

    ended = submit(capsys, *words, *more, "TRAIN.BATCH_SIZE=720")

    assert ended.code == 2
    assert f"{fault}\n" in ended.err
    assert "fault" not in ended.err


def test_two_ways_into_a_container_are_refused(capsys, played, words):
    played("echo Submitted batch job 42")
    played.also("srun", "echo --container-image=PATH")

    ended = submit(capsys, *words, "--container-image", "tsm.sqsh", "--container-prefix", "apptainer exec x")

    assert ended.code == 2
    assert "--container-image and --container-prefix are two ways into a container: give one" in ended.err


def test_a_folder_that_pyxis_cannot_mount_is_refused(capsys, played, words, tmp_path):
    played("echo Submitted batch job 42")
    played.also("srun", "echo --container-image=PATH")

    ended = submit(capsys, *words, "--container-image", "tsm.sqsh", f"OUTPUT_DIR={tmp_path}/a,b:c")

    assert ended.code == 2
    assert (
        f"OUTPUT_DIR must have no comma and no colon with --container-image, got '{tmp_path}/a,b:c'"
        in ended.err
    )


def test_an_older_job_that_lives_holds_its_run_folder_and_is_shown_and_cancelled(
    capsys, played, words, tmp_path
):
    run_dir = tmp_path / "runs" / "my run"
    for job_id in (42, 43):
        played(f"echo Submitted batch job {job_id}")
        assert submit(capsys, *words).code == 0
    played.also("scontrol", 'echo "JobId=$3 JobState=$([ $3 = 42 ] && echo RUNNING || echo CANCELLED)"')
    played.also("scancel", f'echo "$@" >> {tmp_path}/cancelled')

    refused, shown = submit(capsys, *words), submit(capsys, "status", run_dir)

    assert f"OUTPUT_DIR {run_dir} is in use by job 42 (RUNNING)" in refused.err
    assert [line.split()[0] for line in shown.out.splitlines()] == ["job", "42", "43"]
    assert submit(capsys, "cancel", run_dir).err == f"cancelled job 42 ({run_dir})\n"
    assert (tmp_path / "cancelled").read_text() == "42\n"


def asked_of_slurm(runs, job_id):
    """Return what a job's script asks for; where its log lies is another matter."""
    [script] = runs.glob(f"*/launch/*/{job_id}_submission.sh")
    lines = re.findall(r"^#SBATCH (.+)$", script.read_text(), re.MULTILINE)
    return {line for line in lines if not line.startswith("--output")}
