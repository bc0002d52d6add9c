"""Weights that a recipe names by a path that only iopath can open."""

from support.bucket import serve_bucket
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine


def test_a_run_starts_from_fetched_weights_and_tests_them(tmp_path, monkeypatch):
    data = write_dataset(tmp_path / "data")
    trained = engine.train(tiny_cfg(tmp_path, data=data, out="first", SOLVER__MAX_EPOCH=1))
    serve_bucket(tmp_path / "first", monkeypatch)
    weights = "bucket://weights.safetensors"

    tested = engine.evaluate(tiny_cfg(tmp_path, data=data, out="tested", TEST__CHECKPOINT_FILE_PATH=weights))
    engine.train(
        tiny_cfg(tmp_path, data=data, out="tuned", TRAIN__CHECKPOINT_FILE_PATH=weights, SOLVER__MAX_EPOCH=1)
    )

    assert tested["confusion_matrix"] == trained["confusion_matrix"]
    log = (tmp_path / "tuned/log.txt").read_text()
    assert "Weights to start from" in log and weights in log
