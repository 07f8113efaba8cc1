"""Commands as a user types them, each in its own process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.servers import free_port
from tests.service.running import readiness, until

SEVEN = Path(__file__).parent / "data" / "seven.png"


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as response:  # noqa: S310 - our own server
        return json.load(response)


def post(address: str, accept: str = "application/json", **fields: bytes) -> bytes:
    boundary = uuid.uuid4().hex.encode()
    body = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, name.encode(), value)
        for name, value in fields.items()
    )
    request = urllib.request.Request(  # noqa: S310 - our own server
        address,
        body + b"--%s--\r\n" % boundary,
        {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}", "Accept": accept},
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer: bytes = response.read()
        return answer


@contextmanager
def shipped() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``anyview-serve`` with the shipped models, as ``make serve`` starts it; its address."""
    port = free_port()
    environment = {**os.environ, "ANYVIEW_DEFAULT_MODEL": "digits"}
    process = subprocess.Popen([sys.executable, "-m", "service", "--port", str(port)], env=environment)  # noqa: S603
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or readiness(address) == 200, 120)
        yield address, process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with shipped() as (address, _):
        yield address


def test_a_ready_service_lacks_no_model(address: str) -> None:
    assert get(f"{address}/readyz") == {"status": "ready", "missing": [], "store": "present"}


def test_an_uploaded_seven_is_labelled_seven(address: str) -> None:
    answer = json.loads(post(f"{address}/generate?cond_mod=image&gen_mod=label", image=SEVEN.read_bytes()))
    assert answer["targets"]["label"]["ranked"][0][0] == "7"
    assert max(answer["targets"]["label"]["probabilities"][0]) > 0.9


def test_the_label_seven_gives_eight_pictures(address: str) -> None:
    png = post(f"{address}/generate?cond_mod=label&gen_mod=image&N=8", "image/png", label=b"7")
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert picture.shape == (28, 8 * 28)
    assert picture.max() > 200


def test_a_terminated_service_leaves_with_exit_code_zero() -> None:
    with shipped() as (_, process):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_wrong_setting_is_refused_by_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "--port", "http"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "port" in done.stderr


def test_the_service_runs_without_torch() -> None:
    """The service imports no package that only training installs."""
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'sklearn', 'safetensors', 'typer', 'rich'):\n"
        "    sys.modules[name] = None\n"
        "import service.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
