"""Models with other held-out rows that answer as one."""

from __future__ import annotations

import asyncio
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from models_store import calibration, golden, residuals
from models_store.errors import BundleRefused
from models_store.folder import Bundle, open_bundle, publish
from models_store.fusion import Gaussian, disagreement
from models_store.manifest import Modality
from models_store.stores import open_named, store_at
from service.app import create_app
from service.engine.observations import Column, Observations
from service.models.loading import opened
from service.settings import Settings
from tests.models_store.examples import array
from training import commands, data
from training.config import Experiment, read_experiment
from training.data import Prepared
from training.data.rows import Rows, exchanged
from training.ensemble import Ensemble
from training.epoch import Progress
from training.errors import ExperimentError, TrainingError
from training.evaluation.members import MemberGraphs
from training.export import OnnxGraphs, TorchGraphs, export
from training.fit import build
from training.members import Trained, train
from training.model import MVAE
from training.tables.guess import guess

MEMBERS, ROWS = 3, 90
CORRECTIONS = (residuals.FILE, calibration.FILE)
COLUMNS = ("height", "weight", "pulse", "age")


@dataclass(frozen=True)
class Run:
    """A published ensemble, and what it was made of."""

    experiment: Experiment
    text: str
    prepared: Prepared
    folder: Path
    bundle: Bundle


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("ensemble")
    write_table(folder / "people.csv")
    path = folder / "experiment.toml"
    views = {name: name for name in COLUMNS}
    text = guess([folder / "people.csv"], path, groups=views).text
    assert "members" not in text
    text = text.replace("linear = true", "linear = false")
    text = text.replace("latent_dim", f"members = {MEMBERS}\nlatent_dim").replace("epochs = ", "epochs = 6 #")
    path.write_text(text)
    experiment, text = read_experiment(str(path))
    store = store_at(str(folder / "store"))
    commands.fit(experiment, text, store, folder / "run", resume=False, start=None, trackers=(), force=True)
    bundle = open_bundle(folder / "store" / experiment.name / "1")
    return Run(experiment, text, data.prepare(experiment), folder, bundle)


def write_table(path: Path) -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((ROWS, 2))
    numbers = z @ rng.standard_normal((2, 4)) + 0.3 * rng.standard_normal((ROWS, 4))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "sex"])
        for row, label in zip(numbers.round(3).tolist(), np.where(z[:, 0] > 0, "f", "m"), strict=True):
            writer.writerow([*(x if rng.random() > 0.1 else "" for x in row), label])


@pytest.fixture(scope="module")
def trained(run: Run) -> Trained:
    """The finished run, read from its folder."""
    return train(run.experiment, run.prepared, run.folder / "run", resume=True)


@pytest.fixture(scope="module")
def members(trained: Trained) -> list[MVAE]:
    return members_of(trained)


def members_of(trained: Trained) -> list[MVAE]:
    assert isinstance(trained.model, Ensemble)
    return [one for one in trained.model.members if isinstance(one, MVAE)]


@pytest.fixture(scope="module")
def plain(run: Run) -> Path:
    """A store with the graphs alone, without what corrects their answers."""
    manifest, store = run.bundle.manifest, run.folder / "plain"
    files = {name: run.bundle.read(name) for name in manifest.files if name not in CORRECTIONS}
    publish(store, manifest.model_copy(update={"files": {}}), files)
    return store


@pytest.fixture(scope="module")
def client(run: Run, plain: Path) -> Iterator[TestClient]:
    settings = Settings(store=str(plain), default_model=run.experiment.name)
    with TestClient(create_app(settings)) as one:
        yield one


# --- rows ----------------------------------------------------------------------------------------


def numbered(low: int, high: int, *, mask: bool = True) -> Rows:
    x = torch.arange(low, high)
    return Rows({"x": x}, {"x": x % 3 > 0} if mask else {})


@pytest.mark.parametrize("parts", [2, 4, 7])
def test_parts_that_are_held_out_have_no_row_in_common(parts: int) -> None:
    train, held = numbered(5, 35), numbered(0, 5)
    splits = [exchanged(train, held, number, parts, seed=1) for number in range(parts)]
    assert splits[0] == (train, held)
    out = [rows.data["x"].tolist() for _, rows in splits]
    assert len({x for part in out for x in part}) == sum(map(len, out)) == 5 * parts
    for remaining, part in splits:
        assert sorted(remaining.data["x"].tolist() + part.data["x"].tolist()) == [*range(35)]
        for rows in (remaining, part):
            assert torch.equal(rows.masks["x"], rows.data["x"] % 3 > 0)


