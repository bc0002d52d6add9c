"""Write a trained network to a file that runs without this library.

    tsn-tsm-export --weights runs/tsm/motion_r18_8f --format onnx --out model.onnx
    tsn-tsm-export --weights W --format torch_export --streaming --normalize
    tsn-tsm-export --weights W --format onnx --int8 --calibrate data/motion/videos

model.json next to model.onnx describes classes, sampling, layout, mean and std. If model.json already
describes another file, such as model.pt2, the new description is model.onnx.json. The batch may have any
size. ``--streaming`` exports one step of the online network, with its state as inputs and outputs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.arguments import count, path_here
from tsn_tsm_plugin.tools.command import ToolParser, run_command
from tsn_tsm_plugin.tools.trained_command import add_weights_arguments, load_from_arguments

if TYPE_CHECKING:
    from tsn_tsm_plugin.inference.trained_model import TrainedModel


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("export", __doc__)
    add_weights_arguments(parser)
    parser.add_argument("--format", required=True, choices=("torch_export", "onnx"), help="kind of the file")
    parser.add_argument("--out", type=path_here, help="file to write (default: model.pt2 or model.onnx)")
    parser.add_argument("--streaming", action="store_true", help="export one step of the online network")
    parser.add_argument("--normalize", action="store_true", help="include the normalisation: uint8 RGB input")
    parser.add_argument("--int8", action="store_true", help="also write FILE.int8.onnx, for CPUs")
    parser.add_argument(
        "--calibrate", nargs="+", default=[], metavar="VIDEO", help="videos for the ranges of the activations"
    )
    parser.add_argument(
        "--num-calibration-videos", type=count(), default=32, help="videos of --calibrate to use"
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _export(args), inputs=[args.weights])


def _export(args: argparse.Namespace) -> None:
    if args.int8 and (args.format != "onnx" or args.streaming or not args.calibrate):
        raise ConfigError("--int8 needs --format onnx, no --streaming, and --calibrate VIDEO...")
    if args.calibrate and not args.int8:
        raise ConfigError("--calibrate measures the ranges for --int8: give both, or neither.")
    # Import late, so that --help and usage errors do not wait for torch.
    import torch

    from tsn_tsm_plugin.inference.export.export_model import (
        SUFFIXES,
        check_export_name,
        describe,
        export_trained,
        write_description,
    )
    from tsn_tsm_plugin.log import setup_logging

    setup_logging(quiet=True)
    args.device = "cpu"
    out = args.out or Path("model" + SUFFIXES[args.format])
    check_export_name(out, form=args.format)
    trained = load_from_arguments(args)
    options = {"form": args.format, "streaming": args.streaming, "normalize": args.normalize}
    try:
        plan, described = export_trained(trained, out, **options)
        print(f"{out}: {', '.join(plan.inputs)} -> {', '.join(plan.outputs)}; {described}")
        if args.int8:
            with torch.no_grad():
                quantized = _quantize(args, trained, out)
            described = write_description(describe(trained, plan, **options, int8=True), quantized)
            print(f"{quantized}: the same in int8; {described}")
    except (ValueError, ImportError) as error:
        raise ConfigError(str(error)) from error


def _quantize(args: argparse.Namespace, trained: "TrainedModel", source: Path) -> Path:
    from tsn_tsm_plugin.atomic_files import replace_when_whole
    from tsn_tsm_plugin.inference.export.quantize_onnx import calibration_clips, quantize_onnx
    from tsn_tsm_plugin.inference.video_predictor import find_videos
    from tsn_tsm_plugin.runs.progress import with_bar

    videos = find_videos(args.calibrate)
    # Spread the choice over the list, which may be ordered by class.
    step = max(1, len(videos) // args.num_calibration_videos)
    videos = videos[::step][: args.num_calibration_videos]
    out = source.with_suffix(".int8.onnx")
    clips = calibration_clips(trained, videos, normalize=args.normalize)
    with replace_when_whole(out) as unfinished:
        quantize_onnx(source, unfinished, iter(with_bar(clips, "calibrate", total=len(videos), shown=True)))
    return out


if __name__ == "__main__":
    sys.exit(main())
