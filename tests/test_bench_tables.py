"""The benchmark of tables: its scores beside naive formulas, its holes, its baselines, and one quick run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV

from benchmarks.tables import questions, scores, sets
from benchmarks.tables.baselines import ridge, soft_impute, training_mean
from benchmarks.tables.design import Design, answers
from benchmarks.tables.report import markdown
from benchmarks.tables.runs import OURS, Run, measured, runs
from benchmarks.tables.table import Column, Table, from_values
from models_store.arrays import Array
from training.ablation.records import Record

RNG = np.random.default_rng(0)
TRAIN, TEST = RNG.normal(2, 3, (20, 3)), RNG.normal(2, 3, (9, 3))
ASKED = RNG.random((9, 3)) < 0.6
NUMBERS = tuple(Column(name, name) for name in "abc")


def test_r2_is_pooled_over_the_asked_cells_in_standard_deviations_of_training_rows() -> None:
    mean, left, total = RNG.normal(2, 3, (9, 3)), 0.0, 0.0
    for row, column in zip(*np.nonzero(ASKED), strict=True):
        spread = math.sqrt(sum((x - TRAIN[:, column].mean()) ** 2 for x in TRAIN[:, column]) / len(TRAIN))
        left += ((TEST[row, column] - mean[row, column]) / spread) ** 2
        total += ((TEST[row, column] - TRAIN[:, column].mean()) / spread) ** 2
    assert scores.r2(TEST, mean, ASKED, TRAIN) == pytest.approx(1 - left / total)


def test_crps_of_a_normal_distribution_is_the_integral_of_the_squared_distance_of_its_cdf() -> None:
    grid = np.linspace(-60, 60, 240_001)
    for x, mean, std in ((0.3, 1.0, 2.0), (-4.0, 0.0, 0.5)):
        cdf = np.array([0.5 * (1 + math.erf((y - mean) / std / math.sqrt(2))) for y in grid[::40]])
        integral = np.trapezoid((cdf - (grid[::40] >= x)) ** 2, grid[::40])
        one = scores.crps_of_normal(np.array(x), np.array(mean), np.array(std))
        assert float(one) == pytest.approx(float(integral), abs=0.01)


def test_crps_of_draws_is_the_mean_distance_less_half_the_mean_distance_of_pairs() -> None:
    x, draws = RNG.normal(size=(4, 2)), RNG.normal(size=(30, 4, 2))
    pairs = np.abs(draws[:, None] - draws[None]).mean(axis=(0, 1))
    assert np.allclose(scores.crps_of_draws(x, draws), np.abs(draws - x).mean(axis=0) - pairs / 2)


def test_deviance_is_that_of_the_poisson_distribution() -> None:
    train, truth, mean = RNG.poisson(4, (30, 2)), RNG.poisson(4, (8, 2)), RNG.gamma(4, 1, (8, 2))

    def deviance(rate: Array) -> float:
        return sum(
            2 * ((x * math.log(x / mu) if x else 0) - (x - mu))
            for x, mu in zip(truth.ravel().tolist(), rate.ravel().tolist(), strict=True)
        )

    null = np.tile(train.mean(axis=0), (8, 1))
    everything = np.ones((8, 2), bool)
    expected = 1 - deviance(mean) / deviance(null)
    assert scores.deviance_explained(truth, mean, everything, train) == pytest.approx(expected)


def test_scores_are_averaged_over_the_columns_of_a_view_and_over_views() -> None:
    columns = (Column("x", "body"), Column("sex", "sex", ("f", "m")), Column("ill", "ill", ("no", "yes")))
    train = from_values(columns, np.array([[0.0, 0, 0], [2.0, 1, 0], [4.0, 1, 1]]))
    truth = np.array([[1.0, 0, 1], [3.0, 1, 1]])
    mean = np.array([[2.0, 0, 0], [2.0, 0, 0]])
    shares = {1: np.array([[0.9, 0.1], [0.6, 0.4]]), 2: np.array([[0.5, 0.5], [0.2, 0.8]])}
    prediction = scores.Prediction(mean, np.ones((2, 3)), shares)
    by_view = scores.view_scores(columns, prediction, truth, np.ones((2, 3), bool), train)
    assert by_view["sex accuracy"] == 0.5
    assert by_view["sex log-loss"] == pytest.approx(-(math.log(0.9) + math.log(0.4)) / 2)
    assert by_view["body coverage50"] == 0.0  # 1 is farther than .67 standard deviations
    assert by_view["body coverage90"] == 1.0
    mean_loss = (by_view["sex log-loss"] + by_view["ill log-loss"]) / 2
    assert scores.averaged(by_view)["log-loss"] == pytest.approx(mean_loss)


def test_each_row_keeps_a_view_and_about_the_share_is_hidden() -> None:
    table = from_values([Column(f"x{i}", "ab"[i % 2]) for i in range(6)], RNG.normal(size=(400, 6)))
    table = table.without(RNG.random((400, 6)) < 0.1)
    hidden = questions.hidden_views(table, 0.5, np.random.default_rng(1))
    assert not (hidden & ~table.present).any()
    assert ((table.present & ~hidden).any(axis=1) | ~table.present.any(axis=1)).all()
    for view in table.views:
        here = hidden[:, table.of(view)]
        assert (here == (table.present[:, table.of(view)] & here.any(axis=1, keepdims=True))).all()
    cells = questions.hidden_cells(table, 0.3, np.random.default_rng(1))
    assert cells.sum() / table.present.sum() == pytest.approx(0.3, abs=0.03)


def test_ridge_and_logistic_regression_are_those_of_scikit_learn() -> None:
    split = sets.weak(0, rows=120, columns=6)
    task = questions.each_view(split)
    predictions = answers(task, ridge)
    design = Design.of(split.train)
    x, requested = design.encode(split.train), [np.nan_to_num(design.encode(q.given)) for q in task.questions]
    inputs = design.source != 0
    fitted = RidgeCV(np.logspace(-1, 5, 13)).fit(x[:, inputs], split.train.values[:, 0])
    assert np.allclose(predictions[0].mean[:, 0], fitted.predict(requested[0][:, inputs]), atol=1e-6)
    inputs = design.source != 1
    labels = split.train.values[:, 1].astype(int)
    classifier = LogisticRegression(max_iter=300).fit(x[:, inputs], labels)
    assert np.allclose(predictions[1].probabilities[1], classifier.predict_proba(requested[1][:, inputs]))


def test_low_rank_fills_the_holes_of_a_low_rank_table_and_the_training_mean_does_not() -> None:
    split = sets.holes(0)
    task = questions.given_holes(split, 0)
    (question,) = task.questions
    assert split.truth is not None
    filled = {
        method: scores.r2(
            question.truth, answers(task, method)[0].mean, question.requested, split.train.values
        )
        for method in (training_mean, soft_impute)
    }
    assert abs(filled[training_mean]) < 0.05
    assert filled[soft_impute] > 0.5  # at most .65 can be explained


def test_files_are_joined_by_a_key_and_lack_rows_that_are_empty_in_them(tmp_path: Path) -> None:
    columns = (Column("x", "x", file="one"), Column("y", "y", ("a", "b"), file="two"))
    table = Table(columns, np.array([["1", "a"], ["", "b"], ["2.5", ""]], dtype=object))
    one, two = table.write(tmp_path)
    assert one.read_text().split() == ["row,x", "r00000,1", "r00002,2.5"]
    assert two.read_text().split() == ["row,y", "r00000,a", "r00001,b"]
    assert np.array_equal(table.values, np.array([[1, 0], [np.nan, 1], [2.5, np.nan]]), equal_nan=True)


def test_what_is_absent_is_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYVIEW_DATA", str(tmp_path))
    monkeypatch.setattr(sets, "HOME", tmp_path)
    monkeypatch.setattr("benchmarks.tables.mofa.installed", lambda: False)
    assert list(runs(["pbc", "weak"], ["MOFA+"], 1, 1, quick=True)) == []
    output = capsys.readouterr().out
    assert "skipped pbc: there is no folder" in output
    assert "skipped MOFA+ on weak: mofapy2 is not installed" in output


def test_the_report_marks_the_best_of_each_column() -> None:
    def record(method: str, r2: float, log_loss: float) -> Record:
        return Record({"set": "s", "task": "t", "method": method}, {"R²": r2, "log-loss": log_loss}, 1.0)

    lines = markdown([record("one", 0.5, 0.2), record("one", 0.7, 0.4), record("two", 0.4, 0.1)]).splitlines()
    assert lines[0] == "### s, t"
    assert lines[4:] == ["| one | 2 | **0.600** | 0.300 |", "| two | 1 | 0.400 | **0.100** |"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # it trains and publishes a model
def test_a_quick_run_of_ours_answers_every_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sets.SETS, "weak", lambda split: sets.weak(split, rows=150, columns=5))
    results, _ = measured(Run("weak", "views", 0, OURS, 1))
    assert {"asize R²", "bkind accuracy", "ckind log-loss", "dsize CRPS", "dsize coverage90"} <= set(results)
    assert results["accuracy"] > 0.25
    assert 0.6 < results["coverage90"] <= 1
