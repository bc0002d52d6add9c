"""Plan: recipe, options, backend, number of ranks and run folder of a job before it is submitted."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tsn_tsm_plugin.config import CfgNode, load_cfg
from tsn_tsm_plugin.config.recipes import find_recipe, near_recipes

from ..cluster import slurm_client as slurm
from ..cluster.options import Options, with_environment
from ..cluster.partitions import chosen_partition
from ..errors import LaunchError


@dataclass(frozen=True)
class Plan:
    """One job before it is submitted.

    Attributes:
        kind: ``"train"``, ``"evaluate"`` or ``"profile"``.
        recipe: The recipe's path, as given.
        cfg: The resolved config, with an absolute ``OUTPUT_DIR``.
        options: Result of :func:`with_resolved_size`, with the whole size of the job.
        backend: ``"slurm"``, ``"local"``, ``"debug"`` or ``"srun"``.
        reason: Why this backend was chosen.
        note: A sentence about the chosen size, or empty.
    """

    kind: str
    recipe: str
    cfg: CfgNode
    options: Options
    backend: str
    reason: str
    note: str = ""

    @property
    def num_ranks(self) -> int:
        """Processes on all nodes."""
        return self.options.nodes * self.options.tasks_per_node

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def name(self) -> str:
        """Name of the job."""
        return self.options.name or f"{self.cfg.MODEL.ARCH}_{Path(self.recipe).stem}"


def load_recipe(path: str, opts: Sequence[str], *, output_dir: str = "") -> CfgNode:
    """Return the config of a recipe with an absolute ``OUTPUT_DIR``.

    Args:
        path: The recipe, by path or by name: ``tsm/k400_r50_8f``.
        opts: Overrides.
        output_dir: Run folder that replaces the recipe's.

    Raises:
        LaunchError: If there is no such file; the message lists similar names.
        ConfigError: If the recipe or an override is wrong.
    """
    path = find_recipe(path)
    if "://" not in path and not Path(path).is_file():
        raise LaunchError(f"--cfg {path}: no such file{near_recipes(path)}")
    cfg = load_cfg(path, list(opts))
    return cfg.changed({"OUTPUT_DIR": str(Path(output_dir or cfg.OUTPUT_DIR).expanduser().absolute())})


def resolve_backend(options: Options) -> tuple[str, str]:
    """Return the backend of a job, and the reason in a few words.

    Raises:
        LaunchError: If an option needs a SLURM cluster and this machine has none.
    """
    is_one_of_many = "SLURM_STEP_ID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    if options.cluster == "auto" and is_one_of_many:
        return "srun", "srun started this process as one of several"
    if options.cluster != "auto":
        if options.cluster == "slurm" or options.nodes == 1:
            return options.cluster, "asked for"
        raise LaunchError(f"--nodes must be 1 with --cluster {options.cluster}, got {options.nodes}.")
    missing = slurm.why_unavailable()
    if not missing:
        return "slurm", "sbatch is on PATH"
    wanted = "--nodes above 1" if options.nodes > 1 else "--partition" if options.partition else ""
    if wanted:
        raise LaunchError(
            f"{wanted} needs a SLURM cluster, but this machine has none: {missing}. Is this a login node?"
        )
    return "local", missing


def make_plan(kind: str, recipe: str, cfg: CfgNode, options: Options) -> Plan:
    """Return the plan of a job; see :class:`Plan`."""
    backend, reason = resolve_backend(options)
    chosen = with_resolved_size(options, backend)
    is_open = backend == "slurm" and options.gpus_per_node < 0
    return Plan(kind, recipe, cfg, chosen, backend, reason, _note_on_gpus(chosen) if is_open else "")


def with_resolved_size(options: Options, backend: str) -> Options:
    """Return options with the unset numbers of nodes, GPUs and processes filled in.

    Args:
        options: Options; ``gpus_per_node`` -1 and ``tasks_per_node`` 0 let the backend decide.
        backend: Result of :func:`resolve_backend`.
    """
    if backend == "slurm":
        options = with_environment(options)
    gpus, tasks = options.gpus_per_node, options.tasks_per_node
    if backend == "srun":
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
        tasks = int(os.environ["SLURM_STEP_NUM_TASKS"]) // nodes
        return replace(options, nodes=nodes, gpus_per_node=max(gpus, 0), tasks_per_node=tasks)
    if backend == "debug":
        return replace(options, gpus_per_node=max(gpus, 0), tasks_per_node=1)
    if gpus < 0 and backend == "local":
        import torch

        gpus = torch.cuda.device_count()
    elif gpus < 0:
        partition = chosen_partition(options.partition)
        gpus = partition.most_gpus(options.nodes) if partition else 0
    return replace(options, gpus_per_node=gpus, tasks_per_node=tasks or max(gpus, 1))


def _note_on_gpus(options: Options) -> str:
    """Return a sentence about the GPUs of a job if the nodes of its partition differ."""
    partition = chosen_partition(options.partition)
    if partition is None or len(partition.gpu_counts) == 1:
        return ""
    return (
        f"partition {partition.name} has {partition.nodes_in_words()}: this job takes "
        f"{options.gpus_per_node} of each node (--gpus-per-node)"
    )
