"""A real model, trained for one short epoch on the sample of MNIST in tests/data, for all who need one."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from models_store import latent
from models_store.folder import publish
from training import data
from training.config import Experiment, read_experiment
from training.evaluation import EvaluatedModel, fit_latent
from training.export import OnnxGraphs, export
from training.fit import Fitted, fit

# The settings of whoever runs the tests are not those of the services under test.
for name in [name for name in os.environ if name.startswith("ANYVIEW_") and name != "ANYVIEW_DATA"]:
    del os.environ[name]

# On a busy machine an example takes as long as it takes.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

DATA = Path(__file__).parent / "data"
FULL_DATA = Path(os.environ.get("ANYVIEW_DATA", Path(__file__).parents[2] / "shared" / "data"))

needs_full_data = pytest.mark.skipif(
    not (FULL_DATA / "mnist").is_dir(), reason="full MNIST is neither in $ANYVIEW_DATA nor in ../shared/data"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses two tests of one name: of those, several workers would run one, and say nothing."""
    often = [name for name, times in Counter(item.nodeid for item in items).items() if times > 1]
    if often:
        raise pytest.UsageError(f"several tests have the name {often[0]}")


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """The tiny experiment that comes with the project, on the sample in tests/data."""
    chosen, _ = read_experiment("tiny")
    return chosen.model_copy(update={"data": chosen.data.model_copy(update={"path": DATA / "mnist"})})


@pytest.fixture(scope="session")
def prepared(experiment: Experiment) -> data.Prepared:
    return data.prepare(experiment)


@pytest.fixture(scope="session")
def fitted(
    experiment: Experiment, prepared: data.Prepared, tmp_path_factory: pytest.TempPathFactory
) -> Fitted:
    return fit(experiment, prepared, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def bundle_folder(
    experiment: Experiment,
    prepared: data.Prepared,
    fitted: Fitted,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A published bundle, ``…/tiny/1``; copy the store before changing anything in it."""
    manifest, files = export(fitted.model, experiment, "", prepared, number=1)
    settings, graphs = experiment.evaluation, OnnxGraphs(manifest, files)
    evaluated = EvaluatedModel(manifest, graphs, prepared.train, prepared.test, settings, experiment.seed)
    files[latent.FILE] = fit_latent(evaluated).to_bytes()
    return publish(tmp_path_factory.mktemp("store"), manifest, files)
