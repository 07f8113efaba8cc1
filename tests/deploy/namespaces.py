"""Namespaces of the system, in which tests bind ports and mount folders that are theirs alone."""

from __future__ import annotations

import shutil
import subprocess

from benchmarks.replicas import NAMESPACES

__all__ = ["NAMESPACES", "has_namespaces"]


def has_namespaces() -> bool:
    """Whether this user may make namespaces, and set up the loopback interface in them."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    command = [*NAMESPACES, "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
