"""Python processes that need not import the libraries: they are forks of one that has imported them.

A command of the documents spends seconds on the import of torch before it does anything. :func:`python` gives
a program that is used like ``python``: standard streams, folder, environment, signals and exit status are
those of the program, and the modules of the project are imported anew in each process. That of
``python("trials")`` has the modules of the service as well, but no torch: hundreds of tests try a version.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SHARED = "FORKED_PYTHON_{}"
"""Environment variable: the program, if another process has started it."""


@cache
def python(prepared: str = "training") -> Path:
    """Starts the process that is forked, for as long as the tests run; returns the program.

    Arguments:
        prepared: What it has imported: a key of ``LIBRARIES`` in the module ``server``.
    """
    shared = SHARED.format(prepared)
    if shared in os.environ:
        return Path(os.environ[shared])
    folder = Path(tempfile.mkdtemp(prefix="anyview-forks-"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    server = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, str(HERE / "server.py"), prepared],
        stdin=listener.fileno(),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    listener.close()
    program = folder / "python"
    program.write_text(f"#!{sys.executable} -IS\n{(HERE / 'client.py').read_text()}")
    program.chmod(0o755)
    os.environ[shared] = str(program)  # the workers of the tests use it, too

    def end() -> None:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    return program
