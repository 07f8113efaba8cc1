"""The guide's walk through a clinical table: its commands run as they stand, with one fit."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from models_store.folder import open_bundle
from tests.conftest import FULL_DATA
from tests.docs.blocks import at_free_ports, elsewhere, in_bash

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # it trains, for a minute on an idle core
    pytest.mark.skipif(
        not (FULL_DATA / "pbc").is_dir(), reason="pbc is neither in $ANYVIEW_DATA nor in ../shared/data"
    ),
]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Folder in which the commands ran, and the responses of the service."""
    folder = tmp_path_factory.mktemp("pbc")
    shutil.copy(FULL_DATA / "pbc" / "pbc.csv", folder)
    output = in_bash(at_free_ports(elsewhere("docs/own-data.md", "test_pbc.py"), {}), folder)
    decoder = json.JSONDecoder()
    bodies = [
        decoder.raw_decode(output[match.start() :])[0]
        for match in re.finditer(r'(?m)(?<=\})\{"|^\{"', output)
    ]
    return folder, bodies


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_card_begins_with_gains_of_every_view_but_the_one_left_out(
    walked: tuple[Path, list[dict[str, Any]]],
) -> None:
    bundle = open_bundle(walked[0] / "store" / "pbc" / "1")
    gains = bundle.manifest.metrics["gains"]
    assert "trt" not in gains
    assert {"status", "stage", "hepato"} <= set(gains)
    card = bundle.read("report/card.md").decode().splitlines()
    assert all(f"| `{name}` |" in "\n".join(card[:20]) for name in gains)
    assert sum(gain["gain"] > 0 for gain in gains.values()) > len(gains) / 2


def test_gaps_are_filled_and_measured_cells_stay(walked: tuple[Path, list[dict[str, Any]]]) -> None:
    given, filled = rows(walked[0] / "pbc.csv"), rows(walked[0] / "filled.csv")
    assert len(filled) == len(given) == 418
    for before, after in zip(given, filled, strict=True):
        for header, cell in before.items():
            assert after[header] == cell or (cell == "" and (after[header] or header == "trt")), header


def test_the_draws_are_five_tables_that_differ_where_cells_were_missing(
    walked: tuple[Path, list[dict[str, Any]]],
) -> None:
    given = rows(walked[0] / "pbc.csv")
    first, *others = (rows(walked[0] / f"drawn.{number}.csv") for number in range(1, 6))
    missing = [at for at, row in enumerate(given) if row["chol"] == ""]
    assert all(row["chol"] == first[at]["chol"] for at, row in enumerate(given) if row["chol"])
    for other in others:
        assert any(other[at]["chol"] != first[at]["chol"] for at in missing)


def test_the_service_answers_the_value_of_views_and_the_state_of_a_new_patient(
    walked: tuple[Path, list[dict[str, Any]]],
) -> None:
    value, answer = walked[1][-2:]
    assert value["targets"]["status"]["measure"] == "nats"
    assert set(value["targets"]["status"]["views"]) == set(value["targets"]) - {"status"}
    (probabilities,) = answer["targets"]["status"]["probabilities"]
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert probabilities[2] > probabilities[0]  # a high bilirubin and stage 4: rather dead than alive
