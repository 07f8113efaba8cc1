"""The numbers of a model card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models_store import store
from models_store.fusion import Gaussian
from models_store.golden import NumpyArray
from models_store.likelihoods import Parameters
from training import data
from training.config import Evaluation, Experiment
from training.data.rows import Rows
from training.evaluate import Examinee, Judge, generate, log_prob, measure
from training.export import OnnxGraphs
from training.fit import Fitted

SETTINGS = Evaluation(rows=12, importance_samples=2000, generated_per_label=20)


@pytest.fixture(scope="module")
def examinee(bundle_folder: Path, prepared: data.Prepared, experiment: Experiment) -> Examinee:
    bundle = store.open_bundle(bundle_folder)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    graphs = OnnxGraphs(bundle.manifest, files)
    return Examinee(bundle.manifest, graphs, prepared.train, prepared.test, SETTINGS, experiment.seed)


def test_likelihoods_agree_with_those_of_the_torch_model(examinee: Examinee, fitted: Fitted) -> None:
    rows = examinee.test.head(12)
    ours = log_prob(examinee, rows, ["image", "label"])
    theirs = fitted.model.compute_log_prob(rows, K=2000, generator=torch.Generator().manual_seed(1))
    error = np.hypot(ours["std_error"], theirs.std_error.numpy())
    assert (np.abs(ours["log_prob"] - theirs.log_prob.numpy()) < 5 * error + 0.1).all()


def test_every_question_of_the_card_is_answered(examinee: Examinee) -> None:
    metrics = measure(examinee)
    assert set(metrics["log_prob"]) == {"image", "label", "image,label"}
    assert set(metrics["accuracy"]) == {"label|image"}
    assert set(metrics["coherence"]) == set(metrics["variety"]) == {"image|label"}
    assert metrics["accuracy"]["label|image"] > 0.6  # a tenth by chance
    assert metrics["coherence"]["image|label"] > 0.3


def test_measuring_twice_gives_the_same_numbers(examinee: Examinee) -> None:
    assert measure(examinee) == measure(examinee)


def test_a_judge_learns_from_real_rows(examinee: Examinee) -> None:
    assert Judge.learn(examinee.train, "label", "image").accuracy(examinee.test) > 0.85


class Alike:
    """Graphs that know nothing: the same picture whatever z is."""

    def encode(self, modality: str, x: NumpyArray) -> Gaussian:  # noqa: ARG002
        return Gaussian(np.zeros((len(x), 2), np.float32), np.zeros((len(x), 2), np.float32))

    def decode(self, modality: str, z: NumpyArray) -> Parameters:
        return {"logits": np.zeros((len(z), *((28, 28) if modality == "image" else (10,))), np.float32)}


def test_pictures_that_are_all_alike_have_no_variety(examinee: Examinee) -> None:
    manifest = examinee.manifest.model_copy(update={"latent_dim": 2})
    alike = Examinee(manifest, Alike(), examinee.train, examinee.test, SETTINGS, 0)
    metrics = measure(alike)
    assert metrics["variety"]["image|label"] == {"mean": 0.0, "lowest": 0.0}
    assert metrics["coherence"]["image|label"] == pytest.approx(0.1, abs=0.01)
    assert metrics["log_prob"]["label"]["mean"] == pytest.approx(-np.log(10), abs=0.05)


def test_what_is_generated_has_a_row_per_label(examinee: Examinee) -> None:
    assert generate(examinee, "label", "image", np.arange(10)).shape == (10, 20, 28, 28)


def test_rows_without_the_target_do_not_count(examinee: Examinee) -> None:
    mask = torch.arange(200) < 50
    rows = Rows(examinee.test.data, {"label": mask})
    part = Examinee(examinee.manifest, examinee.graphs, examinee.train, rows, SETTINGS, 1)
    whole = Examinee(examinee.manifest, examinee.graphs, examinee.train, examinee.test.head(50), SETTINGS, 1)
    # Each draws its own noise: one row on the edge may fall to either side.
    expected = measure(whole)["accuracy"]["label|image"]
    assert measure(part)["accuracy"]["label|image"] == pytest.approx(expected, abs=0.03)
