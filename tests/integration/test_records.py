"""Records of a run are right: evaluations have their own folder, and every record names the same weights."""

import json
import re

import pytest
from safetensors import safe_open
from support.cli import submit
from support.runs import tiny_cfg, write_dataset, write_recipe

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.checkpoints.safetensors_file import weights_hash
from tsn_tsm_plugin.config.defaults import KEYS, node_of
from tsn_tsm_plugin.config.key import FIXED, FIXED_WITHIN_EPOCH, FREE, ON_RESUME
from tsn_tsm_plugin.config.run_dir import is_same_run
from tsn_tsm_plugin.config.yaml_text import parse
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint
from tsn_tsm_plugin.engine.resume import note_changed_settings, results_of_finished_run
from tsn_tsm_plugin.engine.setup import build_training
from tsn_tsm_plugin.errors import CheckpointError, ConfigError, RunFolderError
from tsn_tsm_plugin.runs.run_folder import RunFolder
from tsn_tsm_plugin.tools import compare, evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("runs")
    engine.train(tiny_cfg(folder, data=data, out="run"))
    return folder / "run"


def contents(folder):
    """Return every file of a folder with its bytes, without evaluations and the log."""
    passing = (".lock", "log.txt")
    files = [p for p in folder.rglob("*") if p.is_file() and "evaluate" not in p.parts]
    files = [p for p in files if p.name not in passing]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def evaluate_main(run, data, *words):
    recipe = write_recipe(run.parent, data=data)
    return evaluate.main(["--cfg", str(recipe), "OUTPUT_DIR", str(run), *words])


def test_all_records_of_a_run_name_the_same_weights(run, capsys):
    results = json.loads((run / "results.json").read_text())
    newest = max((run / "checkpoints").glob("step_*.pt"))
    with safe_open(run / "weights.safetensors", "pt") as file:
        carried = file.metadata()["weights_hash"]
    tested = results["weights_hash"]

    assert tested == carried == weights_hash(read_checkpoint(newest).state_dict)
    assert tested == weights_hash(read_checkpoint(run / "weights.safetensors").state_dict)
    assert tested in (run / "report.html").read_text()
    assert compare.main([str(run)]) == 0
    assert tested[:12] in capsys.readouterr().out


def test_an_evaluation_writes_into_a_folder_of_its_own(run, data):
    before = contents(run)
    assert evaluate_main(run, data, "--weights", str(run), "--which", "best") == 0
    assert contents(run) == before
    (folder,) = (run / "evaluate").iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert results["weights"].endswith("best.pt")
    assert len(results["list_hash"]) == len(results["config_hash"]) == 64
    assert results["weights_hash"] in (folder / "report.html").read_text()


def test_the_folder_of_an_evaluation_can_be_named(run, data, tmp_path):
    assert evaluate_main(run, data, "--out", str(tmp_path / "mine")) == 0
    assert (tmp_path / "mine" / "results.json").is_file()
    assert not (tmp_path / "mine" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "nothing.pt"], "nothing.pt does not exist"),
        (["DATA.VAL_LIST", "nothing.txt"], "nothing.txt"),
        ([], "There are no weights to test"),
    ],
    ids=["weights", "list", "run"],
)
def test_a_failed_evaluation_leaves_no_folder(data, tmp_path, run, capsys, words, message):
    words = [str(run) if word == "RUN" else word for word in words]
    if words and words[0] == "DATA.VAL_LIST":
        words += ["TEST.CHECKPOINT_FILE_PATH", str(run)]
    assert evaluate_main(tmp_path / "fresh", data, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "fresh").exists()


def test_which_best_needs_a_run_folder_with_a_validation(run, data, tmp_path, capsys):
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    newest = max((run / "checkpoints").glob("step_*.pt"))
    (tmp_path / "old" / "checkpoints" / newest.name).write_bytes(newest.read_bytes())
    assert evaluate_main(run, data, "--weights", str(tmp_path / "old"), "--which", "best") == 2
    assert "old holds no best checkpoint: was there a validation?" in capsys.readouterr().err
    assert evaluate_main(run, data, "--which", "best") == 2
    assert "--which best needs --weights RUN_FOLDER" in capsys.readouterr().err


def test_results_of_other_weights_in_a_run_are_refused(run, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("config.yaml", "metrics.jsonl", "weights.safetensors"):
        (folder / name).write_bytes((run / name).read_bytes())
    results = json.loads((run / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "weights_hash": "0" * 64}))
    assert compare.main([str(folder)]) == 2
    assert "results.json is of other weights (000000000000) than" in capsys.readouterr().err


def trained(tmp_path, data, **settings):
    engine.train(tiny_cfg(tmp_path, data=data, **settings))
    return tmp_path / "run"


