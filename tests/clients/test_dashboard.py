"""The dashboard says nothing that Grafana does not know."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.clients.programs import HERE, needs_packages, run
from tests.service.test_monitoring import DASHBOARD

CHECK = ["node", "node_modules/typescript/bin/tsc", "--strict", "--noEmit", "--module", "nodenext"]


@pytest.mark.slow
@needs_packages
def test_the_dashboard_is_one_by_the_types_of_grafana(tmp_path: Path) -> None:
    for file in ("dashboard.ts", "package.json"):
        shutil.copy(HERE / file, tmp_path)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    head = 'import type { Shipped } from "./dashboard.js"; export const dashboard: Shipped = '
    (tmp_path / "shipped.ts").write_text(head + DASHBOARD.read_text())  # an error names the line of both
    run(*CHECK, "shipped.ts", cwd=tmp_path)
