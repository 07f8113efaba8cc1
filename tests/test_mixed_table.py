"""A table of mixed columns goes from a file to a served model, which answers any columns given any others."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from models_store.folder import open_bundle
from models_store.linear import EncoderOutput
from service.app import create_app
from service.formats import npz
from service.settings import Settings
from training.cli import main
from training.export import OnnxGraphs

ROWS = 400
STAGES = ("early", "middle", "late")
EXPERIMENT = """
name = "clinic"
seed = 1

[data]
source = "table"
files = ["clinic.csv"]
test = 60
validation = 40

[modalities.patient]
kind = "table"
columns = [
    { name = "age", field = "Age [a]", unit = "a" },
    { name = "pressure", likelihood = "student_t" },
    { name = "visits", likelihood = "negative_binomial" },
    { name = "smoker", labels = ["no", "yes"] },
    { name = "stage", labels = ["early", "middle", "late"], ordered = true },
    { name = "clinic", labels = ["1", "2", "7"] },
]
network = { hidden = [32] }

[modalities.outcome]
kind = "category"
field = "outcome"
labels = ["well", "ill"]
network = { hidden = [16] }

[model]
latent_dim = 4
objective = "conditional"
warmup = 5

[fit]
epochs = 120
batch_size = 64
learning_rate = 5e-3
average = 0.99

[evaluation]
importance_samples = 50
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def write_table(path: Path) -> None:
    """Columns that follow from one cause, a tenth of their cells missing."""
    rng = np.random.default_rng(0)
    cause = rng.normal(size=ROWS)
    age = 60 + 10 * (cause + 0.3 * rng.normal(size=ROWS))
    pressure = 120 + 15 * (cause + 0.5 * rng.normal(size=ROWS))
    visits = rng.poisson(np.exp(1 + 0.6 * cause))
    smoker = np.where(cause + 0.5 * rng.normal(size=ROWS) > 0, "yes", "no")
    stage = np.array(STAGES)[np.searchsorted([-0.5, 0.5], cause + 0.3 * rng.normal(size=ROWS))]
    clinic = rng.choice(["1", "2", "7"], ROWS)
    outcome = np.where(cause + 0.5 * rng.normal(size=ROWS) > 0.3, "ill", "well")
    columns = [np.round(age, 1), np.round(pressure, 1), visits, smoker, stage, clinic, outcome]
    lines = [list(map(str, line)) for line in zip(*columns, strict=True)]
    for line in lines:
        for at in range(6):
            if rng.random() < 0.1:
                line[at] = ""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Age [a]", "pressure", "visits", "smoker", "stage", "clinic", "outcome"])
        writer.writerows(lines)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clinic")
    write_table(folder / "clinic.csv")
    (folder / "clinic.toml").write_text(EXPERIMENT)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["anyview-train", "fit", "clinic.toml", "--store", "store"])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
    torch.set_num_threads(threads)
    return folder / "store"


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=store))) as client:
        yield client


def answer(client: TestClient, path: str, rows: list[Any], **others: list[Any]) -> dict[str, Any]:
    response = client.post(path, json={"inputs": {"patient": rows, **others}})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def test_any_columns_are_answered_from_any_others(client: TestClient) -> None:
    rows = [{"age": 80, "visits": 9}, {"age": 40, "visits": 0}, {"stage": "late"}, {"stage": "early"}]
    columns = answer(client, "/generate?gen_mod=patient&seed=1", rows)["targets"]["patient"]["columns"]
    pressure = columns["pressure"]
    assert pressure["mean"][0] > pressure["mean"][1] + 15
    assert pressure["mean"][2] > pressure["mean"][3] + 10
    assert columns["age"]["unit"] == "a"
    assert columns["age"]["mean"][2] > columns["age"]["mean"][3] + 5
    low, *_, high = pressure["quantiles"][0]
    assert low < pressure["mean"][0] < high
    ranked = [labels[0] for labels in columns["stage"]["ranked"]]
    assert ranked[:2] == ["late", "early"]
    assert [labels[0] for labels in columns["smoker"]["ranked"]] == ["yes", "no", "yes", "no"]
    assert columns["stage"]["labels"] == list(STAGES)
    np.testing.assert_allclose(np.sum(columns["stage"]["probabilities"], axis=1), 1, rtol=1e-5)


