"""``anyview-train`` as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from models_store import store
from tests.conftest import DATA
from tests.docs.blocks import elsewhere, in_bash

TRAIN = [sys.executable, "-m", "training"]


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"ANYVIEW_DATA": str(DATA), "PATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(  # noqa: S603 - our own command
        [*TRAIN, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_fit_trains_measures_and_publishes_and_evaluate_finds_the_same_numbers(tmp_path: Path) -> None:
    in_bash(elsewhere("README.md", "training/test_cli.py"), tmp_path)
    bundle = store.open_bundle(tmp_path / "store" / "tiny" / "1")
    card = bundle.read("report/card.md").decode()
    assert f"{bundle.manifest.metrics['accuracy']['label|image']:.4f}" in card
    again = run("evaluate", "tiny", "--store", str(tmp_path / "store"), folder=tmp_path)
    assert again.stdout.strip() == card.strip()


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
