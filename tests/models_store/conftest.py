"""A bundle that was published."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_store.folder import publish
from tests.models_store.bundles import FILES, MODEL


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return publish(tmp_path / "store", MODEL, FILES)
