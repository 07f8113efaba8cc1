"""``anyview-serve impute``: the same answers as the service's, from a file to a file."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service import impute
from service.app import create_app
from service.impute import Progress
from service.settings import Settings
from tests.service.asking import ask, table
from tests.service.kinds import publish

HEADER = "body.height,mass,body.age,animal"
LONG = 600
"""Times four rows are more than two pieces."""
ROWS = ["18.5,7.5,4,dog", ",6.2,,owl", ",,,cat", "17,6,3.3,"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    publish(root)
    return root


def written(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def filled(store: Path, file: Path, *options: str) -> str:
    output = file.with_name("filled.csv")
    impute.main([str(file), "--store", str(store), "--output", str(output), *options])
    return output.read_text()


def test_a_table_is_filled_as_the_service_fills_it(kinds: TestClient, store: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ROWS)
    expected = ask(kinds, "/generate?seed=5", accept="text/csv", **table(file.read_text()))
    assert filled(store, file, "--seed", "5") == expected.decode()


def test_a_table_of_many_pieces_is_filled_as_the_service_fills_it_whole(store: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ROWS * LONG)
    with TestClient(create_app(Settings(store=store))) as client:
        expected = ask(client, "/generate?seed=5&K=4", accept="text/csv", **table(file.read_text()))
    assert filled(store, file, "--seed", "5", "--K", "4") == expected.decode()


def test_without_an_output_the_table_goes_to_standard_output(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impute.main([str(written(tmp_path, ROWS)), "--store", str(store)])
    out, err = capsys.readouterr()
    assert out.startswith(f"{HEADER},body.height.low,body.height.high,")
    assert out.count("\n") == 5
    assert err == ""


def test_columns_that_are_nobodys_are_kept_when_asked_for(store: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ["a7,18.5,,", "b8,,cat,"], "key,height,animal,mass")
    lines = filled(store, file, "--keep", "key,mass").splitlines()
    assert [line.split(",")[0] for line in lines] == ["key", "a7", "b8"]
    assert [line.split(",")[3] for line in lines] == ["mass", "", ""]
    assert "mass.low" not in lines[0]


def test_modalities_that_the_table_lacks_are_added_when_named(store: Path, tmp_path: Path) -> None:
    lines = filled(store, written(tmp_path, ["18.5"], "height"), "--gen-mod", "animal").splitlines()
    assert lines[0] == "height,animal,height.low,height.high,animal.probability"
    assert lines[1].split(",")[1] in {"cat", "dog", "owl"}


REFUSED: dict[str, tuple[str, list[str], list[str], str]] = {
    "a word": ("height", ["1"] * 2500 + ["tall"], [], "row 2500 (counted from 0), column 'height'"),
    "unknown columns": ("key,sex", ["1,2"], [], "unknown column 'key' of the table; there are 'body.height'"),
    "empty rows": ("height,mass", [","] * 2500, [], "has anything observed of 'body'"),
    "a short line": ("height,mass", ["1,2", "1"], [], "row 1 (counted from 0) has 1 cells, the header has 2"),
    "no rows": ("height", [], [], "has no rows below its header"),
    "nothing but keys": ("key", ["1"], ["--keep", "key"], "unknown column 'key' of the table"),
    "another model": ("height", ["1"], ["--model", "digits"], "no model 'digits' is loaded; there is"),
    "no table": ("height", ["1"], ["--gen-mod", "image"], "but 'image' is none of them"),
}  # fmt: skip


@pytest.mark.parametrize(("header", "rows", "options", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_filled_is_refused_and_leaves_no_file(
    store: Path,
    tmp_path: Path,
    header: str,
    rows: list[str],
    options: list[str],
    sentence: str,
) -> None:
    file = written(tmp_path, rows, header)
    with pytest.raises(SystemExit) as stopped:
        filled(store, file, *options)
    assert str(stopped.value).startswith("anyview-serve impute: ")
    assert sentence in str(stopped.value)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_not_there_is_one_sentence(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="No such file"):
        filled(store, tmp_path / "nothing.csv")


def test_bytes_that_are_no_text_are_refused(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(b"height\n1\n\x00\n")
    with pytest.raises(SystemExit, match="holds NUL bytes; save it as CSV in UTF-8"):
        filled(store, file)


@pytest.mark.parametrize("options", [["--seed", "-1"], ["--K", "0"], ["--K", "x"], ["--rows"]])
def test_wrong_options_are_refused(
    store: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        filled(store, written(tmp_path, ROWS), *options)
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_folder_is_no_table(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no file"):
        impute.main([str(tmp_path), "--store", str(store)])


def test_it_is_a_command_beside_serving(store: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ROWS)
    command = [sys.executable, "-m", "service", "impute", str(file), "--store", str(store), "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == filled(store, file, "--seed", "5")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_drawn_on_a_terminal_and_nowhere_else() -> None:
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        progress = Progress(stream)
        progress.show("filled", 0.5, 1234)
        progress.end()
    assert "filled ███████████████···············  50 %  1234 rows, 0 s left" in terminal.getvalue()
    assert log.getvalue() == ""
