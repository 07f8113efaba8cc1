"""Runs Python's arguments in a fork of the process that listens beside this file; ends as the fork does."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

connection = socket.socket(socket.AF_UNIX)
connection.connect(str(Path(__file__).with_name("socket")))
request = {"arguments": sys.argv[1:], "folder": str(Path.cwd()), "environment": dict(os.environ)}
content = json.dumps(request).encode()
socket.send_fds(connection, [len(content).to_bytes(4, "big")], [0, 1, 2])
connection.sendall(content)
for number in FORWARDED:
    signal.signal(number, lambda number, _frame: connection.sendall(bytes([number])))
status = int(connection.recv(16) or -signal.SIGKILL)
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
