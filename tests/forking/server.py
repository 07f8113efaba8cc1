"""Imports the libraries of the project, and forks for each connection to its standard input, a socket."""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

OPSET = 20
"""Of the operators that are prepared: training.graphs exports with it."""
LIBRARIES = {
    "training": (
        "torch._dynamo",
        "torch.export",
        "torch.onnx",
        "torch.distributed.run",
        "lightning_fabric",
        "safetensors.torch",
        "onnx",
        "onnx_ir",
        "scipy.stats",
        "sklearn.linear_model",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "pyarrow.parquet",
        "PIL.Image",
        "fastapi",
        "uvicorn",
        "typer",
        "rich.progress",
    ),
    "trials": ("service.models.loading", "multiprocessing.connection"),
}


def main() -> None:
    prepared = sys.argv[1]
    for name in LIBRARIES[prepared]:
        importlib.import_module(name)
    if prepared == "training":
        _prepare_export()
    gc.freeze()  # a fork copies what its own collector looks at
    request = _forked(socket.socket(fileno=os.dup(0)))
    _end(_status(request))


def _prepare_export() -> None:
    from torch.onnx._internal.exporter._registration import ONNXRegistry  # as in tests/conftest.py

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # as training.graphs does
    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]
    ONNXRegistry.from_torchlib(opset_version=OPSET)


def _forked(listener: socket.socket) -> dict[str, Any]:
    """Forks for each connection; returns the request, in the fork alone."""
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, _reap)
    while os.getppid() == parent:
        if not select.select([listener], [], [], 5)[0]:
            continue
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            return _request(connection)
        connection.close()
    sys.exit()


def _reap(_signal: int, _frame: object) -> None:
    """Waits for the forks that ended, so that their processor time counts."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _request(connection: socket.socket) -> dict[str, Any]:
    """Reads a request, and returns it in a child, whose signals and exit status this process forwards."""
    size, streams, _, _ = socket.recv_fds(connection, 4, 3)
    request: dict[str, Any] = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        _supervise(connection, child)
    _join_namespaces(connection)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return request


def _join_namespaces(connection: socket.socket) -> None:
    """Enters the namespaces of user and network of the client, as its child would."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    client = struct.unpack("3i", credentials)[0]
    for kind in ("user", "net"):
        theirs = Path(f"/proc/{client}/ns/{kind}")
        if not theirs.samefile(f"/proc/self/ns/{kind}"):
            with theirs.open() as namespace:  # os.setns comes with Python 3.12
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
                    raise OSError(ctypes.get_errno(), f"setns {theirs}")


def _supervise(connection: socket.socket, child: int) -> None:
    """Forwards signals to the child, and its exit status to the client; kills it if the client is killed."""
    ended = os.pidfd_open(child)
    while ended not in select.select([connection.fileno(), ended], [], [])[0]:
        number = connection.recv(1)
        if number:
            os.kill(child, number[0])
        else:
            os.killpg(child, signal.SIGKILL)
            break
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        connection.sendall(str(status).encode())
    finally:
        os._exit(0)


def _status(request: dict[str, Any]) -> int:
    """Runs what the arguments name; returns the exit status that Python would have."""
    try:
        _run(request)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        print(left.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """Ends the process as Python does, but frees no module: those of the libraries take 2.5 s."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status & 255)


def _run(request: dict[str, Any]) -> None:
    """Runs what the arguments name as Python does: ``-m MODULE``, ``-c CODE`` or a file."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open until the end
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    option, *arguments = [word for word in request["arguments"] if word != "-u"]
    added = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [request["folder"], *filter(None, added)]
    if option == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = ["-c", *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    else:
        sys.argv = [option, *arguments]
        sys.path[0] = str(Path(option).resolve().parent)
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    main()
