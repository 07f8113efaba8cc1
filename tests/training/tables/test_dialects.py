"""An experiment states how its tables are written; what it states is how they are read."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from models_store.manifest import Manifest
from training.config import read_experiment
from training.data import Prepared, prepare
from training.errors import ExperimentError
from training.tables.guess import experiment_for

GERMAN = "Bericht der Klinik;;\n;;\nGröße (cm);Geschlecht;Wert [%]\n" + "".join(
    f"1{at:02d},5;{'mf'[at % 2]};{'k.A.' if at == 3 else f'{at},25'}\n" for at in range(40)
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def prepared(text: str) -> Prepared:
    Path("x.toml").write_text(text, encoding="utf-8")
    return prepare(read_experiment("x.toml")[0])


def initialised(content: bytes, name: str = "x.csv") -> str:
    Path(name).write_bytes(content)
    return experiment_for([Path(name)], Path("x.toml"))


def values(rows: Prepared, name: str) -> list[float]:
    """All numbers of a modality in all splits, ascending, without NaN."""
    splits = (rows.train, rows.validation, rows.test)
    numbers = np.concatenate([split.data[name].numpy().ravel() for split in splits]).astype(float)
    return sorted(numbers[~np.isnan(numbers)])


def test_init_writes_how_a_file_is_written() -> None:
    text = initialised(GERMAN.encode("cp1252"))

    assert tomllib.loads(text)["data"]["dialects"]["x.csv"] == {
        "format": "csv",
        "encoding": "cp1252",
        "delimiter": ";",
        "quote": '"',
        "decimal": ",",
        "thousands": "",
        "missing": [],
        "title_lines": 2,
        "header": True,
    }


def test_the_manifest_has_the_dialect_and_the_headers() -> None:
    rows = prepared(initialised(GERMAN.encode("cp1252")))

    (table,) = rows.tables
    assert (table.delimiter, table.decimal, table.encoding, table.title_lines) == (";", ",", "cp1252", 2)
    assert [column.header for column in table.columns] == ["Größe (cm)", "Geschlecht", "Wert [%]"]
    assert table.columns[2].missing == ("k.A.",)
    assert set(table.modalities) == {modality.name for modality in rows.modalities}
    fields = {column.name: column.field for modality in rows.modalities for column in modality.columns or ()}
    assert fields == {"Größe": "Größe (cm)", "Wert": "Wert [%]"}
    assert [modality.field for modality in rows.modalities if modality.labels] == ["Geschlecht"]
    assert "Bericht" not in table.model_dump_json()


def test_no_cell_of_a_table_is_in_the_manifest() -> None:
    rows = prepared(initialised(b"id,size\n" + b"".join(b"secret%d,%d.5\n" % (at, at) for at in range(40))))
    manifest = Manifest.model_validate(
        {"name": "x", "version": 1, "created": "2026-01-01", "latent_dim": 2, "modalities": rows.modalities}
        | {"tables": rows.tables}
    )
    assert b'"id"' in manifest.to_json()
    assert b"secret" not in manifest.to_json()


HEAD = 'name = "x"\n[data]\nsource = "table"\nfiles = ["x.csv"]\n'
SIZE = '[modalities.size]\nkind = "vector"\ncolumns = [{ name = "size" }]\n'


def stated(content: str, dialect: str, modality: str = SIZE, encoding: str = "utf-8") -> Prepared:
    Path("x.csv").write_text(content, encoding=encoding)
    return prepared(f'{HEAD}[data.dialects."x.csv"]\n{dialect}\n{modality}')


def test_a_stated_decimal_mark_counts() -> None:
    content = "size;weight\n1.234;2\n5.678;3\n"
    assert values(stated(content, 'decimal = ","'), "size") == [1234, 5678]
    assert values(stated(content, 'decimal = "."'), "size") == pytest.approx([1.234, 5.678])


def test_stated_marks_are_missing_in_all_columns_or_in_one() -> None:
    content = "size,weight\n1,-9\n-9,2\n3,-7\n-7,5\n"
    both = SIZE.replace('{ name = "size" }', '{ name = "size" }, { name = "weight" }')
    assert values(stated(content, 'missing = ["-9"]', both), "size") == [-7, -7, 1, 2, 3, 5]
    assert values(stated(content, 'missing_in = { size = ["-9"] }', both), "size") == [-9, -7, -7, 1, 2, 3, 5]


def test_stated_lines_before_the_header_are_skipped() -> None:
    assert values(stated("a,b\nsize,weight\n1,2\n3,4\n", "title_lines = 1"), "size") == [1, 3]


def test_a_table_that_is_said_to_have_no_header_has_none() -> None:
    modality = SIZE.replace('name = "size"', 'name = "size", field = "column 2"')
    assert values(stated("a,1\nb,3\nc,5\n", "header = false", modality), "size") == [1, 3, 5]


def test_a_stated_delimiter_quote_and_encoding_count() -> None:
    content = "size|näme\n1|'a|b'\n2|c\n"
    rows = stated(content, 'delimiter = "|"\nquote = "\'"\nencoding = "cp1250"', encoding="cp1250")
    assert values(rows, "size") == [1, 2]
    assert [column.header for column in rows.tables[0].columns] == ["size", "näme"]


@pytest.mark.parametrize(
    ("dialect", "sentence"),
    [
        ('delimiter = ";;"', "at most 1 character"),
        ('decimal = "x"', "decimal"),
        ('mark = "x"', "unknown key"),
    ],
)
def test_a_wrong_dialect_is_refused(dialect: str, sentence: str) -> None:
    with pytest.raises(ExperimentError, match=sentence):
        stated("size\n1\n2\n", dialect)
