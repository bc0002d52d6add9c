"""Make a dataset ready for training: its videos, list files and label map.

python -m tsn_tsm_plugin.tools.prepare_dataset motion --out data/motion
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.data.motion import prepare_motion, usable_cpus
from tsn_tsm_plugin.log import setup_logging


def _add_motion(datasets: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = datasets.add_parser(
        "motion",
        help="the embedded dataset: objects that move, turn and change size",
        description="Make the embedded motion dataset: small H.264 files in 8 classes that are 4 pairs, each "
        "the other played backwards.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--num-train", type=int, default=1000, metavar="N", help="training clips")
    parser.add_argument("--num-val", type=int, default=240, metavar="N", help="validation clips")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same files for the same seed")
    parser.add_argument(
        "--num-workers", type=int, default=usable_cpus(), metavar="N", help="processes; 0 uses this one"
    )
    parser.set_defaults(prepare=_prepare_motion)


def _prepare_motion(args: argparse.Namespace) -> None:
    prepare_motion(
        args.out,
        num_train=args.num_train,
        num_val=args.num_val,
        seed=args.seed,
        num_workers=args.num_workers,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="prepare_dataset", description=__doc__.splitlines()[0])
    datasets = parser.add_subparsers(metavar="DATASET", required=True)
    _add_motion(datasets)
    args = parser.parse_args(argv)
    setup_logging()
    try:
        args.prepare(args)
    except (ValueError, OSError) as error:
        print(f"prepare_dataset: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
