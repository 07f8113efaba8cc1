"""A process from which trials are forked: importing their modules takes longer than the trials themselves."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import IO, NoReturn

from service.models import sandbox

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of libraries that would start threads, with which a process cannot fork."""
Streams = tuple[IO[bytes], IO[bytes]]
"""Standard input and output of a program, as its caller writes and reads them."""


class WarmProcess:
    """A process that forks for each set of trials; it ends once the other end of its socket is closed.

    Arguments:
        requests: Socket to the process.
        wait: Waits until it has ended.
    """

    def __init__(self, requests: socket.socket, wait: Callable[[], object]) -> None:
        self._requests = requests
        self._wait = wait

    @classmethod
    def forked(cls) -> WarmProcess:
        """Forks this process, whose memory the new one shares.

        This process must have one thread: a fork lacks all others, but not the locks that they hold.
        """
        ours, theirs = socket.socketpair()
        gc.freeze()  # a look of the garbage collector at an object writes to the memory that both share
        process = os.fork()
        if not process:
            ours.close()
            _fork_on_request(theirs)
        theirs.close()
        return cls(ours, partial(os.waitpid, process, 0))

    @classmethod
    def spawned(cls) -> WarmProcess:
        """Starts a new process, which imports the modules and takes memory of its own for them."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        with theirs:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment())  # noqa: S603 - our own program
        return cls(ours, process.wait)

    def start(self) -> Streams:
        """Starts the program of trials.

        Raises:
            OSError: The process is no more, or this one has no file descriptors left.
        """
        stdin, write = os.pipe()
        read, stdout = os.pipe()
        streams = os.fdopen(write, "wb"), os.fdopen(read, "rb")
        try:
            socket.send_fds(self._requests, [b"\0"], [stdin, stdout])
        except OSError:
            for stream in streams:
                stream.close()
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        return streams

    def close(self) -> None:
        """Ends the process, and all its forks with it."""
        self._requests.close()
        with suppress(ChildProcessError):  # waited for by another part of the program
            self._wait()


def environment() -> dict[str, str]:
    """Returns the environment of a program of ours that forks."""
    packages = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": packages, **dict.fromkeys(ONE_THREAD, "1")}


def _fork_on_request(requests: socket.socket) -> NoReturn:
    """Forks for each pair of streams that arrives, until the other end is closed."""
    try:
        os.setsid()  # SIGINT of a terminal ends the service, which ends this process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended forks leave no entry behind
        while (received := socket.recv_fds(requests, 1, 2))[0]:
            stdin, stdout = received[1]
            if not os.fork():
                requests.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                with os.fdopen(stdin, "rb") as source, os.fdopen(stdout, "wb") as sink:
                    sandbox.main(source, sink)
                break
            os.close(stdin)
            os.close(stdout)
    finally:
        os._exit(0)  # without what a fork of the service would do at its end


if __name__ == "__main__":
    _fork_on_request(socket.socket(fileno=int(sys.argv[1])))
