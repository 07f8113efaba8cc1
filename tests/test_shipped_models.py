"""The shipped models do what their cards say, asked through the service on real test rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from models_store import store
from service.app import create_app
from service.settings import Settings
from tests.conftest import FULL_DATA, needs_full_data
from tests.service.asking import npy, parts
from training.data import mnist
from training.data.rows import Rows
from training.evaluation.judging import Judge

PER_LABEL = 300


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(default_model="mnist"))) as client:
        yield client


@pytest.fixture(scope="module")
def splits() -> tuple[Rows, Rows]:
    loaded = mnist.load(FULL_DATA / "mnist")
    return loaded.train.in_epoch(0, 0), loaded.test


def asked(client: TestClient, path: str, **files: bytes) -> dict[str, np.ndarray]:
    response = client.post(path, headers={"accept": "application/x-npz"}, **parts(**files))
    assert response.status_code == 200, response.text
    with np.load(io.BytesIO(response.content)) as archive:
        return dict(archive)


def metric(kind: str, question: str) -> float:
    manifest = store.open_bundle(store.SHIPPED / "mnist" / "1").manifest
    value = manifest.metrics[kind][question]
    return float(value["mean"] if isinstance(value, dict) else value)


@pytest.mark.parametrize("folder", sorted(store.SHIPPED.glob("*/[0-9]*")), ids=lambda path: path.parent.name)
def test_every_shipped_bundle_opens_and_has_a_card_with_its_numbers(folder: Path) -> None:
    bundle = store.open_bundle(folder)
    card = bundle.read("report/card.md").decode()
    assert f"anyview-train evaluate {bundle.manifest.name}" in card
    for question, accuracy in bundle.manifest.metrics["accuracy"].items():
        assert question.replace("|", "\\|") in card
        assert f"{accuracy:.4f}" in card


@needs_full_data
@pytest.mark.slow
def test_labels_from_the_ten_thousand_test_images(client: TestClient, splits: tuple[Rows, Rows]) -> None:
    test = splits[1]
    right = []
    for start in range(0, 10_000, 2000):
        rows = test.take(slice(start, start + 2000))
        answer = asked(
            client,
            "/generate?gen_mod=label&fields=probabilities&seed=1",
            image=npy(rows.data["image"].numpy()),
        )
        right.append(answer["targets.label.probabilities"].argmax(axis=1) == rows.data["label"].numpy())
    accuracy = np.concatenate(right).mean()
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(metric("accuracy", "label|image"), abs=0.004)


@needs_full_data
@pytest.mark.slow
def test_images_from_labels_are_right_and_vary(client: TestClient, splits: tuple[Rows, Rows]) -> None:
    """Coherent but all alike is a failure, and so is varied but wrong."""
    train, test = splits
    judge = Judge.learn(train, "label", "image")
    assert judge is not None
    assert judge.accuracy(test) > 0.97
    labels = np.arange(10)
    answer = asked(client, f"/generate?gen_mod=image&fields=samples&N={PER_LABEL}&seed=2", label=npy(labels))
    samples = answer["targets.image.samples"]
    wanted = labels.repeat(PER_LABEL)
    coherence = (judge.predict(samples.reshape(-1, 28, 28)) == wanted).mean()
    assert coherence >= 0.92
    assert coherence == pytest.approx(metric("coherence", "image|label"), abs=0.02)
    images, real_labels = test.data["image"].numpy(), test.data["label"].numpy()
    for label in labels:
        real = images[real_labels == label].var(axis=0, dtype=np.float64).sum()
        assert samples[label].var(axis=0).sum() >= 0.5 * real
