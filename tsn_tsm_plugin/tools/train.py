"""Train a recipe, or train on a folder of videos.

    tsn-tsm-train --cfg RECIPE [KEY VALUE ...]
    tsn-tsm-train --data FOLDER --backbone mobilenet_v2 [KEY VALUE ...]

Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 write a checkpoint and end the run; the same command resumes it.
On several devices: ``torchrun --nproc-per-node N -m tsn_tsm_plugin.tools.train --cfg FILE``.
"""

import argparse
import sys
from collections.abc import Sequence

from tsn_tsm_plugin.log import setup_logging
from tsn_tsm_plugin.tools.command import (
    ToolParser,
    add_checkpoint_arguments,
    add_recipe_arguments,
    read_recipe,
    run_command,
    weights_override,
)
from tsn_tsm_plugin.tools.own_data_command import add_data_arguments, recipe_of_data


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code: 2 after a user error, 128 + number after a signal."""
    parser = ToolParser("train", __doc__)
    add_recipe_arguments(parser, required=False)
    add_data_arguments(parser)
    add_checkpoint_arguments(parser, "checkpoint or run folder to start from; TRAIN.CHECKPOINT_FILE_PATH")
    args = parser.parse_intermixed_args(argv)
    return run_command(lambda: _train(args))


def _train(args: argparse.Namespace) -> int:
    if args.data:
        setup_logging()
    args.cfg = recipe_of_data(args)
    cfg = read_recipe(args, *weights_override(args, "TRAIN.CHECKPOINT_FILE_PATH"))

    # Import late, so that --help, usage errors and faults of the recipe do not wait for torch.
    from tsn_tsm_plugin.engine import TrainingStopped, train
    from tsn_tsm_plugin.engine.interruption import catch_stop_signals

    with catch_stop_signals(grace_seconds=cfg.TRAIN.STOP_GRACE_SECONDS) as signals:
        try:
            train(cfg, stop_requested=signals.requested)
        except TrainingStopped:
            return 128 + signals.received
    if args.data:
        print(f"Use the network: tsn-tsm-predict --weights {cfg.OUTPUT_DIR} VIDEO...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
