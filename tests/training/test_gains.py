"""Gains over simpler predictions: the head of the card, and what is not published."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import xlogy
from sklearn.linear_model import LogisticRegression, RidgeCV

from models_store.arrays import Array
from models_store.folder import open_bundle
from models_store.likelihoods import Parameters
from models_store.linear import EncoderOutput
from models_store.manifest import Modality
from tests.training.tables.tables import write
from tests.training.test_evaluate import linear_gaussian
from training import commands
from training.checkpoint import BEST
from training.cli import main
from training.data.rows import Rows
from training.errors import TrainingError
from training.evaluation import measure_model
from training.evaluation.card import card_of
from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.gains import beats_the_mean, gains
from training.evaluation.losses import Losses
from training.evaluation.metrics import Gain
from training.evaluation.value import values

EXPERIMENT = """
name = "noise"
[data]
source = "table"
files = ["noise.csv"]
test = 60
validation = 20
[modalities.a]
kind = "vector"
columns = [{ name = "a" }]
[modalities.b]
kind = "vector"
columns = [{ name = "b" }]
[modalities.c]
kind = "category"
field = "c"
labels = ["n", "y"]
[model]
latent_dim = 2
warmup = 1
[fit]
epochs = 2
[evaluation]
rows = 60
importance_samples = 5
generated_per_label = 10
"""


def test_a_model_of_independent_columns_is_not_published_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write(
        Path("noise.csv"),
        {
            "a": rng.normal(size=200),
            "b": rng.normal(size=200),
            "c": np.where(rng.random(200) < 0.5, "y", "n"),
        },
    )
    Path("noise.toml").write_text(EXPERIMENT)

    def fit(*options: str) -> object:
        monkeypatch.setattr(sys, "argv", ["anyview-train", "fit", "noise.toml", *options])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0

    assert fit("--workdir", "run") == 1
    error = capsys.readouterr().err
    assert error.startswith("anyview-train: nothing was published: nothing is predicted from the rest")
    assert "--resume run --force" in error
    assert error.count("\n") == 1
    assert list(Path("store").iterdir()) == []
    assert Path("run", BEST).is_file()
    assert Path("run", "report", "card.md").read_text().startswith("# noise 1\n")
    assert fit("--resume", "run", "--force") == 0
    assert open_bundle(Path("store/noise/1")).manifest.name == "noise"


@pytest.mark.parametrize(
    ("gain", "error", "rows", "beats"),
    [(0.2, 0.05, 40, True), (0.02, 0.05, 40, False), (-0.2, 0.01, 40, False), (0.02, 0.05, 4, True)],
)
def test_a_gain_counts_where_it_is_more_than_chance(
    gain: float, error: float, rows: int, beats: bool
) -> None:
    entry: Gain = {"measure": "R²", "gain": gain, "gain_error": error, "rows": rows}
    assert beats_the_mean({"x": entry}) == (["x"] if beats else [])


def test_chance_among_many_modalities_is_not_a_gain() -> None:
    """Two standard errors are rare for one question, and common for the best of 50."""
    entry: Gain = {"measure": "R²", "gain": 0.2, "gain_error": 0.1, "rows": 40}
    assert beats_the_mean({"x": entry}) == ["x"]
    assert beats_the_mean({str(number): entry for number in range(50)}) == []


def test_a_model_that_answers_absurdly_is_not_published_whatever_else_it_predicts(tmp_path: Path) -> None:
    """As with one cell of a million among small numbers, by which everything was scaled."""
    good: Gain = {"measure": "R²", "gain": 0.8, "gain_error": 0.01, "rows": 100}
    absurd: Gain = {"measure": "R²", "gain": -1.8e9, "gain_error": 1e9, "rows": 90}
    measured = linear_gaussian(10).manifest.model_copy(
        update={"metrics": {"gains": {"x": good, "y": absurd}}}
    )
    with pytest.raises(
        TrainingError, match=r"'y' is predicted far worse .* \(R² -1\.8e\+09 on 90 held-out rows\)"
    ):
        commands._check_gains(measured, {"report/card.md": b"card"}, tmp_path, "")
    assert (tmp_path / "report" / "card.md").read_bytes() == b"card"
    commands._check_gains(measured.model_copy(update={"metrics": {"gains": {"x": good}}}), {}, tmp_path, "")


# --- numbers of the head -----------------------------------------------------------------------------


class Guess:
    """Graphs whose answers are known: b = 1.5 and 0.5 everywhere, c is 'y' with 0.7."""

    def encode(self, modality: str, x: Array) -> EncoderOutput:  # noqa: ARG002
        return EncoderOutput(np.zeros((len(x), 1), np.float32), np.zeros((len(x), 1), np.float32))

    def decode(self, modality: str, z: Array) -> Parameters:
        if modality == "c":
            return {"logits": np.tile(np.log([0.3, 0.7]).astype(np.float32), (len(z), 1))}
        if modality == "n":
            return {"log_rate": np.full((len(z), 1), np.log(3), np.float32)}
        loc = np.tile(np.array([1.5, 0.5], np.float32), (len(z), 1))
        return {"loc": loc, "log_scale": np.zeros_like(loc)}


def guessed(n: int) -> EvaluatedModel:
    rng = np.random.default_rng(0)
    b = rng.normal(size=(2 * n, 2)).astype(np.float32) * [2.0, 0.5] + [1.0, 0.5]
    c = (b[:, 0] + rng.normal(size=2 * n) > 1).astype(np.int64)
    counts = rng.poisson(np.exp(0.3 * b[:, :1])).astype(np.float32)
    b[::7, 1] = np.nan
    kinds = {
        "b": Modality(name="b", kind="vector", shape=(2,), dtype="float32", likelihood="normal"),
        "c": Modality(
            name="c", kind="category", shape=(), dtype="int64", likelihood="categorical", labels=("n", "y")
        ),
        "n": Modality(name="n", kind="counts", shape=(1,), dtype="float32", likelihood="poisson"),
    }
    rows = Rows(
        {"b": torch.from_numpy(b.astype(np.float32)), "c": torch.from_numpy(c), "n": torch.from_numpy(counts)}
    )
    whole = linear_gaussian(n)
    manifest = whole.manifest.model_copy(update={"modalities": tuple(kinds.values())})
    return EvaluatedModel(
        manifest, Guess(), rows.take(slice(n)), rows.take(slice(n, None)), whole.settings, 0
    )


def test_gains_of_numbers_labels_and_counts_are_those_computed_by_hand() -> None:
    evaluated = guessed(80)
    measured = gains(evaluated)
    train, test = ({k: v.numpy() for k, v in rows.data.items()} for rows in (evaluated.train, evaluated.test))
    scale = np.nanstd(train["b"], axis=0)
    by_mean, by_model = (
        np.nansum(((test["b"] - m) / scale) ** 2) for m in (np.nanmean(train["b"], axis=0), [1.5, 0.5])
    )
    assert measured["b"]["measure"] == "R²"
    assert measured["b"]["gain"] == pytest.approx(1 - by_model / by_mean, abs=2e-4)
    shares, truth = np.bincount(train["c"]) / 80, test["c"]
    nats = np.log(np.array([0.3, 0.7])[truth] / shares[truth]).mean()
    assert measured["c"]["gain"] == pytest.approx(nats, abs=2e-4)
    spread = np.log(np.array([0.3, 0.7])[truth] / shares[truth]).std() / np.sqrt(80)
    assert measured["c"]["gain_error"] == pytest.approx(spread, rel=0.08)

    def deviance(rate: float) -> float:
        x = test["n"]
        return float((xlogy(x, np.maximum(x, 1e-9) / rate) - (x - rate)).sum())

    explained = 1 - deviance(3.0) / deviance(train["n"].mean())
    assert measured["n"]["measure"] == "deviance"
    assert measured["n"]["gain"] == pytest.approx(explained, abs=2e-4)
    assert measured["b"]["rows"] == 80


def test_gains_over_regression_are_those_of_scikit_learn_on_the_same_rows() -> None:
    evaluated = guessed(80)
    measured = gains(evaluated)
    train, test = ({k: v.numpy() for k, v in rows.data.items()} for rows in (evaluated.train, evaluated.test))

    def inputs(rows: dict[str, Array], names: str) -> Array:
        of: dict[str, Callable[[Array], Array]] = {
            "b": lambda x: x,
            "c": lambda x: np.eye(2)[x],
            "n": np.log1p,
        }
        raw, numbers = (np.hstack([of[name](part[name]) for name in names]) for part in (train, rows))
        return np.nan_to_num((numbers - np.nanmean(raw, axis=0)) / np.nanstd(raw, axis=0))

    logistic = LogisticRegression(max_iter=300).fit(inputs(train, "bn"), train["c"])
    truth = test["c"]
    probability = logistic.predict_proba(inputs(test, "bn"))[np.arange(80), truth]
    over = np.log(np.array([0.3, 0.7])[truth] / probability).mean()
    assert measured["c"]["over_regression"] == pytest.approx(over, abs=1e-3)

    scale, center = np.nanstd(train["b"], axis=0), np.nanmean(train["b"], axis=0)
    predicted = np.zeros((80, 2))
    for column in range(2):
        seen = ~np.isnan(train["b"][:, column])
        ridge = RidgeCV(np.logspace(-1, 5, 13)).fit(
            inputs(train, "cn")[seen], (train["b"][seen, column] - center[column]) / scale[column]
        )
        predicted[:, column] = ridge.predict(inputs(test, "cn"))
    z = (test["b"] - center) / scale
    guess = (np.array([1.5, 0.5]) - center) / scale
    over = (np.nansum((z - predicted) ** 2) - np.nansum((z - guess) ** 2)) / np.nansum(z**2)
    assert measured["b"]["over_regression"] == pytest.approx(over, abs=2e-3)


def test_an_exact_model_gains_its_explained_variance_and_covers() -> None:
    measured = gains(linear_gaussian(3000))
    assert measured["b"]["gain"] == pytest.approx(1 - (1.8 / 5 + 1.2 / 2) / 2, abs=0.03)
    assert measured["b"]["coverage_90"] == pytest.approx(0.9, abs=0.02)
    assert abs(measured["b"]["over_regression"]) < 0.02  # ridge regression is exact, too
    assert beats_the_mean(measured) == ["a", "b", "b: cells"]
    # Of 5 and 2: cells of b are hidden with .3, and the second is missing in a fifth of the rows.
    first = (0.44 * 1.8 + 0.56 * (1 + 4 / 6)) / 5
    second = (0.3 * 1.2 + 0.7 * (1 + 1 / 9)) / 2
    assert measured["b: cells"]["gain"] == pytest.approx(1 - (first + 0.8 * second) / 1.8, abs=0.03)
    assert measured["b: cells"]["coverage_90"] == pytest.approx(0.9, abs=0.02)


def test_a_vector_alone_is_measured_by_its_cells() -> None:
    evaluated = linear_gaussian(300)
    only = evaluated.manifest.model_copy(update={"modalities": evaluated.manifest.modalities[1:]})
    measured = gains(replace(evaluated, manifest=only))
    assert beats_the_mean(measured) == ["b: cells"]
    assert measured["b: cells"]["rows"] < 300  # a row needs a cell to predict, and another one


def test_a_single_modality_has_nothing_to_be_predicted_from() -> None:
    evaluated = linear_gaussian(30)
    only = evaluated.manifest.model_copy(update={"modalities": evaluated.manifest.modalities[:1]})
    alone = replace(evaluated, manifest=only)
    assert not gains(alone)
    assert not values(alone)


def test_a_target_that_no_row_has_beside_others_is_left_out() -> None:
    half = torch.arange(30) % 2 == 0
    evaluated = linear_gaussian(30, {"a": half, "b": ~half})
    assert gains(evaluated).keys() == {"b: cells"}
    assert not values(evaluated)


def test_losses_of_a_missing_cell_are_none() -> None:
    evaluated = linear_gaussian(50)
    losses = Losses.of(evaluated.manifest.modality("b"), evaluated.train)
    x = np.array([[1.0, np.nan]])
    assert losses.by_row(x, np.array([[1.0, 9.0]])) == 0


# --- value of views ----------------------------------------------------------------------------------


class FourViews:
    """t, u, v = z + noise of variance 1/4, and w that is noise alone; all experts are exact."""

    def encode(self, modality: str, x: Array) -> EncoderOutput:
        log_var = np.full_like(x, 30 if modality == "w" else np.log(0.25))
        return EncoderOutput(x if modality != "w" else np.zeros_like(x), log_var)

    def decode(self, modality: str, z: Array) -> Parameters:
        return {"loc": z if modality != "w" else np.zeros_like(z), "log_scale": np.full_like(z, np.log(0.5))}


def test_views_add_what_they_explain_beyond_the_others() -> None:
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(2000, 1, generator=generator)
    columns = {
        name: (z if name != "w" else 0) + torch.randn(2000, 1, generator=generator) / 2 for name in "tuvw"
    }
    template = linear_gaussian(2000)
    described = tuple(
        Modality(name=name, kind="vector", shape=(1,), dtype="float32", likelihood="normal")
        for name in columns
    )
    manifest = template.manifest.model_copy(update={"modalities": described})
    rows = Rows(columns, {"v": torch.arange(2000) % 10 > 0})
    evaluated = EvaluatedModel(manifest, FourViews(), rows, rows, template.settings, 0)
    views = values(evaluated)["t"]["views"]
    one, two = 1 - (1 / 5 + 1 / 4) / 1.25, 1 - (1 / 9 + 1 / 4) / 1.25  # explained by one of u and v, by both
    assert views["u"]["alone"] == pytest.approx(one, abs=0.06)
    assert views["v"]["added"] == pytest.approx(two - one, abs=0.03)
    assert views["w"]["added"] == pytest.approx(0, abs=0.01)
    assert views["w"]["alone"] == pytest.approx(0, abs=0.03)
    assert list(views)[-1] == "w"
    assert views["v"]["rows"] < views["u"]["rows"] == 300


def test_the_only_other_view_has_nothing_to_add_to() -> None:
    value = values(linear_gaussian(500))["a"]
    assert value["measure"] == "R²"
    assert value["views"]["b"]["alone"] > 0.5
    assert "added" not in value["views"]["b"]


# --- the card ----------------------------------------------------------------------------------------


def test_the_card_begins_with_rows_and_gains_and_folds_the_details() -> None:
    evaluated = linear_gaussian(100)
    trained = {
        "experiment": "x",
        "seed": 0,
        "versions": {},
        "data": {"source": "table", "train_rows": 70, "validation_rows": 9, "test_rows": 21},
    }
    manifest = evaluated.manifest.model_copy(update={"trained": trained})
    measured = measure_model(evaluated)
    lines = card_of(measured.stated_in(manifest), []).splitlines()
    head, (_, *details) = lines[:10], lines[lines.index("<details>") :]
    assert head[0] == "# x 1"
    assert head[2].startswith("Rows: 70 trained it, 9 chose the epoch, 21 tested it.")
    assert measured.metrics["gains"].keys() == {"a", "b", "b: cells"}
    for name, gain in measured.metrics["gains"].items():
        (row,) = (line for line in head if line.startswith(f"| `{name}` |"))
        cells = [cell.strip().replace("−", "-") for cell in row.split("|")[2:-1]]
        over_mean, over_regression, covered, rows = cells
        assert over_mean == f"R² {gain['gain']:+.3f} ± {gain['gain_error']:.3f}"
        assert covered == f"{gain['coverage_90']:.3f}"
        assert rows == str(gain["rows"])
        if "over_regression" in gain:
            error = gain["over_regression_error"]
            assert over_regression == f"{gain['over_regression']:+.3f} ± {error:.3f}"
        else:
            assert over_regression == "–"
    assert "## Measured" in details
    assert details[-1] == "</details>"
