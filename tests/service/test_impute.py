"""``anyview-serve impute``: the same answers as the service's, from a file to a file."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from models_store.tables import read_table
from service import impute
from service.app import create_app
from service.impute.progress import Progress
from service.settings import Settings
from tests.service.asking import ask, inputs, table
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
    "another model": ("height", ["1"], ["--model", "digits"], "no model 'digits' is in the store; there is"),
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


@pytest.mark.parametrize("name", ["a" * 300 + ".csv", "a" * 300 + "*.csv"])
def test_a_name_that_is_too_long_is_one_sentence(store: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit, match=r"^anyview-serve impute: .*(cannot be read|has no Parquet files)"):
        filled(store, tmp_path / name, "--output", str(tmp_path / "out"))


def test_a_pipe_is_not_waited_for(store: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SystemExit, match="is no file, and a table is read twice"):
        filled(store, tmp_path / "pipe")


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


def test_a_folder_without_parquet_is_no_data_set(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no Parquet files"):
        filled(store, tmp_path)


def test_it_is_a_command_beside_serving(store: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ROWS)
    command = [sys.executable, "-m", "service", "impute", str(file), "--store", str(store), "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == filled(store, file, "--seed", "5")


def drawn(store: Path, file: Path, m: int, *options: str) -> list[list[list[str]]]:
    """Cells of the m tables that are drawn, header first."""
    output = file.with_name("drawn.csv")
    impute.main([str(file), "--store", str(store), "--output", str(output), "--m", str(m), *options])
    width = len(str(m))
    names = [f"drawn.{number:0{width}}.csv" for number in range(1, m + 1)]
    return [[line.split(",") for line in file.with_name(name).read_text().splitlines()] for name in names]


def test_m_tables_differ_in_their_gaps_alone(store: Path, tmp_path: Path) -> None:
    tables = drawn(store, written(tmp_path, ROWS), 12, "--seed", "5")

    sent = [HEADER.split(","), *(row.split(",") for row in ROWS)]
    assert len({str(table) for table in tables}) == 12
    for one in tables:
        assert one[0] == sent[0]
        for before, after in zip(sent, one, strict=True):
            assert [new for old, new in zip(before, after, strict=True) if old] == list(filter(None, before))
            assert "" not in after
            assert after[3] in {"animal", "cat", "dog", "owl"}


def test_rows_of_mixed_columns_are_filled_and_drawn_with_labels(store: Path, tmp_path: Path) -> None:
    header = "pulse,visits,smoker,stage,clinic"
    file = written(tmp_path, ["72,,yes,,7", ",3,,late,"], header)
    lines = [line.split(",") for line in filled(store, file).splitlines()]
    assert lines[0][5:] == [
        *("pulse.low", "pulse.high", "visits.low", "visits.high"),
        *("smoker.probability", "stage.probability", "clinic.probability"),
    ]
    assert [lines[1][at] for at in (0, 2, 4)] == ["72", "yes", "7"]
    smoker, stage, clinic = map(float, lines[1][9:])
    assert (smoker, clinic) == (1, 1)
    assert 0.5 <= stage < 1
    for completed in [lines, *drawn(store, file, 4, "--seed", "5")]:
        for row in completed[1:]:
            assert row[2] in {"no", "yes"}
            assert row[3] in {"early", "late"}
            assert row[4] in {"1", "2", "7"}
            assert float(row[1]) >= 0


def test_the_seed_of_the_draws_stands_beside_them(store: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ROWS)
    first = drawn(store, file, 3)
    state = json.loads((tmp_path / "drawn.csv.draws.json").read_text())
    assert (state["model"], state["version"], state["m"], state["table"]) == ("kinds", 1, 3, "table.csv")
    assert state["tables"] == ["drawn.1.csv", "drawn.2.csv", "drawn.3.csv"]
    assert drawn(store, file, 3, "--seed", str(state["seed"])) == first


def test_draws_are_those_of_the_model_jointly_for_a_row(
    kinds: TestClient, store: Path, tmp_path: Path
) -> None:
    """All gaps of a row come from one z, as the samples of the service do."""
    tables = drawn(store, written(tmp_path, [",,,cat"] * 5), 7, "--seed", "5")
    body = inputs(animal=["cat"] * 5)
    answer = ask(kinds, "/generate?seed=5&N=7&noise=true&fields=samples&gen_mod=body", **body)
    samples = answer["targets"]["body"]["samples"]
    for number, one in enumerate(tables):
        cells = [[float(cell) for cell in row[:3]] for row in one[1:]]
        np.testing.assert_allclose(cells, [row[number] for row in samples], rtol=1e-5)


def test_draws_in_pieces_are_those_of_the_whole(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, [*ROWS, ",,,"] * 5)
    whole = drawn(store, file, 2, "--seed", "5")
    monkeypatch.setattr(impute.table, "ROWS_AT_ONCE", 3)
    assert drawn(store, file, 2, "--seed", "5") == whole


def test_tables_need_a_name(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        impute.main([str(written(tmp_path, ROWS)), "--store", str(store), "--m", "2"])
    assert "--m writes several tables: name the first part of their names with --output" in (
        capsys.readouterr().err
    )


def test_rows_of_nothing_and_other_columns_stay_and_are_reported(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = filled(store, written(tmp_path, ["1,a7,180", ",b8,", "3,c9,175"], "mass,key,height"))
    rows = [line.split(",") for line in lines.splitlines()]
    assert rows[0][:3] == ["mass", "key", "height"]
    assert [row[-1] for row in rows] == ["row.observed", "true", "false", "true"]
    assert rows[2][:-1] == ["", "b8", *[""] * 5]
    err = capsys.readouterr().err
    assert "copied as they are, since the model does not have them: 'key'" in err
    assert "1 of 3 rows have nothing observed" in err


@pytest.mark.parametrize(
    "name", ["filled.parquet", "filled.xlsx", "filled.jsonl", "filled.tsv", "filled.csv.gz"]
)
def test_the_name_of_the_output_states_its_format(store: Path, tmp_path: Path, name: str) -> None:
    file = written(tmp_path, ROWS)
    expected = [line.split(",") for line in filled(store, file, "--seed", "5").splitlines()]
    output = tmp_path / name
    impute.main([str(file), "--store", str(store), "--output", str(output), "--seed", "5"])
    table = read_table(output)
    assert list(table.dialect.headers) == expected[0]
    (block,) = table.blocks()
    for at, header in enumerate(expected[0]):
        column = [row[at] for row in expected[1:]]
        if header == "animal":
            assert block.texts(at) == column
        else:
            assert block.numbers(at) == pytest.approx([float(cell) for cell in column], rel=1e-6)


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
