"""Student's t, from an experiment file to a served model whose scores and intervals share one density."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fastapi.testclient import TestClient

from models_store.arrays import Array
from models_store.folder import publish
from service.app import create_app
from service.settings import Settings
from training import data
from training.config import read_experiment
from training.export import export
from training.fit import fit

ROWS = 400
FREEDOM = 1.5
EXPERIMENT = """
name = "tails"
[data]
source = "table"
files = ["{table}"]
test = 40
validation = 40
[modalities.group]
kind = "category"
field = "group"
labels = ["a", "b"]
[modalities.heavy]
kind = "vector"
likelihood = "student_t"
columns = [{{name = "heavy"}}]
[modalities.light]
kind = "vector"
likelihood = "student_t"
columns = [{{name = "light"}}]
[model]
latent_dim = 2
warmup = 5
objective = "conditional"
[fit]
epochs = 25
batch_size = 64
learning_rate = 0.005
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two groups of rows, measured once with heavy tails and once with normal ones."""
    folder, rng = tmp_path_factory.mktemp("tails"), np.random.default_rng(0)
    group = np.arange(ROWS) % 2
    heavy = 6 * group + rng.standard_t(FREEDOM, ROWS)
    light = 6 * group + rng.standard_normal(ROWS)
    rows = [f"{'ab'[g]},{h:.4f},{v:.4f}" for g, h, v in zip(group, heavy, light, strict=True)]
    (folder / "tails.csv").write_text("\n".join(["group,heavy,light", *rows]) + "\n")
    (folder / "tails.toml").write_text(EXPERIMENT.format(table=folder / "tails.csv"))
    experiment, _ = read_experiment(str(folder / "tails.toml"))
    prepared = data.prepare(experiment)
    fitted = fit(experiment, prepared, folder / "run")
    publish(folder / "store", *export(fitted.model, experiment, "", prepared, number=1))
    return folder / "store"


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=store))) as client:
        yield client


def degrees_of_freedom(store: Path, name: str) -> float:
    session = onnxruntime.InferenceSession(store / "tails" / "1" / f"{name}.decoder.onnx")
    [log_df] = session.run(["log_df"], {"z": np.zeros((1, 2), np.float32)})
    return float(np.exp(log_df).item())


def test_the_tails_of_each_column_are_learned(store: Path) -> None:
    assert degrees_of_freedom(store, "heavy") < degrees_of_freedom(store, "light")


def density(client: TestClient, name: str, grid: Array) -> Array:
    """p(x | group a) at every point of a grid."""
    body = {"inputs": {"group": ["a"] * len(grid), name: grid[:, None].tolist()}}
    response = client.post(
        "/score", params={"cond_mod": "group", "gen_mod": name, "K": 400, "seed": 1}, json=body
    )
    return np.exp(np.array(response.raise_for_status().json()["log_prob"]))


@pytest.mark.parametrize("name", ["heavy", "light"])
def test_scores_integrate_to_one_and_to_the_quantiles(client: TestClient, name: str) -> None:
    grid = 2 * np.sinh(np.linspace(-8, 8, 241))
    p = density(client, name, grid)
    below = np.concatenate([[0], np.cumsum(np.diff(grid) * (p[1:] + p[:-1]) / 2)])
    assert below[-1] == pytest.approx(1, abs=0.01)
    query: dict[str, str | int | bool] = {"gen_mod": name, "K": 4000, "seed": 1, "calibrated": False}
    target = client.post("/generate", params=query, json={"inputs": {"group": ["a"]}}).json()["targets"][name]
    levels = np.interp(np.ravel(target["quantiles"]), grid, below)
    np.testing.assert_allclose(levels, target["levels"], atol=0.03)


def test_an_outlier_costs_as_many_nats_as_its_tail_says(client: TestClient, store: Path) -> None:
    """Far out, the log density of Student's t falls by (df + 1) log 10 per decade."""
    far = density(client, "heavy", np.array([-1e3, -1e4]))
    slope = float(np.log(far[0] / far[1]) / np.log(10))
    assert slope == pytest.approx(degrees_of_freedom(store, "heavy") + 1, abs=0.1)
