"""Combine predictions: ``tsn-tsm-ensemble DUMP DUMP ... [--coefficients C C ...]``.

The dumps come from ``tsn-tsm-evaluate --dump``: two streams, an 8-frame and a 16-frame model, or any others
that scored the same videos. ``RGB FLOW --coefficients two-stream`` joins streams as the TSN paper does
(arXiv:1608.00859): scores before the softmax, RGB and flow as 1 : 1.5, or with warped flow as 1 : 1 : 0.5.
"""

import argparse
import sys
from collections.abc import Sequence

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import ToolParser, run_command

_TWO_STREAM = "two-stream"
# Coefficients of RGB, flow and warped flow, by number of dumps.
_TWO_STREAM_COEFFICIENTS = {2: [1.0, 1.5], 3: [1.0, 1.0, 0.5]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("ensemble", __doc__)
    parser.add_argument("dumps", nargs="+", metavar="DUMP", help=".pkl or .json; a file or URL")
    parser.add_argument(
        "--coefficients",
        nargs="+",
        type=_coefficient,
        metavar="C",
        help=f"factor of each dump (default: 1 each), or {_TWO_STREAM} for RGB, flow [and warped flow]",
    )
    parser.add_argument(
        "--average",
        choices=("probabilities", "logits", "sigmoids"),
        help="quantity averaged over views and dumps (default: probabilities; sigmoids for several labels; "
        f"logits with {_TWO_STREAM})",
    )
    parser.add_argument("--dump", type=path_here, help="write the ensemble's scores: .pkl, .json, .csv")
    args = parser.parse_intermixed_args(argv)
    return run_command(lambda: _combine(args), inputs=args.dumps)


def _coefficient(text: str) -> float | str:
    try:
        return text if text == _TWO_STREAM else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number or {_TWO_STREAM}, got {text}") from error


def _combine(args: argparse.Namespace) -> None:
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.evaluation import combine, read_dump, write_dump
    from tsn_tsm_plugin.runs.results import format_accuracies, summarize

    read = [read_dump(path) for path in args.dumps]
    class_names = read[0][1]
    for path, (_, names) in zip(args.dumps, read, strict=True):
        _check_same_classes(class_names, names, first=args.dumps[0], other=path)
    coefficients = args.coefficients or [1.0] * len(read)
    how = args.average or ("sigmoids" if read[0][0].label.ndim == 2 else "probabilities")
    if _TWO_STREAM in coefficients:
        if len(coefficients) > 1 or len(read) not in _TWO_STREAM_COEFFICIENTS:
            raise ConfigError(
                f"--coefficients {_TWO_STREAM} must stand alone, with 2 dumps (RGB, flow) or 3 (RGB, flow, "
                f"warped flow), got {len(read)} dumps. Give a factor for each dump instead."
            )
        coefficients = _TWO_STREAM_COEFFICIENTS[len(read)]
        how = args.average or ("sigmoids" if how == "sigmoids" else "logits")
    try:
        ensemble = combine([member for member, _ in read], coefficients=coefficients, how=how)
        each_alone = [combine([member], coefficients=[1.0], how=how) for member, _ in read]
        if args.dump:
            write_dump(ensemble, args.dump, class_names=class_names, view_average=how)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for path, alone, coefficient in zip(args.dumps, each_alone, coefficients, strict=True):
        results = summarize(alone, class_names=class_names, view_average=how)
        print(f"{format_accuracies(results)}   {path} x {coefficient:g}")
    results = summarize(ensemble, class_names=class_names, view_average=how)
    print(f"{format_accuracies(results)}   all together, {len(ensemble)} videos")


def _check_same_classes(ours: list[str], theirs: list[str], *, first: str, other: str) -> None:
    if len(ours) != len(theirs):
        raise ConfigError(
            f"All dumps must have the same classes: {first} has {len(ours)}, {other} has {len(theirs)}. "
            "Combine dumps of one label map."
        )
    for index, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        if our != their:
            raise ConfigError(
                f"All dumps must have the same classes in the same order: class {index} is {our!r} in "
                f"{first} and {their!r} in {other}. Combine dumps of one label map."
            )


if __name__ == "__main__":
    sys.exit(main())
