"""Options: the resources that a job requests, as one table for flags, help and cluster YAML."""

import argparse
import dataclasses
import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tsn_tsm_plugin.paths import read_text

from ..errors import LaunchError
from .owned_by_launcher import check_is_free

CLUSTERS_DIR = Path(__file__).resolve().parents[1] / "clusters"
KINDS = ("auto", "slurm", "local", "debug")
# Environment variables of sbatch, by option.
_ENVIRONMENT = {
    "partition": "SBATCH_PARTITION",
    "account": "SBATCH_ACCOUNT",
    "qos": "SBATCH_QOS",
    "constraint": "SBATCH_CONSTRAINT",
    "reservation": "SBATCH_RESERVATION",
    "time": "SBATCH_TIMELIMIT",
}
# Values in a cluster YAML, by type: a pattern, and the pattern in words.
_SCALARS = {bool: ("true|false", "true or false"), int: (r"-?\d+", "a whole number"), str: (".*", "text")}


def _option(default: Any, group: str, text: str, *, metavar: str = "") -> Any:
    metadata = {"group": group, "help": text, "metavar": metavar}
    if isinstance(default, list):
        return dataclasses.field(default_factory=list, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Options of a job, from flags and from a cluster YAML whose keys have the same names."""

    cluster: str = _option(
        "auto", "where", "auto, slurm, local, debug (this process) or NAME of a cluster YAML"
    )
    partition: str = _option("", "where", "partition; empty: the cluster's default")
    account: str = _option("", "where", "account to charge")
    qos: str = _option("", "where", "quality of service")
    constraint: str = _option("", "where", "features that a node must have", metavar="EXPR")
    nodelist: str = _option("", "where", "nodes to use", metavar="NODES")
    exclude: str = _option("", "where", "nodes to avoid", metavar="NODES")
    reservation: str = _option("", "where", "reservation to run in")

    nodes: int = _option(1, "size", "number of nodes")
    gpus_per_node: int = _option(
        -1, "size", "GPUs of each node; -1: the most that enough nodes of the partition have"
    )
    gpu_type: str = _option("", "size", "kind of the GPUs; --gpus-per-node a100:4 sets both", metavar="TYPE")
    tasks_per_node: int = _option(0, "size", "processes on each node; 0: one per GPU, one on a CPU node")
    cpus_per_task: int = _option(0, "size", "CPUs of each process; 0: its loader workers and one more")
    mem: str = _option("", "size", "memory of each node, as SLURM writes it: 64G; 0: all", metavar="SIZE")
    time: str = _option(
        "", "size", "time limit: 90 (minutes), 1:30:00 or 2-00:00:00; empty: the partition's limit"
    )
    exclusive: bool = _option(False, "size", "share the nodes with no other job")

    name: str = _option("", "job", "job name; empty: method and recipe")
    comment: str = _option("", "job", "comment shown by sacct", metavar="TEXT")
    nice: int = _option(0, "job", "lower the priority by this much")
    mail: str = _option("", "job", "short for --mail-user ADDRESS --mail-type END,FAIL", metavar="ADDRESS")
    mail_type: str = _option("", "job", "events to mail about: END,FAIL", metavar="EVENTS")
    mail_user: str = _option("", "job", "address of those mails", metavar="ADDRESS")
    setup: list[str] = _option([], "job", "shell line before the ranks start; may be repeated", metavar="CMD")
    container_image: str = _option(
        "", "job", "image that the processes run in, by pyxis (srun --container-image)", metavar="IMAGE"
    )
    container_mounts: str = _option(
        "", "job", "folders to see in it beside run folder, code and data: SRC:DST,...", metavar="MOUNTS"
    )
    container_prefix: str = _option(
        "", "job", "command before each process instead: 'apptainer exec --nv IMAGE'", metavar="CMD"
    )
    python: str = _option("", "job", "interpreter of the processes; empty: this one", metavar="PATH")
    env: list[str] = _option([], "job", "environment variable of every rank; may be repeated", metavar="K=V")
    sbatch: list[str] = _option([], "job", "any other sbatch option; may be repeated", metavar="KEY=VALUE")

    signal_delay: int = _option(
        120,
        "life",
        "seconds from the stop signal to the time limit; a step and a checkpoint must fit",
    )
    max_requeues: int = _option(20, "life", "times a job may be requeued before it is given up")
    retries: int = _option(0, "life", "times a failed job is started again")
    collective_timeout: int = _option(600, "life", "seconds a rank waits for a lost peer")
    health_check: int = _option(
        30, "life", "seconds that nodes and ranks may take to reach each other at the start; 0: check no node"
    )
    snapshot: str = _option("git", "life", "git: run a copy of this checkout; none: run the checkout itself")

    def pairs(self, name: str) -> dict[str, str]:
        """Return a ``KEY=VALUE`` list option as a dictionary.

        Args:
            name: ``"env"`` or ``"sbatch"``.
        """
        found: dict[str, str] = {}
        for word in getattr(self, name):
            key, separator, value = word.partition("=")
            key = key.strip().removeprefix("--")
            if not key or (not separator and name == "env"):
                raise LaunchError(f"--{name} must be KEY=VALUE, got {word!r}.")
            if name == "env" and not re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII):
                raise LaunchError(f"--env must name a variable by letters, digits and _, got {key!r}.")
            if name == "sbatch":
                check_is_free(key, value, flags=[field.name for field in dataclasses.fields(Options)])
            found[key] = value
        return found


def with_environment(options: Options) -> Options:
    """Return options whose empty fields are filled from ``SBATCH_PARTITION`` and similar variables."""
    found: dict[str, Any] = {
        name: os.environ[variable]
        for name, variable in _ENVIRONMENT.items()
        if not getattr(options, name) and os.environ.get(variable)
    }
    return replace(options, **found)


GROUPS = {
    "where": "cluster, partition and nodes",
    "size": "size of the job",
    "job": "other options for SLURM",
    "life": "interruptions and failures",
}


def add_option_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every option, in groups; a flag that is not given sets no attribute."""
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for field in dataclasses.fields(Options):
        group = groups[field.metadata["group"]]
        flag = "--" + field.name.replace("_", "-")
        text = field.metadata["help"]
        if field.type is bool:
            group.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        many = field.default is dataclasses.MISSING
        shown = "" if many or field.default in ("", -1, 0) else f" (default: {field.default})"
        group.add_argument(
            flag,
            action="append" if many else "store",
            type=int if field.type is int and field.name != "gpus_per_node" else str,
            default=argparse.SUPPRESS,
            metavar=field.metadata["metavar"] or ("N" if field.type is int else field.name.upper()),
            help=text + shown,
        )


def cluster_options(options: Options) -> list[str]:
    """Return the flags of options that are set but have no effect on a run on this machine."""
    used_here = {"cluster", "nodes", "gpus_per_node", "tasks_per_node", "name", "env", "collective_timeout"}
    defaults = Options()
    return [
        "--" + field.name.replace("_", "-")
        for field in dataclasses.fields(Options)
        if field.name not in used_here and getattr(options, field.name) != getattr(defaults, field.name)
    ]


def resolve_options(flags: dict[str, Any]) -> Options:
    """Merge defaults, the cluster YAML and flags; a flag wins over the file.

    Args:
        flags: Options of the command line, by field name. A ``cluster`` outside ``KINDS`` is a path or names
            a YAML of ``launch/clusters``. The default of ``cluster`` is ``$LAUNCH_CLUSTER``.

    Raises:
        LaunchError: If the file, one of its keys or a value is wrong.
    """
    given = dict(flags)
    name = given.get("cluster") or os.environ.get("LAUNCH_CLUSTER", "")
    from_file: dict[str, Any] = {}
    if name and name not in KINDS:
        from_file = {"cluster": "slurm", **read_cluster_yaml(name)}
        given.pop("cluster", None)
    elif name:
        given["cluster"] = name
    for field in dataclasses.fields(Options):
        if field.default is dataclasses.MISSING and field.name in from_file and field.name in given:
            given[field.name] = [*from_file[field.name], *given[field.name]]
    options = Options(**_with_gpu_type({**from_file, **given}))
    _check_characters(options)
    if options.cluster not in KINDS:
        raise LaunchError(
            f"cluster must be one of {', '.join(KINDS)} in a cluster YAML, got {options.cluster!r}."
        )
    for kind in ("env", "sbatch"):
        options.pairs(kind)
    return options


def _with_gpu_type(values: dict[str, Any]) -> dict[str, Any]:
    """Split ``gpus_per_node`` ``TYPE:N`` into the type and the number of GPUs."""
    if not isinstance(values.get("gpus_per_node"), str):
        return values
    match = re.fullmatch(r"(?:([A-Za-z][\w.\-]*):)?(-1|\d+)", values["gpus_per_node"], re.ASCII)
    if match is None:
        raise LaunchError(
            "--gpus-per-node must be a number or TYPE:NUMBER such as a100:4, "
            f"got {values['gpus_per_node']!r}."
        )
    kind = {"gpu_type": match[1]} if match[1] else {}
    return {**values, **kind, "gpus_per_node": int(match[2])}


def _check_characters(options: Options) -> None:
    """Refuse characters that would become lines of the batch script or unreadable names."""
    for field in dataclasses.fields(Options):
        value = getattr(options, field.name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and any(
                ord(character) < 32 or character == "\x7f" for character in text
            ):
                flag = "--" + field.name.replace("_", "-")
                raise LaunchError(f"{flag} must be one line without control characters, got {text!r}.")


def read_cluster_yaml(name: str) -> dict[str, Any]:
    """Return the options that a cluster YAML sets.

    Args:
        name: Name of a file in ``launch/clusters`` without its ending, or a path.

    Raises:
        LaunchError: If there is no such file, or it holds an unknown key or a value of the wrong type.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else CLUSTERS_DIR / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CLUSTERS_DIR.glob("*.yaml"))) or "none"
        raise LaunchError(
            f"--cluster must be {', '.join(KINDS)}, a file in {CLUSTERS_DIR} ({known}) "
            f"or a path, got {name!r}."
        )
    try:
        # BaseLoader keeps every value as written: other loaders read the time 1:30:00 as the number 5400.
        loaded = yaml.load(read_text(path), Loader=yaml.BaseLoader) or {}
    except OSError as error:
        raise LaunchError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except yaml.YAMLError as error:
        raise LaunchError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise LaunchError(f"{path}: a cluster YAML must be `key: value` lines.")
    return {str(key): _typed(path, str(key), value) for key, value in loaded.items()}


def _typed(path: Path, key: str, value: Any) -> Any:
    fields = {field.name: field for field in dataclasses.fields(Options)}
    if key not in fields:
        near = difflib.get_close_matches(key, fields, n=1)
        hint = f"; did you mean {near[0]}?" if near else f". Known: {', '.join(fields)}."
        raise LaunchError(f"{path}: {key} is not an option{hint}")
    field = fields[key]
    if field.default is dataclasses.MISSING:
        words = [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else value
        return [str(word) for word in ([words] if isinstance(words, str) else words) if word]
    kind: Any = str if key == "gpus_per_node" else field.type
    pattern, wanted = _SCALARS[kind]
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL):
        raise LaunchError(f"{path}: {key} must be {wanted}, got {value!r}.")
    return value == "true" if kind is bool else kind(value)


def after(options: Options, job_id: str) -> Options:
    """Return options of a job that starts if job ``job_id`` succeeds and is cancelled otherwise."""
    # Without kill-on-invalid-dep the job would wait forever.
    waits = [f"dependency=afterok:{job_id}", "kill-on-invalid-dep=yes"]
    return replace(options, sbatch=[*options.sbatch, *waits])


def without_earlier_jobs(options: Options) -> Options:
    """Return the options without dependencies on other jobs; keep ``singleton`` and similar ones."""
    if not any(word.startswith("dependency=after") for word in options.sbatch):
        return options
    ours = ("dependency", "kill-on-invalid-dep")
    return replace(options, sbatch=[word for word in options.sbatch if word.partition("=")[0] not in ours])


def minutes_of(time: str) -> int:
    """Return a SLURM time limit in whole minutes, rounded up.

    Args:
        time: ``M``, ``M:SS``, ``H:MM:SS``, ``D-H``, ``D-H:MM`` or ``D-H:MM:SS``.

    Raises:
        LaunchError: If the time has another form, or is zero.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time.strip())
    if match is None:
        raise LaunchError(f"--time must be minutes, H:MM:SS or D-HH:MM:SS, got {time!r}.")
    days, *given = match.groups()
    parts = [int(part) for part in given if part is not None]
    if days is None and len(parts) < 3:
        parts = [0, *parts]  # Without days and hours, the first number is minutes.
    hours, minutes, seconds = [*parts, 0, 0][:3]
    seconds += 60 * (minutes + 60 * (hours + 24 * int(days or 0)))
    if seconds == 0:
        raise LaunchError("--time must be longer than 0; without --time the partition's limit applies.")
    return -(-seconds // 60)
