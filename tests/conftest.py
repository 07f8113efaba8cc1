"""A real model, trained for a few short epochs on the sample of MNIST in tests/data."""

from __future__ import annotations

import gc
import os
import ssl
from collections import Counter
from functools import cache
from pathlib import Path

import httpcore2
import pytest
from filelock import FileLock
from hypothesis import settings
from torch.onnx._internal.exporter._registration import ONNXRegistry

from models_store import latent
from models_store.folder import publish
from service.models import trials
from tests import forking
from training import data
from training.config import Experiment, read_experiment
from training.evaluation import EvaluatedModel, fit_latent
from training.export import OnnxGraphs, export
from training.fit import Fitted, fit

# Settings in the environment of the test run must not reach the services under test.
for name in [name for name in os.environ if name.startswith("ANYVIEW_") and name != "ANYVIEW_DATA"]:
    del os.environ[name]
os.environ["ANYVIEW_ALLOWED_HOSTS"] = '["testserver", "test"]'  # the names that test clients send

# An example of hypothesis has no deadline: a busy machine is no reason to fail.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# The exporter of torch builds the same table of operators for each graph, half a second of processor time.
ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]

# Each client of httpx reads all certificate authorities anew, 60 ms of processor time: once will do.
ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]
httpcore2.default_ssl_context = cache(httpcore2.default_ssl_context)

DATA = Path(__file__).parent / "data"
FULL_DATA = Path(os.environ.get("ANYVIEW_DATA", Path(__file__).parents[2] / "shared" / "data"))

needs_full_data = pytest.mark.skipif(
    not (FULL_DATA / "mnist").is_dir(), reason="full MNIST is neither in $ANYVIEW_DATA nor in ../shared/data"
)


def pytest_configure(config: pytest.Config) -> None:
    """Starts the processes that are forked; those of several workers are the same.

    A service in the process of a test tries new versions in a fork that has the modules of a trial: a new
    process takes ten times as long. Services in processes of their own start new ones.
    """
    trials.COMMAND = (str(forking.python("trials")), *trials.COMMAND[1:])
    if getattr(config.option, "numprocesses", None):
        forking.python()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse two tests with one name: several workers would silently run only one of them."""
    duplicates = [name for name, times in Counter(item.nodeid for item in items).items() if times > 1]
    if duplicates:
        raise pytest.UsageError(f"several tests have the name {duplicates[0]}")


def pytest_collection_finish() -> None:
    """Lets the garbage collector pass over what was imported, of which a look takes half a second."""
    gc.freeze()


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """The project's tiny experiment on the sample in tests/data."""
    tiny, _ = read_experiment("tiny")
    return tiny.model_copy(update={"data": tiny.data.model_copy(update={"path": DATA / "mnist"})})


@pytest.fixture(scope="session")
def prepared(experiment: Experiment) -> data.Prepared:
    return data.prepare(experiment)


@pytest.fixture(scope="session")
def fitted(
    experiment: Experiment, prepared: data.Prepared, tmp_path_factory: pytest.TempPathFactory
) -> Fitted:
    return fit(experiment, prepared, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def bundle_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a published bundle, ``…/tiny/1``. Tests that change its store copy it first.

    The first of several workers that needs it makes it for all.
    """
    base = tmp_path_factory.getbasetemp()
    store = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "store-of-tiny"
    with FileLock(store.with_suffix(".lock")):
        if store.is_dir():
            return store / "tiny" / "1"
        return _published(store, *map(request.getfixturevalue, ("experiment", "prepared", "fitted")))


def _published(store: Path, experiment: Experiment, prepared: data.Prepared, fitted: Fitted) -> Path:
    manifest, files = export(fitted.model, experiment, "", prepared, number=1)
    settings, graphs = experiment.evaluation, OnnxGraphs(manifest, files)
    evaluated = EvaluatedModel(manifest, graphs, prepared.train, prepared.test, settings, experiment.seed)
    files[latent.FILE] = fit_latent(evaluated).to_bytes()
    return publish(store, manifest, files)
