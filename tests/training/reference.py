"""Tests beside MultiVae, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.reference import reference

__all__ = ["needs_reference", "reference"]

needs_reference = pytest.mark.skipif(
    find_spec("multivae") is None or find_spec("pythae") is None,
    reason="MultiVae is not installed: pip install --no-deps multivae pythae",
)
