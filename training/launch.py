"""Which process of a run this is: by torchrun and its like, by SLURM, or by the experiment file.

Processes that a launcher started train together, without a word in the experiment. torchrun and Kubeflow
give each of them ``RANK`` and ``WORLD_SIZE``; ``srun`` gives the tasks of a job step ``SLURM_PROCID`` and
``SLURM_STEP_NUM_TASKS``. A process in a batch job outside of a step trains alone. Without a launcher, one
process starts the others of its machine (``fit.processes``), which know themselves by ``LOCAL_RANK``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, repeat

from training.errors import TrainingError


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that a launcher started.

    Arguments:
        rank: Number of the process, from 0 to ``world_size`` - 1; 0 is the leader.
        world_size: Number of processes of the run.
        local_rank: Number of the process on its machine.
        local_size: Number of processes on its machine.
        node: Number of its machine.
        address: Host name or IP address of the leader.
        port: Port at which the leader receives the others.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    node: int
    address: str
    port: int

    def variables(self) -> dict[str, str]:
        """Returns the variables that ``torch.distributed`` reads."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "GROUP_RANK": str(self.node),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Returns the place that a launcher gave this process; None where none started it, or it alone.

    Raises:
        TrainingError: A variable of the launcher is missing or is no number.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        launch = _by_torchrun(environment)
    elif environment.get("SLURM_STEP_ID", "").isdecimal() and "SLURM_PROCID" in environment:
        launch = _by_slurm(environment)
    else:
        return None
    return launch if launch.world_size > 1 else None


def is_leader(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process prints, reads and writes the folder of the run, and publishes.

    Raises:
        TrainingError: A variable of the launcher is missing or is no number.
    """
    launch = launched(environment)
    if launch is not None:
        return launch.rank == 0
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return True
    node = environment.get("NODE_RANK", environment.get("GROUP_RANK", "0"))
    return environment.get("LOCAL_RANK", "0") == node == "0"


def _by_torchrun(environment: Mapping[str, str]) -> Launch:
    world_size = _number(environment, "WORLD_SIZE")
    if world_size > 1 and "MASTER_ADDR" not in environment:
        raise TrainingError(
            f"WORLD_SIZE is {world_size}, but MASTER_ADDR, the address of the process with rank 0, is not set"
        )
    local_size = _number(environment, "LOCAL_WORLD_SIZE", 1)
    rank = _number(environment, "RANK")
    return Launch(
        rank=rank,
        world_size=world_size,
        local_rank=_number(environment, "LOCAL_RANK", 0),
        local_size=local_size,
        node=_number(environment, "GROUP_RANK", rank // local_size),
        address=environment.get("MASTER_ADDR", "127.0.0.1"),
        port=_number(environment, "MASTER_PORT", 29500),
    )


def _address(hosts: str, nodes: int) -> str:
    """Address of the machine of rank 0, which the others connect to."""
    if nodes == 1:
        return "127.0.0.1"
    if not hosts:
        raise TrainingError(
            f"the job step has {nodes} machines, but SLURM_JOB_NODELIST does not name them; set MASTER_ADDR"
        )
    return first_host(hosts)


def _by_slurm(environment: Mapping[str, str]) -> Launch:
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    world_size = _number(environment, tasks, 1)
    node = _number(environment, "SLURM_NODEID", 0)
    nodes = _number(environment, "SLURM_STEP_NUM_NODES", _number(environment, "SLURM_NNODES", 1))
    hosts = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_JOB_NODELIST", ""))
    by_node = _tasks_by_node(environment, world_size, nodes)
    job, step = _number(environment, "SLURM_JOB_ID", 0), _number(environment, "SLURM_STEP_ID")
    return Launch(
        rank=_number(environment, "SLURM_PROCID"),
        world_size=world_size,
        local_rank=_number(environment, "SLURM_LOCALID", 0),
        local_size=by_node[node] if node < len(by_node) else 1,
        node=node,
        address=environment.get("MASTER_ADDR") or _address(hosts, nodes),
        port=_number(environment, "MASTER_PORT", 15000 + (job * 10 + step) % 10000),
    )


def _tasks_by_node(environment: Mapping[str, str], world_size: int, nodes: int) -> list[int]:
    """Returns the number of tasks on each machine; SLURM writes 2, 2, 1 as ``2(x2),1``."""
    text = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", ""))
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    counts = list(chain.from_iterable(repeat(int(count), int(times or 1)) for count, times in parts))
    if sum(counts) == world_size:
        return counts
    return [world_size // nodes + (number < world_size % nodes) for number in range(nodes)]


def first_host(hosts: str) -> str:
    """Returns the first of SLURM's list of hosts.

    Example:
        >>> first_host("gpu[07-09,12],big3"), first_host("a-[1-2]-x,b"), first_host("one two")
        ('gpu07', 'a-1-x', 'one')
    """
    match = re.match(r"(?:[^\[,\s]|\[[^\]]*\])*", hosts)
    first = match.group() if match else ""
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first)


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name)
    if value is None and default is not None:
        return default
    try:
        return int(value or "")
    except ValueError:
        raise TrainingError(f"{name} must be a whole number, it is {value!r}") from None