def test_a_modality_that_only_some_rows_lack_keeps_its_gaps() -> None:
    (train, held) = exchanged(numbered(5, 35, mask=False), numbered(0, 5), 1, 2, seed=1)
    for rows in (train, held):
        x = rows.data["x"]
        assert torch.equal(rows.masks["x"], (x >= 5) | (x % 3 > 0))


def test_each_member_holds_out_rows_that_the_others_are_trained_on(trained: Trained, run: Run) -> None:
    out = [{tuple(row) for row in numbers(rows).tolist()} for rows in trained.held_out]
    assert [len(rows) for rows in out] == [9] * MEMBERS
    for k, rows in enumerate(out):
        prepared = run.prepared.of_member(k, MEMBERS)
        assert {tuple(row) for row in numbers(prepared.validation).tolist()} == rows
        training = {tuple(row) for row in numbers(prepared.train).tolist()}
        others: set[tuple[float, ...]] = set().union(*out[:k], *out[k + 1 :])
        assert not training & rows
        assert others <= training
        assert torch.equal(numbers(prepared.test), numbers(run.prepared.test))


def numbers(rows: Rows) -> torch.Tensor:
    return torch.cat([rows.data[name] for name in COLUMNS], dim=1).nan_to_num(-9.0)


def test_rows_of_a_data_set_have_no_other_parts(run: Run) -> None:
    streamed = replace(run.prepared, other=None)
    with pytest.raises(ExperimentError, match=r"model\.members is 3, .* set model\.members = 1"):
        train(run.experiment, streamed, run.folder / "streamed")
    assert not (run.folder / "streamed").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_weights_of_another_number_of_models_are_refused(count: int, run: Run, tmp_path: Path) -> None:
    model = run.experiment.model.model_copy(update={"members": count})
    other, weights = run.experiment.model_copy(update={"model": model}), commands.weights_of(run.bundle)
    with pytest.raises(TrainingError, match=f"are of 3 networks, but model.members is {count}"):
        train(other, run.prepared, tmp_path, weights=weights)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_every_kind_of_network_is_exported_for_batches_of_any_size(network: str) -> None:
    """Graphs of a picture beside counts, which share z, against each member by itself."""
    picture = Modality(
        name="image", kind="image", shape=(16, 16), dtype="uint8", likelihood="bernoulli", range=(0, 255)
    )
    modalities = (picture, array("vector", 3))
    rows = pictures(20)
    prepared = Prepared(modalities, rows, rows, rows)
    experiment = Experiment.model_validate(
        {
            "name": "small",
            "data": {"source": "none"},
            "modalities": {"image": {"network": {"type": network}}, "measured": {"network": {"hidden": []}}},
            "model": {"latent_dim": 2},
        }
    )
    models = [build(experiment.model_copy(update={"seed": seed}), prepared) for seed in (1, 2)]
    manifest, files = export(Ensemble(models), experiment, "", prepared, 1)  # checks batches of 1, 7, 64
    assert manifest.members == 2
    decoded = OnnxGraphs(manifest, files).decode("image", np.array([[0, 0, 1, 2, 1]], np.float32))
    expected = TorchGraphs(models[1].eval()).decode("image", np.array([[1, 2]], np.float32))
    np.testing.assert_allclose(decoded["logits"], expected["logits"], atol=1e-4)


def pictures(count: int) -> Rows:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(256, (count, 16, 16), generator=generator, dtype=torch.uint8)
    return Rows({"image": image, "measured": torch.randn(count, 3, generator=generator)})


# --- the model -----------------------------------------------------------------------------------


def test_the_graphs_of_the_bundle_hold_the_members_side_by_side(run: Run, members: list[MVAE]) -> None:
    manifest = run.bundle.manifest
    dimension = run.experiment.model.latent_dim
    assert (manifest.members, manifest.latent_dim) == (MEMBERS, MEMBERS * dimension + 1)
    graphs, rows = graphs_of(run.bundle), run.prepared.test
    for name in manifest.names:
        expert = graphs.encode(name, rows.data[name].numpy())
        for k, one in enumerate(members):
            alone, part = (
                TorchGraphs(one).encode(name, rows.data[name].numpy()),
                run.bundle.manifest.mixture.block(k),
            )
            np.testing.assert_allclose(expert.mu[:, part], alone.mu, atol=1e-4)
            np.testing.assert_allclose(expert.log_var[:, part], alone.log_var, atol=1e-4)
        assert (expert.mu[:, -1] == 0).all()


