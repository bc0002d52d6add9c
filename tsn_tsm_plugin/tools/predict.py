"""Say what happens in videos.

    python -m tsn_tsm_plugin.tools.predict --weights runs/tsm/motion_r18_8f a.mp4 more/ 'others/*.avi'
    python -m tsn_tsm_plugin.tools.predict --weights W match.mp4 --annotate annotated.mp4
    python -m tsn_tsm_plugin.tools.predict --weights W clip.mp4 --explain looked_at.png

The recipe is read from the checkpoint. A video longer than ``--window`` seconds is annotated, and its
features are taken, in windows of that length, one after the other, so that it may be hours long.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.command import run_command
from tsn_tsm_plugin.tools.trained_command import add_weights_arguments, load_from_arguments

if TYPE_CHECKING:
    from tsn_tsm_plugin.engine.trained import TrainedModel


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code, 1 if a video could not be read."""
    args = _parser().parse_intermixed_args(argv)
    num_unread = 0

    def work() -> None:
        nonlocal num_unread
        num_unread = _predict(args)

    return run_command(work) or int(num_unread > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="file, folder or pattern")
    add_weights_arguments(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes per video (default: 5)")
    parser.add_argument("--format", default="table", choices=("table", "json", "csv"), help="of the output")
    parser.add_argument("--annotate", default="", metavar="OUT.mp4", help="write the video with its scores")
    parser.add_argument("--explain", default="", metavar="OUT.png", help="write where the network looked")
    parser.add_argument("--features", default="", metavar="OUT.npy", help="write the features of the windows")
    parser.add_argument(
        "--features-of",
        default="clip",
        choices=("clip", "frame"),
        help="clip: one row per window (W, C); frame: each frame looked at (W, T, C)",
    )
    parser.add_argument("--window", type=float, default=4.0, metavar="SECONDS", help="0: the whole video")
    parser.add_argument("--stride", type=float, default=0.5, metavar="SECONDS", help="between two windows")
    return parser


def _predict(args: argparse.Namespace) -> int:
    """Do what the arguments ask for, and return how many videos could not be read."""
    # Imported after the arguments: --help and mistakes need not wait for torch.
    from tsn_tsm_plugin.engine.predict_videos import VideoPredictor, find_videos
    from tsn_tsm_plugin.engine.prediction_report import format_predictions
    from tsn_tsm_plugin.engine.progress import with_bar
    from tsn_tsm_plugin.log import setup_logging

    setup_logging(quiet=True)
    _check_outputs(args)
    videos = find_videos(args.videos)
    trained = load_from_arguments(args)
    predict = VideoPredictor(trained)
    predictions = [predict(path) for path in with_bar(videos, "predict", total=len(videos), shown=True)]
    print(format_predictions(predictions, trained, count=args.top, form=args.format))
    readable = [prediction.path for prediction in predictions if not prediction.error]
    for path, prefix in zip(readable, _prefixes(readable), strict=True):
        _write_files(args, trained, path, prefix)
    return len(predictions) - len(readable)


def _check_outputs(args: argparse.Namespace) -> None:
    """Make the folders of the files to write, before there is anything to lose."""
    from PIL import Image

    if args.features and not args.features.endswith(".npy"):
        raise ConfigError(f"--features must be a file OUT.npy, got {args.features}.")
    if args.explain and Path(args.explain).suffix.lower() not in Image.registered_extensions():
        raise ConfigError(f"--explain must be a picture such as OUT.png, got {args.explain}.")
    for folder in {Path(out).parent for out in (args.annotate, args.explain, args.features) if out}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: this folder cannot be made ({error.strerror}).") from error


def _prefixes(paths: Sequence[str]) -> list[str]:
    """Return what the names of each video's files begin with: nothing for one video alone, or its own name.

    Where videos in several folders have one name, the later ones are numbered.
    """
    if len(paths) == 1:
        return [""]
    seen: Counter[str] = Counter()
    prefixes = []
    for stem in (Path(path).stem for path in paths):
        seen[stem] += 1
        prefixes.append(f"{stem}." if seen[stem] == 1 else f"{stem}-{seen[stem]}.")
    return prefixes


def _write_files(args: argparse.Namespace, trained: "TrainedModel", video_path: str, prefix: str) -> None:
    from tsn_tsm_plugin.engine.explain import explain_video
    from tsn_tsm_plugin.engine.long_video import LongVideo

    def out(name: str) -> Path:
        return Path(name).with_name(prefix + Path(name).name)

    if args.explain:
        explain_video(trained, video_path).save(out(args.explain))
    if args.annotate or args.features:
        video = LongVideo(trained, video_path, window=args.window, stride=args.stride)
        course = video.score(features=out(args.features) if args.features else None, of=args.features_of)
        if args.annotate:
            video.annotate(course, out(args.annotate))


if __name__ == "__main__":
    sys.exit(main())
