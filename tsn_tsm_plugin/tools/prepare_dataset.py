"""Make a dataset ready for training: its videos, list files and label map.

python -m tsn_tsm_plugin.tools.prepare_dataset motion --out data/motion
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.log import setup_logging
from tsn_tsm_plugin.tools.command import run_command


def _add_motion(datasets: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = datasets.add_parser(
        "motion",
        help="the embedded dataset: objects that move, turn and change size",
        description="Make the embedded motion dataset: small H.264 files in 8 classes that are 4 pairs, each "
        "the other played backwards.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--num-train", type=int, default=1000, metavar="N", help="training clips (default: %(default)s)"
    )
    parser.add_argument(
        "--num-val", type=int, default=240, metavar="N", help="validation clips (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same files (default: 0)"
    )
    parser.add_argument(
        "--num-workers", type=int, metavar="N", help="processes, 0 for this one alone (default: one per core)"
    )
    parser.set_defaults(prepare=_prepare_motion)


def _prepare_motion(args: argparse.Namespace) -> None:
    # Imported after the arguments: --help and mistakes need not wait for torch.
    from tsn_tsm_plugin.data.motion import prepare_motion, usable_cpus

    prepare_motion(
        args.out,
        num_train=args.num_train,
        num_val=args.num_val,
        seed=args.seed,
        num_workers=usable_cpus() if args.num_workers is None else args.num_workers,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code: 130 after Ctrl-C, 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="tsn-tsm-prepare-dataset",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    datasets = parser.add_subparsers(metavar="DATASET", required=True)
    _add_motion(datasets)
    args = parser.parse_args(argv)
    setup_logging()
    try:
        return run_command(lambda: args.prepare(args))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
