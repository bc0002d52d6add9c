"""The report is one page that needs nothing else, and agrees with the results."""

import json
import re

import pytest
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin.runs.plots import plot_curves
from tsn_tsm_plugin.runs.report import write_report
from tsn_tsm_plugin.runs.run_folder import RunFolder


@pytest.fixture
def folder_and_cfg(tmp_path):
    data = write_dataset(tmp_path / "data", num_train=1, num_val=2)
    cfg = tiny_cfg(tmp_path, data=data)
    folder = RunFolder(cfg.OUTPUT_DIR)
    results = {
        "weights": "step_00000003.pt", "weights_hash": "ab" * 32,
        "top1": 50.0, "top5": 100.0, "mean_class": 50.0, "loss": 1.0, "num_videos": 2, "num_bad_videos": 0,
        "views_per_video": 1, "view_average": "probabilities", "seconds": 1.0, "clips_per_second": 2.0,
        "model": "TSM <of> something",
        "classes": [
            {"name": f"class {i}", "num_videos": 1, "accuracy": float(i)} for i in range(100)
        ] + [{"name": "never seen", "num_videos": 0, "accuracy": None}],
        "worst_mistakes": [
            {"video_index": 1, "video_name": "val_1.mp4", "label": "slow", "label_percent": 12.0,
             "prediction": "fast", "prediction_percent": 77.0}
        ],
    }  # fmt: skip
    folder.write_json(folder.results, results)
    return folder, cfg


def test_nothing_is_fetched_from_elsewhere(folder_and_cfg):
    folder, cfg = folder_and_cfg
    record = {"step": 1, "epoch": 1, "train/loss": 1.0, "train/top1": 1.0, "train/lr": 0.1}
    plot_curves([record], folder.plots / "curves.png")
    write_report(cfg, folder)
    page = folder.report.read_text()

    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == 1 + 2  # the curves and the two frames of the mistake
    assert all(source.startswith("data:image/") for source in sources)


def test_it_shows_numbers_mistakes_and_the_ends_of_the_class_table(folder_and_cfg):
    folder, cfg = folder_and_cfg
    write_report(cfg, folder)
    page = folder.report.read_text()

    assert "<b>50.0 %</b>" in page
    assert "fast</span> 77 %, is <b>slow</b> 12 %" in page and "val_1.mp4" in page
    assert "class 99<" in page and "class 0<" in page and "class 50<" not in page
    assert "TSM &lt;of&gt; something" in page


def test_what_a_run_lacks_is_skipped(folder_and_cfg):
    folder, cfg = folder_and_cfg
    results = json.loads(folder.results.read_text())
    folder.write_json(folder.results, {**results, "worst_mistakes": []})
    write_report(cfg, folder)

    assert "Confusion matrix" not in folder.report.read_text()
    assert "mistakes" not in folder.report.read_text()
