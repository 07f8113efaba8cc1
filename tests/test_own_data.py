"""A table goes from a file to a served model, which fills missing values in the units of the table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from models_store.folder import open_bundle
from service.app import create_app
from service.settings import Settings
from tests.docs.blocks import ROOT, at_free_ports, elsewhere, in_bash
from training import data
from training.config import read_experiment
from training.data.rows import Rows

GROUPS = ["height", "glucose", "pulse"]

pytestmark = pytest.mark.timeout(900)  # it trains, for a minute on an idle core


@pytest.fixture(scope="module")
def commands_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder in which the commands of the two documents ran, and their output."""
    folder = tmp_path_factory.mktemp("own-data")
    guide = elsewhere("docs/own-data.md", "test_own_data.py")
    readme = elsewhere("README.md", "test_own_data.py")
    *same, question = readme.splitlines()  # the guide begins as the README does, and asks for more fields
    assert [command(line) for line in guide.splitlines()[: len(same)]] == [command(line) for line in same]
    (card,) = re.findall("`(curl [^`]+)`", (ROOT / "docs" / "own-data.md").read_text())
    return folder, in_bash(at_free_ports(f"{guide}echo\n{question}\n{card} >card.md\n", {}), folder)


def command(line: str) -> str:
    """A line without its comment."""
    return line.partition("  #")[0].strip()


@pytest.fixture(scope="module")
def folder(commands_run: tuple[Path, str]) -> Path:
    return commands_run[0]


@pytest.mark.slow
def test_the_commands_of_the_documents_end_with_an_answer_in_units(commands_run: tuple[Path, str]) -> None:
    begin = '{"model"'  # curl prints no line end between two responses
    longer, shorter = (json.loads(begin + rest)["targets"] for rest in commands_run[1].split(begin)[1:])
    assert longer["glucose"]["units"] == ["mmol/l"] * 3
    assert np.shape(longer["glucose"]["quantiles"]) == (1, 5, 3)
    assert np.allclose(shorter["glucose"]["mean"], longer["glucose"]["mean"], rtol=0.2)


def held_out(folder: Path) -> Rows:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return data.prepare(read_experiment("experiment.toml")[0]).test


def imputed(client: TestClient, target: str, rows: Rows) -> dict[str, Any]:
    """The service's response for one group of columns, given the others as lists."""
    inputs = {
        name: [
            x if here else None
            for x, here in zip(rows.data[name].tolist(), rows.masks[name].tolist(), strict=True)
        ]
        for name in GROUPS
        if name != target
    }
    response = client.post(f"/generate?gen_mod={target}&seed=1", json={"inputs": inputs})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["targets"][target]
    return answer


@pytest.mark.slow
def test_imputed_values_come_in_the_units_of_the_table_with_intervals_that_cover(folder: Path) -> None:
    test = held_out(folder)
    inside, errors, spreads = [], [], []
    with TestClient(create_app(Settings(store=folder / "store"))) as client:
        for target in GROUPS:
            others = np.any([test.masks[name].numpy() for name in GROUPS if name != target], axis=0)
            rows = test.take(test.masks[target] & torch.from_numpy(others))
            truth = rows.data[target].numpy()
            answer = imputed(client, target, rows)
            low, high = (np.array(answer["quantiles"])[:, answer["levels"].index(p)] for p in (0.05, 0.95))
            inside.append(((low <= truth) & (truth <= high)).ravel())
            errors.append(((np.array(answer["mean"]) - truth) ** 2).mean(axis=0))
            spreads.append(truth.var(axis=0))
    assert 0.85 <= np.concatenate(inside).mean() <= 0.95
    explained = 1 - np.concatenate(errors) / np.concatenate(spreads)
    assert (explained > 0.3).all()  # every column, in centimetres as in millimoles
    assert explained.mean() > 0.6


@pytest.mark.slow
def test_an_example_of_incomplete_rows_says_what_it_lacks(folder: Path) -> None:
    test = held_out(folder).head(30)
    with TestClient(create_app(Settings(store=folder / "store"))) as client:
        inputs = client.get("/models/patients/examples?n_data=30").json()["inputs"]
    for name in GROUPS:
        assert [row is not None for row in inputs[name]] == test.masks[name].tolist()


@pytest.mark.slow
def test_the_served_model_knows_the_columns_and_their_units(folder: Path) -> None:
    manifest = open_bundle(folder / "store" / "patients" / "1").manifest
    assert manifest.names == tuple(GROUPS)
    units = {
        column.name: column.unit for modality in manifest.modalities for column in modality.columns or ()
    }
    assert units["height"] == "cm"
    assert units["sodium"] == "mmol/l"
    assert units["pressure"] == "mmHg"


@pytest.mark.slow
def test_the_card_tells_how_well_each_group_is_told_from_the_others(folder: Path) -> None:
    bundle = open_bundle(folder / "store" / "patients" / "1")
    intervals = bundle.manifest.metrics["intervals"]
    assert set(intervals) == {
        *(f"{target}|{given}" for target in GROUPS for given in GROUPS if given != target),
        *(f"{target}|{','.join(g for g in GROUPS if g != target)}" for target in GROUPS),
    }
    card = bundle.read("report/card.md").decode()
    assert (folder / "card.md").read_text() == card  # with the command of the document
    for question, value in intervals.items():
        assert question.replace("|", "\\|") in card
        assert " | ".join(f"{value[f'coverage_{percent}']:.3f}" for percent in (50, 80, 90)) in card
