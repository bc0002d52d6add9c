"""Combine predictions: ``python -m tsn_tsm_plugin.tools.ensemble DUMP DUMP ... [--coefficients C C ...]``.

The dumps come from ``tools.evaluate --dump``: two streams, an 8-frame and a 16-frame model, or any others
that scored the same videos.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.tools.command import ToolParser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("ensemble", __doc__)
    parser.add_argument("dumps", nargs="+", type=Path, metavar="DUMP", help=".pkl or .json file")
    parser.add_argument(
        "--coefficients", nargs="+", type=float, metavar="C", help="factor of each dump (default: 1 each)"
    )
    parser.add_argument(
        "--average",
        choices=("probabilities", "logits", "sigmoids"),
        help="quantity averaged over views and dumps (default: probabilities; sigmoids for several labels)",
    )
    parser.add_argument(
        "--dump", type=Path, metavar="FILE", help="write the ensemble's scores: .pkl, .json, .csv"
    )
    args = parser.parse_intermixed_args(argv)
    return run_command(lambda: _combine(args))


def _combine(args: argparse.Namespace) -> None:
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.errors import ConfigError
    from tsn_tsm_plugin.evaluation import combine, read_dump, write_dump
    from tsn_tsm_plugin.runs.results import format_accuracies, summarize

    read = [read_dump(path) for path in args.dumps]
    class_names = read[0][1]
    for path, (_, names) in zip(args.dumps, read, strict=True):
        _check_same_classes(class_names, names, first=args.dumps[0], other=path)
    coefficients = args.coefficients or [1.0] * len(read)
    how = args.average or ("sigmoids" if read[0][0].label.ndim == 2 else "probabilities")
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


def _check_same_classes(ours: list[str], theirs: list[str], *, first: Path, other: Path) -> None:
    from tsn_tsm_plugin.errors import ConfigError

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
