"""The launcher while SLURM's controller does not answer, answers late, or answers wrongly."""

import re
import subprocess
import threading
from pathlib import Path

import pytest
from support.local_slurm import queued, until
from support.slurm_jobs import log_of, losses, wait_for_end, wait_for_step

from launch.track.records import submissions_of

_QUICK = ("SOLVER.MAX_EPOCH=1", "TRAIN.EVAL_PERIOD=0")
_SHAPE = ("--cluster", "slurm", "--gpus-per-node", 0, "--cpus-per-task", 1)
_DOWN = "echo 'error: Unable to contact slurm controller (connect failure)' >&2; exit 1"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr("launch.track.wait._LAST_UNANSWERED_SECONDS", 2.0)


@pytest.fixture
def down(wrapped):
    """Make questions to the controller fail until ``up`` is called."""

    class Controller:
        def __init__(self):
            for name in ("scontrol", "squeue", "sinfo", "sacct", "scancel", "sbatch"):
                wrapped(name, f'[ -e "$HERE/up" ] || {{ {_DOWN}; }}\nexec "$REAL" "$@"')

        def up(self):
            (wrapped.folder / "up").touch()

        def down(self):
            (wrapped.folder / "up").unlink(missing_ok=True)

    return Controller()


def run_folder(jobs) -> str:
    return f"OUTPUT_DIR={jobs.folder / 'run'}"


@pytest.mark.parametrize("command", [["tail"], ["--wait"]])
def test_a_silent_controller_is_asked_again_until_the_job_has_ended(jobs, down, monkeypatch, command):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.3")
    down.up()
    if command == ["tail"]:
        job = jobs.train("run", *_QUICK)
        words = ["tail", job.run_dir]
    else:
        words = ["--cfg", jobs.recipe, *_SHAPE, *_QUICK, run_folder(jobs), "--wait"]

    def fall_silent_for_a_while():
        until(lambda: len(losses(jobs.folder / "run")) >= 2, 120, "a step")
        down.down()
        until(lambda: len(losses(jobs.folder / "run")) >= 8, 120, "more steps")
        down.up()

    silence = threading.Thread(target=fall_silent_for_a_while)
    silence.start()
    ended = jobs.run(*words)
    silence.join()

    assert ended.code == 0, ended.err
    assert "SLURM does not answer, asks again in" in ended.err
    assert "ended as" not in ended.err
    assert "is done; run folder" in ended.err


def test_what_the_ranks_left_ends_the_wait_for_a_controller_that_never_comes_back(jobs, down):
    down.up()
    job = jobs.train("run", *_QUICK)
    wait_for_end(job)
    down.down()

    assert jobs.run("tail", job.run_dir).code == 0
    status = jobs.run("status", job.run_dir).out
    assert "COMPLETED (from the run folder: The SLURM controller does not answer" in status


def test_nothing_is_submitted_while_the_controller_is_down(jobs, down):
    ended = jobs.run("--cfg", jobs.recipe, *_SHAPE, run_folder(jobs))

    assert ended.code == 2
    assert "The SLURM controller does not answer: error: Unable to contact slurm controller" in ended.err
    assert not jobs.folder.exists()


@pytest.mark.parametrize("sweep", [[], ["--sweep", "RNG_SEED", 0, 1]])
def test_a_job_that_was_taken_although_sbatch_gave_up_is_adopted(jobs, wrapped, sweep):
    wrapped("sbatch", """case "$*" in *--test-only*) exec "$REAL" "$@";; esac
"$REAL" "$@" > /dev/null
echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2
exit 1""")  # fmt: skip

    ended = jobs.run("--cfg", jobs.recipe, *_SHAPE, *_QUICK, run_folder(jobs), *sweep)

    assert ended.code == 0, ended.err
    assert "although sbatch reported" in ended.err
    folders = [jobs.folder / "run", *(jobs.folder / "run" / "sweep").glob("*")]
    records = [record for folder in folders for record in submissions_of(folder)]
    assert len(records) == (2 if sweep else 1)
    for record in records:
        assert record.job_id.split("_")[0] == ended.out.strip()
        assert wait_for_end(record)["JobState"] == "COMPLETED", log_of(record)


