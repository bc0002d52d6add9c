"""Classify videos.

    tsn-tsm-predict --weights runs/tsm/motion_r18_8f a.mp4 more/ 'others/*.avi'
    tsn-tsm-predict --weights W match.mp4 --annotate annotated.mp4
    tsn-tsm-predict --weights W clip.mp4 --grad-cam looked_at.png

The recipe is read from the checkpoint. Annotations and features use one window of ``--window`` seconds after
the other, so a video may be hours long.
"""

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.arguments import count, path_here, seconds
from tsn_tsm_plugin.tools.command import ToolParser, run_command
from tsn_tsm_plugin.tools.trained_command import add_weights_arguments, load_from_arguments

if TYPE_CHECKING:
    from tsn_tsm_plugin.inference.trained_model import TrainedModel


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code, 1 if a video could not be read."""
    parser = ToolParser("predict", __doc__)
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="file, folder of videos or of frames, pattern or URL"
    )
    add_weights_arguments(parser)
    parser.add_argument("--top", type=count(), default=5, metavar="K", help="classes per video")
    parser.add_argument("--format", default="table", choices=("table", "json", "csv"), help="output format")
    parser.add_argument("--annotate", type=path_here, metavar="OUT.mp4", help="video to write, with scores")
    parser.add_argument(
        "--grad-cam", type=path_here, metavar="OUT.png", help="image of Grad-CAM heat maps to write"
    )
    parser.add_argument("--features", type=path_here, metavar="OUT.npy", help="file of the windows' features")
    parser.add_argument(
        "--features-of",
        default="clip",
        choices=("clip", "frame"),
        help="clip: one row per window (W, C); frame: one row per used frame (W, T, C)",
    )
    parser.add_argument(
        "--window", type=seconds(zero=True), default=4.0, help="length of a window; 0: the whole video"
    )
    parser.add_argument("--stride", type=seconds(), default=0.5, help="time between two windows")
    args = parser.parse_intermixed_args(argv)
    return run_command(lambda: _predict(args), inputs=[args.weights])


def _predict(args: argparse.Namespace) -> int:
    """Run the command, and return 1 if a video could not be read."""
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.atomic_files import check_are_no_inputs
    from tsn_tsm_plugin.inference.format_predictions import format_predictions
    from tsn_tsm_plugin.inference.video_predictor import VideoPrediction, find_videos
    from tsn_tsm_plugin.log import setup_logging
    from tsn_tsm_plugin.runs.progress import with_bar

    setup_logging(quiet=True)
    _check_outputs(args)
    videos = find_videos(args.videos)
    prefixes = _prefixes(videos)
    outputs = [_with_prefix(path, prefix) for path in _outputs(args) for prefix in prefixes]
    check_are_no_inputs(outputs, videos)
    trained = load_from_arguments(args)
    predictions: list[VideoPrediction] = []
    try:
        for path in with_bar(videos, "predict", total=len(videos), shown=True):
            predictions.append(trained.predictor(path))
    finally:  # Also write after Ctrl-C, so that finished predictions are not lost.
        if predictions:
            print(format_predictions(predictions, trained, count=args.top, form=args.format))
    readable = [prediction.path for prediction in predictions if not prediction.error]
    for path, prefix in zip(readable, _prefixes(readable), strict=True):
        _write_files(args, trained, path, prefix)
    return int(len(readable) < len(predictions))


def _check_outputs(args: argparse.Namespace) -> None:
    """Create the folders of the output files before the work."""
    from PIL import Image

    from tsn_tsm_plugin.visualization.video_writer import check_video_name

    if args.features and args.features.suffix != ".npy":
        raise ConfigError(f"--features must be a file OUT.npy, got {args.features}.")
    if args.grad_cam and args.grad_cam.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(f"--grad-cam must be an image such as OUT.png, got {args.grad_cam}.")
    if args.annotate:
        check_video_name(args.annotate)
    for path in _outputs(args):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: give the name of a file to write.")
        folder = path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: the folder cannot be created ({error.strerror}).") from error


def _outputs(args: argparse.Namespace) -> list[Path]:
    return [out for out in (args.annotate, args.grad_cam, args.features) if out]


def _prefixes(paths: Sequence[str]) -> list[str]:
    """Return the prefix of each video's output files: the video's name, or empty for a single video.

    Videos with equal names are numbered.
    """
    if len(paths) == 1:
        return [""]
    prefixes: dict[str, None] = {}  # A dictionary keeps the order and finds a name quickly.
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(2))
    for stem in (Path(path).stem for path in paths):
        prefix = f"{stem}."
        while prefix in prefixes:
            prefix = f"{stem}-{next(numbers[stem])}."
        prefixes[prefix] = None
    return list(prefixes)


def _with_prefix(path: Path, prefix: str) -> Path:
    return path.with_name(prefix + path.name)


def _write_files(args: argparse.Namespace, trained: "TrainedModel", video_path: str, prefix: str) -> None:
    from tsn_tsm_plugin.atomic_files import HINT_FILE, write_atomically
    from tsn_tsm_plugin.data.image import encode_image
    from tsn_tsm_plugin.inference.grad_cam import explain_video
    from tsn_tsm_plugin.inference.sliding_windows import LongVideo
    from tsn_tsm_plugin.paths import local_path

    if args.grad_cam:
        picture = _with_prefix(args.grad_cam, prefix)
        explained = explain_video(trained, local_path(video_path))
        with write_atomically(picture, binary=True, hint=HINT_FILE) as file:
            file.write(encode_image(explained, picture.suffix))
    if args.annotate or args.features:
        video = LongVideo(trained, local_path(video_path), window=args.window, stride=args.stride)
        features = _with_prefix(args.features, prefix) if args.features else None
        course = video.score(features=features, of=args.features_of)
        if args.annotate:
            video.annotate(course, _with_prefix(args.annotate, prefix))


if __name__ == "__main__":
    sys.exit(main())
