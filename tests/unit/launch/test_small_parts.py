"""Missing commands, the log follower, the code snapshot, the count of restarts, and SLURM's answers."""

import importlib.metadata
import io
import subprocess
import sys

import pytest

from launch.cluster import slurm_client as slurm
from launch.code_root import CODE_ROOT
from launch.errors import LaunchError
from launch.rank.restart_guard import NoProgressError, RestartLog, newest_step
from launch.submit import obstacle
from launch.submit_job.write_submission import take_snapshot
from launch.track.log_follower import LogFollower, last_lines


def test_a_follower_prints_what_is_new_and_never_half_a_character(tmp_path):
    log, shown = tmp_path / "log", io.StringIO()
    follower = LogFollower(log, shown)
    assert not follower.show_new()

    data = "loss 1.5 µ\n".encode()
    log.write_bytes(data[:-2])
    follower.show_new()
    log.write_bytes(data)
    follower.show_new()

    assert shown.getvalue() == "loss 1.5 µ\n"


def test_the_last_lines_of_a_log(tmp_path):
    (tmp_path / "log").write_text("a\nb\nc\n")

    assert last_lines(tmp_path / "log", 2) == ["b", "c"]
    assert last_lines(tmp_path / "nothing", 2) == []


def test_a_snapshot_holds_untracked_files_and_lists_changes(tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("launch/submit.py", "tsn_tsm_plugin/__init__.py", ".gitignore"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("__pycache__/\n" if name == ".gitignore" else "first = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "First"]):
        subprocess.run(["git", "-C", checkout, *words], check=True)
    (checkout / "launch" / "submit.py").write_text("second = 2\n")
    (checkout / "launch" / "new.py").write_text("")
    (checkout / "launch" / "__pycache__").mkdir()
    (checkout / "launch" / "__pycache__" / "x.pyc").write_text("")

    code = take_snapshot(checkout, tmp_path)

    files = sorted(str(file.relative_to(code)) for file in code.rglob("*") if file.is_file())
    assert files == ["launch/new.py", "launch/submit.py", "tsn_tsm_plugin/__init__.py"]
    assert (code / "launch" / "submit.py").read_text() == "second = 2\n"
    assert "+second = 2" in (tmp_path / "code.diff").read_text()
    assert "launch/submit.py" in (tmp_path / "code.json").read_text()


def test_a_snapshot_is_taken_without_git_too(tmp_path):
    (tmp_path / "unpacked" / "launch").mkdir(parents=True)
    (tmp_path / "unpacked" / "launch" / "submit.py").write_text("")

    code = take_snapshot(tmp_path / "unpacked", tmp_path)

    assert (code / "launch" / "submit.py").exists()


def make_checkpoint(run_dir, step):
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run_dir / "checkpoints" / f"step_{step:08d}.pt").touch()


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only number is the value of time.time."""
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def start(log, clock, *, seconds, error="", restarts=1):
    log.begin(restarts, max_requeues=20, patience_seconds=300.0)
    clock[0] += seconds
    log.end(error)


def test_restarts_go_on_while_there_is_progress_and_stop_without(tmp_path, clock):
    log = RestartLog(tmp_path / "restarts.jsonl", tmp_path)
    for step in (0, 5, 9):
        make_checkpoint(tmp_path, step)
        start(log, clock, seconds=1000)
    assert newest_step(tmp_path) == 9
    start(log, clock, seconds=1000)

    with pytest.raises(NoProgressError, match="no progress since the last restart: both began at step 9"):
        start(log, clock, seconds=1000)


def test_any_number_of_interruptions_during_start_up_are_no_lack_of_progress(tmp_path, clock):
    log = RestartLog(tmp_path / "restarts.jsonl", tmp_path)
    for _ in range(10):
        start(log, clock, seconds=25)

    assert [entry.seconds for entry in log.starts()] == [25.0] * 10


def test_a_final_test_that_scores_more_videos_in_each_start_makes_progress(tmp_path, clock):
    log = RestartLog(tmp_path / "restarts.jsonl", tmp_path)
    scores = tmp_path / "partial_scores_1" / "rank_0"
    scores.mkdir(parents=True)
    for number in range(4):
        (scores / f"{number}.pt").touch()
        start(log, clock, seconds=1000)
    start(log, clock, seconds=1000)

    with pytest.raises(NoProgressError):
        start(log, clock, seconds=1000)


def test_a_start_that_was_killed_counts_as_no_time(tmp_path, clock):
    log = RestartLog(tmp_path / "restarts.jsonl", tmp_path)
    for _ in range(5):
        log.begin(1, max_requeues=20, patience_seconds=300.0)
        clock[0] += 10000

    log.begin(1, max_requeues=20, patience_seconds=300.0)


def test_what_is_given_up_names_the_error_that_ended_it(tmp_path, clock):
    log = RestartLog(tmp_path / "restarts.jsonl", tmp_path)
    for _ in range(2):
        start(
            log,
            clock,
            seconds=200,
            error="Traceback\nstep_5.pt could not be written: No space left on device",
        )

    with pytest.raises(NoProgressError, match="The last error was: step_5.pt .* No space left on device"):
        start(log, clock, seconds=1)


def test_more_restarts_than_allowed_are_refused(tmp_path):
    with pytest.raises(NoProgressError, match="restarted 3 times \\(--max-requeues 2\\); given up"):
        RestartLog(tmp_path / "restarts.jsonl", tmp_path).begin(3, max_requeues=2, patience_seconds=300.0)


def test_what_another_job_left_in_the_environment_is_hidden_but_not_where_slurm_is(monkeypatch):
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "RANK", "MASTER_ADDR", "SLURM_CONF", "HOME"):
        monkeypatch.setenv(name, "x")

    clean = slurm.clean_environment()

    assert {"SLURM_CONF", "HOME"} <= clean.keys()
    assert not {"SLURM_JOB_ID", "SBATCH_PARTITION", "RANK", "MASTER_ADDR"} & clean.keys()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put commands with given answers on PATH."""

    def install(name, script):
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_a_controller_that_does_not_answer_is_an_error_in_time(fake):
    fake("sinfo", "sleep 30")

    with pytest.raises(LaunchError, match="did not answer in 1 s: the SLURM controller is down"):
        slurm.ask("sinfo", timeout_seconds=1.0)


def test_a_missing_command_is_reported_with_the_machine_to_use(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(LaunchError, match="sbatch is not on PATH. Is this a login node"):
        slurm.ask("sbatch")


def test_states_of_an_array_come_from_one_question(fake):
    fake("scontrol", """cat <<'E'
JobId=34 ArrayJobId=33 ArrayTaskId=0 JobName=x JobState=COMPLETED Reason=None Restarts=1 ExitCode=0:0
JobId=33 ArrayJobId=33 ArrayTaskId=1-3,5%2 JobName=x JobState=PENDING Reason=Resources Restarts=0 ExitCode=0:0
E""")  # fmt: skip

    states = slurm.job_states([f"33_{task}" for task in (0, 2, 5, 4)])

    assert [state.state for state in states.values()] == ["COMPLETED", "PENDING", "PENDING", ""]
    assert states["33_0"].restarts == 1
    assert states["33_2"].reason == "Resources"


def test_accounting_answers_if_the_controller_has_forgotten(fake):
    fake("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    lines = ["JobID|State|ExitCode|Reason", "33_1|CANCELLED by 1000|0:15|None", "33_[3-4%2]|PENDING|0:0|"]
    fake("sacct", "\n".join(f"echo '{line}'" for line in lines))

    states = slurm.job_states(["33_1", "33_4", "33_5"])

    cancelled, waiting = slurm.JobState("CANCELLED", "", "0:15"), slurm.JobState("PENDING", "", "0:0")
    assert list(states.values()) == [cancelled, waiting, slurm.JobState()]


@pytest.mark.parametrize("package", ["tsn_tsm_plugin", "submitit"])
def test_a_missing_package_is_named_with_the_command_that_installs_everything(monkeypatch, package):
    def distribution(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", distribution)

    assert obstacle() == f"{package} is not installed in {sys.executable}. Run: pip install -e {CODE_ROOT}"
