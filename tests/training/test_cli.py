"""``anyview-train`` as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models_store import store
from service.loading import open_sessions
from tests.conftest import DATA
from tests.docs.blocks import elsewhere, in_bash
from tests.training.test_device import needs_compiler
from training import data
from training.config import read_experiment
from training.fit import METRICS, fit

TRAIN = [sys.executable, "-m", "training"]


COMPILED = """
name = "small"
[data]
source = "mnist"
[modalities.image]
network = { hidden = [8] }
[modalities.label]
network = { hidden = [8] }
[model]
latent_dim = 4
objective = "paper"
[fit]
epochs = 1
compile = true
[evaluation]
rows = 20
importance_samples = 20
generated_per_label = 5
"""


def run(*arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"ANYVIEW_DATA": str(DATA), "PATH": "", "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(  # noqa: S603 - our own command
        [*TRAIN, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_fit_trains_measures_and_publishes_and_evaluate_finds_the_same_numbers(tmp_path: Path) -> None:
    in_bash(elsewhere("README.md", "training/test_cli.py"), tmp_path)
    bundle, resumed, further = (store.open_bundle(tmp_path / "store" / "tiny" / f"{n}") for n in (1, 2, 3))
    assert resumed.read("weights.safetensors") == bundle.read("weights.safetensors")
    assert further.read("weights.safetensors") != bundle.read("weights.safetensors")
    card = bundle.read("report/card.md").decode()
    assert f"{bundle.manifest.metrics['accuracy']['label|image']:.4f}" in card
    again = run("evaluate", "tiny/1", "--store", str(tmp_path / "store"), folder=tmp_path)
    assert again.stdout.strip() == card.strip()


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_compiler
def test_fit_with_a_compiled_loss_publishes_what_the_plain_one_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.toml").write_text(COMPILED)
    cache = str(tmp_path / "cache")
    where = ("--store", "store", "--workdir", "compiled")
    compiler = {"PATH": os.environ["PATH"], "TORCHINDUCTOR_CACHE_DIR": cache}
    done = run("fit", "small.toml", *where, folder=tmp_path, **compiler)
    assert done.returncode == 0, done.stderr
    open_sessions(store.open_bundle(tmp_path / "store" / "small" / "1"))
    experiment, _ = read_experiment(str(tmp_path / "small.toml"))
    plain = experiment.model_copy(update={"fit": experiment.fit.model_copy(update={"compile": False})})
    monkeypatch.setenv("ANYVIEW_DATA", str(DATA))
    (expected,) = fit(plain, data.prepare(plain), tmp_path / "plain").reports
    learned = json.loads((tmp_path / "compiled" / METRICS).read_text())
    assert learned["train_loss"] == pytest.approx(expected.train_loss, rel=1e-4)


def test_mistakes_are_one_sentence_and_a_failure(tmp_path: Path) -> None:
    for arguments, message in {
        ("fit", "nmist"): "anyview-train: no experiment file 'nmist'; built in are",
        ("evaluate", "nmist"): "anyview-train: no model 'nmist' in the store; there are",
        ("fit", "tiny", "--resume", "nowhere"): "anyview-train: nowhere holds no run to go on with",
        (
            "fit",
            "tiny",
            "--resume",
            "a",
            "--workdir",
            "b",
        ): "anyview-train: --resume goes on where it stopped",
        ("import", "nowhere"): "anyview-train: nowhere holds no model: there is no model_config.json",
        ("fit", "tiny", "--from", "tiny"): "anyview-train: no model 'tiny' in the store",
    }.items():
        done = run(*arguments, folder=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1


def test_init_writes_an_experiment_and_never_over_one(tmp_path: Path) -> None:
    done = run("init", str(DATA / "patients.csv"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "anyview-train fit experiment.toml" in done.stdout
    assert "[modalities.height]" in (tmp_path / "experiment.toml").read_text()
    (tmp_path / "experiment.toml").write_text("mine")
    again = run("init", str(DATA / "patients.csv"), folder=tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith("anyview-train: experiment.toml exists already")
    assert (tmp_path / "experiment.toml").read_text() == "mine"
