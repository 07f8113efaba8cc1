"""The service that generated clients use, and its OpenAPI document."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models_store.latent import Latent, Map, Mixture
from service.app import create_app
from service.settings import Settings
from tests.clients.programs import KEY, ODD_LABELS, run
from tests.clients.recording import RecordedRequest, Recorder
from tests.models_store.examples import category
from tests.service.kinds import DIMENSION, modalities, publish
from tests.service.running import running

VALUE = {"animal": {"measure": "nats", "views": {"image": {"alone": 0.5, "added": 0.25, "rows": 8}}}}
"""What the picture adds to the prediction of the animal."""


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A service with a model of every kind of modality and all optional files; it requires a key."""
    folder = tmp_path_factory.mktemp("kinds")
    mixture = Mixture(np.ones(1), np.zeros((1, DIMENSION)), np.eye(DIMENSION)[None])
    drawn = Map(np.eye(2, DIMENSION), np.zeros(DIMENSION), np.zeros((4, 2)), {})
    views = [*modalities(), category(*ODD_LABELS).model_copy(update={"name": "place"})]
    publish(folder, views, metrics={"value": VALUE}, latent_npz=Latent(mixture, drawn).to_bytes())
    return Settings(store=str(folder), default_model="kinds", api_keys=[KEY], allow_loading=True)


@pytest.fixture(scope="session")
def recorded() -> list[RecordedRequest]:
    return []


@pytest.fixture(scope="session")
def address(settings: Settings, recorded: list[RecordedRequest]) -> Iterator[str]:
    with running(Recorder(create_app(settings), recorded)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="session")
def document(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document, as ``anyview-serve openapi`` writes it."""
    file = tmp_path_factory.mktemp("openapi") / "openapi.json"
    run(sys.executable, "-m", "service", "openapi", str(file), cwd=None, **settings.to_environment())
    return file
