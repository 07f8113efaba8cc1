"""The OpenAPI document keeps the rulesets of Redocly and Spectral, their warnings among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.programs import HERE, needs_packages, run

COMMANDS = {
    "redocly": ("lint", "--extends=recommended-strict"),
    "spectral": ("lint", f"--ruleset={HERE / 'spectral.yaml'}", "--fail-severity=hint"),
}
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


@needs_packages
@pytest.mark.slow
@pytest.mark.parametrize("program", COMMANDS)
def test_the_document_keeps_the_rules(program: str, document: Path, tmp_path: Path) -> None:
    binary = HERE / "node_modules" / ".bin" / program
    run(str(binary), *COMMANDS[program], str(document), cwd=tmp_path, **QUIET)
