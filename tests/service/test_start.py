"""The service starts without packages that only some requests, or none, need."""

from __future__ import annotations

import subprocess
import sys

LATE = {"torch", "pandas", "pyarrow", "obstore", "scipy.special", "numpy.f2py", "numpy.testing"}
"""Packages that are not needed until a request, or a setting, asks for what they do."""
PROGRAM = """
import sys
import service.__main__
from models_store.folder import SHIPPED, newest, open_bundle
from service.models.loading import opened
opened(open_bundle(newest(SHIPPED, "digits")))
print(*sys.modules)
"""


def test_the_service_loads_a_model_without_packages_that_few_requests_need() -> None:
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    loaded = run.stdout.split()
    assert "onnxruntime" in loaded
    assert LATE.isdisjoint(loaded)