def test_u_chooses_the_decoder(run: Run, members: list[MVAE]) -> None:
    z = np.random.default_rng(1).standard_normal((50, run.bundle.manifest.latent_dim)).astype(np.float32)
    selected = run.bundle.manifest.mixture.selected(z)
    assert set(selected) == {0, 1, 2}
    for name in run.bundle.manifest.names:
        decoded = graphs_of(run.bundle).decode(name, z)
        for k, one in enumerate(members):
            alone = TorchGraphs(one).decode(name, z[:, run.bundle.manifest.mixture.block(k)])
            for key, value in alone.items():
                np.testing.assert_allclose(decoded[key][selected == k], value[selected == k], atol=1e-4)


def test_one_member_is_evaluated_by_itself(run: Run, members: list[MVAE]) -> None:
    graphs, pulse = graphs_of(run.bundle), run.prepared.test.data["pulse"].numpy()
    of_one = MemberGraphs(graphs, 1, run.bundle.manifest.mixture)
    z = of_one.encode("pulse", pulse).mu
    assert (z[:, -1] == np.float32(run.bundle.manifest.mixture.centres[1])).all()
    alone = TorchGraphs(members[1])
    expected = alone.decode("pulse", alone.encode("pulse", pulse).mu)
    for key, value in of_one.decode("pulse", z).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-4)


def graphs_of(bundle: Bundle) -> OnnxGraphs:
    return OnnxGraphs(bundle.manifest, {name: bundle.read(name) for name in bundle.manifest.files})


def test_a_bundle_that_only_says_it_is_an_ensemble_is_refused(run: Run) -> None:
    """Experts that know u: scores would take parts of one latent space for spaces of their own."""
    manifest, values = run.bundle.manifest, golden.from_bytes(run.bundle.read(golden.FILE))
    name = manifest.names[0]
    golden.check(manifest, values, graphs_of(run.bundle))
    values[f"{name}.mu"] = values[f"{name}.mu"] + 1
    with pytest.raises(
        BundleRefused, match=f"members is 3, but the expert of '{name}' knows the last number of z"
    ):
        golden.check(manifest, values, graphs_of(run.bundle))


# --- training ------------------------------------------------------------------------------------


