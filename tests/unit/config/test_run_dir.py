"""A recipe without a run folder finds its own run again, and never meets another recipe's."""

from pathlib import Path

import pytest

from tsn_tsm_plugin.config import load_cfg

TEXT = "MODEL: {BACKBONE: resnet18}\n"


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """Return the run folder of a recipe `mine.yaml` with overrides, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def choose(*opts):
        return Path(load_cfg("mine.yaml", opts, text=TEXT).OUTPUT_DIR)

    return choose


def leave_run(folder, *opts, file="config.yaml"):
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(load_cfg("mine.yaml", opts, text=TEXT).dump())


def test_the_folder_is_named_by_method_and_recipe(run_dir):
    assert run_dir() == Path("runs/tsm/mine")


def test_the_same_recipe_finds_its_own_run_again(run_dir):
    leave_run(Path("runs/tsm/mine"))
    assert run_dir() == Path("runs/tsm/mine")


@pytest.mark.parametrize("opts", [("LOG_PERIOD", "3"), ("TEST.BATCH_SIZE", "2")], ids=lambda o: o[0])
def test_what_training_does_not_depend_on_makes_no_other_run(run_dir, opts):
    leave_run(Path("runs/tsm/mine"))
    assert run_dir(*opts) == Path("runs/tsm/mine")


@pytest.mark.parametrize(
    "opts", [("SOLVER.BASE_LR", "0.5"), ("DATA.MEAN", "[1, 2, 3]"), ("DATA.PATH_TO_DATA_DIR", "other")],
    ids=lambda o: o[0],
)  # fmt: skip
def test_a_changed_recipe_gets_the_next_free_number_and_finds_it_again(run_dir, opts):
    leave_run(Path("runs/tsm/mine"))
    leave_run(Path("runs/tsm/mine_2"), "SOLVER.MAX_EPOCH", "7")
    assert run_dir(*opts) == Path("runs/tsm/mine_3")
    leave_run(Path("runs/tsm/mine_3"), *opts)
    assert run_dir(*opts) == Path("runs/tsm/mine_3")


def test_a_folder_named_by_the_user_stays(run_dir):
    leave_run(Path("runs/tsm/mine"))
    assert run_dir("OUTPUT_DIR", "here", "SOLVER.BASE_LR", "0.5") == Path("here")


def test_a_job_that_waits_in_the_queue_has_its_folder_already(run_dir):
    leave_run(Path("runs/tsm/mine"), file="launch/20260101/config.yaml")
    assert run_dir() == Path("runs/tsm/mine")
    assert run_dir("SOLVER.BASE_LR", "0.5") == Path("runs/tsm/mine_2")


def test_a_folder_whose_settings_cannot_be_read_is_left_alone(run_dir):
    Path("runs/tsm/mine").mkdir(parents=True)
    Path("runs/tsm/mine/config.yaml").write_text("{[")
    assert run_dir() == Path("runs/tsm/mine_2")
