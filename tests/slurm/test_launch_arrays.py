"""Many jobs at once: evaluations, sweeps, and an evaluation that waits for its training."""

import csv
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from support.local_slurm import until
from support.slurm_jobs import PATIENCE, log_of, shown, wait_for_end, wait_for_state, wait_for_step

from launch.track.records import submissions_below, submissions_of
from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.engine.checkpoint import checkpoint_path, save_checkpoint
from tsn_tsm_plugin.models import build_model

_SHAPE = ("--cluster", "slurm", "--nodes", 1, "--gpus-per-node", 0, "--cpus-per-task", 1)


@pytest.fixture(autouse=True)
def quick_steps(jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0")


@pytest.fixture
def weights(jobs, tmp_path, monkeypatch) -> list[Path]:
    """Eight checkpoints, of which the sixth fails in its job."""
    monkeypatch.setenv("TOY_BAD_WEIGHT", "5.0")
    folder = tmp_path / "weights"
    folder.mkdir()
    model = build_model(load_cfg(jobs.recipe, ["MODEL.BACKBONE=tiny"]))
    files = []
    for number in range(8):
        next(model.backbone.parameters()).data.view(-1)[0] = number
        file = checkpoint_path(folder, step=number)
        save_checkpoint({"model_state": model.state_dict()}, file)
        files.append(file)
    return files


def evaluate(jobs, weights, *words):
    return jobs.run(
        "evaluate",
        "--cfg",
        jobs.recipe,
        "--weights",
        *weights,
        "--out",
        jobs.folder / "evaluate",
        *_SHAPE,
        *words,
    )


def test_one_of_eight_evaluations_fails_and_alone_is_submitted_again(jobs, weights, tmp_path):
    out = jobs.folder / "evaluate"

    ended = evaluate(jobs, weights, "--array-parallelism", 3, "--wait")

    assert ended.code == 1
    assert "8 of 8 jobs have ended, 1 failed" in ended.err
    records = submissions_below(out)
    assert len({record.job_id.split("_")[0] for record in records}) == 1
    states = [shown(record.job_id)["JobState"] for record in records]
    assert sorted(states) == ["COMPLETED"] * 7 + ["FAILED"]
    assert not list((out / "tsm_tiny").glob(f"{weights[5].stem}-*/results.json"))

    table = jobs.run("summarize", out, "--csv", tmp_path / "table.csv", "--markdown", tmp_path / "table.md")
    rows = list(csv.reader((tmp_path / "table.csv").open()))
    assert table.code == 0
    assert [row[1] for row in rows[1:]] == ["ok"] * 5 + ["FAILED"] + ["ok"] * 2
    assert (tmp_path / "table.md").read_text().count("\n") == 10

    weights[5].write_bytes(weights[4].read_bytes())
    again = evaluate(jobs, weights, "--wait")
    assert again.code == 0, again.err
    assert "7 of 8 are done or on their way" in again.err
    assert len(list((out / "tsm_tiny").glob(f"{weights[5].stem}-*/results.json"))) == 1
    assert "8 of 8 are done" in evaluate(jobs, weights).err


def test_resubmit_failed_takes_what_failed_and_nothing_else(jobs, weights):
    evaluate(jobs, weights[4:7], "--wait")
    weights[5].write_bytes(weights[4].read_bytes())

    ended = jobs.run("resubmit", "--failed", jobs.folder / "evaluate")

    assert ended.code == 0, ended.err
    newest = submissions_below(jobs.folder / "evaluate")[-1]
    assert Path(newest.run_dir).name.startswith(f"{weights[5].stem}-")
    assert newest.job_id == ended.out.strip()
    assert wait_for_end(newest)["JobState"] == "COMPLETED", log_of(newest)


def test_one_task_of_an_array_is_requeued_alone(jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.2")
    run = ["--cfg", jobs.recipe, *_SHAPE, "SOLVER.MAX_EPOCH=2", f"OUTPUT_DIR={jobs.folder / 'run'}"]
    assert jobs.run(*run, "--sweep", "RNG_SEED", 0, 1).code == 0
    first, second = submissions_below(jobs.folder)
    wait_for_step(second, 3)

    subprocess.run(["scancel", "--signal=USR2", second.job_id], check=True)

    assert (wait_for_end(second)["JobState"], shown(second.job_id)["Restarts"]) == ("COMPLETED", "1")
    assert (wait_for_end(first)["JobState"], shown(first.job_id)["Restarts"]) == ("COMPLETED", "0")


def test_a_sweep_trains_every_combination_into_a_folder_of_its_own(jobs):
    ended = jobs.run(
        "--cfg", jobs.recipe, *_SHAPE, "SOLVER.MAX_EPOCH=1", f"OUTPUT_DIR={jobs.folder / 'run'}", "--wait",
        "--sweep", "SOLVER.BASE_LR", "0.01", "0.02", "--sweep", "RNG_SEED", 0, 1,
    )  # fmt: skip

    assert ended.code == 0, ended.err
    assert ended.err.count(" ok ") == 4
    folders = sorted(path.parent.name for path in (jobs.folder / "run" / "sweep").glob("*/results.json"))
    assert folders == [f"SOLVER.BASE_LR={lr},RNG_SEED={seed}" for lr in ("0.01", "0.02") for seed in (0, 1)]
    table = jobs.run("summarize", jobs.folder / "run" / "sweep")
    assert table.out.count(" ok ") == 4


def test_an_evaluation_follows_its_training_also_through_a_requeue(jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.2")
    job = jobs.train("run", "--then-evaluate", "SOLVER.MAX_EPOCH=2")
    training, evaluation = submissions_of(Path(job.run_dir))
    wait_for_step(training, 3)

    subprocess.run(["scancel", "--signal=USR2", training.job_id], check=True)

    assert wait_for_end(training)["JobState"] == "COMPLETED", log_of(training)
    assert wait_for_end(evaluation)["JobState"] == "COMPLETED", log_of(evaluation)
    assert json.loads((Path(job.run_dir) / "results.json").read_text())["num_videos"] == 4


def test_the_evaluation_of_a_failed_training_is_cancelled_and_reported(jobs, monkeypatch):
    monkeypatch.setenv("TOY_FAULT", "0:2:raise")

    ended = jobs.run(
        "--cfg", jobs.recipe, *_SHAPE, "--then-evaluate", "--wait", f"OUTPUT_DIR={jobs.folder / 'run'}"
    )

    assert ended.code == 1
    _, evaluation = submissions_of(jobs.folder / "run")
    assert wait_for_state(evaluation, "CANCELLED")
    assert f"job {evaluation.job_id}, the evaluation, is CANCELLED because training failed" in ended.err


def test_one_evaluation_on_many_processes_gives_the_numbers_of_one(jobs, weights):
    results = []
    for name, tasks in (("one", 1), ("three", 3)):
        out = jobs.folder / name
        ended = jobs.run(
            "evaluate", "--cfg", jobs.recipe, "--weights", weights[0], "--out", out, "--wait", "--cluster",
            "slurm", "--nodes", tasks, "--gpus-per-node", 0, "--cpus-per-task", 1, "TEST.BATCH_SIZE=3",
        )  # fmt: skip
        assert ended.code == 0, ended.err
        results.append(json.loads(next(out.glob("*/*/results.json")).read_text()))

    for key in ("top1", "balanced_accuracy", "num_videos", "confusion_matrix"):
        assert results[0][key] == results[1][key]


def test_a_cancelled_array_is_reported_as_such(jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "1")
    run_dir = f"OUTPUT_DIR={jobs.folder / 'run'}"
    jobs.run("--cfg", jobs.recipe, *_SHAPE, run_dir, "--sweep", "RNG_SEED", 0, 1)
    records = submissions_below(jobs.folder)
    wait_for_state(records[0], "RUNNING")
    time.sleep(1)

    ended = jobs.run("cancel", jobs.folder / "run" / "sweep")

    assert ended.err.count("cancelled job") == 2
    assert all(wait_for_end(record)["JobState"] == "CANCELLED" for record in records)
    assert jobs.run("status", jobs.folder / "run" / "sweep").out.count("CANCELLED") == 2


def test_weights_of_one_name_and_other_content_are_evaluated_too(jobs, weights, tmp_path):
    same_name = tmp_path / "other" / weights[0].name
    same_name.parent.mkdir()
    model = build_model(load_cfg(jobs.recipe, ["MODEL.BACKBONE=tiny"]))
    save_checkpoint({"model_state": model.state_dict()}, same_name)
    evaluate(jobs, weights[:1], "--wait")

    ended = evaluate(jobs, [same_name], "--wait")

    assert ended.code == 0, ended.err
    assert "are done" not in ended.err
    results = [json.loads(file.read_text()) for file in jobs.folder.glob("evaluate/tsm_tiny/*/results.json")]
    assert len({result["weights_hash"] for result in results}) == 2
    assert "1 of 1 are done" in evaluate(jobs, [same_name]).err


def test_more_jobs_than_an_array_may_have_are_split(jobs, wrapped):
    wrapped("scontrol", """[ "$2" = config ] || exec "$REAL" "$@"
echo 'MaxArraySize            = 2'""")  # fmt: skip

    ended = jobs.run(
        "--cfg", jobs.recipe, *_SHAPE, "SOLVER.MAX_EPOCH=1", f"OUTPUT_DIR={jobs.folder / 'run'}",
        "--sweep", "RNG_SEED", 0, 1, 2,
    )  # fmt: skip

    assert ended.code == 0, ended.err
    records = submissions_below(jobs.folder)
    assert len({record.job_id.split("_")[0] for record in records}) == 2
    assert all(wait_for_end(record)["JobState"] == "COMPLETED" for record in records)


def test_a_sweep_that_slurm_refuses_leaves_no_folders(jobs, wrapped):
    wrapped("sbatch", """case "$*" in *--test-only*) exec "$REAL" "$@";; esac
echo 'sbatch: error: Invalid job array specification' >&2; exit 1""")  # fmt: skip

    ended = jobs.run(
        "--cfg", jobs.recipe, *_SHAPE, f"OUTPUT_DIR={jobs.folder / 'run'}", "--sweep", "RNG_SEED", 0, 1
    )

    assert ended.code == 2
    assert "SLURM did not take the job: Invalid job array specification" in ended.err
    assert not (jobs.folder / "run").exists()


def test_an_evaluation_that_is_requeued_goes_on_from_its_scores(jobs, weights, monkeypatch):
    monkeypatch.setenv("TOY_TEST_SECONDS", "0.4")
    words = ("DATA.VAL_LIST=train.txt", "TEST.BATCH_SIZE=1", "TEST.CHECKPOINT_MINUTES=0.001")
    assert evaluate(jobs, weights[:1], *words).code == 0
    [job] = submissions_below(jobs.folder / "evaluate")
    run_dir = Path(job.run_dir)
    until(lambda: len(list(run_dir.glob("partial_scores_*/*/*.pt"))) >= 3, PATIENCE, "partial scores")
    subprocess.run(["scontrol", "requeue", job.job_id], check=True)

    assert wait_for_end(job)["JobState"] == "COMPLETED", log_of(job)
    found = re.search(r"Going on after (\d+) videos that are scored already", log_of(job))
    assert found and int(found[1]) >= 3
    num_listed = len((jobs.recipe.parent / "data" / "train.txt").read_text().splitlines())
    assert json.loads((run_dir / "results.json").read_text())["num_videos"] == num_listed
    assert not list(run_dir.glob("partial_scores_*"))
