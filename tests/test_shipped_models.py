"""Shipped models behave as their cards state, through the service, on real held-out rows.

A sample of the metrics of every card is computed again from the service's responses, by other code and on
fewer rows, and must lie within sampling error of the card's value.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from models_store.evidence import ESTIMATOR
from models_store.folder import SHIPPED, names, newest, open_bundle
from service.app import create_app
from service.settings import Settings
from tests.conftest import FULL_DATA, needs_full_data
from tests.service.asking import npz
from training import data
from training.config import read_experiment
from training.data.rows import Rows
from training.evaluation.evaluated import having_all
from training.evaluation.judging import Judge, variance_ratios

Array = np.ndarray[Any, np.dtype[Any]]

FOLDERS = sorted(SHIPPED.glob("*/[0-9]*"))
MANIFESTS = {name: open_bundle(newest(SHIPPED, name)).manifest for name in names(SHIPPED)}
"""Manifest of the newest version of each model, which the service uses."""
_VIEWS = ("image", "sound", "strokes")
PROMISED: dict[tuple[str, str, str], float] = {
    ("mnist", "accuracy", "label|image"): 0.97,
    ("mnist", "coherence", "image|label"): 0.92,
    ("mnist", "variety", "image|label"): 0.5,
    **{
        ("digits", "accuracy", f"label|{v}"): least
        for v, least in zip(_VIEWS, (0.97, 0.93, 0.95), strict=True)
    },
    **{("digits", "accuracy", f"label|{a},{b}"): 0.98 for a, b in combinations(_VIEWS, 2)},
    **{("digits", "coherence", f"{v}|label"): 0.85 for v in _VIEWS},
    **{("digits", "coherence", f"{a}|{b}"): 0.8 for a, b in permutations(_VIEWS, 2)},
    **{
        ("digits", "variety", f"{a}|{b}"): 0.5 for a, b in permutations((*_VIEWS, "label"), 2) if a != "label"
    },
}
"""Lower bounds of metrics on the cards of newly trained models."""
ERRORS = 4
"""Standard errors by which a metric may differ from its card."""
PICTURES_OF = {"digits": "mnist"}
"""Models whose pictures are those of another model, and so are judged by its judge."""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(default_model="mnist"))) as client:
        yield client


def sampled_metrics(kind: str, count: int) -> list[Any]:
    """A sample of one kind of metric: the first of each target, at most ``count`` from each card."""
    parameters = []
    for name, manifest in MANIFESTS.items():
        by_target: dict[str, str] = {}
        for question in manifest.metrics.get(kind, {}):
            if " by " not in question:
                by_target.setdefault(question.split("|")[0], question)
        parameters += [pytest.param(name, q, id=f"{name} {q}") for q in list(by_target.values())[:count]]
    return parameters


@cache
def prepared(name: str) -> data.Prepared:
    folder = SHIPPED / name / str(MANIFESTS[name].version)
    experiment, _ = read_experiment(str(folder / "experiment.toml"))
    home = experiment.data.model_copy(update={"path": FULL_DATA / experiment.data.source})
    if experiment.data.source == "digits":
        home = experiment.data.model_copy(update={"path": FULL_DATA})
    return data.prepare(experiment.model_copy(update={"data": home}))


@cache
def judge_of(name: str, category: str, target: str) -> Judge:
    judge = Judge.learn(prepared(name).train, category, target)
    assert judge is not None
    return judge


def post(client: TestClient, name: str, path: str, rows: Rows, names: list[str]) -> dict[str, Array]:
    body = npz(**{modality: rows.data[modality].numpy() for modality in names})
    headers = {**body.pop("headers"), "accept": "application/x-npz"}
    response = client.post(f"/models/{name}/{path}", headers=headers, **body)
    assert response.status_code == 200, response.text
    with np.load(io.BytesIO(response.content)) as archive:
        return dict(archive)


def split(question: str) -> tuple[list[str], list[str]]:
    """Targets and conditioning modalities of a query such as ``label|image,sound``."""
    targets, _, given = question.partition("|")
    return targets.split(","), given.split(",") if given else []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.parent.name)
def test_every_shipped_bundle_opens_and_has_a_card_with_its_numbers(folder: Path) -> None:
    bundle = open_bundle(folder)
    card = bundle.read("report/card.md").decode()
    assert f"anyview-train evaluate {bundle.manifest.name}" in card
    for question, accuracy in bundle.manifest.metrics["accuracy"].items():
        assert question.replace("|", "\\|") in card
        assert f"{accuracy:.4f}" in card


@pytest.mark.parametrize(("name", "kind", "question"), PROMISED, ids=" ".join)
def test_metrics_of_the_cards_reach_their_lower_bounds(name: str, kind: str, question: str) -> None:
    """The tests below compute a sample of these metrics again."""
    stated = MANIFESTS[name].metrics[kind][question]
    least = PROMISED[name, kind, question]
    assert (stated["mean"] if kind == "variety" else stated) >= least


@needs_full_data
@pytest.mark.slow
def test_images_from_labels_convince_a_classifier_of_another_make(client: TestClient) -> None:
    """Nearest neighbours among real images, by scikit-learn: unrelated to the judges of the card."""
    real = prepared("mnist")
    seen = [rows.data["image"].numpy().reshape(len(rows), -1) / 255 for rows in (real.train, real.test)]
    judge = make_pipeline(PCA(40, random_state=0), KNeighborsClassifier(3))
    judge.fit(seen[0], real.train.data["label"].numpy())
    assert judge.score(seen[1], real.test.data["label"].numpy()) > 0.97
    labels = Rows({"label": torch.arange(10)})
    path = "generate?gen_mod=image&fields=samples&N=300&seed=5"
    images = post(client, "mnist", path, labels, ["label"])["targets.image.samples"] / 255
    right = judge.predict(images.reshape(3000, -1)) == np.arange(10).repeat(300)
    assert right.mean() >= 0.92
    shown = 255 * images.reshape(3000, 28, 28)
    ratios = variance_ratios(real.test, "label", "image", shown, np.arange(10).repeat(300))
    assert ratios.min() >= 0.5


@needs_full_data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "question"), sampled_metrics("accuracy", 2))
def test_labels_are_right_as_often_as_the_card_says(client: TestClient, name: str, question: str) -> None:
    (target,), given = split(question)
    rows = having_all(prepared(name).test, [target, *given]).head(2000)
    path = f"generate?gen_mod={target}&fields=probabilities&seed=1"
    answer = post(client, name, path, rows, given)
    right = answer[f"targets.{target}.probabilities"].argmax(axis=1) == rows.data[target].numpy()
    stated = MANIFESTS[name].metrics["accuracy"][question]
    error = np.sqrt(stated * (1 - stated) / len(right))
    assert right.mean() == pytest.approx(stated, abs=0.002 + ERRORS * error)


@needs_full_data
@pytest.mark.slow
@pytest.mark.timeout(1200)  # a judge learns from all training rows first
@pytest.mark.parametrize(("name", "question"), sampled_metrics("coherence", 1))
def test_what_is_generated_is_coherent_and_varies_as_the_card_says(
    client: TestClient, name: str, question: str
) -> None:
    """Samples that are coherent but all alike fail, and so do varied samples of the wrong class."""
    manifest = MANIFESTS[name]
    (target,), _ = split(question)
    category = next(m for m in manifest.modalities if m.kind == "category")
    question, labels, each = f"{target}|{category.name}", np.arange(len(category.labels or ())), 100
    judge = judge_of(PICTURES_OF.get(name, name), category.name, target)
    rows = Rows({category.name: torch.from_numpy(labels)})
    path = f"generate?gen_mod={target}&fields=samples&N={each}&seed=2"
    samples = post(client, name, path, rows, [category.name])[f"targets.{target}.samples"]
    flat, expected = samples.reshape(-1, *samples.shape[2:]), labels.repeat(each)
    stated = manifest.metrics["coherence"][question]
    coherence = (judge.predict(flat) == expected).mean()
    error = np.sqrt(stated * (1 - stated) / len(flat))
    assert coherence == pytest.approx(stated, abs=0.01 + ERRORS * error)
    ratios = variance_ratios(prepared(name).test, category.name, target, flat, expected)
    assert ratios.mean() == pytest.approx(manifest.metrics["variety"][question]["mean"], rel=0.15)


@needs_full_data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "question"), sampled_metrics("intervals", 2))
def test_intervals_cover_what_the_card_says(client: TestClient, name: str, question: str) -> None:
    (target,), given = split(question)
    rows = having_all(prepared(name).test, [target, *given]).head(150)
    answer = post(client, name, f"generate?gen_mod={target}&fields=quantiles&seed=3", rows, given)
    quantiles = answer[f"targets.{target}.quantiles"]
    x = rows.data[target].numpy().astype(np.float64)
    inside = ((quantiles[:, 0] <= x) & (x <= quantiles[:, 4])).reshape(len(x), -1).mean(axis=1)
    stated = MANIFESTS[name].metrics["intervals"][question]["coverage_90"]
    assert inside.mean() == pytest.approx(stated, abs=0.01 + ERRORS * inside.std() / np.sqrt(len(x)))


@needs_full_data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "question"), sampled_metrics("log_prob", 3))
def test_scores_are_those_of_the_card_and_their_p_values_are_uniform(
    client: TestClient, name: str, question: str
) -> None:
    targets, given = split(question)
    rows = having_all(prepared(name).test, [*targets, *given]).head(40)
    stated = MANIFESTS[name].metrics["log_prob"][question]
    path = f"score?gen_mod={','.join(targets)}&K={stated['K']}&seed=4"
    path += f"&cond_mod={','.join(given)}" if given else ""
    answer = post(client, name, path, rows, [*targets, *given])
    error = answer["log_prob"].std() / np.sqrt(len(rows))
    assert answer["log_prob"].mean() == pytest.approx(stated["mean"], abs=0.1 + ERRORS * error)
    reference = (MANIFESTS[name].reference or {}).get(question)
    if reference is not None and reference.estimator == ESTIMATOR:
        assert answer["p_value"].mean() == pytest.approx(0.5, abs=ERRORS * 0.29 / np.sqrt(len(rows)))