def test_samples_hold_labels_as_text(client: TestClient) -> None:
    query = "/generate?gen_mod=patient&fields=samples&N=5&seed=1"
    for noise in ("", "&noise=true"):
        target = answer(client, query + noise, [{"age": 80}])["targets"]["patient"]["columns"]
        assert np.shape(target["age"]["samples"]) == (1, 5)
        assert {text for row in target["stage"]["samples"] for text in row} <= set(STAGES)


def test_a_table_and_another_view_are_given_together(client: TestClient) -> None:
    for outcome, table in (("ill", {"stage": "late"}), ("well", {"stage": "early"})):
        body = answer(client, "/generate?gen_mod=outcome&seed=1", [table])
        assert body["targets"]["outcome"]["ranked"][0][0] == outcome
    both = answer(client, "/encode?seed=1", [{"stage": "late"}], outcome=["ill"])
    one = answer(client, "/encode?seed=1", [{"stage": "late"}])
    assert both["information"][0] > one["information"][0]


def test_every_form_of_a_row_is_read_alike(client: TestClient) -> None:
    row = {"age": 50.5, "visits": 2, "stage": "middle", "clinic": "7"}
    expected = answer(client, "/encode?seed=1", [row])["mu"]
    cells = [50.5, None, 2, None, "middle", "7"]
    assert answer(client, "/encode?seed=1", [cells])["mu"] == expected
    table = "patient.age,visits,stage,clinic\n50.5,2,middle,7\n"
    sent = client.post("/encode?seed=1", content=table, headers={"content-type": "text/csv"})
    assert sent.json()["mu"] == expected
    part = "age,visits,stage,clinic\n50.5,2,middle,7\n"
    for content in (part, json.dumps(row)):
        form = client.post("/encode?seed=1", files={"patient": ("row", content)})
        assert form.status_code == 200, form.text
        assert form.json()["mu"] == expected
    array = np.array([[50.5, np.nan, 2, np.nan, 1, 7]])  # a label that reads as an integer is sent as it
    packed = client.post(
        "/encode?seed=1",
        content=npz.archive([("patient", array)]),
        headers={"content-type": "application/x-npz"},
    )
    assert packed.json()["mu"] == expected
    tensor = {"name": "patient", "shape": [1], "datatype": "BYTES", "data": [json.dumps(row)]}
    protocol = client.post(
        "/v2/models/clinic/infer",
        json={"inputs": [tensor], "outputs": [{"name": "mu"}], "parameters": {"seed": 1}},
    )
    assert protocol.status_code == 200, protocol.text
    np.testing.assert_allclose(protocol.json()["outputs"][0]["data"], expected[0], rtol=1e-6)


def test_a_csv_is_filled_by_label_and_number(client: TestClient) -> None:
    table = "age,stage,smoker\n80,,\n,early,no\n"
    response = client.post(
        "/generate?seed=1", content=table, headers={"content-type": "text/csv", "accept": "text/csv"}
    )
    assert response.status_code == 200, response.text
    header, first, second = csv.reader(io.StringIO(response.text))
    assert header == [
        "age",
        "stage",
        "smoker",
        "age.low",
        "age.high",
        "stage.probability",
        "smoker.probability",
    ]
    assert first[:3] == ["80", "late", "yes"]
    assert first[3:5] == ["80", "80"]
    assert 0.4 < float(first[5]) < 1
    assert second[1:3] == ["early", "no"]
    assert float(second[3]) < float(second[0]) < float(second[4])
    assert float(second[0]) < 58
    assert second[5:] == ["1", "1"]


