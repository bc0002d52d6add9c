"""lost_nodes: the nodes of the running job that died or restarted since the job started."""

import os
import re
import subprocess

from ..cluster import slurm_client as slurm

# A node that does not start a process within this time counts as dead.
_PROBE_SECONDS = 30.0


def lost_nodes(job_id: str) -> list[str]:
    """Return the nodes of a job that died or restarted, so that they run none of the job's processes.

    SLURM may take minutes to notice a dead node (``SlurmdTimeout``), and never reports a node that returns at
    once. So start a process on each node, and compare the start of its slurmd with the job's.

    Raises:
        LaunchError: If SLURM does not answer.
    """
    job = slurm.ask("scontrol", "show", "job", job_id, "-o").stdout
    nodes = slurm.ask(
        "scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")
    ).stdout.split()
    began = _field(job, "StartTime")
    probes = {node: _start_probe(node) for node in nodes}
    lost = {node for node, probe in probes.items() if not _has_answered(probe)}
    for node in nodes:
        shown = slurm.ask("scontrol", "show", "node", node, "-o").stdout
        # Both times are ISO 8601 in the controller's time zone.
        if _field(shown, "SlurmdStartTime") > began or re.search(r"State=\S*(\*|DOWN)", shown):
            lost.add(node)
    return sorted(lost)


def _field(text: str, name: str) -> str:
    match = re.search(rf"\b{name}=(\d\S+)", text)
    return match[1] if match else ""


def _start_probe(node: str) -> "subprocess.Popen[bytes]":
    command = ["srun", "--overlap", "-N1", "-n1", "-c1", f"--nodelist={node}", "true"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _has_answered(probe: "subprocess.Popen[bytes]") -> bool:
    try:
        return probe.wait(_PROBE_SECONDS) == 0
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.wait()
        return False
