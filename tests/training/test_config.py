"""The experiment file: every mistake is named, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import DATA
from training.config import EXPERIMENTS, read_experiment
from training.data import prepare
from training.errors import ExperimentError, TrainingError

MINIMAL = 'name = "x"\n[data]\nsource = "mnist"\n[modalities.image]\n'


def written(folder: Path, text: str) -> str:
    path = folder / "x.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPERIMENTS.glob("*.toml")))
def test_every_built_in_experiment_reads_and_is_named_as_its_file(name: str) -> None:
    experiment, text = read_experiment(name)
    assert experiment.name == name
    assert f"anyview-train fit {name}" in text.splitlines()[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "[fit]\nepoch = 3\n", "unknown key 'fit.epoch'"),
        (MINIMAL + "[fit]\nepochs = 0\n", r"fit.epochs: .*greater than 0, got 0"),
        (MINIMAL.replace('"x"', '"X!"'), "name: .*pattern"),
        (MINIMAL + "[fit\n", "x.toml: .*line 5"),
        ("seed = -5\n" + MINIMAL, "seed: .*greater than or equal to 0, got -5"),
        (MINIMAL + "[model]\nlatent_dim = 999999999999\n", r"model\.latent_dim: .*65536"),
        ('name = "x"\n', "data: Field required"),
    ],
)
def test_a_mistake_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=message):
        read_experiment(written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'name="\xff"', r"x\.toml must be UTF-8 text: byte 6 is not"),
        (b"a=" + b"[" * 3000 + b"]" * 3000, r"x\.toml: tables and arrays must be nested at most 32 deep"),
        (b"seed=1" + b"0" * 5000, r"x\.toml: an integer has more digits"),
        (b"seed=0x" + b"f" * 5000, r"x\.toml: an integer must be within 64 bits, .* got one of 20000 bits"),
        (b".".join([b"a"] * 5000) + b"=1", r"x\.toml: tables and arrays must be nested at most 32 deep"),
        (b".".join([b"a"] * 31) + b"=1", r"x\.toml: name: Field required, got \{'a': \{'a': \{'a': \{"),
        (b"licence='" + b"a" * 10_001 + b"'\n" + MINIMAL.encode(), "at most 10000 characters, got 10001"),
        (MINIMAL.encode() + b"[model]\nbeta = inf\n", r"x\.toml: model\.beta: .*finite number"),
    ],
    ids=["encoding", "nesting", "digits", "hex", "keys", "deep", "length", "infinity"],
)
def test_a_file_that_cannot_be_parsed_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(ExperimentError, match=message):
        read_experiment(str(tmp_path / "x.toml"))


def test_a_folder_named_as_a_built_in_experiment_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_experiment("tiny")[0].name == "tiny"


def test_an_unknown_experiment_lists_the_built_in_ones() -> None:
    with pytest.raises(ExperimentError, match=r"no experiment file 'nmist'; built in are .*mnist"):
        read_experiment("nmist")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace('"mnist"', '"nmist"'), "data.source is 'nmist'; known are mnist"),
        (MINIMAL.replace(".image", ".sound"), "modalities.sound: 'mnist' has no such modality, it has image"),
        (MINIMAL.replace('"mnist"', '"mnist"\nvalidation = 1000'), "data.validation is 1000"),
        (MINIMAL.replace('"mnist"', '"mnist"\npath = "/nowhere"'), "data.path: there is no folder /nowhere"),
    ],
)
def test_what_the_data_cannot_give_is_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYVIEW_DATA", str(DATA))
    experiment, _ = read_experiment(written(tmp_path, text))
    with pytest.raises(TrainingError, match=message):
        prepare(experiment)
