"""The sbatch script where SLURM is not installed."""

import shlex
import sys

import pytest
from support.cli import submit
from support.runs import write_recipe

pytestmark = pytest.mark.usefixtures("no_slurm")


@pytest.fixture
def dry_run(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("launch.submit_job.sbatch_script.sys.executable", "/env/bin/python")
    recipe = write_recipe(tmp_path, data=tmp_path)

    def run(*words):
        shown = submit(
            capsys, "--cfg", recipe, "--dry-run", "--cluster", "slurm", "OUTPUT_DIR=/runs/my run", *words
        )
        assert shown.code == 0, shown.err
        return "#!/bin/bash" + shown.out.split("#!/bin/bash")[1]

    return run


def test_the_whole_script_of_a_plain_request(dry_run):
    assert (
        dry_run("--nodes", 2, "--signal-delay", 60).strip()
        == """\
#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=1
#SBATCH --job-name=tsm_tiny
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output='/runs/my run/launch/TIME/%j_0_log.out'
#SBATCH --requeue
#SBATCH --signal=USR2@60
#SBATCH --time=1440

# setup
echo "=== launch: job ${SLURM_JOB_ID} start ${SLURM_RESTART_COUNT:-0} on ${SLURM_JOB_NODELIST} ==="
export PYTHONFAULTHANDLER=1
export SLURM_KILL_BAD_EXIT=1
export OMP_NUM_THREADS=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/runs/my run/launch/TIME/%j_%t_log.out' --kill-on-bad-exit=1 --wait=60 \
--cpus-per-task=1 /env/bin/python -u '/runs/my run/launch/TIME/code/launch/rank/entry.py' \
-u -m submitit.core._submit '/runs/my run/launch/TIME'


# teardown
status=$?
if [ $status -ne 0 ]; then /env/bin/python '/runs/my run/launch/TIME/code/launch/rank/on_failure.py' \
'/runs/my run/launch/TIME' 0 20 '/runs/my run' "$status"; fi
exit $status"""
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--partition", "gpu"], "#SBATCH --partition=gpu"),
        (["--account", "vision"], "#SBATCH --account=vision"),
        (["--qos", "high"], "#SBATCH --qos=high"),
        (["--constraint", "a100|h100"], "#SBATCH --constraint='a100|h100'"),
        (["--nodelist", "n[1-2]"], "#SBATCH --nodelist='n[1-2]'"),
        (["--exclude", "n3"], "#SBATCH --exclude=n3"),
        (["--reservation", "demo"], "#SBATCH --reservation=demo"),
        (["--gpus-per-node", "4"], "#SBATCH --gpus-per-node=4"),
        (["--gpus-per-node", "4"], "#SBATCH --ntasks-per-node=4"),
        (["--tasks-per-node", "2"], "#SBATCH --ntasks-per-node=2"),
        (["--cpus-per-task", "6"], "#SBATCH --cpus-per-task=6"),
        (["--mem", "64G"], "#SBATCH --mem=64G"),
        (["--time", "2-00:00:00"], "#SBATCH --time=2880"),
        (["--exclusive"], "#SBATCH --exclusive"),
        (["--name", "my job"], "#SBATCH --job-name='my job'"),
        (["--comment", "costs $5"], "#SBATCH --comment='costs $5'"),
        (["--nice", "10"], "#SBATCH --nice=10"),
        (["--mail-type", "END,FAIL"], "#SBATCH --mail-type=END,FAIL"),
        (["--mail-user", "me@example.org"], "#SBATCH --mail-user=me@example.org"),
        (["--mail", "me@example.org"], "#SBATCH --mail-user=me@example.org"),
        (["--mail", "me@example.org"], "#SBATCH --mail-type=END,FAIL"),
        (["--gpus-per-node", "a100:4"], "#SBATCH --gpus-per-node=a100:4"),
        (["--sbatch", "switches=1"], "#SBATCH --switches=1"),
        (["--sbatch", "spread-job"], "#SBATCH --spread-job"),
        (["--setup", "module load cuda"], "module load cuda"),
        (["--env", "NCCL_DEBUG=a b"], "export NCCL_DEBUG='a b'"),
    ],
)
def test_every_option_reaches_the_script(dry_run, words, line):
    assert line in dry_run(*words).splitlines()


def words_of_srun(script):
    [line] = [line for line in script.splitlines() if line.startswith("srun ")]
    return shlex.split(line)


def test_processes_run_in_a_container_that_sees_their_folders(dry_run, tmp_path):
    """pyxis: ``--container-image=IMAGE`` and ``--container-mounts=SRC:DST[:FLAGS][,SRC:DST...]`` of srun."""
    script = dry_run(
        "--container-image", "nvcr.io#nvidia/pytorch:26.01-py3", "--container-mounts", "/scratch:/s:ro",
        "--python", "python3",
    )  # fmt: skip
    words = words_of_srun(script)
    folders = ["/runs/my run", "/runs/my run/launch/TIME", "/runs/my run/launch/TIME/code", str(tmp_path)]
    mounts = ",".join([*(f"{folder}:{folder}" for folder in folders), "/scratch:/s:ro"])
    at = words.index("--container-image=nvcr.io#nvidia/pytorch:26.01-py3")
    assert words[at + 1 : at + 4] == [f"--container-mounts={mounts}", "python3", "-u"]
    assert "#SBATCH --container" not in script  # sbatch would run the batch script itself in the image.


def test_processes_run_behind_a_prefix(dry_run):
    prefix = dry_run("--container-prefix", "apptainer exec --nv 'my image.sif'")
    words = words_of_srun(prefix)
    assert words[words.index("apptainer") :][:5] == [
        "apptainer",
        "exec",
        "--nv",
        "my image.sif",
        sys.executable,
    ]