def test_a_refusal_names_the_column_and_what_is_accepted(client: TestClient) -> None:
    for row, message in (
        ({"stage": "Late"}, "column 'stage': must be a label ('early', 'middle', 'late')"),
        ({"visits": -1}, "column 'visits': a count must be a whole number from 0, got -1"),
        ({"weight": 3}, "unknown column 'weight'; the columns are age, pressure, visits"),
        ({"age": "old"}, "column 'age': must be a number, got 'old'"),
    ):
        response = client.post("/encode", json={"inputs": {"patient": [{"age": 1}, row]}})
        assert response.status_code == 422
        assert message in response.text
        assert "inputs.patient[1]" in response.text


def test_the_score_of_a_row_is_the_integral_over_z(client: TestClient, store: Path) -> None:
    """The oracle is a Monte Carlo integral over the prior, with the bundle's own decoder."""
    bundle = open_bundle(store / "clinic" / "1")
    files = {name: bundle.read(name) for name in bundle.manifest.files if name.endswith(".onnx")}
    graphs = OnnxGraphs(bundle.manifest, files)
    z = np.random.default_rng(0).standard_normal((200_000, bundle.manifest.latent_dim)).astype(np.float32)
    modality = bundle.manifest.modality("patient")
    x = np.array([[55.0, np.nan, 3, 1, np.nan, 2]], np.float32)
    log_prob = modality.distribution.row_log_prob(x, graphs.decode("patient", z))
    expected = np.log(np.exp(log_prob).mean())
    row = {"age": 55, "visits": 3, "smoker": "yes", "clinic": "7"}
    scored = answer(client, "/score?K=10000&seed=1", [row])
    assert abs(scored["log_prob"][0] - expected) < 0.05


def test_torch_and_the_published_graphs_agree(store: Path) -> None:
    bundle = open_bundle(store / "clinic" / "1")
    files = {name: bundle.read(name) for name in bundle.manifest.files if name.endswith(".onnx")}
    graphs = OnnxGraphs(bundle.manifest, files)
    x = np.full((3, 6), np.nan, np.float32)
    x[1, [0, 4]], x[2] = (50, 2), (50, 120, 1, 1, 0, 2)
    expert: EncoderOutput = graphs.encode("patient", x)
    assert expert.mu.shape == (3, bundle.manifest.latent_dim)
    assert np.isfinite(expert.mu).all()
    assert not np.allclose(expert.mu[0], expert.mu[1])


def test_examples_can_be_sent_back(client: TestClient) -> None:
    rows = client.get("/models/clinic/examples").json()["inputs"]["patient"]
    assert set(rows[0]) == {"age", "pressure", "visits", "smoker", "stage", "clinic"}
    assert any(row["stage"] in STAGES for row in rows)
    answer(client, "/encode", rows)


def test_the_api_describes_each_column(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    row = document["components"]["schemas"]["ClinicPatientRow"]["properties"]
    assert (row["stage"]["type"], row["stage"]["x-labels"]) == (["string", "null"], [*STAGES])
    assert row["visits"] == {"type": ["integer", "null"], "minimum": 0}
    assert row["age"] == {"type": ["number", "null"], "description": "In a."}


def test_the_protocol_has_an_output_for_each_column_with_labels(client: TestClient) -> None:
    outputs = {one["name"]: one["shape"] for one in client.get("/v2/models/clinic").json()["outputs"]}
    assert outputs["patient"] == [-1, 6]
    assert outputs["patient.stage"] == [-1, 3]
    tensor = {"name": "patient", "shape": [1, 6], "datatype": "FP32", "data": [80, 130, 8, 1, 2, 7]}
    requested = {"name": "patient.stage", "parameters": {"classification": 1}}
    response = client.post("/v2/models/clinic/infer", json={"inputs": [tensor], "outputs": [requested]})
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["data"][0].endswith(":2:late")


def test_held_out_cells_are_measured_given_the_other_columns(store: Path) -> None:
    metrics = open_bundle(store / "clinic" / "1").manifest.metrics
    assert metrics["intervals"]["patient.age|patient,outcome"]["r2"] > 0.3
    assert 0.75 < metrics["intervals"]["patient.age|patient,outcome"]["coverage_90"] <= 1
    assert metrics["accuracy"]["patient.smoker|patient,outcome"] > 0.6
    assert metrics["accuracy"]["outcome|patient"] > 0.6
