"""Published models of which a half is linear."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from models_store import residuals
from models_store.folder import Bundle, open_bundle
from models_store.stores import store_at
from service.engine.model import Encoded, Model
from service.engine.observations import Column, Observations
from service.models.catalog import Catalog
from service.settings import Settings
from tests.training.factors import COLUMNS, drawn, known_factors
from training import commands, data
from training.checkpoint import LAST
from training.config import read_experiment
from training.ensemble import Ensemble
from training.errors import TrainingError
from training.members import train
from training.networks.linear import LinearEncoder
from training.tables.guess import guess


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A table from ``init`` and ``fit`` without an edit but for the epochs."""
    folder = tmp_path_factory.mktemp("linear")
    x, _ = drawn(known_factors(), 120)
    with (folder / "plants.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"{view}.{k}" for view in ("leaf", "root", "seed") for k in range(COLUMNS)])
        writer.writerows(x.round(4).tolist())
    path = folder / "experiment.toml"
    text = guess([folder / "plants.csv"], path).text
    assert "linear = true" in text
    assert "members" not in text
    path.write_text(text.replace("epochs = ", "epochs = 3 #"))
    experiment, text = read_experiment(str(path))
    store = store_at(str(folder / "store"))
    commands.fit(experiment, text, store, folder / "run", resume=False, start=None, trackers=(), force=True)
    return open_bundle(folder / "store" / experiment.name / "1")


def test_of_a_linear_table_the_linear_model_has_most_of_the_weight(bundle: Bundle) -> None:
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    of_network, *of_linear = bundle.manifest.mixture.weights
    assert sum(of_linear) > 0.8
    assert bundle.manifest.linear_members == len(of_linear) == 4
    u = np.random.default_rng(0).standard_normal((4000, 1))
    assert (bundle.manifest.mixture.selected(u) == 0).mean() == pytest.approx(of_network, abs=0.03)
    prepared = data.prepare(experiment)
    trained = train(experiment, prepared, bundle.folder.parents[2] / "run", resume=True)
    assert isinstance(trained.model, Ensemble)
    network, *others = trained.model.members
    assert [len(rows) for rows in trained.held_out] == [len(prepared.validation)]
    for name in prepared.train.data:
        assert not isinstance(network.encoders[name], LinearEncoder)  # type: ignore[index]
        assert all(isinstance(other.encoders[name], LinearEncoder) for other in others)  # type: ignore[index]


def test_the_service_answers_the_posterior_of_the_factors(bundle: Bundle) -> None:
    """Of rows with gaps, given any views, against the distribution of factors given all cells."""
    manifest = bundle.manifest
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    prepared = data.prepare(experiment)
    trained = train(experiment, prepared, bundle.folder.parents[2] / "run", resume=True)
    linear: list[Any] = [*cast(Ensemble, trained.model).members[1].encoders.values()]  # type: ignore[operator]
    encoders = dict(zip(manifest.names, linear, strict=True))
    rows, rng = prepared.test, np.random.default_rng(0)
    sent, cells = {}, []
    for name, encoder in encoders.items():
        x = rows.data[name].numpy().copy()
        x[rng.random(x.shape) < 0.3] = np.nan
        x[:, 0] = rows.data[name][:, 0]
        sent[name] = Column(x)
        inputs = encoder.inputs(torch.from_numpy(x)).flatten(1)[:, : x.shape[1]].numpy()
        standard = (inputs - encoder.center.numpy()) / encoder.scale.numpy()
        cells.append(np.where(np.isnan(x), np.nan, standard))
    given = [name for name in manifest.names if name != "root"]
    at = [manifest.names.index(name) for name in given]
    loadings, weighted = (
        np.concatenate([getattr(encoders[name], part).numpy() for name in given])
        for part in ("loadings", "weighted")
    )
    catalog = Catalog(Settings(store=str(bundle.folder.parents[1])))
    try:
        catalog.refresh()
        model = catalog.get(manifest.name).model
        encoded = asyncio.run(encode(model, Observations(sent, len(rows)), given))
    finally:
        catalog.close()
    part = manifest.mixture.block(1)
    for row, x in enumerate(np.concatenate([cells[index] for index in at], axis=1)):
        seen = ~np.isnan(x)
        precision = np.eye(manifest.mixture.dimension) + loadings[seen].T @ weighted[seen]
        mean = np.linalg.solve(precision, weighted[seen].T @ x[seen])
        np.testing.assert_allclose(encoded.mu[row, part], mean, atol=1e-4)
        variance = np.diagonal(np.linalg.inv(precision))
        np.testing.assert_allclose(np.exp(encoded.log_var[row, part]), variance, rtol=1e-3)


async def encode(model: Model, observations: Observations, given: list[str]) -> Encoded:
    return await model.encode(observations, given, draws=1, seed=1, robust=False)


def test_residuals_are_those_of_the_networks_alone(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Factors that ``fit`` stores where it finds some."""
    experiment, text = read_experiment(str(bundle.folder / "experiment.toml"))
    cells = residuals.Cells(np.zeros(COLUMNS), np.ones((COLUMNS, 1)), np.ones(COLUMNS))
    counts: list[int] = []

    def fitted(models: Any, held_out: Any) -> residuals.Residuals:
        counts.append(len(models))
        assert len(models) == len(held_out)
        return residuals.Residuals({"leaf": cells})

    monkeypatch.setattr(commands, "fit_residuals", fitted)
    store, run = store_at(str(tmp_path / "store")), bundle.folder.parents[2] / "run"
    commands.fit(experiment, text, store, run, resume=True, start=None, trackers=(), force=True)
    assert counts == [1]
    (folder,) = (tmp_path / "store" / experiment.name).glob("[0-9]*")
    published = open_bundle(folder)
    stored = residuals.Residuals.from_bytes(published.read(residuals.FILE), published.manifest)
    assert stored.members is not None
    assert stored.members.tolist() == [True, *[False] * 4]


@pytest.mark.parametrize("members", [2, 3])
def test_weights_of_another_number_of_networks_are_refused(
    members: int, bundle: Bundle, tmp_path: Path
) -> None:
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    model = experiment.model.model_copy(update={"members": members, "linear": False})
    with pytest.raises(TrainingError, match=f"are of 1 networks, but model.members is {members}"):
        train(
            experiment.model_copy(update={"model": model}),
            data.prepare(experiment.model_copy(update={"model": model})),
            tmp_path,
            weights=commands.weights_of(bundle),
        )


def test_a_network_goes_on_from_a_bundle_with_a_linear_model(bundle: Bundle, tmp_path: Path) -> None:
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    alone = experiment.model_copy(
        update={
            "model": experiment.model.model_copy(update={"linear": False}),
            "fit": experiment.fit.model_copy(update={"epochs": 1, "learning_rate": 1e-12}),
        }
    )
    weights = commands.weights_of(bundle)
    trained = train(alone, data.prepare(alone), tmp_path, weights=weights)
    for key, value in trained.model.state_dict().items():
        torch.testing.assert_close(value, weights[f"members.0.{key}"], atol=1e-5, rtol=1e-4)


def test_a_run_from_before_resumes(bundle: Bundle, tmp_path: Path) -> None:
    """Its state has no key ``linear``."""
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    alone = experiment.model_copy(
        update={
            "model": experiment.model.model_copy(update={"linear": False}),
            "fit": experiment.fit.model_copy(update={"epochs": 1}),
        }
    )
    prepared = data.prepare(alone)
    train(alone, prepared, tmp_path)
    tensors = load_file(tmp_path / LAST)
    with safe_open(tmp_path / LAST, "pt") as file:
        saved = json.loads(file.metadata()["state"])
    assert saved["experiment"]["model"].pop("linear") is False
    save_file(tensors, tmp_path / LAST, {"state": json.dumps(saved)})
    assert len(train(alone, prepared, tmp_path, resume=True).reports) == 1


def test_the_weights_of_a_bundle_with_a_linear_model_are_a_start(bundle: Bundle, tmp_path: Path) -> None:
    experiment, _ = read_experiment(str(bundle.folder / "experiment.toml"))
    once = experiment.model_copy(
        update={"fit": experiment.fit.model_copy(update={"epochs": 1, "learning_rate": 1e-12})}
    )
    weights = commands.weights_of(bundle)
    trained = train(once, data.prepare(experiment), tmp_path, weights=weights)
    after = trained.model.state_dict()
    for key, value in weights.items():
        torch.testing.assert_close(after[key], value, atol=1e-5, rtol=1e-4)
    assert {key.split(".")[1] for key in weights} == {"0"}
    assert {".".join(key.split(".")[:2]) for key in after} == {f"members.{k}" for k in range(5)}  # each once


def test_the_card_says_which_rows_fitted_the_linear_model(bundle: Bundle) -> None:
    card = bundle.read("report/card.md").decode()
    fitted = "96 trained it, 12 chose the epoch, both fitted the linear model"
    assert f"Rows: {fitted}, whose weight is {sum(bundle.manifest.mixture.weights[1:]):.2f}" in card
