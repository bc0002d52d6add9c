"""combinations, sweep_configs: ``--sweep KEY V1 V2 ...``, one training for every combination of values."""

import itertools
from collections.abc import Sequence

from tsn_tsm_plugin.config import CfgNode

from ..errors import LaunchError
from ..submit_job.plan import load_recipe


def combinations(sweeps: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the overrides ``KEY=VALUE`` of every combination.

    Args:
        sweeps: For each key, the key and its values.

    Raises:
        LaunchError: If a key has no value, or is given twice.
    """
    for words in sweeps:
        if len(words) < 2:
            raise LaunchError(f"--sweep must be KEY VALUE [VALUE ...], got {' '.join(words)}.")
    keys = [words[0] for words in sweeps]
    if len(set(keys)) < len(keys):
        raise LaunchError(f"--sweep must name each key once, got {', '.join(keys)}.")
    values = [[f"{words[0]}={value}" for value in words[1:]] for words in sweeps]
    return [list(chosen) for chosen in itertools.product(*values)]


def sweep_configs(recipe: str, opts: Sequence[str], sweeps: Sequence[Sequence[str]]) -> list[CfgNode]:
    """Return a config for every combination, each with its own run folder below the recipe's run folder."""
    root = load_recipe(recipe, opts).OUTPUT_DIR
    return [
        load_recipe(recipe, [*opts, *chosen], output_dir=f"{root}/sweep/{','.join(chosen)}")
        for chosen in combinations(sweeps)
    ]
