"""A table that names files is filled from these files, which are read as in training."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.round_trip import imputed, publish_for

ROWS = 30


def picture(level: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 8), level, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Pictures and sizes, of which rows 0 to 9 have the picture alone."""
    lines = [f"{row}.png,{'' if row < 10 else row * 0.7 % 5}" for row in range(ROWS)]
    (tmp_path / "t.csv").write_text("\n".join(["photo,size", *lines]) + "\n")
    for row in range(ROWS):
        (tmp_path / f"{row}.png").write_bytes(picture(8 * row))
    return tmp_path / "t.csv"


def sizes(path: Path) -> list[float]:
    with path.open() as file:
        return [float(row["size"] or "nan") for row in csv.DictReader(file)]


def test_gaps_are_filled_from_the_files_that_a_column_names(table: Path) -> None:
    store = publish_for(table.parent, [table])
    filled = sizes(imputed(store, table, table.with_name("filled.csv")))

    assert filled[10:] == sizes(table)[10:]
    assert np.isfinite(filled[:10]).all()
    assert len(set(filled[:10])) == 10  # each by its own picture

    (table.parent / "0.png").write_bytes(picture(255))
    other = sizes(imputed(store, table, table.with_name("other.csv")))
    assert other[0] != filled[0]
    assert other[1:] == filled[1:]


@pytest.mark.parametrize(
    "change", [Path.unlink, lambda path: path.write_bytes(b"no picture")], ids=["absent", "damaged"]
)
def test_a_row_whose_file_cannot_be_read_stays_as_it_is(
    table: Path, change: Callable[[Path], object]
) -> None:
    store = publish_for(table.parent, [table])
    change(table.parent / "3.png")
    output = imputed(store, table, table.with_name("filled.csv"))

    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert [number for number, row in enumerate(rows) if row["row.observed"] == "false"] == [3]
    assert (rows[3]["photo"], rows[3]["size"]) == ("3.png", "")
    assert rows[4]["size"]


def test_several_imputations_read_the_files_too(table: Path) -> None:
    store = publish_for(table.parent, [table])
    imputed(store, table, table.with_name("drawn.csv"), "--m", "2")
    drawn = sorted(table.parent.glob("drawn*.csv"))
    assert len(drawn) == 2
    assert all(np.isfinite(sizes(path)).all() for path in drawn)
