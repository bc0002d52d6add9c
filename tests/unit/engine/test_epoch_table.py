from tsn_tsm_plugin.runs.results import format_epochs


def test_an_epochs_training_and_validation_share_a_line():
    records = [
        {"step": 1, "epoch": 1, "train/loss": 9.0},
        {"step": 2, "epoch": 1, "epoch/loss": 2.5, "epoch/top1": 12.5},
        {"step": 4, "epoch": 2, "epoch/loss": 1.25, "epoch/top1": 50.0},
        {"step": 4, "epoch": 2, "val/top1": 40.0},
    ]
    header, _, first, second, best = format_epochs(records).splitlines()
    assert header.split() == ["epoch", "loss", "top-1", "%", "val", "top-1", "%"]
    assert first.split() == ["1", "2.5", "12.5"]
    assert second.split() == ["2", "1.25", "50", "40"]
    assert best.startswith("Best validation: epoch 2")


def test_a_run_that_went_on_keeps_the_last_word_on_an_epoch():
    records = [{"epoch": 1, "epoch/loss": 3.0}, {"epoch": 1, "epoch/loss": 2.0}]
    assert format_epochs(records).splitlines()[-1].split() == ["1", "2"]