def test_a_complete_run_is_left_as_it_is(run, data):
    before = contents(run)
    results = engine.train(tiny_cfg(run.parent, data=data, out="run"))
    assert contents(run) == before
    assert results == json.loads((run / "results.json").read_text())
    log = (run / "log.txt").read_text()
    assert "is complete (2 epochs, 6 steps): nothing was trained or written. To train longer, set" in log


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"SOLVER__BASE_LR": 0.5}, "SOLVER.BASE_LR: 0.01 -> 0.5"),
        ({"AUG__CROP": "center"}, "AUG.CROP: 'multi_scale' -> 'center'"),
        ({"DATA__MEAN": [1.0, 2.0, 3.0]}, "DATA.MEAN"),
        ({"TEST__BATCH_SIZE": 2}, "TEST.BATCH_SIZE: 4 -> 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_settings_for_a_complete_run_are_refused_and_nothing_is_rewritten(run, data, settings, named):
    before = contents(run)
    with pytest.raises(RunFolderError, match="is complete .*other settings") as error:
        engine.train(tiny_cfg(run.parent, data=data, out="run", **settings))
    assert named in str(error.value)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("SOLVER.BASE_LR=0.9",), "is complete (2 epochs, 6 steps), and was made with other settings"),
        (("SOLVER.MAX_EPOCH=3", "DATA.MEAN=[0.1,0.1,0.1]"), "cannot go on with another DATA.MEAN"),
        (("TRAIN.AUTO_RESUME=False",), "TRAIN.AUTO_RESUME is off"),
        (("SOLVER.MAX_EPOCH=3",), ""),
        ((), ""),
    ],
)
def test_a_job_that_could_not_resume_its_run_is_refused_before_it_is_submitted(
    run, data, capsys, changes, message
):
    before = contents(run)
    words = ("--cfg", write_recipe(run.parent, data=data), f"OUTPUT_DIR={run}", *changes)
    ended = submit(capsys, *words, "--cluster", "slurm", "--dry-run")
    assert ended.code == (2 if message else 0)
    assert message in ended.err
    assert contents(run) == before


def test_settings_that_change_within_a_run_are_recorded_with_their_step(tmp_path, data):
    trained(tmp_path, data, SOLVER__MAX_EPOCH=1)
    run = trained(tmp_path, data, SOLVER__MAX_EPOCH=2, SOLVER__BASE_LR=0.5)
    (line,) = (run / "config_changes.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "from_step": 3,
        "changed": ["SOLVER.BASE_LR: 0.01 -> 0.5", "SOLVER.MAX_EPOCH: 1 -> 2"],
    }


def key_names(text):
    """Return the keys whose earlier value in a text is ``'before'``."""
    return set(re.findall(r"([A-Z][A-Z_]*(?:\.[A-Z0-9_]+)?): 'before'", text))


@pytest.mark.parametrize("word", ON_RESUME)
def test_every_key_is_refused_recorded_or_free_on_resume_as_it_is_declared(run, data, tmp_path, word):
    """All keys of one word differ at once from the settings of the checkpoint."""
    names = {key.name for key in KEYS.values() if key.on_resume == word}
    cfg = tiny_cfg(run.parent, data=data, out="run")
    content = load_checkpoint(list_checkpoints(run / "checkpoints")[0])
    settings = parse(content["config"])
    for name in names:
        node, last = node_of(settings, name)
        node[last] = "before"
    content["config"] = json.dumps(settings)
    setup = build_training(cfg, with_initial_weights=False)

    def resume(batch):
        setup.state.restore({**content, "batch": batch})

    if word == FIXED:
        with pytest.raises(CheckpointError, match="cannot go on with another") as refusal:
            resume(content["batch"])
        assert key_names(str(refusal.value)) == names
    else:
        resume(content["batch"])
    if word == FIXED_WITHIN_EPOCH:
        with pytest.raises(CheckpointError, match="in the middle of an epoch") as refusal:
            resume(1)
        assert key_names(str(refusal.value)) == names

    folder = RunFolder(tmp_path / "resumed")
    note_changed_settings(cfg, folder, content)
    recorded = folder.config_changes.read_text() if folder.config_changes.exists() else ""
    assert key_names(recorded) == (set() if word == FREE else names)

    folder.write_text(folder.config, content["config"])
    assert is_same_run(cfg, folder.config) == (word == FREE)
    if word == FREE:
        assert results_of_finished_run(cfg, RunFolder(run), content)
    else:
        with pytest.raises(RunFolderError, match="is complete") as refusal:
            results_of_finished_run(cfg, RunFolder(run), content)
        assert key_names(str(refusal.value)) == names


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DATA__MEAN", [1.0, 2.0, 3.0]),
        ("DATA__MULTI_LABEL", True),
        ("DATA__CHANNEL_ORDER", "bgr"),
        ("TSM__SHIFT_DIV", 4),
        ("MODEL__HEAD", "tsn"),
    ],
)
def test_what_changes_the_meaning_of_a_forward_pass_is_refused_and_no_record_changes(run, data, key, value):
    before = contents(run)
    cfg = tiny_cfg(run.parent, data=data, out="run", SOLVER__MAX_EPOCH=3, **{key: value})
    with pytest.raises((CheckpointError, ConfigError)):
        engine.train(cfg)
    assert contents(run) == before


def test_a_run_without_held_out_data_ends_well(tmp_path, data, capsys):
    run = trained(tmp_path, data, DATA__VAL_LIST="")
    assert (run / "weights.safetensors").is_file()
    assert not (run / "results.json").exists()
    assert "Nothing was tested" in (run / "log.txt").read_text()
    before = contents(run)
    assert trained(tmp_path, data, DATA__VAL_LIST="") == run
    assert contents(run) == before


def test_patience_ends_a_run_whose_validations_no_longer_improve(tmp_path, data):
    settings = {"SOLVER__MAX_EPOCH": 6, "TRAIN__EARLY_STOP_PATIENCE": 1, "SOLVER__BASE_LR": 0.0}
    run = trained(tmp_path, data, **settings)
    results = json.loads((run / "results.json").read_text())
    assert results["stopped_early"] and results["step"] == 6
    log = (run / "log.txt").read_text()
    assert "Stopped early: TRAIN.EARLY_STOP_PATIENCE 1 is used up" in log
    assert "Best validation: epoch 1 (checkpoints/best.pt; --which best)" in log
    before = contents(run)
    trained(tmp_path, data, **settings)
    assert contents(run) == before
