"""Classify a camera or a video live.

    tsn-tsm-stream --weights runs/tsm/motion_r18_8f_online --source 0
    ffmpeg -i rtsp://... -f mpegts - | tsn-tsm-stream --weights W --source - --json
    tsn-tsm-stream --weights W --source match.mp4 --annotate annotated.mp4
    tsn-tsm-stream --weights W --source 0 --serve 8000

A network with the causal shift (TSM.CAUSAL True) scores every frame; any other scores a sliding window of
--window seconds. Ctrl-C ends the stream and completes the annotated video. Exit code: 0 at the end of the
source or after Ctrl-C; 1 after --timeout seconds without a frame; 2 after an error.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tsn_tsm_plugin.safe_text import json_text, printed_lines, terminal_text
from tsn_tsm_plugin.tools.arguments import count, path_here, seconds
from tsn_tsm_plugin.tools.command import ToolParser, give_up_stdout, run_command
from tsn_tsm_plugin.tools.trained_command import add_weights_arguments, load_from_arguments

if TYPE_CHECKING:
    import numpy as np

    from tsn_tsm_plugin.data.frame_stream import FrameStream
    from tsn_tsm_plugin.inference.stream_classifier import LiveClassifier, LiveScores
    from tsn_tsm_plugin.inference.trained_model import TrainedModel

    # A function of a picture, uint8 RGB (H, W, 3), and the scores of its frame.
    Sink = Callable[[np.ndarray, dict[str, Any]], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code, 1 after a timeout of the source."""
    parser = ToolParser("stream", __doc__)
    add_weights_arguments(parser)
    parser.add_argument(
        "--source",
        required=True,
        metavar="FILE|INDEX|-",
        help="file, folder of frames, index of a camera, or - for stdin",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--annotate", type=path_here, metavar="OUT.mp4", help="video to write, with scores")
    parser.add_argument("--top", type=count(), default=3, metavar="K", help="classes to show")
    parser.add_argument("--frame-interval", type=count(), default=1, help="use every N-th frame")
    parser.add_argument(
        "--average-frames", type=count(), help="scores to average (default: 8, or 1 with windows)"
    )
    parser.add_argument(
        "--min-consecutive", type=count(), default=2, help="switch the label after N frames in the lead"
    )
    parser.add_argument(
        "--window", type=seconds(), default=4.0, help="window of a network without the causal shift"
    )
    parser.add_argument("--show", action="store_true", help="show the stream in a window")
    parser.add_argument(
        "--serve",
        type=_address,
        metavar="[HOST:]PORT",
        help="serve the stream as a web page; without HOST for this machine only",
    )
    parser.add_argument(
        "--print-interval", type=seconds(zero=True), default=1.0, help="time between two lines of text"
    )
    parser.add_argument(
        "--timeout", type=seconds(), default=30.0, help="end with exit code 1 after this time without a frame"
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _stream(args), inputs=[args.weights])


def _stream(args: argparse.Namespace) -> int:
    """Run the command, and return 1 if the source timed out."""
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.data.frame_stream import FrameStream
    from tsn_tsm_plugin.data.reader import DEFAULT_FPS
    from tsn_tsm_plugin.inference.preprocessing import check_takes_frames
    from tsn_tsm_plugin.inference.stream_classifier import LiveClassifier
    from tsn_tsm_plugin.log import setup_logging

    setup_logging(quiet=True)
    _check_output(args)
    trained = load_from_arguments(args)
    check_takes_frames(trained.cfg, "Classifying a stream")  # Before the source is opened.
    report = _Reporter(trained, is_json=args.json, count=args.top, print_interval=args.print_interval)
    with (
        contextlib.ExitStack() as open_sinks,
        FrameStream(
            args.source,
            report.say,
            give_up_seconds=args.timeout,
            frame_names=trained.preprocessing.frame_names,
        ) as source,
    ):
        classify = LiveClassifier(
            trained,
            average_frames=args.average_frames,
            min_consecutive=args.min_consecutive,
            frame_interval=args.frame_interval,
            window_frames=round(args.window * (source.fps or DEFAULT_FPS)),
        )
        sinks = list(_open_sinks(args, source, report, open_sinks))
        try:
            _run(trained, source, classify, report, sinks)
        except KeyboardInterrupt:
            report.say("ended by Ctrl-C")
        except BrokenPipeError:
            give_up_stdout()
    report.sum_up(classify, source)
    return int(source.is_given_up)


def _check_output(args: argparse.Namespace) -> None:
    """Refuse an output video that cannot be written or would overwrite the source."""
    from tsn_tsm_plugin.atomic_files import check_are_no_inputs
    from tsn_tsm_plugin.data.frame_stream import STANDARD_INPUT
    from tsn_tsm_plugin.visualization.video_writer import check_video_name

    if args.annotate:
        check_video_name(args.annotate)
        is_piped = args.source == STANDARD_INPUT
        # Without stdin, descriptor 0 may belong to another file.
        descriptors = [0] if is_piped and sys.stdin is not None else []
        check_are_no_inputs([args.annotate], descriptors if is_piped else [args.source])


def _open_sinks(
    args: argparse.Namespace, source: "FrameStream", report: "_Reporter", stack: contextlib.ExitStack
) -> "Iterator[Sink]":
    """Open the outputs for pictures, and yield their functions."""
    from tsn_tsm_plugin.inference.live_views import LivePage, LiveWindow
    from tsn_tsm_plugin.visualization.video_writer import VideoWriter

    if args.serve is not None:
        page = stack.enter_context(LivePage(*args.serve))
        report.say(f"live at {page.url}")
        yield page.write
    if args.show:
        yield stack.enter_context(LiveWindow(f"tsn_tsm_plugin: {args.source}")).write
    if args.annotate:
        writer = stack.enter_context(VideoWriter(args.annotate, fps=source.fps))
        yield lambda picture, scores: writer.write(picture)


def _address(text: str) -> tuple[str, int]:
    """Parse ``PORT`` or ``HOST:PORT``."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"must be PORT or HOST:PORT with a port of 0-65535, got {text}")
    return host or "127.0.0.1", int(port)


def _run(
    trained: "TrainedModel",
    source: "FrameStream",
    classify: "LiveClassifier",
    report: "_Reporter",
    sinks: "Sequence[Sink]",
) -> None:
    from tsn_tsm_plugin.inference.stream_classifier import LiveOverlay

    overlay = LiveOverlay(trained.class_names, fps=source.fps)
    scores: LiveScores | None = None
    for frame in source:
        fresh = classify(frame)
        if fresh is not None:
            scores = fresh
            report.show(scores)
        if sinks and scores is not None:
            picture = overlay.draw(frame, scores)
            for sink in sinks:
                sink(picture, report.record(scores))


class _Reporter:
    """Prints scores on standard output; in text mode, events go to standard error.

    Args:
        trained: Network, for the class names.
        is_json: Whether to print scores and events as JSON lines.
        count: Number of classes to show.
        print_interval: Seconds between two lines of text; a change of the class is printed at once.
    """

    def __init__(self, trained: "TrainedModel", *, is_json: bool, count: int, print_interval: float) -> None:
        self._trained = trained
        self._is_json = is_json
        self._count = count
        self._print_interval = print_interval
        self._last_label = -1
        self._last_time = 0.0

    def say(self, text: str) -> None:
        """Report an event of the source."""
        if self._is_json:
            print(json_text({"event": text}), flush=True)
        else:
            print(f"stream: {printed_lines(text)}", file=sys.stderr, flush=True)

    def record(self, scores: "LiveScores") -> dict[str, Any]:
        """Return the scores of a frame for JSON."""
        top = self._trained.top(scores.probabilities, self._count)
        return {
            "frame": scores.index,
            "seconds": None if scores.seconds < 0 else round(scores.seconds, 3),
            "class": self._trained.class_names[scores.label],
            "top": [{"class": each, "probability": round(value, 6)} for each, value in top],
            "latency_ms": round(scores.latency_ms, 2),
            "fps": round(scores.fps, 1),
        }

    def show(self, scores: "LiveScores") -> None:
        """Print the scores of a frame."""
        name = terminal_text(self._trained.class_names[scores.label])
        top = self._trained.top(scores.probabilities, self._count)
        if self._is_json:
            print(json_text(self.record(scores)), flush=True)
            return
        now = time.monotonic()
        if scores.label == self._last_label and now - self._last_time < self._print_interval:
            return
        self._last_label, self._last_time = scores.label, now
        others = ", ".join(f"{terminal_text(each)} {100 * value:.0f} %" for each, value in top)
        speed = f"{scores.latency_ms:5.1f} ms {scores.fps:5.1f} fps"
        when = f"{scores.seconds:8.2f} s" if scores.seconds >= 0 else f"frame {scores.index:4}"
        print(f"{when}  {speed}  {name:<24} ({others})", flush=True)

    def sum_up(self, classify: "LiveClassifier", source: "FrameStream") -> None:
        """Report a summary."""
        if not classify.num_scored:
            self.say("the source ended before its first frame")
            return
        latency = statistics.median(classify.latencies_ms)
        dropped = f", {source.num_dropped} dropped" if source.num_dropped else ""
        self.say(f"ended; {classify.num_scored} frames scored{dropped}, median latency {latency:.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
