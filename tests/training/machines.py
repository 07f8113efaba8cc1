"""Two machines: namespaces of the network that a veth pair joins; loopback carries nothing between them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

Machines = tuple[list[str], list[str]]
"""Of each machine, the command that runs a program on it."""
FIRST = "10.0.0.1"
"""Address of the first machine."""
INTERFACE = "veth0"
"""Interface of each machine that leads to the other."""


@contextmanager
def two_machines() -> Iterator[Machines]:
    """Makes two machines, which end with the context.

    Raises:
        OSError: ``unshare`` is not installed, or namespaces are not allowed.
        subprocess.CalledProcessError: ``ip`` is not installed, or the system has no virtual cables.
    """
    with ExitStack() as stack:
        first = stack.enter_context(_namespace(["unshare", "--user", "--map-root-user", "--net"]))
        second = stack.enter_context(_namespace([*_inside(first), "unshare", "--net"]))
        machines = _inside(first), _inside(second)
        _ip(machines[0], f"link add {INTERFACE} type veth peer name {INTERFACE} netns {second}")
        for number, machine in enumerate(machines, start=1):
            address = f"address add 10.0.0.{number}/24 dev {INTERFACE}"
            _ip(machine, address, f"link set {INTERFACE} up", "link set lo up")
        yield machines


@contextmanager
def _namespace(command: list[str]) -> Iterator[int]:
    """Runs a process in the namespace that a command makes; yields its number."""
    holding = [*command, "sh", "-c", "echo; exec cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(holding, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdin:  # cat ends with it
            if not process.stdout.readline():
                raise OSError(process.stderr.read().strip())
            yield process.pid


def _inside(process: int) -> list[str]:
    # By default, Gloo takes the interface of the host name, which neither machine has.
    variables = ["env", f"GLOO_SOCKET_IFNAME={INTERFACE}"]
    return [*variables, "nsenter", "--user", "--preserve-credentials", "--net", "--target", str(process)]


def _ip(machine: list[str], *lines: str) -> None:
    subprocess.run([*machine, "ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)  # noqa: S603
