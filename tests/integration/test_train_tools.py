"""The commands around a run: evaluate with a dump, ensemble, compare; and videos with several labels."""

import pytest
from support.runs import tiny_cfg, write_dataset, write_recipe

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.evaluation import read_dump
from tsn_tsm_plugin.runs.metrics_log import read_metrics
from tsn_tsm_plugin.tools import compare, ensemble, evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("runs")
    for out, lr in (("one", 0.01), ("two", 0.02)):
        engine.train(tiny_cfg(folder, data=data, out=out, SOLVER__BASE_LR=lr, SOLVER__MAX_EPOCH=1))
    return folder


def dump_of(runs, data, out, *opts):
    path = runs / f"{out}.json"
    argv = ["--cfg", str(write_recipe(runs, data=data)), "--dump", str(path)]
    assert evaluate.main([*argv, "OUTPUT_DIR", str(runs / out), *opts]) == 0
    return path


def test_a_dump_holds_every_view_of_every_video(runs, data):
    predictions, names = read_dump(dump_of(runs, data, "one"))

    assert len(predictions) == 5
    assert predictions.view_logits.shape == (5, 1, 3)
    assert names == ["still", "slow", "fast"]


def test_an_ensemble_of_two_dumps_is_printed_and_written(runs, data, capsys):
    dumps = [str(dump_of(runs, data, out)) for out in ("one", "two")]
    code = ensemble.main([*dumps, "--coefficients", "2", "1", "--dump", str(runs / "both.csv")])
    said = capsys.readouterr().out

    assert code == 0
    assert "one.json x 2" in said and "all together, 5 videos" in said
    assert len((runs / "both.csv").read_text().splitlines()) == 1 + 2 * 5


def test_dumps_that_do_not_fit_are_one_line_and_code_2(runs, data, capsys):
    code = ensemble.main([str(dump_of(runs, data, "one")), "--coefficients", "1", "1"])

    assert code == 2
    assert "one coefficient for each of 1 dumps, got 2" in capsys.readouterr().err


def test_runs_side_by_side_show_results_and_what_differs(runs, capsys):
    assert compare.main([str(runs / "one"), str(runs / "two")]) == 0
    said = capsys.readouterr().out

    assert "top-1" in said and "training" in said
    assert ["SOLVER.BASE_LR", "0.01", "0.02"] in [line.split() for line in said.splitlines()]
    assert "OUTPUT_DIR" not in said and "MODEL.ARCH" not in said


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert compare.main([str(tmp_path)]) == 2
    assert "is not a run folder: it has no config.yaml" in capsys.readouterr().err


def test_videos_with_several_labels_are_trained_and_measured_by_map(tmp_path, capsys):
    data = write_dataset(tmp_path / "data", num_train=8, num_val=4)
    for split in ("train", "val"):
        path = data / f"{split}.txt"
        path.write_text("".join(f"{line} 2\n" for line in path.read_text().splitlines()))
    results = engine.train(tiny_cfg(tmp_path, data=data, DATA__MULTI_LABEL=True))
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")

    assert results["classes"][2]["accuracy"] == pytest.approx(100.0)  # every video has it
    assert "confusion_matrix" not in results
    assert [r["val/map"] for r in records if "val/map" in r][-1] == results["map"]
    assert "mAP" in (tmp_path / "run" / "log.txt").read_text()
    assert (tmp_path / "run" / "checkpoints" / "best.pt").exists()
    dump = str(dump_of(tmp_path, data, "run", "DATA.MULTI_LABEL", "True"))
    assert ensemble.main([dump, dump]) == 0
    assert f"mAP {results['map']:6.2f} %" in capsys.readouterr().out
