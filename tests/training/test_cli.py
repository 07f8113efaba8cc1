"""``anyview-train`` as a person types it."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from models_store.folder import open_bundle
from tests.conftest import DATA
from tests.docs.blocks import ROOT, elsewhere, in_bash
from training.cli import main
from training.config import read_experiment
from training.data import prepare
from training.places import check_writable

Typed = Callable[..., tuple[object, str, str]]


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Typed]:
    """Runs a command in this process, in an empty folder; gives its exit code, and what it printed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes of the documents' commands
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYVIEW_DATA", str(DATA))

    def type_(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["anyview-train", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return (left.value.code or 0, *capsys.readouterr())

    yield type_
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_fit_trains_measures_and_publishes_and_evaluate_finds_the_same_numbers(
    typed: Typed, tmp_path: Path
) -> None:
    output = in_bash(elsewhere("README.md", "training/test_cli.py"), tmp_path)
    assert "if anything stops this run, continue with --resume runs/tiny" in output
    bundle, resumed, further = (open_bundle(tmp_path / "store" / "tiny" / f"{n}") for n in (1, 2, 3))
    assert resumed.read("weights.safetensors") == bundle.read("weights.safetensors")
    assert further.read("weights.safetensors") != bundle.read("weights.safetensors")
    card = bundle.read("report/card.md").decode()
    assert f"{bundle.manifest.metrics['accuracy']['label|image']:.4f}" in card
    code, printed, _ = typed("evaluate", "tiny/1", "--store", "store")
    assert code == 0
    assert printed.strip() == card.strip()
    code, printed, _ = typed("corruptions", "tiny/1", "--store", "store")
    assert code == 0
    assert "| `image` | inversion | 0." in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit nmist", "no experiment file 'nmist'; built in are"),
        ("evaluate nmist", "no model 'nmist' in the store; there are"),
        ("corruptions nmist", "no model 'nmist' in the store; there are"),
        ("fit tiny --resume nowhere", "nowhere holds no run to resume"),
        ("fit tiny --resume a --workdir b", "--resume continues a run in its own folder"),
        ("import nowhere", "nowhere holds no model: there is no model_config.json"),
        ("fit tiny --from tiny", "no model 'tiny' in the store"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_failure(typed: Typed, arguments: str, message: str) -> None:
    code, _, error = typed(*arguments.split())
    assert code == 1
    assert error.startswith(f"anyview-train: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (f"init {DATA / 'patients.csv'} --output missing/e.toml", "--output: missing cannot be written"),
        ("fit tiny --store afile/store", "--store: afile/store cannot be written"),
        ("fit tiny --workdir afile/w", "--workdir: afile/w cannot be written"),
        ("fit tiny --workdir afile", "--workdir: afile cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_the_training(
    typed: Typed, arguments: str, place: str
) -> None:
    Path("afile").write_text("kept")
    code, printed, error = typed(*arguments.split())
    assert code == 1
    assert error.startswith(f"anyview-train: {place}: ")
    assert error.count("\n") == 1
    assert printed == ""
    assert Path("afile").read_text() == "kept"


def test_a_full_disk_is_named_before_the_training(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _start: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    code, _, error = typed("fit", "tiny")
    assert code == 1
    assert error == (
        "anyview-train: --store: store cannot be written: No space left on device; 32 MB must be free\n"
    )


def test_a_check_of_a_place_leaves_nothing_in_it(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b", "--workdir")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_the_folder_of_a_run_is_never_overwritten(typed: Typed) -> None:
    last = Path("run") / "last.safetensors"
    last.parent.mkdir()
    last.write_bytes(b"hours of training")
    code, _, error = typed("fit", "tiny", "--workdir", "run")
    assert code == 1
    assert error == (
        "anyview-train: run holds a run: continue it with --resume run, or choose another folder with "
        "--workdir\n"
    )
    assert last.read_bytes() == b"hours of training"


def test_modules_of_an_experiment_are_imported_only_where_code_is_allowed(typed: Typed) -> None:
    Path("intruder.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    network = 'network = { type = "custom", encoder = "intruder:go", decoder = "intruder:go" }'
    text = re.sub("^network = .*", network, read_experiment("tiny")[1], count=1, flags=re.MULTILINE)
    Path("e.toml").write_text(text)
    code, _, error = typed("fit", "e.toml")
    assert code == 1
    assert error == (
        "anyview-train: modalities.image.network imports and runs 'intruder:go' and 'intruder:go': "
        "add --allow-code if you trust this code\n"
    )
    assert not Path("ran").exists()
    code, _, error = typed("fit", "e.toml", "--allow-code")
    assert code == 1
    assert "has no attribute 'go'" in error
    assert Path("ran").exists()


def test_init_writes_an_experiment_and_never_over_one(typed: Typed) -> None:
    code, printed, _ = typed("init", str(DATA / "patients.csv"))
    assert code == 0
    assert "anyview-train fit experiment.toml" in printed
    written = Path("experiment.toml")
    assert "[modalities.height]" in written.read_text()
    written.write_text("mine")
    code, _, error = typed("init", str(DATA / "patients.csv"))
    assert code == 1
    assert error.startswith("anyview-train: experiment.toml exists already")
    assert written.read_text() == "mine"


def _tables(**keys: Sequence[object]) -> list[str]:
    """Files with a key column ``Case``, a second one, and two measures that follow from the first."""
    for name, some in keys.items():
        lines = [
            f"{key},{other},{100 + int(key)}.5,{200 + int(key)}.25"
            for other, key in enumerate(map(str, some))
        ]
        Path(f"{name}.csv").write_text("\n".join([f"Case,other,{name}_1,{name}_2", *lines]) + "\n")
    return [f"{name}.csv" for name in keys]


def test_init_joins_several_files_by_the_key_of_the_command_line(typed: Typed) -> None:
    files = _tables(a=range(60), b=range(59, -1, -1), c=[*range(30, 60), *range(100, 130)])

    code, printed, error = typed("init", *files, "--key", "case")

    assert (code, error) == (0, "")
    assert "joined by 'Case': a.csv and c.csv share 30 of 90 cases" in printed
    experiment, _ = read_experiment("experiment.toml")
    prepared = prepare(experiment)
    splits = [prepared.train.in_epoch(0, 0), prepared.validation, prepared.test]
    a, b, c = (torch.cat([rows.data[name][:, 0] for rows in splits]) for name in "abc")
    both = torch.cat([rows.masks["a"] & rows.masks["b"] for rows in splits])
    assert both.sum() == 60
    assert torch.equal(a[both], b[both])
    with_c = torch.cat([rows.masks["a"] & rows.masks["c"] for rows in splits])
    assert with_c.sum() == 30
    assert torch.equal(a[with_c], c[with_c])


def test_init_leaves_out_the_key_of_one_file(typed: Typed) -> None:
    code, printed, _ = typed("init", *_tables(a=range(60)), "--key", "other", "--output", "one.toml")
    assert code == 0
    assert "'other': the key that joins the files" in printed
    assert 'key = "other"' in Path("one.toml").read_text()


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"a": range(20), "b": range(20)}, "absent", "data.key: a.csv has no column 'absent', it has 'Case'"),
        (
            {"a": range(20), "b": [*range(19), 3]},
            "Case",
            "b.csv: the key '3' occurs more than once in 'Case'",
        ),
        ({"a": range(20), "b": range(50, 70)}, "Case", "no value of 'Case' is in two of the files"),
    ],
)
def test_init_refuses_a_key_that_joins_nothing(
    typed: Typed, keys: dict[str, Sequence[object]], key: str, message: str
) -> None:
    code, printed, error = typed("init", *_tables(**keys), "--key", key)
    assert code == 1
    assert error.startswith(f"anyview-train: {message}")
    assert (error.count("\n"), printed) == (1, "")
    assert not Path("experiment.toml").exists()


@pytest.mark.parametrize("words", ["fit --help", f"init {DATA / 'patients.csv'}"], ids=["help", "init"])
def test_what_trains_nothing_does_not_wait_for_torch(words: str, tmp_path: Path) -> None:
    program = "import sys\nsys.modules['torch'] = None\nfrom training.cli import app\napp(sys.argv[1:])\n"
    command = [sys.executable, "-c", program, *words.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "experiment" in done.stdout
