"""Metrics of a model card."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from models_store.arrays import Array
from models_store.evidence import ESTIMATOR
from models_store.folder import open_bundle
from models_store.likelihoods import Parameters
from models_store.linear import EncoderOutput
from models_store.manifest import Manifest, Modality
from training import data
from training.config import Evaluation, Experiment
from training.data.rows import Rows
from training.evaluation import EvaluatedModel, fit_latent, measure_model
from training.evaluation.answers import answer_metrics, calibration, intervals
from training.evaluation.calibrating import calibrate, split
from training.evaluation.evaluated import subsets
from training.evaluation.judging import Judge, generate
from training.evaluation.pictures import pictures
from training.evaluation.scores import log_prob
from training.evaluation.space import fit_mixture, log_density
from training.export import OnnxGraphs, golden_inputs
from training.fit import Fitted

SETTINGS = Evaluation(rows=12, importance_samples=2000, generated_per_label=20)


@pytest.fixture(scope="module")
def evaluated(bundle_folder: Path, prepared: data.Prepared, experiment: Experiment) -> EvaluatedModel:
    bundle = open_bundle(bundle_folder)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    graphs = OnnxGraphs(bundle.manifest, files)
    return EvaluatedModel(bundle.manifest, graphs, prepared.train, prepared.test, SETTINGS, experiment.seed)


def test_likelihoods_agree_with_those_of_the_torch_model(evaluated: EvaluatedModel, fitted: Fitted) -> None:
    rows = evaluated.test.head(12)
    ours = log_prob(evaluated, rows, ["image", "label"])
    theirs = fitted.model.compute_log_prob(rows, K=2000, generator=torch.Generator().manual_seed(1))
    both = ours.reliable & theirs.reliable.numpy()
    error = np.hypot(ours.std_error, theirs.std_error.numpy())[both]
    assert both.mean() > 0.7
    assert (np.abs(ours.log_prob - theirs.log_prob.numpy())[both] < 5 * error + 0.1).all()


def test_every_question_of_the_card_is_answered(evaluated: EvaluatedModel) -> None:
    latent = fit_latent(evaluated)
    metrics = measure_model(evaluated, latent).metrics
    assert set(metrics["log_prob"]) == {"image", "label", "image,label", "image|label", "label|image"}
    assert set(metrics["accuracy"]) == set(metrics["calibration"]) == set(metrics["probe"]) == {"label|image"}
    assert set(metrics["coherence"]) == set(metrics["variety"]) == {"image|label"}
    assert metrics["accuracy"]["label|image"] > 0.6  # a tenth by chance
    assert metrics["coherence"]["image|label"] > 0.3
    assert metrics["latent"]["mixture"] > metrics["latent"]["standard"]
    assert metrics == measure_model(evaluated, latent).metrics  # to the last digit


def test_a_judge_learns_from_real_rows(evaluated: EvaluatedModel) -> None:
    judge = Judge.learn(evaluated.train, "label", "image")
    assert judge is not None
    assert judge.accuracy(evaluated.test) > 0.85


class Alike:
    """Graphs that ignore their inputs: every z decodes to the same picture."""

    def encode(self, modality: str, x: Array) -> EncoderOutput:  # noqa: ARG002
        return EncoderOutput(np.zeros((len(x), 2), np.float32), np.zeros((len(x), 2), np.float32))

    def decode(self, modality: str, z: Array) -> Parameters:
        return {"logits": np.zeros((len(z), *((28, 28) if modality == "image" else (10,))), np.float32)}


def test_pictures_that_are_all_alike_have_no_variety(evaluated: EvaluatedModel) -> None:
    manifest = evaluated.manifest.model_copy(update={"latent_dim": 2})
    alike = EvaluatedModel(manifest, Alike(), evaluated.train, evaluated.test, SETTINGS, 0)
    metrics = measure_model(alike).metrics
    assert metrics["variety"]["image|label"] == {"mean": 0.0, "lowest": 0.0}
    assert metrics["coherence"]["image|label"] == pytest.approx(0.1, abs=0.01)
    assert metrics["log_prob"]["label"]["mean"] == pytest.approx(-np.log(10), abs=0.05)


def test_what_is_generated_has_a_row_per_row(evaluated: EvaluatedModel) -> None:
    assert generate(evaluated, ["label"], "image", evaluated.test.head(7)).shape == (7, 28, 28)


def test_rows_without_the_target_do_not_count(evaluated: EvaluatedModel) -> None:
    mask = torch.arange(200) < 50
    rows = Rows(evaluated.test.data, {"label": mask})
    part = EvaluatedModel(evaluated.manifest, evaluated.graphs, evaluated.train, rows, SETTINGS, 1)
    whole = EvaluatedModel(
        evaluated.manifest, evaluated.graphs, evaluated.train, evaluated.test.head(50), SETTINGS, 1
    )
    # Each draws its own noise: one row on the edge may fall to either side.
    expected = answer_metrics(whole)["accuracy"]["label|image"]
    assert answer_metrics(part)["accuracy"]["label|image"] == pytest.approx(expected, abs=0.03)


class LinearGaussian:
    """a = z + noise of variance 1/4, b = (2 z, -z) + noise of variance 1; its experts are exact."""

    def encode(self, modality: str, x: Array) -> EncoderOutput:
        if modality == "a":
            return EncoderOutput(x, np.full_like(x, np.log(0.25)))
        weights = np.where(np.isnan(x), 0.0, np.array([2.0, -1.0])).astype(np.float32)
        precision = (weights**2).sum(axis=1, keepdims=True)
        mu = (weights * np.nan_to_num(x)).sum(axis=1, keepdims=True) / precision
        return EncoderOutput(mu, -np.log(precision))

    def decode(self, modality: str, z: Array) -> Parameters:
        loc = z if modality == "a" else np.concatenate([2 * z, -z], axis=1)
        return {"loc": loc, "log_scale": np.full_like(loc, np.log(0.5 if modality == "a" else 1.0))}


def linear_gaussian(n: int, masks: dict[str, torch.Tensor] | None = None) -> EvaluatedModel:
    generator = torch.Generator().manual_seed(1)
    z, noise_a, noise_b = (torch.randn(n, size, generator=generator) for size in (1, 1, 2))
    b = torch.cat([2 * z, -z], dim=1) + noise_b
    b[::5, 1] = torch.nan
    rows = Rows({"a": z + noise_a / 2, "b": b}, masks or {})
    modalities = tuple(
        Modality(
            name=name,
            kind="vector",
            shape=(size,),
            dtype="float32",
            likelihood="normal",
        )
        for name, size in (("a", 1), ("b", 2))
    )
    manifest = Manifest(
        name="x", version=1, created=datetime(2026, 1, 1, tzinfo=UTC), latent_dim=1, modalities=modalities
    )
    settings = Evaluation(rows=n, importance_samples=10)
    return EvaluatedModel(manifest, LinearGaussian(), rows, rows, settings, 0)


def test_intervals_of_an_exact_model_cover_as_often_as_they_say() -> None:
    evaluated = linear_gaussian(3000)
    b = evaluated.manifest.modality("b")
    metrics = intervals(evaluated, b, ["a"], evaluated.test)
    assert metrics["coverage_50"] == pytest.approx(0.5, abs=0.025)
    assert metrics["coverage_90"] == pytest.approx(0.9, abs=0.015)
    # z has the variance 1/5 given a, so b = (2 z, -z) + noise has 4/5 + 1 of 5 and 1/5 + 1 of 2
    assert metrics["r2"] == pytest.approx(1 - (1.8 / 5 + 1.2 / 2) / 2, abs=0.03)


def test_intervals_of_a_model_that_is_too_sure_cover_what_they_say_once_calibrated() -> None:
    """The decoder claims half of the noise of b; its own 90 % intervals are too short."""
    evaluated = linear_gaussian(3000)
    evaluated = replace(evaluated, graphs=Overconfident())
    calibrating, measuring = split(evaluated.test, 0.3, 0)
    assert (len(calibrating), len(measuring)) == (900, 2100)
    b = evaluated.manifest.modality("b")
    uncalibrated = intervals(evaluated, b, ["a"], measuring)
    calibrated = replace(evaluated, calibration=calibrate(evaluated, calibrating))
    answered = intervals(calibrated, b, ["a"], measuring)
    assert uncalibrated["coverage_90"] < 0.75
    for percent in (50, 80, 90):
        assert answered[f"coverage_{percent}"] == pytest.approx(percent / 100, abs=0.04)  # type: ignore[literal-required]
    assert answered["r2"] == uncalibrated["r2"]


class Overconfident(LinearGaussian):
    def decode(self, modality: str, z: Array) -> Parameters:
        parameters = super().decode(modality, z)
        return {**parameters, "log_scale": parameters["log_scale"] - np.log(2)}


def test_a_model_of_one_view_has_no_answers_to_calibrate() -> None:
    two = linear_gaussian(200)
    alone = two.manifest.model_copy(update={"modalities": two.manifest.modalities[:1]})
    learned = calibrate(replace(two, manifest=alone), two.test)
    assert not learned.corrections
    assert set(learned.typical) == {"a"}


def test_few_test_rows_all_measure_the_model() -> None:
    rows = linear_gaussian(59).test
    assert [len(part) for part in split(rows, 0.3, 0)] == [0, 59]


def test_a_model_of_vectors_alone_with_rows_that_lack_things_is_measured_on_what_they_have() -> None:
    n = 30
    half = torch.arange(n) % 2 == 0
    metrics = measure_model(linear_gaussian(n, {"a": half, "b": torch.arange(n) % 3 == 0})).metrics
    assert {question: value["rows"] for question, value in metrics["log_prob"].items()} == {
        "a": 15,
        "b": 10,
        "a,b": 20,  # of what each row has of the two
        "a|b": 5,
        "b|a": 5,
    }
    assert {question: value["rows"] for question, value in metrics["intervals"].items()} == {
        "a|b": 5,
        "b|a": 5,
    }
    assert metrics["accuracy"] == metrics["coherence"] == {}


def test_a_question_that_no_row_can_answer_is_left_out() -> None:
    half = torch.arange(30) % 2 == 0
    metrics = measure_model(linear_gaussian(30, {"a": half, "b": ~half})).metrics
    assert metrics["intervals"] == {}
    assert set(metrics["log_prob"]) == {"a", "b", "a,b"}


def test_a_judge_bears_missing_cells_and_wants_enough_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(200) % 2
    x = torch.randn(200, 3, generator=generator) + 4 * label[:, None]
    x[::7, 1], x[:, 2] = torch.nan, torch.nan
    judge = Judge.learn(Rows({"x": x, "label": label}), "label", "x")
    assert judge is not None
    assert judge.accuracy(Rows({"x": x, "label": label})) > 0.9
    assert Judge.learn(Rows({"x": x[:19], "label": label[:19]}), "label", "x") is None
    assert Judge.learn(Rows({"x": x, "label": label * 0}), "label", "x") is None


def test_a_reference_holds_the_quantiles_of_the_very_scores() -> None:
    evaluated = linear_gaussian(400)
    reference = measure_model(evaluated).reference
    assert set(reference) == {"a", "b", "a,b", "a|b", "b|a"}
    # a is normal of variance 5/4: so is its log-density a shifted chi-square, whose median is known
    median = -0.5 * (np.log(2 * np.pi * 1.25) + 0.4549)
    assert reference["a"].quantiles[50] == pytest.approx(median, abs=0.1)
    assert [name for name, one in reference.items() if one.disagreement is not None] == ["a,b"]
    assert (np.diff(reference["a,b"].quantiles) >= 0).all()
    assert len(reference["a"].quantiles) == 101
    assert reference["a"].rows == 400
    assert reference["a"].estimator == ESTIMATOR


def test_no_number_of_modalities_makes_the_questions_explode() -> None:
    names = [f"m{number}" for number in range(20)]
    assert len(subsets(names[:4])) == 15
    assert len(subsets(names[:7])) == 7 + 21 + 1
    assert len(subsets(names)) == 21


def test_probabilities_that_hold_what_they_say_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], 20_000)
    right = (rng.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert calibration(probabilities, right)["ece"] < 0.02
    sure = np.eye(3)[probabilities.argmax(axis=1)]
    assert calibration(sure, right)["ece"] == pytest.approx(1 - probabilities.max(axis=1).mean(), abs=0.02)


def test_the_mixture_finds_clusters_and_the_map_parts_them() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[4.0, 0, 0], [-4, 0, 0], [0, 4, 0], [0, -4, 0]])
    z = (centres[np.arange(2000) % 4] + 0.1 * rng.standard_normal((2000, 3))).astype(np.float32)
    mixture = fit_mixture(z, seed=0)
    drawn = mixture.sample(rng.random(1000), rng.standard_normal((1000, 3)))
    assert np.linalg.norm(drawn[:, None] - centres, axis=-1).min(axis=1).max() < 1
    entropy = 1.5 * np.log(2 * np.pi * np.e / 100) + np.log(4)  # of four clusters with deviation 0.1
    assert log_density(mixture, z).mean() == pytest.approx(-entropy, abs=0.1)


def test_without_examples_no_real_row_is_in_the_bundle(evaluated: EvaluatedModel) -> None:
    private = replace(evaluated, examples=False)
    latent = fit_latent(private)
    assert len(latent.map.points) == 0
    drawn = pictures(private, latent, {"calibration": {}})
    assert set(drawn) == {"from_label.png"}


def test_golden_rows_are_made_up_where_real_ones_must_stay_at_home(
    evaluated: EvaluatedModel, experiment: Experiment, prepared: data.Prepared
) -> None:
    private = experiment.model_copy(update={"examples": False})
    z = np.random.default_rng(0).standard_normal((64, evaluated.manifest.latent_dim), np.float32)
    x = golden_inputs(private, prepared, evaluated.graphs, z)["image"]
    real = golden_inputs(experiment, prepared, evaluated.graphs, z)["image"]
    assert (x.dtype, x.shape) == (real.dtype, real.shape)
    assert not any((row == real).all(axis=(1, 2)).any() for row in x)
