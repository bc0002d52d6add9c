import pytest
from support.cli import submit
from support.runs import write_recipe

pytestmark = pytest.mark.usefixtures("no_slurm")


@pytest.fixture
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    return write_recipe(folder, data=folder)


def test_help_shows_an_example_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        submit(capsys, "--help")

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "python launch/submit.py --cfg projects/tsm/motion_r18_8f.yaml" in shown
    assert "exit code: 0 done, 1 the job failed, 2 a mistake in the command, 3 cancelled" in shown
    assert "number of nodes (default: 1)" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cfg", "tsm/k400_r50_8"], "did you mean tsm/k400_r50_8f"),
        (["SOLVER.BASELR", "3"], "SOLVER.BASELR is not a key; did you mean SOLVER.BASE_LR?"),
        (["--nodes", "2"], "--nodes must be 1 with --cluster local, got 2."),
        (
            ["--tasks-per-node", "3"],
            "TRAIN.BATCH_SIZE must be a multiple of the number of processes, got 4 for",
        ),
        (["--snapshot", "svn"], "--snapshot must be git or none, got 'svn'."),
        (["OUTPUT_DIR=/dev/null/run"], "OUTPUT_DIR /dev/null/run cannot be written"),
        (["OUTPUT_DIR=/tmp/100%j"], "OUTPUT_DIR must not contain %"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, recipe, tmp_path, words, message):
    ended = submit(capsys, "--cfg", recipe, "--cluster", "local", f"OUTPUT_DIR={tmp_path / 'run'}", *words)

    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["--node", "2"], "--nodes"), (["--dryrun"], "--dry-run"), (["status", "RUN", "--run", "x"], "--runs")],
)
def test_a_mistyped_flag_is_answered_with_the_nearest_one(capsys, words, hint):
    with pytest.raises(SystemExit) as ended:
        submit(capsys, *words)

    assert ended.value.code == 2
    assert f"did you mean {hint}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["statu", "runs"], "statu is not a command; did you mean status?"),
        (["projects/tsm/motion_r18_8f.yaml"], "did you mean --cfg projects/tsm/motion_r18_8f.yaml?"),
        (["launch"], "did you mean --data launch?"),
        ([], "give either --cfg RECIPE or --data FOLDER."),
    ],
)
def test_a_word_without_its_flag_is_answered_with_a_hint(capsys, words, hint):
    ended = submit(capsys, *words)

    assert ended.code == 2
    assert hint in ended.err


def test_several_mistakes_are_reported_together(capsys, recipe):
    ended = submit(capsys, "--cfg", recipe, "--cluster", "slurm", "--nodes", 3, "--snapshot", "svn")

    assert ended.code == 2
    assert "3 faults in this job:" in ended.err
    assert "--snapshot must be" in ended.err
    assert "TRAIN.BATCH_SIZE must be" in ended.err
    assert "there is no SLURM cluster here: no sbatch on PATH" in ended.err


@pytest.mark.parametrize("words", [["--nodes", "2"], ["--partition", "gpu"]])
def test_what_only_a_cluster_has_never_falls_back_to_this_machine(capsys, recipe, words):
    ended = submit(capsys, "--cfg", recipe, *words)

    assert ended.code == 2
    assert "needs a SLURM cluster, but this machine has none: no sbatch on PATH" in ended.err


def test_slurms_programs_without_a_cluster_are_no_cluster(capsys, recipe, tmp_path, monkeypatch):
    for name, words in {
        "sbatch": "",
        "srun": "",
        "scontrol": "fatal: Could not establish a configuration source",
    }.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    shown = submit(capsys, "--cfg", recipe, "--dry-run")

    assert "local (sbatch is on PATH, but there is no slurm.conf that names a cluster)" in shown.out


def test_a_dry_run_shows_the_command_and_touches_nothing(capsys, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    shown = submit(
        capsys, "--cfg", recipe, "--dry-run", "--tasks-per-node", 2, "SOLVER.BASE_LR=0.5", "OUTPUT_DIR", "run"
    )

    assert shown.code == 0
    assert "local (no sbatch on PATH)" in shown.out
    assert "2 = 1 node x 2 processes" in shown.out
    assert "4 clips, 2 for each process" in shown.out
    assert "BASE_LR: 0.5" in shown.out
    assert str(tmp_path / "run") in shown.out
    assert list(tmp_path.iterdir()) == []
