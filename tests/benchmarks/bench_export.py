"""Accuracy and speed of exported networks: eager, ONNX Runtime in float32, ONNX Runtime in int8.

    python tests/benchmarks/bench_export.py --weights runs/tsm/motion_r18_8f [--set DATA.PATH_TO_DATA_DIR DIR]

All score the same clips, one view per video of the validation list; the ranges of int8 come from training
videos. The ways take turns clip by clip, and the process's own time is taken, on one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tsn_tsm_plugin.data.annotations import read_video_list
from tsn_tsm_plugin.inference.export.export_model import export_trained
from tsn_tsm_plugin.inference.export.quantize_onnx import calibration_clips, quantize_onnx
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.tools.trained_command import add_weights_arguments, load_from_arguments

Scorer = Callable[[np.ndarray], np.ndarray]
NUM_CALIBRATE = 32


def eager(trained: TrainedModel) -> Scorer:
    @torch.inference_mode()
    def score(clip: np.ndarray) -> np.ndarray:
        return trained.model(torch.from_numpy(clip)).numpy()

    return score


def onnx(path: Path) -> Scorer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda clip: session.run(None, {"video": clip})[0]


def videos_of(trained: TrainedModel, name: str) -> tuple[list[str], list[int]]:
    data = trained.cfg.DATA
    folder = Path(data.PATH_TO_DATA_DIR)
    entries = read_video_list(folder / name, prefix=folder / data.PATH_PREFIX)
    return [entry.path for entry in entries], [entry.label for entry in entries]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_weights_arguments(parser)
    args = parser.parse_args()
    args.device = "cpu"
    torch.set_num_threads(1)
    trained = load_from_arguments(args)
    with tempfile.TemporaryDirectory() as folder:
        float_file, int8_file = Path(folder, "m.onnx"), Path(folder, "m.int8.onnx")
        export_trained(trained, float_file, form="onnx")
        train, _ = videos_of(trained, trained.cfg.DATA.TRAIN_LIST)
        clips = calibration_clips(trained, train[:: max(1, len(train) // NUM_CALIBRATE)], normalize=False)
        quantize_onnx(float_file, int8_file, clips)
        ways = {"eager": eager(trained), "ONNX float32": onnx(float_file), "ONNX int8": onnx(int8_file)}
        sizes = {"ONNX float32": float_file.stat().st_size, "ONNX int8": int8_file.stat().st_size}
        report(trained, ways, sizes)


def report(trained: TrainedModel, ways: dict[str, Scorer], sizes: dict[str, int]) -> None:
    """Score the validation videos in every way, and print a table."""
    videos, labels = videos_of(trained, trained.cfg.DATA.VAL_LIST)
    right = dict.fromkeys(ways, 0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for clip, label in zip(calibration_clips(trained, videos, normalize=False), labels, strict=True):
        for name, score in ways.items():
            begun = time.process_time()
            scores = score(clip)
            seconds[name].append(time.process_time() - begun)
            right[name] += int(scores[0].argmax() == label)
    print(f"{trained.description}; {len(videos)} videos, torch {torch.__version__}, one thread\n")
    print("| | top-1 | ms of CPU time per clip | file |\n| --- | ---: | ---: | ---: |")
    for name in ways:
        size = f"{sizes[name] / 2**20:.1f} MiB" if name in sizes else ""
        median = 1000 * statistics.median(seconds[name][3:])
        print(f"| {name} | {100 * right[name] / len(videos):.2f} | {median:.1f} | {size} |")


if __name__ == "__main__":
    main()