def test_a_job_that_was_not_taken_leaves_nothing(jobs, wrapped):
    wrapped("sbatch", """case "$*" in *--test-only*) exec "$REAL" "$@";; esac
echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2
exit 1""")  # fmt: skip

    ended = jobs.run("--cfg", jobs.recipe, *_SHAPE, *_QUICK, run_folder(jobs))

    assert ended.code == 2
    assert "SLURM did not take the job: The SLURM controller does not answer: " in ended.err
    assert queued() == ""
    assert not jobs.folder.exists()


def test_a_job_that_starts_before_sbatch_has_returned_finds_its_folder(jobs, wrapped):
    wrapped("sbatch", """case "$*" in *--test-only*) exec "$REAL" "$@";; esac
"$REAL" "$@"; sleep 5""")  # fmt: skip

    job = jobs.train("run", *_QUICK)

    assert wait_for_end(job)["JobState"] == "COMPLETED", log_of(job)


def test_the_requeue_is_asked_for_until_the_controller_answers(jobs, wrapped, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.2")
    wrapped("scontrol", f"""[ "$1" = requeue ] || exec "$REAL" "$@"
echo x >> "$HERE/asked"
[ $(wc -l < "$HERE/asked") -gt 3 ] || {{ {_DOWN}; }}
exec "$REAL" "$@" """)  # fmt: skip
    job = jobs.train("run", "--nodes", 2, *_QUICK)
    wait_for_step(job, 3)

    subprocess.run(["scancel", "--signal=USR2", job.job_id], check=True)

    ended = wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log_of(job)
    assert log_of(job).count("is not requeued yet, asks again in") == 3


def test_without_scontrol_on_the_nodes_the_work_is_saved_and_the_way_on_is_named(jobs, wrapped, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.2")
    job = jobs.train("run", "--nodes", 2, *_QUICK, "--setup", f"export PATH='{_path_without_slurm(wrapped)}'")
    wait_for_step(job, 3)

    subprocess.run(["scancel", "--signal=USR2", job.job_id], check=True)

    assert wait_for_end(job)["JobState"] == "FAILED"
    log = log_of(job)
    assert "scontrol is not on PATH" in log
    assert "Traceback" not in log
    assert re.search(r"By hand: `python launch/submit.py resubmit '.+/run'` goes on", log)
    assert list(Path(job.run_dir).glob("checkpoints/step_*.pt"))


def test_processes_in_a_container_without_slurms_programs_are_requeued_from_outside(
    jobs, wrapped, monkeypatch
):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.2")
    wrapped("apptainer", f"""[ "$1 $2" = "exec --nv" ] || exit 9
echo "in $3"; shift 3; export PATH='{_path_without_slurm(wrapped)}'; exec "$@" """)  # fmt: skip
    job = jobs.train("run", "--nodes", 2, *_QUICK, "--container-prefix", "apptainer exec --nv 'my image.sif'")
    wait_for_step(job, 3)

    subprocess.run(["scancel", "--signal=USR2", job.job_id], check=True)

    ended = wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log_of(job)
    assert log_of(job).count("in my image.sif") == 2
    assert "the work is saved, but the job was not requeued" in log_of(job)


def test_a_job_that_the_controller_has_forgotten_is_known_by_its_records_and_reported(jobs, wrapped):
    job = jobs.train("run", *_QUICK)
    wait_for_end(job)
    wrapped("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    wrapped("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")

    assert (
        "COMPLETED (from the run folder: SLURM has forgotten the job)" in jobs.run("status", job.run_dir).out
    )


@pytest.mark.parametrize("answer", ["exit 0", "echo nonsense", "exit 3", "sleep 3"])
def test_an_empty_answer_is_no_end(jobs, wrapped, monkeypatch, answer):
    monkeypatch.setattr("launch.cluster.slurm_client._ANSWER_SECONDS", 1.0)
    job = jobs.train("run", "--sbatch", "hold", *_QUICK)
    wrapped("scontrol", answer)

    status = jobs.run("status", job.run_dir)

    assert "UNKNOWN (from the run folder: " in status.out
    assert jobs.run("resubmit", job.run_dir).code == 2


def _path_without_slurm(wrapped) -> str:
    """Return a PATH with all programs of the system but those that speak to the controller."""
    folder = wrapped.folder / "bin"
    folder.mkdir()
    for directory in ("/usr/bin", "/bin"):
        for program in Path(directory).iterdir():
            if program.name not in ("scontrol", "squeue", "sacct", "scancel", "sbatch"):
                (folder / program.name).unlink(missing_ok=True)
                (folder / program.name).symlink_to(program)
    return str(folder)