def test_a_run_resumes_within_a_member(run: Run, members: list[MVAE], tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(report: Any) -> None:
        if report.epoch == 9:
            raise Stopped

    with pytest.raises(Stopped):
        train(run.experiment, run.prepared, tmp_path, Progress(epoch=stop))
    seen: list[int] = []
    stages: list[str] = []
    progress = Progress(epoch=lambda report: seen.append(report.epoch), stage=stages.append)
    again = train(run.experiment, run.prepared, tmp_path, progress, resume=True)
    assert seen == [*range(10, 19)]
    assert stages == [f"model {number} of {len(members)}" for number in range(1, len(members) + 1)]
    assert [report.epoch for report in again.reports] == [*range(1, 19)]
    for one, other in zip(members, members_of(again), strict=True):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_a_published_ensemble_is_a_start(run: Run, tmp_path: Path) -> None:
    weights = commands.weights_of(run.bundle)
    once = run.experiment.model_copy(
        update={"fit": run.experiment.fit.model_copy(update={"epochs": 1, "learning_rate": 1e-12})}
    )
    trained = train(once, run.prepared, tmp_path, weights=weights)
    for key, value in trained.model.state_dict().items():
        torch.testing.assert_close(value, weights[key], atol=1e-5, rtol=1e-4)


# --- the service ---------------------------------------------------------------------------------


def test_the_service_answers_with_the_mean_of_the_members(client: TestClient, members: list[MVAE]) -> None:
    """The mean of x given z at the members' posteriors, against the average of each one's."""
    inputs = {"height": [[3.0]], "age": [[-2.5]]}
    response = client.post("/generate?gen_mod=pulse&K=4000&seed=1", json={"inputs": inputs})
    answer = response.json()["targets"]["pulse"]
    observations = Rows(
        {name: torch.tensor(x, dtype=torch.float32) for name, x in inputs.items()},
        {name: torch.ones(1, dtype=torch.bool) for name in inputs},
    )
    means = [mean_of(one, observations) for one in members]
    assert np.ptp(means) > 0.1  # far above the tolerance: one member's answer would not pass
    assert answer["mean"][0] == pytest.approx([float(np.mean(means))], abs=0.03)


def test_each_completed_table_is_of_one_member(plain: Path, members: list[MVAE], run: Run) -> None:
    """Averages over many equal rows, against each member's mean."""
    rows, m = 2000, MEMBERS + 1
    inputs = {"height": np.full((rows, 1), 0.5, np.float32), "age": np.full((rows, 1), -1.0, np.float32)}
    served = opened(open_named(store_at(plain), run.experiment.name))
    columns = {name: Column(x) for name, x in inputs.items()}
    generated = asyncio.run(
        served.generate(
            Observations(columns, rows),
            ["all"],
            ["pulse"],
            fields=["samples"],
            draws=m,
            seed=1,
            in_tables=True,
        )
    )
    samples = generated.targets["pulse"]["samples"]
    assert samples.shape[:2] == (rows, m)
    some = Rows({name: torch.from_numpy(x[:1]) for name, x in inputs.items()})
    for draw in range(m):
        column = samples[:, draw].ravel()
        expected = mean_of(members[draw % MEMBERS], some)
        assert abs(column.mean() - expected) < 5 * column.std() / math.sqrt(rows)


def mean_of(model: Any, observations: Rows) -> float:
    experts = [model.expert(name, x) for name, x in observations.data.items()]
    precision = 1 + torch.stack([torch.exp(-one.log_var) for one in experts]).sum(dim=0)
    mu = torch.stack([one.mu * torch.exp(-one.log_var) for one in experts]).sum(dim=0) / precision
    z = mu + torch.randn(20_000, mu.shape[-1], generator=torch.Generator().manual_seed(2)) / precision.sqrt()
    with torch.no_grad():
        return float(model.parameters_of("pulse", z)["loc"].mean())


def test_a_score_is_the_mean_of_the_densities_of_the_members(
    client: TestClient, run: Run, members: list[MVAE]
) -> None:
    rows = run.prepared.test
    names = [name for name in run.bundle.manifest.names if rows.data[name].dtype.is_floating_point]
    complete = np.flatnonzero(np.all([rows.masks[name].numpy() for name in names], axis=0))[:4]
    some = rows.only(names).take(torch.from_numpy(complete))
    inputs = {name: some.data[name].tolist() for name in names}
    response = client.post("/score?K=3000&seed=1", json={"inputs": inputs}).json()
    each = [
        one.compute_log_prob(some, K=1000, generator=torch.Generator().manual_seed(1)).log_prob
        for one in members
    ]
    expected = torch.logsumexp(torch.stack(each), dim=0) - np.log(MEMBERS)
    np.testing.assert_allclose(response["log_prob"], expected.numpy(), atol=0.2)


def test_information_and_disagreement_are_means_over_the_members(
    client: TestClient, members: list[MVAE]
) -> None:
    inputs = {"height": [[3.0]], "age": [[-2.5]]}
    response = client.post("/encode?fields=information,disagreement", json={"inputs": inputs}).json()
    information, apart = [], []
    for one in members:
        experts = [one.expert(name, torch.tensor(x)) for name, x in inputs.items()]
        mu = torch.stack([expert.mu for expert in experts]).double().numpy(force=True)
        log_var = torch.stack([expert.log_var for expert in experts]).double().numpy(force=True)
        both = Gaussian(mu, log_var)
        precision = 1 + np.exp(-both.log_var).sum(axis=0)
        mean = (both.mu * np.exp(-both.log_var)).sum(axis=0) / precision
        information.append(0.5 * (1 / precision + mean**2 - 1 + np.log(precision)).sum())
        apart.append(float(disagreement(both, np.ones((2, 1), bool))[0]))
    assert response["information"] == pytest.approx([np.mean(information)], rel=1e-3)
    assert response["disagreement"] == pytest.approx([np.mean(apart)], rel=1e-3, abs=1e-4)


def test_the_shares_of_modalities_and_the_prior_are_one(client: TestClient) -> None:
    inputs = {"height": [[0.5], [1.0]], "age": [[-1.0], [0.2]]}
    response = client.post("/encode?fields=contributions", json={"inputs": inputs}).json()
    contributions = response["contributions"]
    total = sum(np.array(values) for values in contributions.values())
    np.testing.assert_allclose(total, 1, atol=1e-4)
