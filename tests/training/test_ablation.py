"""Studies: resumption, separation of runs, and tables; with the smallest of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from typer.testing import CliRunner

from tests.conftest import DATA
from tests.models_store.examples import array
from training import data
from training.ablation import folds, weak
from training.ablation.__main__ import app
from training.ablation.records import Record, append, done, read, spread, table
from training.ablation.runs import changed
from training.config import Data
from training.data.gaps import with_gaps
from training.data.rows import Rows
from training.errors import ExperimentError

CASE = {"experiment": "mnist", "rows": None, "variant": "a", "epochs": 3, "paired": 0.1}


def test_a_run_is_a_line_and_is_not_done_twice(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    assert read(path) == []
    append(path, Record({**CASE, "seed": 1}, {"accuracy": 0.123456}, 1.0))
    assert read(path) == [Record({**CASE, "seed": 1}, {"accuracy": 0.12346}, 1.0)]
    assert done(path, {**CASE, "seed": 1})
    assert not done(path, {**CASE, "seed": 2})


def test_a_table_has_mean_and_deviation_over_the_seeds() -> None:
    runs = [Record({**CASE, "seed": n}, {"accuracy": value}, 1.0) for n, value in enumerate((0.5, 0.7))]
    assert "| 0.1 | a | 2 | 0.600 ± 0.141 |" in table(runs, ("paired", "variant"))
    assert spread([-91.66]) == "-91.7"
    assert weak.picture(runs).startswith(b"\x89PNG")


def test_a_setting_changes_what_it_names_and_a_misspelt_one_is_refused() -> None:
    experiment = changed("mnist", ["model.beta=0.5", "model.objective=paper"], seed=7, data__paired=0.1)
    assert (experiment.model.beta, experiment.model.objective) == (0.5, "paper")
    assert (experiment.seed, experiment.data.paired) == (7, 0.1)
    assert experiment.modalities["label"].weight == changed("mnist", []).modalities["label"].weight
    with pytest.raises(ExperimentError, match=r"model\.betta: Extra inputs"):
        changed("mnist", ["model.betta=1"])
    with pytest.raises(ExperimentError, match="a setting is KEY=VALUE"):
        changed("mnist", ["model.beta"])


def rows(n: int) -> Rows:
    return Rows({"x": torch.arange(n), "label": torch.arange(n) % 3})


def test_gaps_are_where_they_were_in_every_epoch_and_of_the_set_share() -> None:
    first, second = (
        with_gaps(rows(4000), Data(source="x", missing=0.2), ["label"], seed=1, epoch=e) for e in (1, 2)
    )
    for name in ("x", "label"):
        assert torch.equal(first.masks[name], second.masks[name])
        assert float(first.masks[name].float().mean()) == pytest.approx(0.8, abs=0.03)
    assert not torch.equal(first.masks["x"], first.masks["label"])


def test_unpaired_rows_lack_their_label_alone_and_paired_ones_fill_their_share() -> None:
    settings = Data(source="x", paired=0.01)
    plain = with_gaps(rows(1000), settings, ["label"], seed=1, epoch=1)
    assert int(plain.masks["label"].sum()) == 10
    assert bool(plain.masks["x"].all())
    seen = set(plain.data["x"][plain.masks["label"]].tolist())
    mixed = with_gaps(
        rows(1000), settings.model_copy(update={"paired_share": 0.25}), ["label"], seed=1, epoch=1
    )
    assert len(mixed) == 1000
    assert int(mixed.masks["label"].sum()) == 250
    assert set(mixed.data["x"][mixed.masks["label"]].tolist()) == seen


def test_every_row_is_held_out_in_one_fold(prepared: data.Prepared) -> None:
    parts = [folds.fold(prepared, number, 10) for number in range(folds.FOLDS)]
    held_out = torch.cat([part.test.data["image"] for part in parts])
    total = len(prepared.train) + len(prepared.validation) + len(prepared.test)
    assert len(held_out) == total
    assert all(len(p.train) + len(p.validation) + len(p.test) == total for p in parts)
    assert len(parts[0].validation) == 10


def test_the_regression_explains_what_is_linear() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4))
    y = x @ rng.standard_normal((4, 2)) + 0.3 * rng.standard_normal((300, 2))
    split = Rows({"a": torch.from_numpy(x), "b": torch.from_numpy(y)})
    train, test = split.take(slice(200)), split.take(slice(200, None))
    modality = array("vector", 2).model_copy(update={"name": "b"})
    r2 = folds.ridge(train, test, ["a"], [modality])["b"]
    plain = LinearRegression().fit(x[:200], y[:200]).score(x[200:], y[200:])
    assert r2 == pytest.approx(plain, abs=0.01)


@pytest.mark.slow
def test_the_commands_run_once_and_write_their_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYVIEW_DATA", str(DATA))
    tiny = ["--epochs", "1", "--rows", "200", "--seed", "1", "--output", str(tmp_path)]
    runner = CliRunner()
    objectives = ["objectives", "--experiment", "tiny", "--objective", "matched", *tiny]
    for arguments in (
        objectives,
        ["weak", "--experiment", "tiny", "--paired", "0.1", *tiny],
        ["missing", "--experiment", "tiny", "--missing", "0.2", *tiny],
    ):
        ran = runner.invoke(app, arguments, catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
    assert "done already" in runner.invoke(app, objectives).output
    assert "## Objectives, tiny" in runner.invoke(app, ["tables", "--output", str(tmp_path)]).output
    assert "| matched | warmup 1 | 1 | 200 | 1 |" in (tmp_path / "RESULTS.md").read_text()
